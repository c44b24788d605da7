package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

// goTest runs go test in a folder through gotestsum. It prints a line for each package,
// the output of failing tests, and a summary. A file gets all output of the part.
func goTest(ctx context.Context, c system.Checkout, part, dir string, env []string, args ...string) error {
	_, err := goTestReport(ctx, c, part, dir, env, args...)
	return err
}

// goTestReport is goTest, and returns what the tests reported. It does that if they fail, too.
func goTestReport(ctx context.Context, c system.Checkout, part, dir string, env []string, args ...string) (report, error) {
	gotestsum, err := c.BuildGotestsum(ctx)
	if err != nil {
		return report{}, err
	}
	events := filepath.Join(c.Kept(), "tests-"+part+".json")
	args = append([]string{"--format", "pkgname-and-test-fails", "--format-hide-empty-pkg", "--jsonfile", events, "--"}, args...)
	cmd := exec.CommandContext(ctx, gotestsum, args...) //nolint:gosec // the arguments are ours
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// The tests have a process group of their own. So an interruption reaches them once,
	// and those with something to stop can stop it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = time.Minute
	failed := cmd.Run()
	if failed != nil {
		failed = fmt.Errorf("go test: %w (all output is in %s)", failed, events)
	}
	file, err := os.Open(events) //nolint:gosec // our own
	if err != nil {
		return report{}, errors.Join(failed, err)
	}
	defer func() { _ = file.Close() }()
	r, err := readEvents(file, os.Stdout)
	return r, errors.Join(failed, err)
}

// testEvent is a line of `go test -json` (go doc test2json).
type testEvent struct{ Action, Package, Test, Output string }

// report is what tests reported.
type report struct {
	passed  int      // tests, without their subtests
	leftOut []string // tests, with the reasons
	table   []string // lines that begin with |
}

// leftOut is how a test says why it is left out.
const leftOut = "left out on "

// readEvents prints what gotestsum does not: the tables of passing tests, which are lines
// that begin with |, and which tests were left out. It returns an error if no test ran, or if
// one was skipped without a reason.
func readEvents(events io.Reader, out io.Writer) (report, error) {
	var r report
	var errs []error
	why, ran := map[string]string{}, false
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e testEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return r, err
		}
		if _, reason, ok := strings.Cut(e.Output, leftOut); ok {
			why[e.Test] = strings.TrimSpace(reason)
		}
		switch {
		case strings.HasPrefix(e.Output, "|"):
			r.table = append(r.table, e.Output)
			_, _ = io.WriteString(out, e.Output)
		case e.Action == "pass" && e.Test != "":
			ran = true
			if !strings.Contains(e.Test, "/") {
				r.passed++
			}
		case e.Action == "skip" && e.Test != "" && why[e.Test] == "":
			errs = append(errs, fmt.Errorf("%s is skipped, and does not say why", e.Test))
		case e.Action == "skip" && e.Test != "":
			r.leftOut = append(r.leftOut, e.Test+": "+leftOut+why[e.Test])
		}
	}
	for _, one := range r.leftOut {
		_, _ = fmt.Fprintln(out, one)
	}
	if len(r.leftOut) > 0 {
		_, _ = fmt.Fprintf(out, "%d tests were left out\n", len(r.leftOut))
	}
	if !ran {
		errs = append(errs, errors.New("it ran no test"))
	}
	return r, errors.Join(append(errs, lines.Err())...)
}
