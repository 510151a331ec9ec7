package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/strata-ci/strata/internal/fault"
	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/runner"
)

// savedLog tells how the log of a result has to be.
type savedLog struct {
	bytes  int64
	digest []byte
}

// logPath returns where the log of a result is. Names of runners are checked by
// the pipeline, and those of snapshots are safe as file names.
func (c *Cache) logPath(runnerName string, ref runner.SnapshotRef) string {
	return filepath.Join(c.logs(), runnerName, string(ref))
}

// saveLog makes the log of a step outlive the journal of its run, and a loss of
// power: by another name for the same file, which never changes any more, or by
// a copy.
func (c *Cache) saveLog(path, runnerName string, ref runner.SnapshotRef) (savedLog, error) {
	to := c.logPath(runnerName, ref)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return savedLog{}, err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return savedLog{}, err
	}
	log, err := sum(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && log.bytes == 0 {
		return sumOf(bytes.NewReader(nil))
	}
	if err != nil {
		return savedLog{}, err
	}
	if err := os.Link(path, to); err != nil {
		if err := filetree.CopyFile(path, to); err != nil {
			return savedLog{}, err
		}
	}
	return log, errors.Join(fault.Point("cache: sync a log"), filetree.SyncFile(to), c.syncNames(to))
}

// syncNames brings the name of a log to the disk, and those of the directories
// that lead to it.
func (c *Cache) syncNames(path string) error {
	var errs []error
	for _, dir := range []string{filepath.Dir(path), c.logs(), c.dir, filepath.Dir(c.dir)} {
		errs = append(errs, filetree.SyncDir(dir))
	}
	return errors.Join(errs...)
}

// dropLogs removes the logs of results that were not written down.
func (c *Cache) dropLogs(results []Result) error {
	var errs []error
	for _, r := range results {
		if err := os.Remove(c.logPath(r.Runner, r.Ref)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func sum(path string) (savedLog, error) {
	f, err := os.Open(path)
	if err != nil {
		return savedLog{}, err
	}
	defer f.Close()
	return sumOf(f)
}

func sumOf(r io.Reader) (savedLog, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return savedLog{bytes: n, digest: h.Sum(nil)}, err
}

// Log returns the log of a result. If it is not as it was, it is set aside with
// its result, which the next run makes again.
func (c *Cache) Log(ctx context.Context, key plan.Key) (io.ReadCloser, error) {
	var name, ref string
	var want savedLog
	err := c.db.QueryRowContext(ctx, `SELECT runner, ref, log_bytes, log_digest FROM entries WHERE key = ?`, key[:]).
		Scan(&name, &ref, &want.bytes, &want.digest)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errors.New("the result has been removed meanwhile, and its log with it")
	}
	if err != nil {
		return nil, c.db.Explain(err)
	}
	if want.bytes == 0 {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	path := c.logPath(name, runner.SnapshotRef(ref))
	found, err := sum(path)
	if err == nil && found.bytes == want.bytes && bytes.Equal(found.digest, want.digest) {
		return os.Open(path)
	}
	why := "it is not as it was written"
	if err != nil {
		why = err.Error()
	}
	return nil, errors.Join(
		fmt.Errorf("the log %s is damaged: %s; its result is given up, and made again by the next run", path, why),
		c.Remove(ctx, key, "because its log was damaged"),
	)
}
