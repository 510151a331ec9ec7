package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCmd struct {
	JSON bool `help:"Print a JSON object."`
}

// buildVersion is what this program was built from, and for what.
type buildVersion struct {
	Version  string `json:"version"`            // of the module, "devel" where the build knows none
	Commit   string `json:"commit,omitempty"`   // full, where the build knows it
	Modified bool   `json:"modified,omitempty"` // built from a working tree with changes
	Go       string `json:"go"`
	Platform string `json:"platform"` // as in linux/amd64
}

func currentVersion() buildVersion {
	v := buildVersion{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// Run prints the version.
func (c *versionCmd) Run(a *app) error {
	v := currentVersion()
	if c.JSON {
		return writeJSON(a.stdout, v)
	}
	_, err := fmt.Fprintf(a.stdout, "strata %s %s %s\n", v.Version, v.Go, v.Platform)
	return err
}
