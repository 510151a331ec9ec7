package cache_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// many fills records with chains of results, each of which builds on the one
// before it and all of which build on one base. Every part has 100 bytes.
func many(tb testing.TB, chains, length int) (*cache.Cache, *records.DB) {
	tb.Helper()
	dir := tb.TempDir()
	db, err := records.Open(dir, records.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	material := fmt.Appendf(nil, `{"command": ["make"], "env": [%q]}`, make([]byte, 300))
	err = db.Update(context.Background(), func(tx *sql.Tx) error {
		entry, err := tx.Prepare(`INSERT INTO entries (key, seq, project, pipeline, step, runner, ref, run, born, duration_ms, material, inputs, log_bytes, used, used_at)
			VALUES (?1, ?2, '/p', 'ci', 'build', 'r', ?3, 'run', 0, 1000, ?4, ?1, 0, ?2, 0)`)
		if err != nil {
			return err
		}
		hold, err := tx.Prepare(`INSERT OR IGNORE INTO holds (runner, ref, part) VALUES ('r', ?, ?)`)
		if err != nil {
			return err
		}
		part, err := tx.Prepare(`INSERT OR IGNORE INTO parts (runner, id, bytes) VALUES ('r', ?, 100)`)
		if err != nil {
			return err
		}
		seq := 0
		for chain := range chains {
			parts := []string{"base"}
			for place := range length {
				seq++
				ref := fmt.Sprintf("run%06d.%d", chain, place)
				key := sha256.Sum256([]byte(ref))
				if _, err := entry.Exec(key[:], seq, ref, material); err != nil {
					return err
				}
				parts = append(parts, ref)
				for _, p := range parts {
					if _, err := hold.Exec(ref, p); err != nil {
						return err
					}
					if _, err := part.Exec(p); err != nil {
						return err
					}
				}
			}
		}
		_, err = tx.Exec(`UPDATE sequence SET last = ?`, seq)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return cache.New(db, filepath.Join(dir, "cache"), time.Now), db
}

type noReaper struct{}

func (noReaper) ReapSnapshots(context.Context, []runner.SnapshotRef) error { return nil }

// BenchmarkCollect looks at 100,000 results.
func BenchmarkCollect(b *testing.B) {
	reapers := map[string]runner.SnapshotReaper{"r": noReaper{}}
	b.Run("nothing to do", func(b *testing.B) {
		c, _ := many(b, 20_000, 5)
		for b.Loop() {
			if _, err := c.Collect(b.Context(), limits(1<<40), reapers, plenty); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("all of 80,000 parents have a pinned child", func(b *testing.B) {
		c, db := many(b, 20_000, 5)
		if _, err := db.Exec(`UPDATE entries SET pinned = 1 WHERE ref LIKE '%.4'`); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if r, err := c.Collect(b.Context(), limits(1), reapers, plenty); err != nil || r.Removed > 0 {
				b.Fatal(r, err)
			}
		}
	})
	b.Run("one percent goes", func(b *testing.B) {
		c, _ := many(b, 20_000, 5)
		left := 100_001 * 100
		for b.Loop() {
			left -= 1000 * 100
			r, err := c.Collect(b.Context(), limits(pipeline.Bytes(left)), reapers, plenty)
			if err != nil || r.Removed != 1000 {
				b.Fatalf("%+v, %v", r, err)
			}
		}
	})
}
