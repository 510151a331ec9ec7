// Package records keeps the records of a state directory in one SQLite file:
// cached results, kept snapshots, and the index of runs.
//
// In: the path of a state directory. Out: a database whose tables other
// packages own: cache, snapshot and history. It knows how to open, make,
// migrate and set aside the file, and nothing of what the rows mean. It never
// loses records silently: what cannot be read is set aside and told of.
package records

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/strata-ci/strata/internal/fault"
)

const (
	fileName = "records.db"
	// lockName is the file that is locked as shared while a connection is being
	// opened, and as exclusive while the records are made, migrated or set aside:
	// SQLite finds the files that belong to a database by name, so no name may
	// change hands meanwhile.
	lockName = "records.lock"

	// maxConns is how many connections there are at most: one that writes, and
	// some that read beside it.
	maxConns = 4
)

// Options say how to open records.
type Options struct {
	// ReadOnly opens the records as they are and changes nothing in the state
	// directory, not even by making a file. Records that do not exist, or are
	// damaged, are an empty set of records. Update is an error.
	ReadOnly bool
	// Now is the clock that those who write records use; nil is time.Now.
	Now func() time.Time
}

// DB is the records of one state directory, open. It is safe for use by many
// goroutines. View and Update give transactions; single statements may be
// executed and prepared on the embedded database, and their errors given to
// Explain.
type DB struct {
	*sql.DB
	path     string
	now      func() time.Time
	readOnly bool
	notes    []string
	temp     string // directory of a copy that is read, to be removed
}

// Path returns the path of the records' file in a state directory.
func Path(dir string) string { return filepath.Join(dir, fileName) }

// Open opens the records of the state directory dir and makes them, and the
// directory, if need be. Records of an older format are migrated, those of a
// newer one are a *VersionError. A file that is damaged or something else is
// renamed, and new records are made: see Notes. Other errors are an *Error
// that says what to do.
func Open(dir string, opts Options) (*DB, error) {
	return openFormat(dir, opts, current())
}

func openFormat(dir string, opts Options, f format) (*DB, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.ReadOnly {
		return openReadOnly(dir, opts, f)
	}
	path := Path(dir)
	db, err := connect(&connector{dsn: dsn(path, "mode=rw"), lock: filepath.Join(dir, lockName), format: f}, path, opts)
	if err == nil || !canBePrepared(path, err) {
		return db, explain(path, err)
	}
	notes, err := prepare(dir, f)
	if err != nil {
		return nil, explain(path, err)
	}
	db, err = connect(&connector{dsn: dsn(path, "mode=rw"), lock: filepath.Join(dir, lockName), format: f}, path, opts)
	if err != nil {
		return nil, explain(path, err)
	}
	db.notes = notes
	return db, nil
}

// connect returns the database of a connector that has connected once.
func connect(c driver.Connector, path string, opts Options) (*DB, error) {
	pool := sql.OpenDB(c)
	pool.SetMaxOpenConns(maxConns)
	pool.SetMaxIdleConns(maxConns)
	conn, err := pool.Conn(context.Background())
	if err == nil {
		err = conn.Close() // back to the pool
	}
	if err != nil {
		_ = pool.Close() // the first error says why
		return nil, err
	}
	return &DB{DB: pool, path: path, now: opts.Now, readOnly: opts.ReadOnly}, nil
}

// Close ends all use of the records.
func (db *DB) Close() error {
	err := db.DB.Close()
	if db.temp != "" {
		err = errors.Join(err, os.RemoveAll(db.temp))
	}
	return explain(db.path, err)
}

// Notes tells the user what happened to the records when they were opened, each
// in one line.
func (db *DB) Notes() []string { return db.notes }

// Now returns the time of the records' clock.
func (db *DB) Now() time.Time { return db.now() }

// ReadOnly reports whether the records were opened so.
func (db *DB) ReadOnly() bool { return db.readOnly }

// View calls fn with a transaction that reads: all that it sees is of one moment.
func (db *DB) View(ctx context.Context, fn func(*sql.Tx) error) error {
	return db.transact(ctx, db.DB, &sql.TxOptions{ReadOnly: true}, fn)
}

// Update calls fn with a transaction that writes, which is committed if fn
// returns no error. There is one at a time among all processes, so fn does
// nothing slow. What is committed survives the death of the process, and comes
// to the disk in the order of commits, later.
func (db *DB) Update(ctx context.Context, fn func(*sql.Tx) error) error {
	if db.readOnly {
		return errReadOnly
	}
	return db.transact(ctx, db.DB, nil, fn)
}

// UpdateDurable is Update, but returns only after this and all earlier
// transactions are on the disk.
func (db *DB) UpdateDurable(ctx context.Context, fn func(*sql.Tx) error) error {
	if db.readOnly {
		return errReadOnly
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return db.Explain(err)
	}
	defer conn.Close() //nolint:errcheck // of one that is broken; the pool makes another
	if _, err := conn.ExecContext(ctx, "PRAGMA synchronous = FULL"); err != nil {
		return db.Explain(err)
	}
	err = db.transact(ctx, conn, nil, fn)
	if _, undo := conn.ExecContext(context.WithoutCancel(ctx), "PRAGMA synchronous = NORMAL"); undo != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // out of the pool
	}
	return err
}

// beginner is what a transaction begins on: a pool or one connection.
type beginner interface {
	BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error)
}

func commit(tx *sql.Tx) error {
	if err := fault.Point("records: commit"); err != nil {
		return err
	}
	err := tx.Commit()
	_ = fault.Point("records: committed") // no failure after this is one of the commit
	return err
}

func (db *DB) transact(ctx context.Context, on beginner, opts *sql.TxOptions, fn func(*sql.Tx) error) error {
	tx, err := on.BeginTx(ctx, opts)
	if err == nil {
		defer tx.Rollback() //nolint:errcheck // what is not committed is undone; after a commit this does nothing
		if err = fn(tx); err == nil {
			err = commit(tx)
		}
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return db.Explain(err)
}
