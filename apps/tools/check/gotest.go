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

// goTest runs go test in a folder by gotestsum, which prints a line for each package, the
// output of the tests that fail, and a summary. All that the tests of the part print is kept
// in a file.
func goTest(ctx context.Context, c system.Checkout, part, dir string, env []string, args ...string) error {
	gotestsum, err := c.BuildGotestsum(ctx)
	if err != nil {
		return err
	}
	events := filepath.Join(c.Kept(), "tests-"+part+".json")
	args = append([]string{"--format", "pkgname-and-test-fails", "--format-hide-empty-pkg", "--jsonfile", events, "--"}, args...)
	cmd := exec.CommandContext(ctx, gotestsum, args...) //nolint:gosec // the arguments are ours
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// A group of its own, so that an interruption reaches the tests once, and those
	// that have something to stop stop it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = time.Minute
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go test: %w (all output is in %s)", err, events)
	}
	file, err := os.Open(events) //nolint:gosec // our own
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	return readEvents(file, os.Stdout)
}

// testEvent is a line of `go test -json` (go doc test2json).
type testEvent struct{ Action, Package, Test, Output string }

// readEvents prints the tables that passing tests have printed, which gotestsum leaves out:
// their lines begin with |. It returns an error if there was no test at all.
func readEvents(events io.Reader, out io.Writer) error {
	ran := false
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e testEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return err
		}
		ran = ran || e.Test != "" && e.Action == "pass"
		if strings.HasPrefix(e.Output, "|") {
			_, _ = io.WriteString(out, e.Output)
		}
	}
	if lines.Err() == nil && !ran {
		return errors.New("it ran no test")
	}
	return lines.Err()
}
