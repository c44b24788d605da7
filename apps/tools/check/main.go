// Check is behind `make test`: lint, unit tests and end-to-end tests, with a
// summary at the end and a non-zero exit on any failure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
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
	run  func(ctx context.Context, c system.Checkout) error
	// named means that it runs only if it is named.
	named bool
}

var checks = []check{
	{name: "lint", run: lint},
	{name: "documents", run: documents},
	{name: "unit", run: unit},
	{name: "fuzz", run: fuzz},
	{name: "simulation", run: simulation},
	{name: "client", run: client},
	{name: "components", run: components},
	{name: "k8s", run: k8s},
	{name: "e2e", run: endToEnd},
	{name: "engines", run: engines},
	{name: "matrix", run: matrix, named: true},
}

// byDefault are the parts that run if none is named: on an engine that is not the default, those
// that depend on it.
func byDefault(engine system.Engine) string {
	if engine != system.RedisEngine {
		return "e2e"
	}
	var names []string
	for _, c := range checks {
		if !c.named {
			names = append(names, c.name)
		}
	}
	return strings.Join(names, ",")
}

func main() {
	names := make([]string, len(checks))
	for i, c := range checks {
		names[i] = c.name
	}
	engine, err := system.EngineOf(os.Getenv("ENGINE"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	only := flag.String("only", byDefault(engine), "which `parts` to run")
	flag.Parse()
	var chosen []check
	for _, part := range strings.Split(*only, ",") {
		i := slices.Index(names, part)
		if i < 0 {
			fmt.Fprintf(os.Stderr, "there is no part %q; there are %s\n", part, strings.Join(names, ", "))
			os.Exit(2)
		}
		chosen = append(chosen, checks[i])
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	checkout, err := system.FindCheckout()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := run(ctx, checkout, chosen); err != nil {
		fmt.Println(err) // at the end, where people look first
		os.Exit(1)
	}
}

// run runs each part, even after one that failed.
func run(ctx context.Context, c system.Checkout, chosen []check) error {
	var failed []error
	for _, part := range chosen {
		fmt.Printf("=== %s\n", part.name)
		start := time.Now()
		verdict := "passed"
		if err := part.run(ctx, c); err != nil {
			failed = append(failed, fmt.Errorf("FAILED: %s: %w", part.name, err))
			verdict = "FAILED"
		}
		fmt.Printf("=== %s: %s in %s\n", part.name, verdict, time.Since(start).Round(time.Second))
	}
	fmt.Printf("%d of %d parts passed\n", len(chosen)-len(failed), len(chosen))
	return errors.Join(append(failed, ctx.Err())...)
}

func lint(ctx context.Context, c system.Checkout) error {
	linter, err := c.BuildLinter(ctx)
	if err != nil {
		return err
	}
	config := filepath.Join(c.Root, ".golangci.yaml")
	// The linter's cache keeps the paths of the checkout that filled it. A finding whose
	// file is gone escapes its nolint comment and the exclusions
	// (golangci/golangci-lint#3502, open; #6656 is its like for exclusions). So every
	// checkout has its own cache. It can go when #3502 is closed.
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
			errs = append(errs, fmt.Errorf("%s: %w\n%s", what, err, out))
		}
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

// goFiles are the Go files below a folder, without those of npm packages.
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

// unitTests returns the folders of the workspace's packages whose tests start no system.
func unitTests(ctx context.Context, c system.Checkout) ([]string, error) {
	modules, err := workspace(ctx, c)
	if err != nil {
		return nil, err
	}
	args := []string{"list", "-f", "{{.Dir}}"}
	for _, module := range modules {
		args = append(args, filepath.Join(module, "..."))
	}
	dirs, err := goLines(ctx, c.Root, args...)
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

// documents tests the Markdown files. -count=1 disables go test's cache, which does not
// notice changes of files outside the module.
func documents(ctx context.Context, c system.Checkout) error {
	return goTest(ctx, c, "documents", filepath.Join(c.Root, "apps", "tools", "documents"), nil, "-count=1", ".")
}

func unit(ctx context.Context, c system.Checkout) error {
	if err := installCompiler(ctx); err != nil {
		return err
	}
	packages, err := unitTests(ctx, c)
	if err != nil {
		return err
	}
	return goTest(ctx, c, "unit", c.Root, nil, append([]string{"-race"}, packages...)...)
}

// installCompiler installs the C compiler, which the race detector needs.
func installCompiler(ctx context.Context) error {
	_, err := system.Install(ctx, "the race detector of Go", "gcc", "gcc", "libc6-dev")
	return err
}

// simulation runs some of the histories of `make simulate`.
func simulation(ctx context.Context, c system.Checkout) error {
	cmd := exec.CommandContext(ctx, "go", "run", "./apps/tools/simulate", "-histories", "400", "-twice", "10", "-mutate", "0")
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Root, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) } // so that its processes end, too
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the simulation: %w", err)
	}
	return nil
}

// client tests the React client without the system: types, lint, and unit tests.
func client(ctx context.Context, c system.Checkout) error {
	if err := c.InstallWeb(ctx); err != nil {
		return err
	}
	var errs []error
	for _, script := range []string{"lint", "test"} {
		cmd := c.NPM(ctx, "run", script)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			errs = append(errs, fmt.Errorf("npm run %s: %w", script, err))
		}
	}
	return errors.Join(errs...)
}

func components(ctx context.Context, c system.Checkout) error {
	// The flags are those of the runtime's own build, so that they share a cache.
	// -count=1 disables go test's cache, which does not notice changes of files outside
	// the module.
	return goTest(ctx, c, "components", filepath.Join(c.Root, "apps", "tools", "sidecar"),
		[]string{"GOWORK=off", "CGO_ENABLED=0"}, "-count=1", "-trimpath", "./...")
}

// k8s tests k8s/ and the images without a cluster.
func k8s(ctx context.Context, c system.Checkout) error {
	return goTest(ctx, c, "k8s", filepath.Join(c.Root, "apps", "tools", "k8s"), []string{"GOWORK=off"}, "-count=1", "./...")
}

func endToEnd(ctx context.Context, c system.Checkout) error {
	if err := prepareEndToEnd(ctx, c); err != nil {
		return err
	}
	return goTest(ctx, c, "e2e", endToEndTests(c), nil, "-count=1", "-timeout", "60m", ".")
}

// smoke are the end-to-end tests that run on every engine: the flow, the state contract, who can
// reach its servers, their deaths, and a move from the default engine.
const smoke = "^(TestAPostIsShownToReaders|TestACommentIsModeratedAndShownEverywhere|TestTheLogIsReadFromACursor|TestTheStateStoreKeepsTheContract|TestTheEngineListensOnLoopbackAlone|TestARestartOfTheEngineLosesNothing|TestABlogMovesToThisEngine)$"

// engines tests that the system runs on the engines that are not the default.
func engines(ctx context.Context, c system.Checkout) error {
	if err := prepareEndToEnd(ctx, c); err != nil {
		return err
	}
	var errs []error
	for _, e := range system.Engines()[1:] {
		errs = append(errs, goTest(ctx, c, string(e), endToEndTests(c), []string{"ENGINE=" + string(e)}, "-count=1", "-timeout", "20m", "-run", smoke, "."))
	}
	return errors.Join(errs...)
}

// prepareEndToEnd builds and installs what the end-to-end tests need, so that the user sees the
// progress.
func prepareEndToEnd(ctx context.Context, c system.Checkout) error {
	if err := installCompiler(ctx); err != nil {
		return err
	}
	if _, err := c.BuildDapr(ctx); err != nil {
		return err
	}
	if _, err := c.BuildRuntimeWithEtcd(ctx); err != nil {
		return err
	}
	if err := c.BuildWeb(ctx); err != nil {
		return err
	}
	if _, err := system.InstallEtcd(ctx); err != nil {
		return err
	}
	_, err := system.Chromium(ctx)
	return err
}
