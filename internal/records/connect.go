package records

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"

	"github.com/strata-ci/strata/internal/filelock"
)

// settings of every connection. A busy database is waited for: writers of other
// processes take turns of milliseconds. The limit of the journal's size is what
// the write-ahead log is cut to after it has grown.
const settings = "_txlock=immediate&_dqs=0&_defensive=1&_error_rc=1" +
	"&_pragma=busy_timeout(30000)" +
	"&_pragma=foreign_keys(1)" +
	"&_pragma=journal_size_limit(4194304)" +
	"&_pragma=synchronous(NORMAL)" +
	"&_pragma=trusted_schema(0)"

// dsn names a database file as the driver wants it.
func dsn(path, params string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a drive of Windows
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: params + "&" + settings}).String()
}

// connector makes connections to records that exist and have the right format.
type connector struct {
	dsn    string
	lock   string // path of the lock file; empty to take no lock
	format format
}

// Driver returns the driver of all connections.
func (c *connector) Driver() driver.Driver { return new(sqlite.Driver) }

// Connect opens a connection. It reads the file's header, and so opens all files
// of the database, before it returns.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	if c.lock != "" {
		lock, err := filelock.Open(c.lock, filelock.Shared)
		if err != nil {
			return nil, err
		}
		defer lock.Close()
	}
	inner, err := sqlite.NewConnector(c.dsn)
	if err != nil {
		return nil, err
	}
	conn, err := inner.Connect(ctx)
	if err != nil {
		return nil, err
	}
	err = c.format.check(ctx, conn)
	if err == nil && c.lock != "" {
		err = keepLog(conn)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// keepLog lets the write-ahead log stay when the last connection closes. A
// process that still has records open that were set aside would otherwise
// remove the log of the new ones, which has the same name.
func keepLog(conn driver.Conn) error {
	control, ok := conn.(sqlite.FileControl)
	if !ok {
		return fmt.Errorf("%T controls no files", conn)
	}
	_, err := control.FileControlPersistWAL("main", 1)
	return err
}

// execute runs statements on a connection that is in no pool.
func execute(ctx context.Context, conn driver.Conn, statements string) error {
	execer, ok := conn.(driver.ExecerContext)
	if !ok {
		return fmt.Errorf("%T executes nothing", conn)
	}
	_, err := execer.ExecContext(ctx, statements, nil)
	return err
}

// numbers returns the first row of a query whose columns are integers.
func numbers(ctx context.Context, conn driver.Conn, query string, columns int) ([]int64, error) {
	queryer, ok := conn.(driver.QueryerContext)
	if !ok {
		return nil, fmt.Errorf("%T answers nothing", conn)
	}
	rows, err := queryer.QueryContext(ctx, query, nil)
	if err != nil {
		return nil, err
	}
	values := make([]driver.Value, columns)
	if err := errors.Join(rows.Next(values), rows.Close()); err != nil {
		return nil, err
	}
	out := make([]int64, columns)
	for i, v := range values {
		if out[i], ok = v.(int64); !ok {
			return nil, fmt.Errorf("%q gives %T, not a number", query, v)
		}
	}
	return out, nil
}
