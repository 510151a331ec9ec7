//go:build faults && unix

// Package fault, in this build, does what the environment says at places that
// the program has marked.
package fault

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// The environment of a program that has faults. Its children get none of it.
const (
	// Variable says what happens where: a Kind, ":" and the number of the place,
	// from 1 on, in the order in which the process comes by.
	Variable = "STRATA_FAULT"
	// ListVariable names a file to which each place is appended, one name a line.
	ListVariable = "STRATA_FAULT_LIST"
	// BootVariable replaces the name of this boot of the machine.
	BootVariable = "STRATA_FAULT_BOOT"
)

// Kind is what happens at a place.
type Kind string

// The kinds of faults.
const (
	Kill   Kind = "kill"   // the process gets a SIGKILL
	Stop   Kind = "stop"   // the process gets a SIGSTOP; the place is never passed
	Full   Kind = "full"   // ENOSPC there and at every place after it
	Broken Kind = "broken" // EIO there alone
)

// At returns the setting of Variable for a fault at the nth place.
func At(kind Kind, n int) string { return Variable + "=" + string(kind) + ":" + strconv.Itoa(n) }

var faults = read()

type state struct {
	mu     sync.Mutex
	kind   Kind
	at     int
	passed int
	list   *os.File
	boot   string
}

// read takes the settings out of the environment before a child can get them.
func read() *state {
	s := &state{boot: os.Getenv(BootVariable)}
	if setting, ok := os.LookupEnv(Variable); ok {
		kind, at, _ := strings.Cut(setting, ":")
		n, err := strconv.Atoi(at)
		if err != nil {
			panic("malformed " + Variable + ": " + setting)
		}
		s.kind, s.at = Kind(kind), n
	}
	if path := os.Getenv(ListVariable); path != "" {
		list, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			panic(err)
		}
		s.list = list
	}
	for _, name := range []string{Variable, ListVariable, BootVariable} {
		if err := os.Unsetenv(name); err != nil {
			panic(err)
		}
	}
	return s
}

// Point marks a place. Its error is one that a failing disk would give there.
func Point(name string) error {
	kind := faults.pass(name)
	switch kind {
	case Kill:
		end(syscall.SIGKILL)
	case Stop:
		end(syscall.SIGSTOP)
	case Full:
		return fmt.Errorf("%s: %w", name, syscall.ENOSPC)
	case Broken:
		return fmt.Errorf("%s: %w", name, syscall.EIO)
	}
	return nil
}

// Cut marks the write of data. It returns the part that is to be written, and
// the error that is to be reported once it is: failing disks write a part.
func Cut(name string, data []byte) ([]byte, error) {
	if err := Point(name); err != nil {
		return data[:len(data)/2], err
	}
	return data, nil
}

// pass counts a place and returns what is to happen there.
func (s *state) pass(name string) Kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passed++
	if s.list != nil {
		if _, err := s.list.WriteString(name + "\n"); err != nil {
			panic(err)
		}
	}
	if s.passed == s.at || s.kind == Full && s.passed > s.at {
		return s.kind
	}
	return ""
}

// end sends the process a signal and goes nowhere from there.
func end(signal syscall.Signal) {
	if err := syscall.Kill(os.Getpid(), signal); err != nil {
		panic(err)
	}
	for {
		runtime.Gosched()
	}
}

// Boot returns the name of this boot of the machine, or the one that a test
// gives it.
func Boot(id string) string {
	if faults.boot != "" {
		return faults.boot
	}
	return id
}
