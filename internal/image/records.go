package image

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/strata-ci/strata/internal/records"
)

// Records are Digests in the records of a state directory: in its table
// digests. Where the records can only be read, it remembers nothing new. That
// they are damaged it tells once; from then on it remembers nothing at all.
func Records(db *records.DB) Digests { return &table{db: db} }

type table struct {
	db      *records.DB
	damaged atomic.Bool
}

func (t *table) Get(ctx context.Context, path string, stamp []byte) ([]byte, error) {
	if t.damaged.Load() {
		return nil, nil
	}
	var digest []byte
	err := t.db.QueryRowContext(ctx, "SELECT digest FROM digests WHERE path = ? AND stamp = ?", path, stamp).Scan(&digest)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		t.damaged.Store(records.IsDamaged(err))
		return nil, fmt.Errorf("look up the digest of %s: %w", path, t.db.Explain(err))
	}
	return digest, nil
}

func (t *table) Put(ctx context.Context, path string, stamp, digest []byte) error {
	if t.db.ReadOnly() || t.damaged.Load() {
		return nil
	}
	err := t.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO digests (path, stamp, digest) VALUES (?, ?, ?)", path, stamp, digest)
		return err
	})
	if err != nil {
		t.damaged.Store(records.IsDamaged(err))
		return fmt.Errorf("remember the digest of %s: %w", path, err)
	}
	return nil
}
