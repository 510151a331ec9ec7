package records

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"modernc.org/sqlite"

	"github.com/strata-ci/strata/internal/fault"
	"github.com/strata-ci/strata/internal/filelock"
	"github.com/strata-ci/strata/internal/filetree"
)

// Besides the file itself a database has its write-ahead log and the memory
// that its users share.
const (
	logSuffix    = "-wal"
	memorySuffix = "-shm"
	newSuffix    = ".new" // of a file that is being made
)

// canBePrepared reports whether prepare may help against an error of opening.
func canBePrepared(path string, err error) bool {
	if IsDamaged(err) || errors.Is(err, errOlder) {
		return true
	}
	var newer *VersionError
	_, statErr := os.Lstat(path)
	return errors.Is(statErr, fs.ErrNotExist) && !errors.As(err, &newer)
}

// prepare makes, migrates or sets aside and makes again the records of a state
// directory, whichever is needed. The notes are for the user.
func prepare(dir string, f format) (notes []string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := filelock.Open(filepath.Join(dir, lockName), filelock.Exclusive)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	err = inspect(dir, f)
	if errors.Is(err, errOlder) {
		err = migrateFile(dir, f)
	}
	if IsDamaged(err) {
		note, asideErr := setAside(dir, err)
		if asideErr != nil {
			return nil, asideErr
		}
		notes, err = append(notes, note), fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = makeFile(dir, f)
	}
	return notes, err
}

// inspect looks at the records with the lock held: another process may have
// prepared them meanwhile.
func inspect(dir string, f format) error {
	if _, err := os.Lstat(Path(dir)); err != nil {
		return err
	}
	conn, err := (&connector{dsn: dsn(Path(dir), "mode=rw"), format: f}).Connect(context.Background())
	if err != nil {
		return err
	}
	return errors.Join(keepLog(conn), conn.Close())
}

func migrateFile(dir string, f format) error {
	inner, err := sqlite.NewConnector(dsn(Path(dir), "mode=rw"))
	if err != nil {
		return err
	}
	ctx := context.Background()
	conn, err := inner.Connect(ctx)
	if err != nil {
		return err
	}
	err = execute(ctx, conn, "PRAGMA foreign_keys = OFF") // tables may be made anew
	return errors.Join(err, keepLog(conn), f.migrate(ctx, conn), conn.Close())
}

// makeFile makes new records under another name and renames them, so that
// there are never half of them. A log that was left by others is removed first:
// SQLite would take it for the new file's.
func makeFile(dir string, f format) error {
	path := Path(dir)
	temp := path + newSuffix
	for _, name := range []string{temp, temp + "-journal", path + logSuffix, path + memorySuffix} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	file, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Chmod(0o600), file.Close(), fill(temp, f), filetree.SyncFile(temp)); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := fault.Point("records: name a new file"); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return os.Rename(temp, path)
}

// fill makes the tables in an empty file.
func fill(path string, f format) error {
	inner, err := sqlite.NewConnector(dsn(path, "mode=rw"))
	if err != nil {
		return err
	}
	ctx := context.Background()
	conn, err := inner.Connect(ctx)
	if err != nil {
		return err
	}
	for _, step := range []string{"PRAGMA synchronous = OFF", "PRAGMA journal_mode = MEMORY"} {
		err = errors.Join(err, execute(ctx, conn, step)) // nobody else sees the file before it is whole
	}
	if err == nil {
		err = f.create(ctx, conn)
	}
	if err == nil {
		err = execute(ctx, conn, "PRAGMA journal_mode = WAL")
	}
	return errors.Join(err, conn.Close())
}

// SetAside renames the records of a state directory, for a caller who has found
// them damaged (see IsDamaged) and has closed them. The next Open makes new
// ones. It returns a line for the user.
func SetAside(dir string, why error) (note string, err error) {
	lock, err := filelock.Open(filepath.Join(dir, lockName), filelock.Exclusive)
	if err != nil {
		return "", explain(Path(dir), err)
	}
	defer lock.Close()
	note, err = setAside(dir, why)
	return note, explain(Path(dir), err)
}

// setAside renames the files of a damaged database. The file itself goes first:
// without it the others mean nothing.
func setAside(dir string, why error) (note string, err error) {
	path := Path(dir)
	aside, err := freeName(path + ".damaged-")
	if err != nil {
		return "", err
	}
	for _, suffix := range []string{"", logSuffix, memorySuffix} {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("set aside the damaged records: %w", err)
		}
	}
	return fmt.Sprintf("the records in %s were damaged (%s) and are now %s; Strata starts with new ones, so steps that were cached run again",
		path, cause(why), filepath.Base(aside)), nil
}

func freeName(prefix string) (string, error) {
	for n := 1; ; n++ {
		name := fmt.Sprint(prefix, n)
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
	}
}
