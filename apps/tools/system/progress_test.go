package system

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/creack/pty"
)

// shown runs a step of that length, with the test's clock, and returns what is written to
// the file.
func shown(t *testing.T, on *os.File, what string, takes time.Duration, result error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		done := make(chan error)
		go func() { time.Sleep(takes); done <- result }()
		if err := displayOn(on).while(what, done); !errors.Is(err, result) {
			t.Errorf("it returned %v, want %v", err, result)
		}
	})
}

func TestElsewhereThanOnATerminalALongStepIsALineAMinute(t *testing.T) {
	for name, test := range map[string]struct {
		takes  time.Duration
		result error
		want   string
	}{
		"no time":         {300 * time.Millisecond, nil, "postbus: building ...\npostbus: building: done in 300ms\n"},
		"under a minute":  {time.Minute - time.Second, nil, "postbus: building ...\npostbus: building: done in 59s\n"},
		"over two":        {2*time.Minute + time.Second, nil, "postbus: building ...\npostbus: building: still at it after 1m0s\npostbus: building: still at it after 2m0s\npostbus: building: done in 2m1s\n"},
		"one that failed": {time.Second, errors.New("no"), "postbus: building ...\n"},
	} {
		t.Run(name, func(t *testing.T) {
			file, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			shown(t, file, "building", test.takes, test.result)
			if got, err := os.ReadFile(file.Name()); err != nil || string(got) != test.want {
				t.Errorf("got %v\n%s\nwant\n%s", err, got, test.want)
			}
		})
	}
}

// onTerminal returns what a step writes to a terminal of that many columns.
func onTerminal(t *testing.T, columns uint16, what string, takes time.Duration, result error) string {
	t.Helper()
	ours, its, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ours.Close() }()
	if err := pty.Setsize(ours, &pty.Winsize{Rows: 24, Cols: columns}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TERM", "xterm")
	read := make(chan string)
	go func() {
		all, _ := io.ReadAll(ours) // ends with an error when the other end is closed
		read <- string(all)
	}()
	shown(t, its, what, takes, result)
	_ = its.Close()
	return <-read
}

func TestOnATerminalALongStepIsOneLineThatIsRewritten(t *testing.T) {
	got := onTerminal(t, 80, "building", 75*time.Second, nil)
	rewrites := strings.Split(got, clearLine)
	for i, line := range rewrites[1 : len(rewrites)-1] {
		if want := fmt.Sprintf("postbus: building ... %s", time.Duration(i)*time.Second); line != want {
			t.Fatalf("rewritten as %q, want %q", line, want)
		}
	}
	if n := len(rewrites) - 2; n < 75 || n > 76 { // at 75 s the step may end before the rewrite
		t.Errorf("%d rewrites in 75 s", n)
	}
	if last := rewrites[len(rewrites)-1]; last != "postbus: building: done in 1m15s\r\n" {
		t.Errorf("in the end the line is %q", last)
	}
}

func TestAStepThatFailsLeavesNoLineOnATerminal(t *testing.T) {
	got := onTerminal(t, 80, "building", time.Minute, errors.New("no"))
	if !strings.HasSuffix(got, clearLine) || strings.Contains(got, "\n") {
		t.Errorf("%q is left", got[strings.LastIndex(got, "\r"):])
	}
}

func TestARewrittenLineFitsTheTerminal(t *testing.T) {
	const what = "building the Dapr runtime from its Go module"
	whole := "postbus: " + what + " ... 0s"
	for _, columns := range []int{1, 2, 7, 8, 9, 20, len(whole), len(whole) + 1, 200} {
		lines := strings.Split(onTerminal(t, uint16(columns), what, time.Second/2, errors.New("no")), clearLine)
		got := lines[1]
		if len(got) > columns-1 {
			t.Errorf("%q is %d wide, on a terminal of %d", got, len(got), columns)
		}
		if columns > len(whole) && got != whole {
			t.Errorf("%q is cut off, on a terminal of %d", got, columns)
		}
		if columns > len(" ... 0s") && !strings.HasSuffix(got, " ... 0s") {
			t.Errorf("%q does not say the time, on a terminal of %d", got, columns)
		}
	}
}

func TestATerminalThatCanNotRewriteGetsLines(t *testing.T) {
	ours, its, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ours.Close(); _ = its.Close() }()
	t.Setenv("TERM", "dumb")
	shown(t, its, "building", time.Second, nil)
	lines := bufio.NewReader(ours)
	for _, want := range []string{"postbus: building ...\r\n", "postbus: building: done in 1s\r\n"} {
		if got, err := lines.ReadString('\n'); got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

func TestAStepShowsItsOutputOnlyIfItFails(t *testing.T) {
	for script, want := range map[string]string{
		"echo fine":                  "^$",
		"echo no such thing; exit 3": "^trying: exit status 3\nno such thing\n$",
		// The command leaves a process behind that holds its output.
		"sleep 60 & echo fine": "^$",
	} {
		err := step(t.Context(), "trying", exec.CommandContext(t.Context(), "sh", "-c", script))
		said := ""
		if err != nil {
			said = err.Error()
		}
		if !regexp.MustCompile(want).MatchString(said) {
			t.Errorf("%s: %q, want %s", script, said, want)
		}
	}
}

func TestAStepEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	started := filepath.Join(t.TempDir(), "started")
	go func() {
		_ = Until(t.Context(), time.Minute, func() error {
			_, err := os.Stat(started)
			return err
		})
		cancel()
	}()
	cmd := exec.CommandContext(ctx, "sh", "-c", `touch "$0" && exec sleep 60`, started)
	if err := step(ctx, "sleeping", cmd); !errors.Is(err, context.Canceled) {
		t.Errorf("it returned %v", err)
	}
}
