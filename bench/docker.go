//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// docker measures steps against containers and image builds of Docker, where
// its daemon runs. The image holds one static program and comes from no
// registry.
func docker(l *lab, r *report) error {
	if out, err := exec.CommandContext(l.ctx, "docker", "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		r.note("Not compared with Docker: %v (%s)", err, lines[len(lines)-1])
		return nil
	}
	d, err := l.desk(l.accounts[0], chained(20))
	if err != nil {
		return err
	}
	one, err := l.desk(l.accounts[0], chained(1))
	if err != nil {
		return err
	}
	build, err := d.dockerBuild()
	if err != nil {
		return err
	}
	s, err := inTurn(l.fewRounds(),
		d.time(l.strata, "run"), one.time(l.strata, "run"),
		d.timeDocker("run", "--rm", "--network", "host", image, "/true"), d.timeDocker(build...))
	if err := errors.Join(err, d.removeImages()); err != nil {
		return err
	}
	r.add(row{
		what: "`strata run` of one `true` step", ours: s[1], peer: "`docker run --rm --network host` of a static `true`", theirs: s[2],
	})
	r.add(row{
		what: "`strata run`: 20 steps in a chain", ours: s[0], peer: "`docker build --no-cache` with 20 × `RUN`", theirs: s[3],
	})
	return nil
}

// image names the image, and is a label of it and so of all that is built on it.
const image = "strata-bench"

// removeImages leaves nothing with the daemon.
func (d *desk) removeImages() error {
	_, err := d.timeDocker("image", "rm", "--force", image)()
	_, pruneErr := d.timeDocker("image", "prune", "--force", "--filter", "label="+image)()
	return errors.Join(err, pruneErr)
}

// timeDocker returns a measure of the client, with the environment and so the
// daemon of whoever runs the benchmarks.
func (d *desk) timeDocker(args ...string) measure {
	return func() (float64, error) {
		cmd := d.command(append([]string{"docker"}, args...)...)
		cmd.Env = os.Environ()
		return d.run(cmd)
	}
}

// dockerBuild makes the image and returns the arguments that build 20 steps on it.
func (d *desk) dockerBuild() ([]string, error) {
	if err := os.WriteFile(filepath.Join(d.dir, "true.go"), []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(d.lab.ctx, "sh", "-ec", fmt.Sprintf(
		"go build -o true true.go && tar -cf true.tar true && docker import --change 'LABEL %s=' true.tar %s", image, image))
	cmd.Dir, cmd.Env = d.dir, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make an image: %w\n%s", err, text)
	}
	context := filepath.Join(d.dir, "context")
	if err := os.Mkdir(context, 0o755); err != nil {
		return nil, err
	}
	file := "FROM " + image + "\n" + strings.Repeat("RUN [\"/true\"]\n", 20)
	if err := os.WriteFile(filepath.Join(context, "Dockerfile"), []byte(file), 0o644); err != nil {
		return nil, err
	}
	return []string{"build", "--no-cache", "--quiet", "--network", "host", context}, nil
}
