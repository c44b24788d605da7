package system

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Redis is a Redis that this process started.
type Redis struct {
	Port int
	dir  string
	path string
	cmd  *exec.Cmd
	gone chan struct{}
}

// redisStart bounds the time until Redis answers, including the reading of its
// append-only file.
const redisStart = 60 * time.Second

// RedisAnswers returns an error unless a Redis answers at the address.
func RedisAnswers(address string) error {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer := make([]byte, 64)
	n, err := conn.Read(answer)
	if err != nil {
		return err
	}
	if got := string(answer[:n]); !strings.HasPrefix(got, "+PONG") {
		return fmt.Errorf("%s answers, but not as a Redis without a password does: %.40q", address, got)
	}
	return nil
}

// StartRedis starts redis-server on loopback, with its append-only file in dir,
// and waits until it answers. Install it first.
func StartRedis(ctx context.Context, dir string, port int) (*Redis, error) {
	path, err := Install(ctx, "the event bus", "redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	r := &Redis{Port: port, dir: dir, path: path}
	return r, r.Start(ctx)
}

// Start starts it, for the first time or after a Stop or Kill.
func (r *Redis) Start(ctx context.Context) error {
	r.cmd = exec.Command(r.path, //nolint:gosec // found on PATH by us
		"--bind", "127.0.0.1", "--port", strconv.Itoa(r.Port), "--dir", r.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "everysec", "--logfile", filepath.Join(r.dir, "redis.log"))
	// A process group of its own: Ctrl-C must not reach Redis, which stops last.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.cmd.Start(); err != nil {
		return fmt.Errorf("redis-server: %w", err)
	}
	gone := make(chan struct{})
	r.gone = gone
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { _ = r.cmd.Wait(); close(gone); cancel() }()
	err := Until(waiting, redisStart, func() error { return RedisAnswers(r.Address()) })
	if err != nil {
		_ = r.Signal(syscall.SIGKILL) // unless it has ended by itself
		return fmt.Errorf("redis-server on port %d: %w (its log: %s)", r.Port, err, filepath.Join(r.dir, "redis.log"))
	}
	return nil
}

// Address is host:port.
func (r *Redis) Address() string { return fmt.Sprintf("127.0.0.1:%d", r.Port) }

// PID is its process.
func (r *Redis) PID() int { return r.cmd.Process.Pid }

// Signal sends it a signal.
func (r *Redis) Signal(s syscall.Signal) error { return r.cmd.Process.Signal(s) }

// Stop stops it in order, and waits for its end.
func (r *Redis) Stop() error {
	if err := r.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := r.AwaitEnd(); err != nil {
		return errors.Join(err, r.Signal(syscall.SIGKILL))
	}
	return nil
}

// AwaitEnd waits until it is gone.
func (r *Redis) AwaitEnd() error {
	select {
	case <-r.gone:
		return nil
	case <-time.After(30 * time.Second):
		return errors.New("redis-server does not stop")
	}
}
