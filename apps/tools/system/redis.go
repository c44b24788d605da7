package system

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Redis is a Redis that this process started.
type Redis struct{ Daemon }

// RedisAnswers returns an error unless a Redis answers at the address.
func RedisAnswers(address string) error {
	got, err := firstAnswer(address, "PING\r\n")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(got, "+PONG") {
		return fmt.Errorf("%s answers, but not as a Redis without a password does: %.40q", address, got)
	}
	return nil
}

// StartRedis starts redis-server on loopback, with its append-only file in dir,
// and waits until it answers. If it is missing, it is installed first.
func StartRedis(ctx context.Context, dir string, port int) (*Redis, error) {
	path, err := Install(ctx, "the event bus", "redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	log := filepath.Join(dir, "redis.log")
	r := &Redis{Daemon{Port: port, name: "redis-server", log: log}}
	r.command = func() *exec.Cmd {
		return exec.Command(path, //nolint:gosec // found on PATH by us
			"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "",
			"--appendonly", "yes", "--appendfsync", "everysec", "--logfile", log)
	}
	r.answers = func() error { return RedisAnswers(r.Address()) }
	return r, r.Start(ctx)
}
