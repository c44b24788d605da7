// Package system brings Postbus up on one machine, for `make run` and for the
// tests: it finds or builds the tools, finds or starts Redis, derives run files
// from the committed one, and runs them with the Dapr CLI.
package system

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// say tells the user what is going on.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "postbus: "+format+"\n", args...)
}

// sayEvery is how often a long step shows that it goes on.
const sayEvery = 15 * time.Second

// step runs a command that may take long, saying what it does while it does it.
// Its output is shown only if it fails.
func step(ctx context.Context, what string, cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	say("%s ...", what)
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(sayEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", what, err, out.Bytes())
			}
			say("%s: done in %s", what, time.Since(start).Round(time.Second))
			return nil
		case <-tick.C:
			say("%s: still at it after %s", what, time.Since(start).Round(time.Second))
		case <-ctx.Done():
			_ = cmd.Process.Kill()
			<-done
			return ctx.Err()
		}
	}
}

// Until calls ok until it returns nil, for at most that long, and then returns
// its last error.
func Until(ctx context.Context, atMost time.Duration, ok func() error) error {
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
			return fmt.Errorf("after %s: %w", atMost, err)
		}
	}
}
