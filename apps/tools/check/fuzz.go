package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

var fuzzTime = flag.Duration("fuzztime", 20*time.Second, "how `long` each fuzz target runs")

// target is a fuzz target of a package, which go test runs in dir.
type target struct{ dir, pkg, name string }

// fuzz runs every fuzz target for a while, as many at once as there are CPUs, each with
// one worker. Inputs of interest stay in Go's own cache, where the next run continues.
// Failing inputs are written beside the target, where go test finds them.
func fuzz(ctx context.Context, c system.Checkout) error {
	packages, err := unitTests(ctx, c)
	if err != nil {
		return err
	}
	all, err := targets(ctx, c.Root, packages)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("there is no fuzz target")
	}
	var mu sync.Mutex // of errs
	var errs []error
	free := make(chan struct{}, runtime.NumCPU())
	var running sync.WaitGroup
	for _, target := range all {
		free <- struct{}{}
		running.Go(func() {
			defer func() { <-free }()
			said, err := target.run(ctx, *fuzzTime)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			fmt.Printf("ok   %s.%s: %s\n", target.pkg, target.name, said)
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// targets are the fuzz targets of packages, as go test in dir lists them.
func targets(ctx context.Context, dir string, packages []string) ([]target, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json", "-list", "^Fuzz"}, packages...)...) //nolint:gosec // the arguments are ours
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the fuzz targets of %s: %w\n%s", filepath.Base(dir), err, out)
	}
	var found []target
	for line := range bytes.Lines(out) {
		var r testEvent
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("go test -list in %s: %w: %s", filepath.Base(dir), err, line)
		}
		if r.Action == "output" && strings.HasPrefix(r.Output, "Fuzz") {
			found = append(found, target{dir, r.Package, strings.TrimSpace(r.Output)})
		}
	}
	return found, nil
}

var (
	progress = regexp.MustCompile(`fuzz: elapsed: \S+, (execs: \d+ .*)`)
	written  = regexp.MustCompile(`Failing input written to (\S+)`)
	// Go up to 1.26 sometimes reports the end of the time as this failure, without
	// details (https://go.dev/issue/75804, fixed in 1.27). It can go when go.work asks
	// for 1.27.
	timeIsOver = regexp.MustCompile(`(?m)^--- FAIL: Fuzz\w+ \([0-9.]+s\)\n    context deadline exceeded\nFAIL$`)
)

// run fuzzes the target and returns how many inputs it tried. The error has the path of
// the failing input and the target's message.
func (g target) run(ctx context.Context, long time.Duration) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+g.name+"$", "-parallel", "1", //nolint:gosec // the arguments are ours
		"-fuzztime", long.String(), "-fuzzminimizetime", "1s", g.pkg)
	cmd.Dir = g.dir
	cmd.Env = os.Environ()
	// Go's fuzzer stops its worker when it is interrupted, but not when it is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil && !timeIsOver.Match(out) {
		if m := written.FindSubmatch(out); m != nil {
			return "", fmt.Errorf("%s.%s: the input that fails is %s\n%s", g.pkg, g.name, g.inputPath(ctx, string(m[1])), out)
		}
		return "", fmt.Errorf("%s.%s: %w\n%s", g.pkg, g.name, err, out)
	}
	all := progress.FindAllSubmatch(out, -1)
	if len(all) == 0 {
		return "", fmt.Errorf("%s.%s ran nothing:\n%s", g.pkg, g.name, out)
	}
	return string(all[len(all)-1][1]), nil
}

// inputPath is the absolute path of a file that go test names relative to its package.
func (g target) inputPath(ctx context.Context, name string) string {
	cmd := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", g.pkg) //nolint:gosec // a package of ours
	cmd.Dir = g.dir
	dir, err := cmd.Output()
	if err != nil {
		return name
	}
	return filepath.Join(strings.TrimSpace(string(dir)), name)
}
