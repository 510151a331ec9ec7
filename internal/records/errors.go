package records

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var errReadOnly = errors.New("write to the records: they were opened to be read only")

// VersionError says that a newer Strata has written the records.
type VersionError struct {
	Path         string
	Found, Known int64 // versions of the format
}

// Error says what to do.
func (e *VersionError) Error() string {
	return fmt.Sprintf("open the records %s: they have format %d, which a newer Strata wrote, and this one knows formats up to %d; use the newer Strata, or set STRATA_HOME to another directory",
		e.Path, e.Found, e.Known)
}

// Error says what is wrong with the file of the records and what to do about it.
// A full disk is one that runner.IsDiskFull recognises.
type Error struct {
	Path string
	What string // what is wrong, in the words of users
	Fix  string // what to do
	Err  error
	full bool
}

// Error returns all of it in one line.
func (e *Error) Error() string {
	return fmt.Sprintf("use the records %s: %s (%s); %s", e.Path, e.What, cause(e.Err), e.Fix)
}

// Unwrap returns the cause and, for a full disk, the system's error.
func (e *Error) Unwrap() []error {
	if e.full {
		return []error{e.Err, errDiskFull}
	}
	return []error{e.Err}
}

// IsDamaged reports whether err says that the file is no database of Strata, or
// that what is in it makes no sense.
func IsDamaged(err error) bool {
	if errors.Is(err, errForeign) {
		return true
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() {
	case sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS, sqlite3.SQLITE_IOERR_DATA:
		return true
	}
	return primary(e) == sqlite3.SQLITE_CORRUPT || primary(e) == sqlite3.SQLITE_NOTADB
}

// primary returns the class of an error; codes are explained at
// https://www.sqlite.org/rescode.html.
func primary(e *sqlite.Error) int { return e.Code() & 0xff }

// Explain returns err with what a user can do about it, where it is about the
// file of the records; other errors, and nil, as they are.
func (db *DB) Explain(err error) error { return explain(db.path, err) }

func explain(path string, err error) error {
	var newer *VersionError
	var explained *Error
	switch {
	case err == nil || errors.As(err, &explained):
		return err
	case errors.As(err, &newer):
		return &VersionError{Path: path, Found: newer.Found, Known: newer.Known}
	}
	e := &Error{Path: path, Err: err}
	var lite *sqlite.Error
	var file *fs.PathError
	switch {
	case IsDamaged(err):
		e.What, e.Fix = "they are damaged", "the next command sets them aside and starts with new ones"
	case errors.As(err, &lite):
		e.explainCode(lite)
	case errors.As(err, &file):
		e.explainFile(file)
	}
	if e.What == "" {
		return err
	}
	return e
}

func (e *Error) explainCode(err *sqlite.Error) {
	switch err.Code() {
	case sqlite3.SQLITE_IOERR_LOCK, sqlite3.SQLITE_IOERR_UNLOCK, sqlite3.SQLITE_IOERR_RDLOCK, sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
		sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_IOERR_SHMLOCK, sqlite3.SQLITE_IOERR_SHMMAP:
		e.noLocks()
		return
	case sqlite3.SQLITE_IOERR_SHMSIZE: // as the documentation has it
		e.diskFull()
		return
	}
	switch primary(err) {
	case sqlite3.SQLITE_FULL:
		e.diskFull()
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		e.forbidden()
	case sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS:
		e.noLocks()
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		e.What, e.Fix = "another process has kept them locked for too long", "wait for it to end, or end it, and try again"
	case sqlite3.SQLITE_IOERR:
		e.What, e.Fix = "the disk failed to read or write them", "look at the disk, or set STRATA_HOME to a directory on another"
	}
}

func (e *Error) explainFile(err *fs.PathError) {
	switch {
	case isDiskFull(err):
		e.diskFull()
	case isNoLocks(err):
		e.noLocks()
	case isReadOnlyDisk(err), errors.Is(err, fs.ErrPermission):
		e.forbidden()
	default:
		e.What, e.Fix = "a file cannot be used", "set STRATA_HOME to a directory that can be written"
	}
}

func (e *Error) diskFull() {
	e.full = true
	e.What, e.Fix = "the disk is full", "free some space on that file system, or set STRATA_HOME to a directory on another"
}

func (e *Error) forbidden() {
	e.What = "they cannot be opened or written"
	e.Fix = "make all of " + filepath.Dir(e.Path) + " yours, or set STRATA_HOME to a directory that can be written"
}

func (e *Error) noLocks() {
	e.What, e.Fix = "the file system has no locks or no shared memory", "set STRATA_HOME to a directory on a local disk"
}

// cause returns the innermost text of an error of opening.
func cause(err error) string {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return lite.Error()
	}
	return err.Error()
}
