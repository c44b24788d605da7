package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// outcome is what a history had, as the test binary writes it.
type outcome struct {
	Seed             uint64
	Error            string
	Trace            string
	Hits             map[string]int
	Commands, Faults int
	Accepted, Events int
	Replicas         int
	Whole            time.Duration
}

// run runs the histories of n seeds, each worker every so manyth, until all are run or each
// returns false. It returns those that failed.
func run(ctx context.Context, binary string, first uint64, n int, args []string, each func(outcome) (goOn bool)) (failed []outcome, err error) {
	working, stop := context.WithCancel(ctx)
	defer stop()
	outcomes, ended := make(chan outcome), make(chan error, *workers)
	var running sync.WaitGroup
	for i := range *workers {
		mine := seeds{first + uint64(i), uint64(*workers), (n - i + *workers - 1) / *workers} //nolint:gosec // never negative
		running.Go(func() { ended <- workAll(working, binary, mine, args, outcomes) })
	}
	go func() {
		running.Wait()
		close(outcomes)
		close(ended)
	}()
	isOver := false
	for o := range outcomes {
		if isOver {
			continue
		}
		if o.Error != "" {
			failed = append(failed, o)
		}
		if !each(o) {
			isOver = true
			stop()
		}
	}
	for e := range ended {
		if !isOver {
			err = errors.Join(err, e)
		}
	}
	return failed, errors.Join(err, ctx.Err())
}

// seeds are count seeds from first on, with a step between two.
type seeds struct {
	first, step uint64
	count       int
}

// workAll runs the histories of the seeds. One that ends its process has failed, and the
// next one begins in another process.
func workAll(ctx context.Context, binary string, s seeds, args []string, outcomes chan<- outcome) error {
	for s.count > 0 && ctx.Err() == nil {
		done, crash, err := work(ctx, binary, s, args, outcomes)
		if err != nil {
			return err
		}
		s.first, s.count = s.first+uint64(done)*s.step, s.count-done //nolint:gosec // never negative
		if s.count > 0 && ctx.Err() == nil {
			outcomes <- outcome{Seed: s.first, Error: "it ended its process: " + crash}
			s.first, s.count = s.first+s.step, s.count-1
		}
	}
	return nil
}

// command is the test binary, which runs one goroutine at a time.
func command(ctx context.Context, binary, test string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, append([]string{"-test.run", "^" + test + "$", "-test.timeout", "0"}, args...)...) //nolint:gosec // our own
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1,adaptivestackstart=0")
	return cmd
}

// work runs histories in a process of its own, and returns how many have ended. If not all
// have, crash is the end of what the process said.
func work(ctx context.Context, binary string, s seeds, args []string, outcomes chan<- outcome) (done int, crash string, err error) {
	lines, write, err := os.Pipe()
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = lines.Close() }()
	var said strings.Builder
	cmd := command(ctx, binary, "TestHistories", append(args[:len(args):len(args)],
		"-first", fmt.Sprint(s.first), "-step", fmt.Sprint(s.step), "-count", fmt.Sprint(s.count), "-results", "3")...)
	cmd.ExtraFiles = []*os.File{write}
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Start()
	_ = write.Close()
	if err != nil {
		return 0, "", err
	}
	read := bufio.NewScanner(lines)
	read.Buffer(nil, 1<<20)
	for read.Scan() {
		var o outcome
		if err := json.Unmarshal(read.Bytes(), &o); err != nil {
			return done, "", fmt.Errorf("%w: %s", err, read.Bytes())
		}
		outcomes <- o
		done++
	}
	_ = cmd.Wait() // it fails if a history has failed
	text := said.String()
	return done, text[:min(len(text), 4000)], read.Err()
}

// showOne runs one history, and prints all that happens in it.
func showOne(ctx context.Context, binary string, seed uint64, keep string) error {
	cmd := command(ctx, binary, "TestHistories", "-first", fmt.Sprint(seed), "-count", "1", "-show", "-keep", keep)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("seed %d: %w", seed, err)
	}
	return nil
}

// shrink returns the names of the commands and faults of the shortest history of a seed
// that still fails.
func shrink(ctx context.Context, binary string, seed uint64) (string, error) {
	cmd := command(ctx, binary, "TestShrink", "-first", fmt.Sprint(seed), "-shrink")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("shortening the history of seed %d: %w\n%s", seed, err, out)
	}
	for line := range strings.Lines(string(out)) {
		if names, ok := strings.CutPrefix(line, "keep: "); ok {
			return strings.TrimSpace(names), nil
		}
	}
	return "", fmt.Errorf("the history of seed %d did not fail again:\n%s", seed, out)
}
