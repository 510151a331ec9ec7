//go:build linux

package main

import (
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
	const image = "strata-bench"
	d, err := l.desk(l.accounts[0], chained(20))
	if err != nil {
		return err
	}
	one, err := l.desk(l.accounts[0], chained(1))
	if err != nil {
		return err
	}
	build, err := d.dockerBuild(image)
	if err != nil {
		return err
	}
	defer func() { _, _ = d.time("docker", "image", "rm", "--force", image)() }()
	s, err := inTurn(max(3, l.rounds/3),
		d.time(l.strata, "run"), one.time(l.strata, "run"),
		d.time("docker", "run", "--rm", "--network", "host", image, "/true"), d.time(build...))
	if err != nil {
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

// dockerBuild makes the image and returns the command that builds 20 steps on it.
func (d *desk) dockerBuild(image string) ([]string, error) {
	if err := os.WriteFile(filepath.Join(d.dir, "true.go"), []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(d.lab.ctx, "sh", "-ec", fmt.Sprintf(
		"go build -o true true.go && tar -cf true.tar true && docker import true.tar %s", image))
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
	return []string{"docker", "build", "--no-cache", "--quiet", "--network", "host", context}, nil
}
