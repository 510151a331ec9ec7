package pipeline

import (
	"path"
	"regexp"
	"strconv"
	"strings"
)

// maxName is the most characters of a name: with a suffix it is still a file
// name everywhere.
const maxName = 64

// ValidName reports whether s can name a pipeline or a step: 1 to 64 ASCII
// letters, digits, dots, underscores and hyphens, of which the first is a
// letter or a digit. Names are used as the names of log files.
func ValidName(s string) bool {
	if s == "" || len(s) > maxName || !isAlnum(s[0]) {
		return false
	}
	for i := range len(s) {
		if !isAlnum(s[i]) && !strings.ContainsRune("._-", rune(s[i])) {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// NameFor makes a readable name for a step without one: "go test ./..." gives
// "go-test". It is the same for the same command, and has -2, -3 … at its end
// where taken reports that a name is in use. A nil taken means that none is.
func NameFor(command Command, taken func(string) bool) string {
	name := slug(command)
	if taken == nil || !taken(name) {
		return name
	}
	numbered := func(n int) string { return name + "-" + strconv.Itoa(n) }
	// Doubling, then halving: many steps with one command stay cheap.
	low, high := 1, 2
	for taken(numbered(high)) {
		low, high = high, high*2
	}
	for high-low > 1 {
		if mid := low + (high-low)/2; taken(numbered(mid)) {
			low = mid
		} else {
			high = mid
		}
	}
	return numbered(high)
}

const (
	slugWords  = 3  // words of the command in a slug
	slugLength = 40 // characters of a slug; a number still fits behind them
)

var (
	betweenCommands = regexp.MustCompile(`&&|\|\||[;|&\n]`)
	assignment      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
	plainWord       = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@+-]*$`)
	notInName       = regexp.MustCompile(`[^A-Za-z0-9._]+`)
)

// slug takes the first command's program and the plain words that follow.
func slug(command Command) string {
	words := firstWords(command)
	var kept []string
	for i, w := range words {
		switch {
		case i == 0:
			w = path.Base(strings.Trim(w, `"'`))
		case strings.HasPrefix(w, "-") || !plainWord.MatchString(w) || strings.Trim(w, ".") == "":
			continue
		}
		if w = strings.Trim(notInName.ReplaceAllString(w, "-"), "-._"); w != "" {
			kept = append(kept, w)
		}
		if len(kept) == slugWords {
			break
		}
	}
	s := strings.Join(kept, "-")
	if len(s) > slugLength {
		s = strings.TrimRight(s[:slugLength], "-._")
	}
	if s == "" {
		return "step"
	}
	return s
}

// firstWords returns the words of the first command that does something: not
// one that only prepares the shell, and without assignments before it.
func firstWords(command Command) []string {
	args := command.Args
	if len(args) == 0 {
		return shellWords(command.Shell)
	}
	if shell := path.Base(args[0]); len(args) >= 3 && (shell == "sh" || shell == "bash") {
		if flag := args[len(args)-2]; strings.HasPrefix(flag, "-") && strings.HasSuffix(flag, "c") {
			return shellWords(args[len(args)-1])
		}
	}
	return args
}

func shellWords(script string) []string {
	const enough = 4 << 10 // a name is made from the beginning of a long script
	if len(script) > enough {
		script = script[:enough]
	}
	var first []string
	for _, part := range betweenCommands.Split(script, -1) {
		words := strings.Fields(part)
		for len(words) > 0 && assignment.MatchString(words[0]) {
			words = words[1:]
		}
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if first == nil {
			first = words
		}
		switch words[0] {
		case "cd", "set", "export", "source", ".", ":", "umask":
		default:
			return words
		}
	}
	return first
}
