package scaffold

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	requirements   = []string{"requirements.txt", "requirements-dev.txt", "requirements-test.txt", "dev-requirements.txt", "test-requirements.txt"}
	pytestConfig   = regexp.MustCompile(`(?m)^\s*\[(tool\.pytest\b.*|tool:pytest|pytest)\]`)
	pytestRequired = regexp.MustCompile(`(?im)^\s*["']?pytest\b`)
	mustInstall    = regexp.MustCompile(`(?m)^\s*(\[build-system\]|dependencies\s*=)`)
	testFile       = regexp.MustCompile(`^test.*\.py$`)
	pytestFile     = regexp.MustCompile(`^(test_.*|.*_test)\.py$`)
)

// venv is where the packages go: below the workspace, so that the steps that
// build in the one that installs find them.
const venv = ".venv"

func detectPython(d directory) (Part, error) {
	evidence, err := pythonEvidence(d)
	if evidence == "" || err != nil {
		return Part{}, err
	}
	pytest, err := usesPytest(d)
	if err != nil {
		return Part{}, err
	}
	part := Part{Evidence: evidence}
	python, parent := "python3", ""
	install, err := installPython(d, pytest)
	if err != nil {
		return Part{}, err
	}
	if install.Command != "" {
		part.Steps = append(part.Steps, install)
		python, parent = venv+"/bin/python", install.Name
	}
	test, err := testPython(d, python, pytest)
	if err != nil {
		return Part{}, err
	}
	test.Parent = parent
	part.Steps = append(part.Steps, test)
	return part, nil
}

// pythonEvidence returns the file that makes d a Python project: one of the
// usual ones, or a Python file where there are tests.
func pythonEvidence(d directory) (string, error) {
	if name := d.first("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt"); name != "" {
		return name, nil
	}
	where, _, err := pythonTests(d, false)
	if where == "" || err != nil {
		return "", err
	}
	entries, err := d.list(".")
	for _, e := range entries {
		if path.Ext(e.Name()) == ".py" {
			return e.Name(), err
		}
	}
	return "", err
}

// usesPytest reports whether the project is set up for pytest.
func usesPytest(d directory) (bool, error) {
	if d.first("pytest.ini", "conftest.py", "tests/conftest.py", "test/conftest.py") != "" {
		return true, nil
	}
	for _, name := range []string{"pyproject.toml", "setup.cfg", "tox.ini"} {
		if found, err := d.matches(name, pytestConfig); found || err != nil {
			return found, err
		}
	}
	return requiresPytest(d)
}

func requiresPytest(d directory) (bool, error) {
	for _, name := range requirements {
		if found, err := d.matches(name, pytestRequired); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// installPython returns the step that makes a virtual environment; without a
// command where the project needs none.
func installPython(d directory, pytest bool) (Step, error) {
	var args, changes []string
	for _, name := range requirements {
		if d.has(name) {
			args, changes = append(args, "-r "+name), append(changes, name)
		}
	}
	needed, err := d.matches("pyproject.toml", mustInstall)
	if err != nil {
		return Step{}, err
	}
	editable := needed || d.has("setup.py")
	if editable {
		args = append(args, "-e .")
	}
	required, err := requiresPytest(d)
	if err != nil {
		return Step{}, err
	}
	if pytest && !required {
		args = append(args, "pytest")
	}
	if len(args) == 0 {
		return Step{}, nil
	}
	step := Step{
		Name: "install", Command: "python3 -m venv " + venv + " && " + venv + "/bin/pip install --quiet " + strings.Join(args, " "),
		Comment: "The packages, in a virtual environment that the next step finds.", Changes: changes,
	}
	for _, name := range []string{"pyproject.toml", "setup.py", "setup.cfg"} {
		if d.has(name) {
			step.Changes = append(step.Changes, name)
		}
	}
	if editable { // it is installed in place, so its sources are part of the result
		step.Changes = nil
	}
	return step, nil
}

// testPython returns the step that runs the tests, or checks the syntax where
// there are none.
func testPython(d directory, python string, pytest bool) (Step, error) {
	where, isPackage, err := pythonTests(d, pytest)
	switch {
	case err != nil:
		return Step{}, err
	case where == "":
		return Step{
			Name: "check", Command: python + ` -m compileall -q -x '/\.venv/' .`,
			Comment: "No tests were found: only the syntax is checked. Put tests in tests/test_*.py.",
		}, nil
	case pytest:
		return Step{Name: "test", Command: python + " -m pytest"}, nil
	}
	command := python + " -m unittest discover"
	if where != "." {
		command += " -s " + where
	}
	if where != "." && isPackage {
		command += " -t ."
	}
	return Step{Name: "test", Command: command}, nil
}

// pythonTests returns the directory of the tests, and whether it is a package;
// nothing where there are no tests.
func pythonTests(d directory, pytest bool) (where string, isPackage bool, err error) {
	pattern := testFile
	if pytest {
		pattern = pytestFile
	}
	for _, where := range []string{"tests", "test", "."} {
		entries, err := d.list(where)
		if err != nil {
			return "", false, err
		}
		if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return pattern.MatchString(e.Name()) }) {
			return where, d.has(path.Join(where, "__init__.py")), nil
		}
	}
	return "", false, nil
}
