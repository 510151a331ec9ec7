package records

import (
	"context"
	"database/sql/driver"
	_ "embed"
	"errors"
	"fmt"
)

//go:embed schema.sql
var schema string

// applicationID tells these files from other SQLite databases: "STRA".
const applicationID = 0x53545241

// format is the format of the records that this program reads and writes.
type format struct {
	schema string // of the newest version
	// migrations lead from version 1 on, one version each.
	migrations []string
}

func current() format { return format{schema: schema} }

// version is what the file has as user_version.
func (f format) version() int64 { return int64(1 + len(f.migrations)) }

var (
	errOlder   = errors.New("the records have an older format")
	errForeign = errors.New("the file is not one of Strata's")
)

// check reads the version of a database. It is nil for the format's own.
func (f format) check(ctx context.Context, conn driver.Conn) error {
	version, err := versionOf(ctx, conn)
	switch {
	case err != nil:
		return err
	case version > f.version():
		return &VersionError{Found: version, Known: f.version()}
	case version < f.version():
		return errOlder
	}
	return nil
}

// versionOf returns the version of a database of Strata. To prepare the query,
// SQLite reads the whole schema.
func versionOf(ctx context.Context, conn driver.Conn) (int64, error) {
	n, err := numbers(ctx, conn, "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version", 2)
	if err != nil {
		return 0, err
	}
	if n[0] != applicationID || n[1] < 1 {
		return 0, errForeign
	}
	return n[1], nil
}

// create makes the tables in an empty database.
func (f format) create(ctx context.Context, conn driver.Conn) error {
	return execute(ctx, conn, fmt.Sprintf("BEGIN; %s\nPRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", f.schema, applicationID, f.version()))
}

// migrate brings a database of an older version to the format's own, or leaves
// it as it is.
func (f format) migrate(ctx context.Context, conn driver.Conn) error {
	if err := execute(ctx, conn, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	version, err := versionOf(ctx, conn)
	for err == nil && version < f.version() {
		err = execute(ctx, conn, f.migrations[version-1])
		version++
	}
	if err == nil {
		err = execute(ctx, conn, fmt.Sprintf("PRAGMA user_version = %d", version))
	}
	if err == nil {
		err = execute(ctx, conn, "COMMIT")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("migrate the records to format %d: %w", f.version(), err), execute(ctx, conn, "ROLLBACK"))
	}
	return nil
}
