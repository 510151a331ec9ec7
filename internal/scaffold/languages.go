package scaffold

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"
)

func detectGo(d directory) (Part, error) {
	if !d.has("go.mod") {
		return Part{}, nil
	}
	part := Part{Evidence: "go.mod"}
	parent := ""
	if d.has("go.sum") && !d.has("vendor/modules.txt") {
		parent = "deps"
		part.Steps = append(part.Steps, Step{
			Name: parent, Command: "go mod download", Changes: []string{"go.mod", "go.sum"},
			Comment: "The modules that this one needs.",
		})
	}
	part.Steps = append(part.Steps,
		Step{Name: "build", Command: "go build -buildvcs=false ./...", Parent: parent},
		Step{Name: "vet", Command: "go vet ./...", Parent: "build", Comment: "A fork: vet and test start from what build left, at the same time."},
		Step{Name: "test", Command: "go test ./...", Parent: "build"},
	)
	return part, nil
}

// noTest is the test script that `npm init` writes.
var noTest = regexp.MustCompile(`no test specified`)

func detectNode(d directory) (Part, error) {
	content, err := d.read("package.json")
	if err != nil || content == "" {
		return Part{}, err
	}
	part := Part{Evidence: "package.json"}
	var pkg struct {
		Scripts         map[string]any
		Dependencies    map[string]any
		DevDependencies map[string]any
	}
	if json.Unmarshal([]byte(content), &pkg) != nil {
		part.Notes = []string{path.Join(d.rel, "package.json") + " was found, but it is not valid JSON."}
		return part, nil
	}
	manager, install, lock := packageManager(d)
	parent := ""
	if lock != "" || len(pkg.Dependencies)+len(pkg.DevDependencies) > 0 {
		parent = "install"
		changes := []string{"package.json"}
		if lock != "" {
			changes = append(changes, lock)
		}
		part.Steps = append(part.Steps, Step{
			Name: parent, Command: install, Changes: changes,
			Comment: "The packages; the steps below find them in node_modules.",
		})
	}
	for _, script := range []string{"lint", "test", "build"} {
		text, _ := pkg.Scripts[script].(string)
		if strings.TrimSpace(text) == "" || noTest.MatchString(text) {
			continue
		}
		part.Steps = append(part.Steps, Step{Name: script, Command: manager + " run " + script, Parent: parent})
	}
	if len(part.Steps) == 0 {
		part.Notes = []string{path.Join(d.rel, "package.json") + " was found, but it has neither dependencies nor a script lint, test or build."}
	}
	return part, nil
}

// packageManager returns the package manager, the command that installs what the
// lock file says, and that file, by the lock file that there is.
func packageManager(d directory) (manager, install, lock string) {
	switch lock := d.first("pnpm-lock.yaml", "yarn.lock", "package-lock.json", "npm-shrinkwrap.json"); lock {
	case "pnpm-lock.yaml":
		return "pnpm", "pnpm install --frozen-lockfile", lock
	case "yarn.lock":
		if d.has(".yarnrc.yml") { // Yarn 2 and later
			return "yarn", "yarn install --immutable", lock
		}
		return "yarn", "yarn install --frozen-lockfile", lock
	case "":
		return "npm", "npm install", ""
	default:
		return "npm", "npm ci", lock
	}
}

func detectRust(d directory) (Part, error) {
	if !d.has("Cargo.toml") {
		return Part{}, nil
	}
	locked := ""
	if d.has("Cargo.lock") {
		locked = " --locked"
	}
	return Part{
		Evidence: "Cargo.toml",
		Notes:    []string{"A toolchain in a home directory, as rustup installs it, is not visible", "to steps: install one for the whole machine, or use an image."},
		Steps: []Step{
			{Name: "fmt", Command: "cargo fmt --all --check"},
			{Name: "build", Command: "cargo build --all-targets" + locked},
			{Name: "test", Command: "cargo test" + locked, Parent: "build", Comment: "Starts from what build left in target/."},
		},
	}, nil
}

var cmakeTests = regexp.MustCompile(`(?im)^\s*(enable_testing\s*\(|include\s*\(\s*CTest\s*\))`)

func detectCMake(d directory) (Part, error) {
	if !d.has("CMakeLists.txt") {
		return Part{}, nil
	}
	part := Part{Evidence: "CMakeLists.txt", Steps: []Step{
		{Name: "configure", Command: "cmake -S . -B build/ci"},
		{Name: "build", Command: "cmake --build build/ci --parallel", Parent: "configure"},
	}}
	tests, err := d.matches("CMakeLists.txt", cmakeTests)
	if tests {
		part.Steps = append(part.Steps, Step{Name: "test", Command: "cd build/ci && ctest --output-on-failure", Parent: "build"})
	}
	return part, err
}

// makeTest finds a rule for test or check, but not an assignment.
var makeTest = regexp.MustCompile(`(?m)^(?:[\w.-]+ +)*(test|check)(?: +[\w.-]+)* *::?(?:[^=:]|$)`)

func detectMake(d directory) (Part, error) {
	name := d.first("GNUmakefile", "makefile", "Makefile")
	if name == "" {
		return Part{}, nil
	}
	part := Part{Evidence: name, Steps: []Step{{Name: "build", Command: "make"}}}
	content, err := d.read(name)
	var targets []string
	for _, match := range makeTest.FindAllStringSubmatch(content, -1) {
		targets = append(targets, match[1])
	}
	for _, target := range []string{"test", "check"} {
		if slices.Contains(targets, target) {
			part.Steps = append(part.Steps, Step{Name: "test", Command: "make " + target, Parent: "build", Comment: "Starts from what build left."})
			break
		}
	}
	return part, err
}
