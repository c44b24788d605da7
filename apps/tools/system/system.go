// Package system runs Postbus on one machine, for `make run` and for the tests. It finds
// or builds the tools, finds or starts Redis, derives run files from the committed one,
// and runs them with the Dapr CLI.
package system

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startTimeout bounds the time until a system is ready, including the builds of the
// services.
const startTimeout = 5 * time.Minute

// App is one service in a run file, or the development issuer.
type App struct {
	// Name is the service's name, ID its app id.
	Name, ID string
	// Port is the public one, AppPort the app channel's, or 0 without one; the others are the
	// sidecar's.
	Port, AppPort, HTTPPort, GRPCPort, InternalPort, MetricsPort int
	// Logs is the folder of its logs and its sidecar's logs.
	Logs string
	// Host is the address of Port.
	Host Host
	// Base, if set, is the base URL of its public API, if that is not Port on this
	// machine.
	Base string
}

// URL is the base of the service's public API.
func (a App) URL() string { return cmp.Or(a.Base, a.Host.base(a.Port)) }

// Sidecar is the base of its sidecar's HTTP API.
func (a App) Sidecar() string { return fmt.Sprintf("http://127.0.0.1:%d", a.HTTPPort) }

// System is what one run file describes.
type System struct {
	Dapr    Dapr
	RunFile string
	Apps    []App
	// Env is added to the environment of `dapr run`, and so to that of every app and
	// sidecar, as "NAME=value".
	Env []string

	cmd  *exec.Cmd
	gone chan struct{}
}

// Load reads a run file. HOST in this process's environment also applies to the services.
func Load(d Dapr, runFile string) (*System, error) {
	docs, err := ReadYAML(runFile)
	if err != nil {
		return nil, err
	}
	s := &System{Dapr: d, RunFile: runFile}
	apps, _ := docs[0]["apps"].([]any)
	for _, a := range apps {
		app, _ := a.(Document)
		env, _ := app["env"].(Document)
		public, err := strconv.Atoi(fmt.Sprint(env["PORT"]))
		if err != nil {
			return nil, fmt.Errorf("%s: PORT of %v: %w", runFile, app["appID"], err)
		}
		host, given := env["HOST"].(string)
		if !given {
			host = os.Getenv("HOST")
		}
		port := func(name string) int { n, _ := app[name].(int); return n }
		dir := fmt.Sprint(app["appDirPath"])
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(filepath.Dir(runFile), dir)
		}
		s.Apps = append(s.Apps, App{
			Name: filepath.Base(dir), ID: fmt.Sprint(app["appID"]), Port: public, AppPort: port("appPort"),
			HTTPPort: port("daprHTTPPort"), GRPCPort: port("daprGRPCPort"), InternalPort: port("daprInternalGRPCPort"),
			MetricsPort: port("metricsPort"), Logs: filepath.Join(dir, ".dapr", "logs"), Host: Host(host),
		})
	}
	return s, nil
}

// App returns the service of that name.
func (s *System) App(name string) App {
	for _, a := range s.Apps {
		if a.Name == name {
			return a
		}
	}
	panic("the run file has no app " + name)
}

// Services are the apps without the development issuer.
func (s *System) Services() []App {
	return slices.DeleteFunc(slices.Clone(s.Apps), func(a App) bool { return a.Name == Issuer })
}

// Ports are all ports on which the system listens.
func (s *System) Ports() []int {
	var ports []int
	for _, u := range s.Uses() {
		ports = append(ports, u.Port)
	}
	return ports
}

// Start runs `dapr run -f` and returns when every service is ready. The apps' output goes
// to log.
func (s *System) Start(ctx context.Context, log io.Writer) error {
	if err := Free(s.Uses()); err != nil {
		return err
	}
	s.cmd = exec.Command(s.Dapr.CLI, "run", "-f", s.RunFile) //nolint:gosec // the CLI that we found
	s.cmd.Env = append(os.Environ(), s.Env...)
	if s.Dapr.Runtime != "" {
		s.cmd.Env = append(s.cmd.Env, "DAPR_RUNTIME_PATH="+s.Dapr.Runtime)
	}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// The CLI creates a process group for itself, the sidecars and the apps. Here it gets
	// that group from the start, so that it can always be stopped as a whole.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.cmd.WaitDelay = time.Second
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("dapr run: %w", err)
	}
	gone := make(chan struct{})
	s.gone = gone
	go func() { _ = s.cmd.Wait(); close(gone) }()
	if err := s.AwaitReady(ctx, startTimeout); err != nil {
		return errors.Join(err, s.Stop())
	}
	return nil
}

// firstWhy is the time after which a slow start first prints its reason. It prints it
// again every sayEvery.
const firstWhy = 15 * time.Second

// AwaitReady waits until every service is ready.
func (s *System) AwaitReady(ctx context.Context, atMost time.Duration) error {
	due := time.Now().Add(firstWhy)
	err := Until(ctx, atMost, func() error {
		var waiting []error
		for _, a := range s.Apps {
			if err := a.Ready(); err != nil {
				waiting = append(waiting, fmt.Errorf("%s is not ready: %w", a.Name, err))
			}
		}
		if len(waiting) > 0 && time.Now().After(due) {
			due = time.Now().Add(sayEvery)
			say("%s", strings.ReplaceAll(errors.Join(waiting...).Error(), "\n", "; "))
		}
		select {
		case <-s.gone:
			return errors.Join(errGone, errors.Join(waiting...))
		default:
			return errors.Join(waiting...)
		}
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, s.complaints())
	}
	return nil
}

var errGone = errors.New("dapr run has ended")

// Ready returns why the service isn't ready, or nil.
func (a App) Ready() error {
	answer, err := Ask(&http.Client{Timeout: 2 * time.Second}, http.MethodGet, a.URL()+"/readyz", "")
	if err != nil {
		return err
	}
	return answer.Want(http.StatusOK)
}

// complaints are the errors in the sidecars' logs, which `dapr run` does not show.
func (s *System) complaints() string {
	var out strings.Builder
	for _, a := range s.Apps {
		files, _ := filepath.Glob(filepath.Join(a.Logs, "*_daprd_*.log"))
		if len(files) == 0 {
			continue
		}
		raw, err := os.ReadFile(files[len(files)-1]) //nolint:gosec // our own log
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(raw)) {
			if strings.Contains(line, "level=fatal") || strings.Contains(line, "level=error") {
				fmt.Fprintf(&out, "%s's sidecar: %s", a.Name, line)
			}
		}
	}
	return out.String()
}

// Done is closed when `dapr run` has ended.
func (s *System) Done() <-chan struct{} { return s.gone }

// Stop stops the CLI, the sidecars and the apps, and waits for their end.
func (s *System) Stop() error {
	if s.cmd == nil || s.cmd.Process == nil {
		return nil // it has not been started
	}
	group := -s.cmd.Process.Pid
	// `dapr stop -f` does the same.
	if err := syscall.Kill(group, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	err := Until(context.Background(), time.Minute, func() error {
		if err := syscall.Kill(group, 0); errors.Is(err, syscall.ESRCH) {
			return nil
		}
		return errors.New("processes are left")
	})
	if err != nil {
		_ = syscall.Kill(group, syscall.SIGKILL)
		return fmt.Errorf("they did not stop, so they were killed: %w", err)
	}
	return nil
}
