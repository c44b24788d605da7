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

	"github.com/shirou/gopsutil/v4/process"
)

// Process is a running process, with what is needed to start it again.
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
	seen := Look(pid)
	args, err1 := seen.CmdlineSlice()
	env, err2 := seen.Environ()
	dir, err3 := seen.Cwd()
	env = slices.DeleteFunc(env, func(variable string) bool { return variable == "" })
	return &Process{PID: pid, Args: args, Env: env, Dir: dir}, errors.Join(err1, err2, err3)
}

// Look returns a process as the operating system shows it.
func Look(pid int) *process.Process { return &process.Process{Pid: int32(pid)} } //nolint:gosec // Linux has at most 2^22

// PeakMemory is its largest resident set so far, in bytes: VmHWM in proc_pid_status(5),
// which gopsutil reads and does not return.
func (p *Process) PeakMemory() (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(raw), "VmHWM:")
	var kib int64
	_, err = fmt.Sscanf(rest, "%d kB", &kib)
	return kib * 1024, err
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
		// A child of `dapr run` that has ended is a zombie until the CLI waits for it.
		// Its ports are free when its last thread has ended.
		seen := Look(p.PID)
		status, err := seen.Status()
		threads, _ := seen.NumThreads()
		if err != nil || slices.Contains(status, process.Zombie) && threads <= 1 {
			return nil //nolint:nilerr // not found: the process has ended
		}
		return fmt.Errorf("process %d is still there", p.PID)
	})
}

// HasEnded says that a process that was started here has ended.
func (p *Process) HasEnded() bool {
	select {
	case <-p.gone:
		return true
	default: // a nil channel, too
		return false
	}
}

// ExitStatus is the status with which a process that was started here has ended. It is -1 before
// that, and if a signal ended it.
func (p *Process) ExitStatus() int {
	if !p.HasEnded() {
		return -1
	}
	return p.cmd.ProcessState.ExitCode()
}

// Start starts it, again or for the first time. Its output goes to log.
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

// Shifted is a copy of it with other ports. Each port is increased where it is an
// argument or the value of a variable.
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
