package journal

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/strata-ci/strata/internal/fault"
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
	done    chan error

	mu   sync.Mutex
	logs []string // closed logs to sync
}

func startSyncer(dir string, journal *os.File) *syncer {
	s := &syncer{
		dir: dir, journal: journal,
		work: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan error, 1),
	}
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

// stop syncs all that is left and waits for it. The error is that of any round.
func (s *syncer) stop() error {
	close(s.closing)
	return <-s.done
}

func (s *syncer) loop() error {
	var failed error
	pause := time.NewTimer(syncEvery)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-s.closing:
			return errors.Join(failed, s.syncFiles(), s.syncNames())
		}
		select {
		case <-s.work:
			failed = errors.Join(failed, s.syncFiles())
			pause.Reset(syncEvery)
		case <-s.closing:
			return errors.Join(failed, s.syncFiles(), s.syncNames())
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
		g.Go(func() error { return syncFile(path) })
	}
	return errors.Join(g.Wait(), fault.Point("journal: sync a run"), s.journal.Sync())
}

func (s *syncer) syncNames() error {
	return errors.Join(
		fault.Point("journal: sync names"),
		syncDir(filepath.Join(s.dir, logsName)),
		syncDir(s.dir),
		syncDir(filepath.Dir(s.dir)),
	)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
