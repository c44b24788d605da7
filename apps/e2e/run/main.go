// Run is behind `make run` and `make stop`: it brings the whole system up on this
// machine and takes it down again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postbus/postbus/apps/e2e/system"
)

const usage = `Run brings Postbus up on this machine.

Usage:
  run up      everything, until Ctrl-C
  run stop    stop a run that was left behind
  run linter  build the linter and print its path
  run web     build the web client

Environment: REDIS_HOST, a Redis to use if it answers (default localhost:6379).
`

func main() {
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// In `make run | tee log` Ctrl-C ends tee, too: what we say then must not end us
	// before all that we started is stopped.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	checkout, err := system.FindCheckout()
	if err == nil {
		switch flag.Arg(0) {
		case "up":
			err = up(ctx, checkout)
		case "stop":
			err = stopLeftBehind(ctx, checkout)
		case "linter":
			var path string
			if path, err = checkout.BuildLinter(ctx); err == nil {
				fmt.Println(path)
			}
		case "web":
			err = checkout.BuildWeb(ctx)
		default:
			flag.Usage()
			os.Exit(2)
		}
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "postbus:", err)
		os.Exit(1)
	}
}

func pidFile(c system.Checkout) string { return filepath.Join(c.Kept(), "run.pid") }

func up(ctx context.Context, c system.Checkout) (err error) {
	if pid, ok := running(c); ok {
		return fmt.Errorf("it is running already, as process %d; `make stop` stops it", pid)
	}
	dapr, own := system.FindDapr()
	if !own {
		if dapr, err = c.BuildDapr(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "postbus: the Dapr CLI is %s\n", dapr.CLI)

	runFile := filepath.Join(c.Root, "dapr.yaml")
	address := os.Getenv("REDIS_HOST")
	if address == "" {
		address = "localhost:6379"
	}
	switch redisErr := system.RedisAnswers(address); {
	case redisErr == nil:
		fmt.Fprintf(os.Stderr, "postbus: using the Redis at %s\n", address)
	case address != "localhost:6379":
		return fmt.Errorf("no Redis answers at REDIS_HOST: %w", redisErr)
	default:
		if err := system.Free(6379); err != nil {
			return fmt.Errorf("%w, and that is no Redis that can be used: %w", err, redisErr)
		}
		redis, err := system.StartRedis(ctx, filepath.Join(c.Kept(), "redis"), 6379)
		if err != nil {
			return err
		}
		defer func() {
			if stopErr := redis.Stop(); stopErr != nil {
				fmt.Fprintln(os.Stderr, "postbus: stopping Redis:", stopErr)
			}
		}()
		fmt.Fprintf(os.Stderr, "postbus: started Redis on port 6379, its data is in %s\n", filepath.Join(c.Kept(), "redis"))
	}
	if address != "localhost:6379" {
		if runFile, err = c.Derive(system.Derivation{Into: filepath.Join(c.Kept(), "run"), Redis: address}); err != nil {
			return err
		}
	}
	s, err := system.Load(dapr, runFile)
	if err != nil {
		return err
	}
	if err := c.BuildServices(ctx, filepath.Join(c.Kept(), "bin")); err != nil {
		return err
	}
	if err := os.WriteFile(pidFile(c), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return err
	}
	defer func() { _ = os.Remove(pidFile(c)) }()
	if err := s.Start(ctx, os.Stdout); err != nil {
		return err
	}
	hello(s)
	select {
	case <-s.Done():
		return errors.Join(errors.New("dapr run has ended by itself; its logs are in apps/*/.dapr/logs"), s.Stop())
	case <-ctx.Done():
		fmt.Fprintln(os.Stderr, "\npostbus: stopping")
		return s.Stop()
	}
}

func hello(s *system.System) {
	fmt.Printf("\nPostbus is up.\n")
	for _, a := range s.Apps {
		fmt.Printf("  %-11s %s\n", a.Name, a.URL())
	}
	fmt.Printf(`
Try:
  curl -i %s/posts/create -H 'Content-Type: application/json' -d '{"title":"Hello"}'
  curl -i %s/posts
Ctrl-C stops it.

Open http://localhost:%d
`, s.App("client").URL(), s.App("client").URL(), s.App("client").Port)
}

// running returns the process of a run of this checkout.
func running(c system.Checkout) (int, bool) {
	raw, err := os.ReadFile(pidFile(c))
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0, false
	}
	// The number may belong to another program by now.
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	own, ownErr := os.Executable()
	return pid, err == nil && ownErr == nil && strings.TrimSuffix(exe, " (deleted)") == own
}

// stopLeftBehind stops the run of this checkout or, if its launcher was killed,
// what the launcher had started: it is known by its ports and its program files.
func stopLeftBehind(ctx context.Context, c system.Checkout) error {
	if pid, ok := running(c); ok {
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			return err
		}
		return system.Until(ctx, time.Minute, func() error {
			if _, ok := running(c); ok {
				return fmt.Errorf("process %d is still stopping", pid)
			}
			return nil
		})
	}
	s, err := system.Load(system.Dapr{}, filepath.Join(c.Root, "dapr.yaml"))
	if err != nil {
		return err
	}
	stopped, err := c.StopHolders(ctx, append(s.Ports(), 6379))
	if err == nil && stopped == 0 {
		fmt.Fprintln(os.Stderr, "postbus: nothing of this checkout is running")
	}
	return err
}
