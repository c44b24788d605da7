// Run implements `make run` and `make stop`: it starts the whole system on this machine
// and stops it.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
	"github.com/postbus/postbus/apps/tools/terminal"
)

const usage = `Run brings Postbus up on this machine.

Usage:
  run up      everything, until Ctrl-C
  run stop    stop a run that was left behind
  run streams make what the bus needs in the NATS that NATS names
  run linter  build the linter and print its path
  run web     build the web client

Environment:
  HOST        the address on which the services' ports are opened to others (default
              127.0.0.1, which is this machine alone; * is every interface)
  ENGINE      what is behind the bus and the stores: redis (the default), redis-ha,
              postgres-rabbitmq or postgres-jetstream
  REDIS_HOST  the host:port of a Redis to use (default localhost:6379, where one is
              started if none answers)
  POSTGRES    the connection string of a PostgreSQL to use (default: one is started)
  RABBITMQ    the URL of a RabbitMQ to use (default: one is started)
  NATS        the URLs of a NATS to use, with commas between them (default: a cluster
              is started)
  REDIS_SENTINELS  the host:port of Sentinels to use, with commas between them, whose
              master is "mymaster" (default: a Redis with replicas is started)
  NO_INSTALL  if set, a system package that is missing is named and not installed
  APP_API_TOKEN  what the app channels know their sidecars by (default a random one)
`

func main() {
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// In `make run | tee log` Ctrl-C ends tee, too. A write to the closed pipe must not
	// end this process before it has stopped everything.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	checkout, err := system.FindCheckout()
	if err == nil {
		switch flag.Arg(0) {
		case "up":
			err = up(ctx, checkout)
		case "stop":
			err = stopLeftBehind(ctx, checkout)
		case "streams":
			err = checkout.MakeStreams(ctx, os.Getenv("NATS"))
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
		complain(os.Stderr, err)
		os.Exit(1)
	}
}

// complain prints an error. It may quote text of others: a process that holds a port, a
// service that is not ready, a sidecar's log.
func complain(out io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		_, _ = fmt.Fprintf(out, "postbus: %s\n", terminal.Line(strings.TrimRight(line, "\n")))
	}
}

func pidFile(c system.Checkout) string { return filepath.Join(c.Kept(), "run.pid") }

// up looks for obstacles first, because the builds after that may take minutes.
func up(ctx context.Context, c system.Checkout) error {
	if pid, ok := running(c); ok {
		return fmt.Errorf("it is running already, as process %d; `make stop` stops it", pid)
	}
	name, err := system.EngineOf(os.Getenv("ENGINE"))
	if err != nil {
		return err
	}
	s, err := system.Load(system.Dapr{}, name.RunFile(c.Root))
	if err != nil {
		return err
	}
	if err := errors.Join(system.Host(os.Getenv("HOST")).Check(), system.Free(s.Uses())); err != nil {
		return err
	}
	engine, err := findEngine(ctx, c, name)
	if err != nil {
		return err
	}
	defer engine.stop()
	if err := c.BuildServices(ctx, filepath.Join(c.Kept(), "bin")); err != nil {
		return err
	}
	dapr, own := c.FindDapr()
	if own {
		dapr, err = c.KeepToLoopback(ctx, dapr)
	} else {
		dapr, err = c.BuildDapr(ctx)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "postbus: the Dapr CLI is %s\n", dapr.CLI)
	if engine.redis.address != "" && engine.redis.address != defaultRedis {
		runFile, err := c.Derive(system.Derivation{Into: filepath.Join(c.Kept(), "run"), Redis: engine.redis.address})
		if err != nil {
			return err
		}
		if s, err = system.Load(dapr, runFile); err != nil {
			return err
		}
	}
	s.Dapr, s.Env = dapr, engine.servers.Env()
	return serve(ctx, c, s)
}

// serve runs the system until ctx is done.
func serve(ctx context.Context, c system.Checkout, s *system.System) error {
	if err := os.WriteFile(pidFile(c), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return err
	}
	defer func() { _ = os.Remove(pidFile(c)) }()
	s.Env = append(s.Env, appToken()...)
	if err := s.Start(ctx, os.Stdout); err != nil {
		return err
	}
	hello(os.Stdout, s)
	select {
	case <-s.Done():
		return errors.Join(errors.New("dapr run has ended by itself; its logs are in apps/*/.dapr/logs"), s.Stop())
	case <-ctx.Done():
		fmt.Fprintln(os.Stderr, "\npostbus: stopping")
		return s.Stop()
	}
}

// appToken is the environment variable with the token by which an app channel knows its
// sidecar. It is random unless the user has set it. It is in the environments of apps and
// sidecars, and on no command line, which other users of the machine may read.
func appToken() []string {
	if os.Getenv("APP_API_TOKEN") != "" {
		return nil
	}
	return []string{"APP_API_TOKEN=" + rand.Text()}
}

// purposes are what users find at each service's address.
var purposes = map[string]string{
	"posts":      "takes new posts",
	"comments":   "takes comments, and lists those of a post",
	"moderation": "approves comments or rejects them",
	"eventlog":   "keeps every event: /events, /dead-letters",
	"query":      "the posts with their comments: /posts",
	"client":     "the blog, and the whole public API",
	"issuer":     "signs anybody in as anybody, for development",
}

// hello prints the addresses. The address to open is the last line.
func hello(out io.Writer, s *system.System) {
	client := s.App("client")
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	say("\nPostbus is up.\n")
	for _, a := range s.Apps {
		say("  %-11s %s  %s", a.Name, a.URL(), purposes[a.Name])
	}
	say("\nTry:\n  curl -i %s/posts/create -H 'Content-Type: application/json' -d '{\"title\":\"Hello\"}'\n  curl -i %s/posts\n", client.URL(), client.URL())
	if opens := client.Host.Opens(s.Apps); opens != "" {
		say("%s", opens)
	}
	say("== APP lines are what the services log; the sidecars' logs are in apps/*/.dapr/logs.")
	say("Ctrl-C stops it.\n\nOpen %s", strings.Replace(client.URL(), "127.0.0.1", "localhost", 1))
}

// running returns the process id of a running `make run` of this checkout.
func running(c system.Checkout) (int, bool) {
	raw, err := os.ReadFile(pidFile(c))
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0, false
	}
	// The id may belong to another program by now.
	exe, err := system.Look(pid).Exe()
	own, ownErr := os.Executable()
	return pid, err == nil && ownErr == nil && strings.TrimSuffix(exe, " (deleted)") == own
}

// stopLeftBehind stops the run of this checkout. If its launcher was killed, it stops the
// processes that the launcher had started, which it finds by their ports and program
// files.
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
	stopped, err := c.StopHolders(ctx, append(s.Ports(), enginePorts()...))
	err = errors.Join(err, system.StopEpmd(system.EpmdPort))
	if err == nil && stopped == 0 {
		fmt.Fprintln(os.Stderr, "postbus: nothing of this checkout is running")
	}
	return err
}
