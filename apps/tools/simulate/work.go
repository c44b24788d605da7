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

// run runs the histories of n seeds, with each worker every so manyth, until all are run or
// each returns false. It returns those that failed.
func run(ctx context.Context, binary string, first uint64, n int, args []string, each func(outcome) (goOn bool)) (failed []outcome, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	outcomes, ended := make(chan outcome), make(chan error, *workers)
	var running sync.WaitGroup
	for i := range *workers {
		mine := (n - i + *workers - 1) / *workers
		if mine <= 0 {
			continue
		}
		running.Go(func() {
			ended <- work(ctx, binary, append([]string{
				"-first", fmt.Sprint(first + uint64(i)), "-step", fmt.Sprint(*workers), "-count", fmt.Sprint(mine), //nolint:gosec // never negative
			}, args...), outcomes)
		})
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
	if isOver {
		return failed, nil
	}
	for e := range ended {
		err = errors.Join(err, e)
	}
	return failed, err
}

// command is the test binary, which runs one goroutine at a time.
func command(ctx context.Context, binary, test string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, append([]string{"-test.run", "^" + test + "$", "-test.timeout", "0"}, args...)...) //nolint:gosec // our own
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1,adaptivestackstart=0")
	return cmd
}

// work runs histories in a process of its own. A history that ends that process fails, and
// the others of the process are not run.
func work(ctx context.Context, binary string, args []string, outcomes chan<- outcome) error {
	lines, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = lines.Close() }()
	var said strings.Builder
	cmd := command(ctx, binary, "TestHistories", append(args, "-results", "3")...)
	cmd.ExtraFiles = []*os.File{write}
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Start()
	_ = write.Close()
	if err != nil {
		return err
	}
	read := bufio.NewScanner(lines)
	read.Buffer(nil, 1<<20)
	var last uint64
	for read.Scan() {
		var o outcome
		if err := json.Unmarshal(read.Bytes(), &o); err != nil {
			return fmt.Errorf("%w: %s", err, read.Bytes())
		}
		last = o.Seed
		outcomes <- o
	}
	err = errors.Join(cmd.Wait(), read.Err())
	if err != nil && ctx.Err() == nil && !strings.Contains(said.String(), "--- FAIL: TestHistories") {
		return fmt.Errorf("the history after that of seed %d has ended its process: %w\n%s", last, err, said.String())
	}
	return ctx.Err()
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
