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
	gotestsum, err := c.BuildGotestsum(ctx)
	if err != nil {
		return err
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

// readEvents prints the tables of passing tests, which gotestsum leaves out: lines that
// begin with |. It returns an error if no test ran.
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
