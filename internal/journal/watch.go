package journal

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// probeEvery is how often a follower of another process looks whether that
// process still lives: the system tells of files that change, and nothing of a
// lock that a dying process leaves. It is also how soon news come where the
// system has no more watches to give.
const probeEvery = 250 * time.Millisecond

// watch tells a follower that there may be something new.
type watch struct {
	wake <-chan struct{}
	tick <-chan time.Time // nil where the writer itself tells of its end
	stop func()
}

func (w watch) close() {
	if w.stop != nil {
		w.stop()
	}
}

// watch begins to listen for news of the run.
func (r *Run) watch() watch {
	if r.bell != nil {
		wake, stop := r.bell.listen()
		return watch{wake: wake, stop: stop}
	}
	ticker := time.NewTicker(probeEvery)
	wake, stop, err := watchFiles(r.dir, filepath.Join(r.dir, logsName))
	if err != nil {
		// Only sooner news are lost: the ticker is enough to follow the run.
		wake, stop = make(chan struct{}), func() {}
	}
	return watch{wake: wake, tick: ticker.C, stop: func() { ticker.Stop(); stop() }}
}

// watchFiles returns a channel that gets a value after each change in one of
// the directories, and what ends that.
func watchFiles(dirs ...string) (<-chan struct{}, func(), error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, nil, err
	}
	for _, dir := range dirs {
		if err := w.Add(dir); err != nil {
			return nil, nil, errors.Join(err, w.Close())
		}
	}
	wake, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		for forward(w, wake) {
		}
	}()
	return wake, func() {
		_ = w.Close() // it was only read from
		<-done
	}, nil
}

// forward turns one message of w into a wake-up and returns false at w's end.
// An error, such as that of a queue that ran over, is news as well.
func forward(w *fsnotify.Watcher, wake chan<- struct{}) bool {
	var open bool
	select {
	case _, open = <-w.Events:
	case _, open = <-w.Errors:
	}
	select {
	case wake <- struct{}{}:
	default:
	}
	return open
}
