package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/term"

	"github.com/postbus/postbus/apps/tools/terminal"
)

// say prints a line for the user.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "postbus: %s\n", terminal.Lines(fmt.Sprintf(format, args...)))
}

const (
	// rewriteEvery is how often the line of a long step is rewritten on a terminal.
	rewriteEvery = time.Second
	// sayEvery is how often a long step prints a line if the output is no terminal.
	sayEvery = time.Minute
)

// display shows the progress of long steps. On a terminal each step has one line, which
// is rewritten. Elsewhere it prints a line at the start, one every sayEvery, and one at
// the end.
type display struct {
	out io.Writer
	// columns returns the terminal's width. It is nil if out is no terminal.
	columns func() int
}

// displayOn returns the display that suits the file.
func displayOn(f *os.File) display {
	fd := int(f.Fd())
	if !term.IsTerminal(fd) || os.Getenv("TERM") == "dumb" {
		return display{out: f}
	}
	return display{f, func() int {
		width, _, err := term.GetSize(fd)
		if err != nil || width < 1 {
			return 80
		}
		return width
	}}
}

// while shows what until done returns the step's result, which it returns.
func (d display) while(what string, done <-chan error) error {
	start := time.Now()
	every := sayEvery
	if d.columns != nil {
		every = rewriteEvery
		d.rewrite(what, 0)
	} else {
		d.line("%s ...", what)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			took := time.Since(start).Round(time.Second)
			if d.columns != nil {
				d.rewrite(what, took)
			} else {
				d.line("%s: still at it after %s", what, took)
			}
		case err := <-done:
			if d.columns != nil {
				_, _ = fmt.Fprint(d.out, clearLine)
			}
			if err == nil {
				d.line("%s: done in %s", what, time.Since(start).Round(100*time.Millisecond))
			}
			return err
		}
	}
}

// clearLine moves to the line's start and clears it (ECMA-48: CR, and EL).
const clearLine = "\r\x1b[K"

// rewrite replaces the line. It leaves the last column free: a terminal would wrap there,
// and the next rewrite would begin on another line. If the line is too long, the text
// before the time is cut.
func (d display) rewrite(what string, took time.Duration) {
	room := max(0, d.columns()-1)
	suffix := " ... " + took.String()
	text := []rune("postbus: " + terminal.Line(what))
	text = text[:min(len(text), max(0, room-len(suffix)))]
	line := append(text, []rune(suffix)...)
	_, _ = fmt.Fprint(d.out, clearLine+string(line[:min(len(line), room)]))
}

func (d display) line(format string, args ...any) {
	_, _ = fmt.Fprintf(d.out, "postbus: %s\n", terminal.Line(fmt.Sprintf(format, args...)))
}

// step runs a command that may take long, and shows its progress. It prints the command's
// output only if the command fails. The command must end with ctx.
func step(ctx context.Context, what string, cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // in case it leaves a process behind that holds its output
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	err := displayOn(os.Stderr).while(what, done)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && !errors.Is(err, exec.ErrWaitDelay): // after ErrWaitDelay the command itself was successful
		return fmt.Errorf("%s: %w\n%s", what, err, out.Bytes())
	}
	return nil
}

// wait calls a function that may take long, and shows its progress.
func wait(what string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	if err := displayOn(os.Stderr).while(what, done); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Until calls ok until it returns nil, at most for the given time and until ctx is done.
// Then it returns ok's last error. (backoff.Retry returns the context's error instead,
// which does not say what was missing.)
func Until(ctx context.Context, atMost time.Duration, ok func() error) error {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("after %s: %w", time.Since(start).Round(10*time.Millisecond), err)
		}
	}
}
