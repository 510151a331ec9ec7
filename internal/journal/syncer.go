package journal

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/strata-ci/strata/internal/fault"
	"github.com/strata-ci/strata/internal/filetree"
)

const (
	// syncEvery is the shortest time between two rounds of syncing. A sync makes
	// the file system commit all that is pending in it, also what steps have
	// written, and so holds up the steps that run; once a second is not felt. A
	// run that is shorter syncs once, at its end.
	syncEvery = time.Second
	// syncAtOnce is how many logs are synced side by side: file systems commit
	// syncs that come together as one.
	syncAtOnce = 16
)

// syncer brings what has ended to the disk, in a goroutine of its own.
type syncer struct {
	dir     string
	journal *os.File
	work    chan struct{} // holds a value while there is something to do
	closing chan struct{}
	close   func() // closes closing, once
	done    chan error

	mu   sync.Mutex
	logs []string // closed logs to sync
}

func startSyncer(dir string, journal *os.File) *syncer {
	s := &syncer{
		dir: dir, journal: journal,
		work: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan error, 1),
	}
	s.close = sync.OnceFunc(func() { close(s.closing) })
	go func() { s.done <- s.loop() }()
	return s
}

// add puts the log of a step that has ended in line. A log is synced once.
func (s *syncer) add(log *LogWriter) {
	if log.queued {
		return
	}
	log.queued = true
	s.mu.Lock()
	if log.Size() > 0 {
		s.logs = append(s.logs, log.path)
	}
	s.mu.Unlock()
	select {
	case s.work <- struct{}{}:
	default:
	}
}

// finish begins to sync all that is left.
func (s *syncer) finish() { s.close() }

// stop syncs all that is left and waits for it. The error is that of any round.
func (s *syncer) stop() error {
	s.close()
	err := <-s.done
	if len(s.logs) > 0 { // of steps that have no end, added after finish
		err = errors.Join(err, s.syncFiles())
	}
	return err
}

func (s *syncer) loop() error {
	var failed error
	pause := time.NewTimer(syncEvery)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-s.closing:
			return errors.Join(failed, s.syncAll())
		}
		select {
		case <-s.work:
			failed = errors.Join(failed, s.syncFiles())
			pause.Reset(syncEvery)
		case <-s.closing:
			return errors.Join(failed, s.syncAll())
		}
	}
}

// syncFiles syncs the logs first, so that a journal on the disk never tells of
// output that is not there.
func (s *syncer) syncFiles() error {
	s.mu.Lock()
	logs := s.logs
	s.logs = nil
	s.mu.Unlock()
	var g errgroup.Group
	g.SetLimit(syncAtOnce)
	for _, path := range logs {
		g.Go(func() error { return filetree.SyncFile(path) })
	}
	return errors.Join(g.Wait(), fault.Point("journal: sync a run"), s.journal.Sync())
}

// syncAll syncs the files and, beside them, the names that lead to them: the
// disk can bring all of that about at once.
func (s *syncer) syncAll() error {
	failed := fault.Point("journal: sync names")
	var g errgroup.Group
	g.Go(s.syncFiles)
	for _, dir := range []string{filepath.Join(s.dir, logsName), s.dir, filepath.Dir(s.dir)} {
		g.Go(func() error { return filetree.SyncDir(dir) })
	}
	return errors.Join(failed, g.Wait())
}
