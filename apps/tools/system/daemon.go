package system

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	// daemonStart bounds the time until a daemon answers, including the reading of its files.
	daemonStart = 60 * time.Second
	// daemonStop bounds the time until it has stopped.
	daemonStop = 30 * time.Second
	// daemonAsk is how often it is asked to.
	daemonAsk = time.Second
)

// Daemon is a server that this process starts, and may stop and start again.
type Daemon struct {
	// Port is where it listens, on loopback.
	Port int

	name    string
	log     string // the path of its log
	command func() *exec.Cmd
	answers func() error // nil once it does

	cmd  *exec.Cmd
	gone chan struct{}
}

// Start starts it, for the first time or after it has ended, and waits until it answers.
func (d *Daemon) Start(ctx context.Context) error {
	d.cmd = d.command()
	// A process group of its own: Ctrl-C must not reach what stops last.
	if d.cmd.SysProcAttr == nil {
		d.cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	d.cmd.SysProcAttr.Setpgid = true
	if err := d.cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	gone := make(chan struct{})
	d.gone = gone
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { _ = d.cmd.Wait(); close(gone); cancel() }()
	err := Until(waiting, daemonStart, d.answers)
	if err == nil && d.hasEnded() {
		err = errors.New("another server answers there")
	}
	if err != nil {
		_ = d.Signal(syscall.SIGKILL) // unless it has ended by itself
		return fmt.Errorf("%s on port %d: %w (its log: %s)", d.name, d.Port, err, d.log)
	}
	return nil
}

func (d *Daemon) hasEnded() bool {
	select {
	case <-d.gone:
		return true
	default:
		return false
	}
}

// Daemons is the daemon itself.
func (d *Daemon) Daemons() []*Daemon { return []*Daemon{d} }

// Address is host:port.
func (d *Daemon) Address() string { return fmt.Sprintf("127.0.0.1:%d", d.Port) }

// PID is its process.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Signal sends it a signal.
func (d *Daemon) Signal(s syscall.Signal) error {
	if d.gone == nil {
		return fmt.Errorf("%s has never been started", d.name)
	}
	if err := d.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	return nil
}

// SignalAll sends a signal to it and to all processes below it, of which each would go on alone.
func (d *Daemon) SignalAll(s syscall.Signal) error {
	// It starts no more of them meanwhile.
	if err := d.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return errors.Join(signalBelow(d.PID(), s), d.Signal(s))
}

// signalBelow sends a signal to all processes below a process. One that has ended meanwhile is no
// error.
func signalBelow(pid int, s syscall.Signal) error {
	below, err := Look(pid).Children()
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range below {
		errs = append(errs, signalBelow(int(p.Pid), s))
		if err := syscall.Kill(int(p.Pid), s); !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Stop stops it in order, and waits for its end. It asks again and again: a replica of Redis refuses
// to end while it writes its first append-only file ("Writing initial AOF. Can't exit."). One that
// has been killed has stopped.
func (d *Daemon) Stop() error {
	if err := d.Signal(syscall.SIGTERM); err != nil {
		if errors.Is(err, os.ErrProcessDone) {
			return nil
		}
		return err
	}
	for range daemonStop / daemonAsk {
		select {
		case <-d.gone:
			return nil
		case <-time.After(daemonAsk):
			_ = d.Signal(syscall.SIGTERM) // unless it has ended
		}
	}
	return errors.Join(fmt.Errorf("%s does not stop", d.name), d.Signal(syscall.SIGKILL))
}

// stopTogether stops daemons in order, all at once.
func stopTogether(all []*Daemon) error {
	errs := make([]error, len(all))
	var stops sync.WaitGroup
	for i, d := range all {
		stops.Go(func() { errs[i] = d.Stop() })
	}
	stops.Wait()
	return errors.Join(errs...)
}

// AwaitEnd waits until it is gone.
func (d *Daemon) AwaitEnd() error {
	select {
	case <-d.gone:
		return nil
	case <-time.After(daemonStop):
		return fmt.Errorf("%s does not stop", d.name)
	}
}

// firstAnswer sends a question to an address, and returns the beginning of what comes back.
func firstAnswer(address, question string) (string, error) {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(question)); err != nil {
		return "", err
	}
	answer := make([]byte, 1000)
	n, err := conn.Read(answer)
	return string(answer[:n]), err
}
