package runnertest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/strata-ci/strata/runner"
)

// What a command writes: every byte arrives, in order, before Execute returns.
var outputTests = []test{
	{name: "is complete when the process exits at once", fn: func(c *check) {
		rounds := 1000
		if testing.Short() {
			rounds = 100
		}
		c.parallel(rounds, func(i int) {
			want := fmt.Sprintf("one %d\ntwo %d", i, i)
			o := c.do(step{sh: fmt.Sprintf("printf '%%s\\n%%s' 'one %d' 'two %d'; echo err >&2; exit 3", i, i)})
			if o.err != nil || o.ExitCode != 3 || o.stdout != want || o.stderr != "err\n" {
				c.Errorf("round %d: got %v, want output %q and exit code 3", i, o, want)
			}
		})
	}},
	{name: "may be empty", fn: func(c *check) {
		if o := c.do(step{sh: ":"}); o.err != nil || o.stdout != "" || o.stderr != "" {
			c.Errorf("got %v, want no output", o)
		}
	}},
	{name: "keeps the order within each of two streams", fn: func(c *check) {
		o := c.do(step{sh: countBothStreams})
		c.equal("stdout", o.stdout, countLines("out", 500))
		c.equal("stderr", o.stderr, countLines("err", 500))
	}},
	{name: "keeps the order across streams that share a writer", fn: func(c *check) {
		both := newSink()
		c.pass(step{sh: countBothStreams, stdout: both, stderr: both})
		var want strings.Builder
		for i := range 500 {
			fmt.Fprintf(&want, "out %d\nerr %d\n", i, i)
		}
		c.equal("output", both.String(), want.String())
	}},
	{name: "needs no last newline", fn: func(c *check) {
		o := c.do(step{sh: "printf out; printf err >&2"})
		c.equal("stdout", o.stdout, "out")
		c.equal("stderr", o.stderr, "err")
	}},
	{name: "is bytes, not text", fn: func(c *check) {
		out := c.sh(`printf 'a\000b\r\n\033[1m\377\376\303(\200\n\n\004'`)
		c.equal("output", out, "a\x00b\r\n\x1b[1m\xff\xfe\xc3(\x80\n\n\x04")
	}},
	{name: "may be large", fn: func(c *check) {
		const last = 12345678 // 99,999,999 bytes
		got, want := newChecksum(), newChecksum()
		line := make([]byte, 0, 16)
		for i := 1; i <= last; i++ {
			line = append(strconv.AppendInt(line[:0], int64(i), 10), '\n')
			_, _ = want.Write(line) // a checksum takes everything
		}
		c.pass(step{sh: fmt.Sprintf("seq 1 %d", last), stdout: got})
		c.equal("size and checksum", got.String(), want.String())
	}},
	{name: "waits for a slow writer", fn: func(c *check) {
		slow := &slowWriter{sink: newSink()}
		c.pass(step{sh: "seq 1 100000; echo last", stdout: slow})
		want := new(strings.Builder)
		for i := 1; i <= 100000; i++ {
			fmt.Fprintln(want, i)
		}
		want.WriteString("last\n")
		c.equal("output", slow.sink.String(), want.String())
	}},
	{name: "that cannot be written is an error and ends the step", fn: func(c *check) {
		o := c.do(step{sh: "while :; do echo line; done", stdout: brokenWriter{}})
		if !errors.Is(o.err, errBroken) {
			c.Errorf("got %v, want an error that wraps the writer's", o)
		}
		c.wantInfra(o, runner.KindInternal)
	}},
	{name: "ends with the command, also if others hold it open", fn: func(c *check) {
		out := c.sh("sleep 1000 & echo started; exit 0")
		c.equal("output", out, "started\n")
	}},
	{name: "of background processes arrives until the command ends", fn: func(c *check) {
		out := c.sh("(echo first; : > seen; exec sleep 1000) & while [ ! -e seen ]; do :; done; echo second")
		c.equal("output", out, "first\nsecond\n")
	}},
}

// countBothStreams writes 500 lines to each stream in turn.
const countBothStreams = `i=0; while [ $i -lt 500 ]; do echo "out $i"; echo "err $i" >&2; i=$((i+1)); done`

func countLines(word string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s %d\n", word, i)
	}
	return b.String()
}

// parallel calls fn for 0 to n-1, on twice as many goroutines as there are
// processors.
func (c *check) parallel(n int, fn func(i int)) {
	next := make(chan int)
	var wg sync.WaitGroup
	for range 2 * runtime.NumCPU() {
		wg.Go(func() {
			for i := range next {
				fn(i)
			}
		})
	}
	for i := range n {
		if c.Failed() {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
}

// checksum sums up what is written to it.
type checksum struct {
	hash hash.Hash
	size int64
}

func newChecksum() *checksum { return &checksum{hash: sha256.New()} }

func (s *checksum) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	return s.hash.Write(p)
}

func (s *checksum) String() string {
	return fmt.Sprintf("%d bytes, sha256 %x", s.size, s.hash.Sum(nil))
}

// slowWriter lets other goroutines run before it takes what it is given, in
// small pieces.
type slowWriter struct{ sink *sink }

func (w *slowWriter) Write(p []byte) (int, error) {
	for i := range p {
		if i%512 == 0 {
			runtime.Gosched()
		}
	}
	return w.sink.Write(p)
}

var errBroken = errors.New("the log cannot be written")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }
