// Check is behind `make test`: lint, unit tests and end-to-end tests, with a
// summary at the end and a non-zero exit on any failure.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

// check is one part of the tests.
type check struct {
	name string
	run  func(ctx context.Context, c system.Checkout, t *tally) error
}

var checks = []check{
	{"lint", lint},
	{"documents", documents},
	{"unit", unit},
	{"fuzz", fuzz},
	{"client", client},
	{"components", components},
	{"k8s", k8s},
	{"e2e", endToEnd},
}

// tally counts tests; a subtest counts as one, too.
type tally struct{ passed, failed, skipped int }

func main() {
	names := make([]string, len(checks))
	for i, c := range checks {
		names[i] = c.name
	}
	only := flag.String("only", strings.Join(names, ","), "which `parts` to run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	checkout, err := system.FindCheckout()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var total tally
	var failed []string
	for _, part := range strings.Split(*only, ",") {
		i := slices.Index(names, part)
		if i < 0 {
			fmt.Fprintf(os.Stderr, "there is no part %q; there are %s\n", part, strings.Join(names, ", "))
			os.Exit(2)
		}
		fmt.Printf("=== %s\n", part)
		start := time.Now()
		var t tally
		err := checks[i].run(ctx, checkout, &t)
		if err == nil && t.passed == 0 {
			err = errors.New("it ran no test")
		}
		if err != nil {
			failed = append(failed, fmt.Sprintf("FAILED: %s: %v", part, err))
			t.failed = max(t.failed, 1)
		}
		fmt.Printf("=== %s: %d passed, %d failed, %d skipped, %s\n", part, t.passed, t.failed, t.skipped, time.Since(start).Round(time.Second))
		total.passed, total.failed, total.skipped = total.passed+t.passed, total.failed+t.failed, total.skipped+t.skipped
	}
	for _, failure := range failed { // at the end, where one looks first
		fmt.Println(failure)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", total.passed, total.failed, total.skipped)
	if total.failed > 0 || ctx.Err() != nil {
		os.Exit(1)
	}
}

func lint(ctx context.Context, c system.Checkout, t *tally) error {
	linter, err := c.BuildLinter(ctx)
	if err != nil {
		return err
	}
	config := filepath.Join(c.Root, ".golangci.yaml")
	// The linter's cache keeps the paths of the checkout that filled it, and a
	// finding whose file is gone escapes its nolint comment and the exclusions
	// (golangci-lint issue 3502). So every checkout has a cache of its own.
	env := append(os.Environ(), "GOLANGCI_LINT_CACHE="+filepath.Join(c.Kept(), "lint-cache"))
	var errs []error
	try := func(dir, what string, args ...string) {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // the arguments are ours
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		if err == nil && what == "gofmt" && len(out) > 0 {
			err = errors.New("these files are not formatted")
		}
		if err != nil {
			t.failed++
			errs = append(errs, fmt.Errorf("%s: %w\n%s", what, err, out))
			return
		}
		t.passed++
	}
	files, err := goFiles(filepath.Join(c.Root, "apps"))
	if err != nil {
		return err
	}
	try(c.Root, "gofmt", append([]string{"gofmt", "-l"}, files...)...)
	modules, err := workspace(ctx, c)
	if err != nil {
		return err
	}
	for _, module := range modules {
		try(module, "go vet in "+filepath.Base(module), "go", "vet", "./...")
		try(module, "golangci-lint in "+filepath.Base(module), linter, "run", "--allow-parallel-runners", "--config", config, "./...")
	}
	try(endToEndTests(c), "golangci-lint in e2e, with the tag k8s", linter, "run", "--allow-parallel-runners", "--config", config, "--build-tags", "k8s", ".")
	alone := filepath.Join(c.Root, "apps", "tools", "k8s")
	env = append(env, "GOWORK=off")
	try(alone, "go vet in k8s", "go", "vet", "./...")
	try(alone, "golangci-lint in k8s", linter, "run", "--allow-parallel-runners", "--config", config, "./...")
	return errors.Join(errs...)
}

// goFiles are ours below a folder, not those that npm brings.
func goFiles(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "node_modules" {
			return fs.SkipDir
		}
		if filepath.Ext(path) == ".go" {
			files = append(files, path)
		}
		return err
	})
	return files, err
}

// workspace returns the folders of the modules that go.work names.
func workspace(ctx context.Context, c system.Checkout) ([]string, error) {
	return goLines(ctx, c.Root, "list", "-m", "-f", "{{.Dir}}")
}

// endToEndTests is the one package whose tests start a system.
func endToEndTests(c system.Checkout) string { return filepath.Join(c.Root, "apps", "tools", "e2e") }

// unitTests returns the folders of a module's packages whose tests start no system.
func unitTests(ctx context.Context, c system.Checkout, module string) ([]string, error) {
	dirs, err := goLines(ctx, module, "list", "-f", "{{.Dir}}", "./...")
	return slices.DeleteFunc(dirs, func(dir string) bool { return dir == endToEndTests(c) }), err
}

// goLines returns the lines that a go command prints.
func goLines(ctx context.Context, dir string, args ...string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // the arguments are ours
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s in %s: %w", strings.Join(args, " "), dir, err)
	}
	return strings.Fields(string(out)), nil
}

// documents is what is tested of the Markdown files. The count is for go test, which does
// not see that files outside the module change.
func documents(ctx context.Context, c system.Checkout, t *tally) error {
	return goTest(ctx, filepath.Join(c.Root, "apps", "tools", "documents"), t, nil, "-count=1", ".")
}

func unit(ctx context.Context, c system.Checkout, t *tally) error {
	if _, err := system.Install(ctx, "gcc", "gcc", "libc6-dev"); err != nil { // the race detector needs it
		return err
	}
	modules, err := workspace(ctx, c)
	if err != nil {
		return err
	}
	var errs []error
	for _, module := range modules {
		packages, err := unitTests(ctx, c, module)
		if err == nil {
			err = goTest(ctx, module, t, nil, append([]string{"-race"}, packages...)...)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// client is what is tested of the React client without the system: types, lint, and
// its unit tests.
func client(ctx context.Context, c system.Checkout, t *tally) error {
	if err := c.InstallWeb(ctx); err != nil {
		return err
	}
	var errs []error
	if out, err := c.NPM(ctx, "run", "lint").CombinedOutput(); err != nil {
		t.failed++
		errs = append(errs, fmt.Errorf("npm run lint: %w\n%s", err, out))
	} else {
		t.passed++
	}
	report := filepath.Join(c.Kept(), "vitest.json")
	_ = os.Remove(report)
	out, err := c.NPM(ctx, "run", "test", "--", "--reporter=json", "--outputFile="+report).CombinedOutput()
	raw, readErr := os.ReadFile(report) //nolint:gosec // written just now
	if readErr != nil {
		return errors.Join(append(errs, fmt.Errorf("npm run test: %w\n%s", errors.Join(err, readErr), out))...)
	}
	var vitest struct {
		TestResults []struct {
			Name, Status, Message string
			AssertionResults      []struct {
				FullName, Status string
				FailureMessages  []string
			}
		}
	}
	if err := json.Unmarshal(raw, &vitest); err != nil {
		return errors.Join(append(errs, fmt.Errorf("%s: %w", report, err))...)
	}
	for _, file := range vitest.TestResults {
		if file.Status != "passed" && len(file.AssertionResults) == 0 {
			t.failed++
			fmt.Printf("FAIL %s\n%s\n", file.Name, file.Message)
		}
		for _, test := range file.AssertionResults {
			switch test.Status {
			case "passed":
				t.passed++
			case "failed":
				t.failed++
				fmt.Printf("FAIL %s\n%s\n", test.FullName, strings.Join(test.FailureMessages, "\n"))
			default:
				t.skipped++
				fmt.Printf("skip %s\n", test.FullName)
			}
		}
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("npm run test: %w", err))
	}
	return errors.Join(errs...)
}

func components(ctx context.Context, c system.Checkout, t *tally) error {
	// The flags are those of the runtime's own build, whose cache they share. The
	// count is for go test, which does not see that files outside the module change.
	return goTest(ctx, filepath.Join(c.Root, "apps", "tools", "sidecar"), t,
		[]string{"GOWORK=off", "CGO_ENABLED=0"}, "-count=1", "-trimpath", "./...")
}

// k8s is what is tested of k8s/ and the images without a cluster.
func k8s(ctx context.Context, c system.Checkout, t *tally) error {
	return goTest(ctx, filepath.Join(c.Root, "apps", "tools", "k8s"), t, []string{"GOWORK=off"}, "-count=1", "./...")
}

func endToEnd(ctx context.Context, c system.Checkout, t *tally) error {
	if _, err := system.Install(ctx, "gcc", "gcc", "libc6-dev"); err != nil {
		return err
	}
	// Here, so that one sees the progress.
	if _, err := c.BuildDapr(ctx); err != nil {
		return err
	}
	if err := c.BuildWeb(ctx); err != nil {
		return err
	}
	if _, err := system.Chromium(ctx); err != nil {
		return err
	}
	return goTest(ctx, endToEndTests(c), t, nil, "-count=1", "-timeout", "40m", ".")
}

// goTest runs go test, prints the tests that fail with their output and each
// package's result, and counts.
func goTest(ctx context.Context, dir string, t *tally, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...) //nolint:gosec // the arguments are ours
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	// A group of its own, so that an interruption reaches the tests once, and those
	// that have something to stop stop it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = time.Minute
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	report(out, t)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("go test in %s: %w", filepath.Base(dir), err)
	}
	return nil
}

// result is a line of `go test -json` (go doc test2json).
type result struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

func report(out io.Reader, t *tally) {
	output := map[string]*strings.Builder{}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r result
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			fmt.Println(lines.Text()) // what the build says
			continue
		}
		key := r.Package + " " + r.Test
		switch r.Action {
		case "output", "build-output":
			if output[key] == nil {
				output[key] = new(strings.Builder)
			}
			_, _ = output[key].WriteString(r.Output)
			if r.Action == "build-output" || strings.HasPrefix(r.Output, "|") { // a table
				fmt.Print(r.Output)
			}
			continue
		case "pass", "fail", "skip":
		default:
			continue
		}
		said := ""
		if b := output[key]; b != nil {
			said = b.String()
		}
		switch {
		case r.Test == "" && r.Action == "fail":
			fmt.Printf("FAIL %s (%.1fs)\n%s", r.Package, r.Elapsed, said)
		case r.Test == "" && r.Action == "pass":
			fmt.Printf("ok   %s (%.1fs)\n", r.Package, r.Elapsed)
		case r.Test == "":
		case r.Action == "pass":
			t.passed++
		case r.Action == "skip":
			t.skipped++
			fmt.Printf("skip %s\n%s", key, said)
		default:
			t.failed++
			fmt.Printf("FAIL %s\n%s", key, said)
		}
		delete(output, key)
	}
}
