package records

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"modernc.org/sqlite"
)

// openReadOnly opens records without a change to their directory. Where SQLite
// cannot read them so, a copy elsewhere is read.
func openReadOnly(dir string, opts Options, f format) (*DB, error) {
	path := Path(dir)
	params, err := howToRead(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return openEmpty(path, opts, f)
	case err != nil:
		return nil, explain(path, err)
	case params == "":
		return openCopy(path, opts, f)
	}
	db, err := connect(&connector{dsn: dsn(path, params), format: f}, path, opts)
	switch {
	case IsDamaged(err):
		return openDamaged(path, err, opts, f)
	case errors.Is(err, errOlder):
		return openCopy(path, opts, f)
	}
	return db, explain(path, err)
}

// howToRead returns the parameters that make SQLite leave the files alone, empty
// where there are none: a log without the memory that goes with it can be read
// only by who makes that memory.
func howToRead(path string) (params string, err error) {
	if _, err := os.Lstat(path); err != nil {
		return "", err
	}
	log, err := exists(path + logSuffix)
	if err != nil || !log {
		return "mode=ro&immutable=1", err
	}
	memory, err := exists(path + memorySuffix)
	if err != nil || !memory {
		return "", err
	}
	return "mode=ro&readonly_shm=1", nil
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func openDamaged(path string, why error, opts Options, f format) (*DB, error) {
	db, err := openEmpty(path, opts, f)
	if err != nil {
		return nil, err
	}
	db.notes = []string{fmt.Sprintf("the records in %s are damaged (%s); they are left as they are and taken for empty now, and a run will start with new ones", path, cause(why))}
	return db, nil
}

func openEmpty(path string, opts Options, f format) (*DB, error) {
	db, err := connect(emptyConnector{f}, path, opts)
	return db, explain(path, err)
}

// emptyConnector gives every connection empty records of its own in memory,
// which are all the same, as nobody writes to them.
type emptyConnector struct{ format format }

func (c emptyConnector) Driver() driver.Driver { return new(sqlite.Driver) }

func (c emptyConnector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := sqlite.NewConnector(":memory:?" + settings)
	if err != nil {
		return nil, err
	}
	conn, err := inner.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.format.create(ctx, conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// openCopy opens a copy of the records, which lasts until Close.
func openCopy(path string, opts Options, f format) (*DB, error) {
	temp, err := os.MkdirTemp("", "strata-records-")
	if err != nil {
		return nil, fmt.Errorf("copy the records %s to read them: %w", path, err)
	}
	db, err := openCopyIn(temp, path, opts, f)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(temp))
	}
	return db, nil
}

func openCopyIn(temp, path string, opts Options, f format) (*DB, error) {
	for _, suffix := range []string{"", logSuffix} {
		err := copyFile(path+suffix, Path(temp)+suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("copy the records %s to read them: %w", path, err)
		}
	}
	db, err := openFormat(temp, Options{Now: opts.Now}, f)
	var newer *VersionError
	switch {
	case errors.As(err, &newer):
		return nil, explain(path, newer)
	case err != nil:
		return nil, err
	}
	db.path, db.readOnly, db.temp = path, true, temp
	if len(db.notes) > 0 {
		db.notes = []string{fmt.Sprintf("the records in %s are damaged; they are left as they are and taken for empty now, and a run will start with new ones", path)}
	}
	return db, nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
