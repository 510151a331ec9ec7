package plan

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/strata-ci/strata/internal/suggest"
	"github.com/strata-ci/strata/internal/workspace"
)

// names are the names in a workspace, to suggest one in place of a pattern
// that matches nothing.
type names struct {
	paths []string
	dirs  map[string][]string // the names in a directory; "" is the root
}

func namesOf(files Files) *names {
	n := &names{dirs: map[string][]string{}}
	all, err := workspace.CompilePatterns([]string{"**"})
	if err != nil {
		return n // cannot be: the pattern is well formed
	}
	files.Select(all, func(e workspace.Entry) {
		dir, name := path.Split(e.Path)
		dir = strings.TrimSuffix(dir, "/")
		n.paths = append(n.paths, e.Path)
		n.dirs[dir] = append(n.dirs[dir], name)
		if e.Mode.IsDir() && n.dirs[e.Path] == nil {
			n.dirs[e.Path] = []string{}
		}
	})
	return n
}

// nearest returns what was probably meant, or "".
func (n *names) nearest(pattern string) string {
	pattern = strings.TrimPrefix(pattern, "./")
	body := strings.TrimSuffix(pattern, "/")
	if !strings.Contains(body, "/") {
		return n.anywhere("", body)
	}
	dir := ""
	segments := strings.Split(body, "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		switch {
		case strings.ContainsAny(segment, "*?["):
			if !last && segment != "**" {
				return ""
			}
			near := n.anywhere(dir, segments[len(segments)-1])
			return joined(near, segments[:len(segments)-1])
		case !slices.Contains(n.dirs[dir], segment):
			near := suggest.Nearest(segment, n.dirs[dir])
			if near == "" {
				return ""
			}
			segments[i] = near
			return strings.Join(segments, "/")
		}
		dir = path.Join(dir, segment)
	}
	return ""
}

func joined(near string, before []string) string {
	if near == "" {
		return ""
	}
	return strings.Join(append(slices.Clone(before), near), "/")
}

// anywhere returns the nearest of all names below a directory, or for "*.ext"
// the nearest of all endings.
func (n *names) anywhere(dir, pattern string) string {
	ext, isExt := strings.CutPrefix(pattern, "*.")
	if strings.ContainsAny(ext, "*?[") {
		return ""
	}
	found := map[string]bool{}
	for _, p := range n.paths {
		if dir != "" && !strings.HasPrefix(p, dir+"/") {
			continue
		}
		if e := path.Ext(p); !isExt {
			found[path.Base(p)] = true
		} else if len(e) > 1 {
			found["*"+e] = true
		}
	}
	if isExt {
		// Two endings are near even where little of them is the same: compare
		// without the part that all have.
		near := suggest.Nearest(ext, trimAll(found, "*."))
		if near != "" {
			near = "*." + near
		}
		return near
	}
	return suggest.Nearest(pattern, slices.Sorted(maps.Keys(found)))
}

func trimAll(set map[string]bool, prefix string) []string {
	var list []string
	for name := range set {
		list = append(list, strings.TrimPrefix(name, prefix))
	}
	slices.Sort(list)
	return list
}
