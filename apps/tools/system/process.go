package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a running process, with all that it takes to start it again.
type Process struct {
	PID  int
	Args []string
	Env  []string
	Dir  string

	cmd  *exec.Cmd // nil for one that was not started here
	gone chan struct{}
}

// ProcessOn returns the process that listens on a port.
func ProcessOn(port int) (*Process, error) {
	pid, ok := Holder(port)
	if !ok {
		return nil, fmt.Errorf("nothing listens on port %d", port)
	}
	read := func(name string) ([]string, error) {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		return strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00"), err
	}
	args, err1 := read("cmdline")
	env, err2 := read("environ")
	dir, err3 := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	return &Process{PID: pid, Args: args, Env: env, Dir: dir}, errors.Join(err1, err2, err3)
}

// Kill ends it at once (SIGKILL) and waits until it is gone.
func (p *Process) Kill(ctx context.Context) error {
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		return err
	}
	return p.AwaitEnd(ctx)
}

// Signal sends it a signal.
func (p *Process) Signal(s syscall.Signal) error { return syscall.Kill(p.PID, s) }

// AwaitEnd waits until it is gone.
func (p *Process) AwaitEnd(ctx context.Context) error {
	return Until(ctx, time.Minute, func() error {
		if p.gone != nil {
			select {
			case <-p.gone:
				return nil
			default:
				return fmt.Errorf("process %d is still there", p.PID)
			}
		}
		// A child of `dapr run` that ended is a zombie until it is waited for. Its
		// ports are free when its last thread has ended.
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
		threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.PID))
		if err != nil || strings.Contains(string(stat), ") Z ") && len(threads) <= 1 {
			return nil //nolint:nilerr // no such file: it is gone
		}
		return fmt.Errorf("process %d is still there", p.PID)
	})
}

// Start starts it again, or for the first time, with its output to log.
func (p *Process) Start(log io.Writer) error {
	p.cmd = exec.Command(p.Args[0], p.Args[1:]...) //nolint:gosec // as it was started before
	p.cmd.Env, p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = p.Env, p.Dir, log, log
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.PID = p.cmd.Process.Pid
	gone := make(chan struct{})
	p.gone = gone
	go func() { _ = p.cmd.Wait(); close(gone) }()
	return nil
}

// Shifted is a copy of it with other ports: each of them, where it is an argument
// or the value of a variable, plus by.
func (p *Process) Shifted(ports []int, by int) *Process {
	swap := func(text, sep string) string {
		name, value, found := strings.Cut(text, sep)
		if !found {
			name, value, sep = "", text, ""
		}
		if n, err := strconv.Atoi(value); err == nil && slices.Contains(ports, n) {
			return name + sep + strconv.Itoa(n+by)
		}
		return text
	}
	q := &Process{Dir: p.Dir}
	for _, arg := range p.Args {
		q.Args = append(q.Args, swap(arg, "="))
	}
	for _, variable := range p.Env {
		q.Env = append(q.Env, swap(variable, "="))
	}
	return q
}
