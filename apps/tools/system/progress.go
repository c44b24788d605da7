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
	// sayEvery is how often a long step shows elsewhere that it goes on.
	sayEvery = time.Minute
)

// display shows how long steps go: on a terminal each on one line, which is
// rewritten; elsewhere with a line at its start, one every sayEvery, and one at its
// end.
type display struct {
	out io.Writer
	// columns returns the terminal's width. It is nil where out is no terminal.
	columns func() int
}

// displayOn returns the display that fits what the file is.
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

// while shows what until done yields the step's result, which it returns.
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

// rewrite replaces the line. It leaves the last column free: a terminal would wrap
// there, and the next rewrite would begin on another line. What does not fit is cut
// off before the time is.
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

// step runs a command that may take long, and shows what it does while it does it.
// Its output is shown only if it fails. The command is one that ends with ctx.
func step(ctx context.Context, what string, cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // for what it has started, and left behind with its output
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	err := displayOn(os.Stderr).while(what, done)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && !errors.Is(err, exec.ErrWaitDelay): // the command itself was successful then
		return fmt.Errorf("%s: %w\n%s", what, err, out.Bytes())
	}
	return nil
}

// Until calls ok until it returns nil, for at most that long and until ctx is done,
// and then returns its last error. (backoff.Retry returns the context's error then, which
// does not say what was waited for.)
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
