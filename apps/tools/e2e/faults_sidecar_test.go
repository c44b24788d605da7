package e2e

import (
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/postbus/postbus/apps/tools/system"
)

// sidecarStops is how often a sidecar is asked to end, over all services.
const sidecarStops = 20

// sidecarFaults end sidecars as Kubernetes does. With bulk subscriptions a sidecar that
// ends so may acknowledge what it could not deliver
// (../../internal/README.md, "A sidecar that ends").
func sidecarFaults() []fault {
	return []fault{{
		name: fmt.Sprintf("SIGTERM %d sidecars on a busy machine, each after its app was killed", sidecarStops), within: repairedWithin,
		run: func(t *testing.T, s *stack, _ *load) {
			release := takeCPU(t)
			for i := range sidecarStops {
				s.endSidecar(t, s.App(onTheBus[i%len(onTheBus)]))
			}
			release()
		},
	}}
}

// endSidecar kills a service, asks its sidecar to end, and starts both again.
func (s *stack) endSidecar(t *testing.T, a system.App) {
	t.Helper()
	app, sidecar := s.process(t, a.Port), s.process(t, a.HTTPPort)
	kill(t, app)
	if err := sidecar.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := sidecar.AwaitEnd(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.launch(t, sidecar)
	s.launch(t, app)
	within(t, settledWithin, func() error {
		// One that could not reach Redis in time ends. Kubernetes starts it again, too.
		if sidecar.HasEnded() {
			s.launch(t, sidecar)
		}
		return a.Ready()
	})
}

// takeCPU keeps every processor busy, twice over, until it is released.
func takeCPU(t *testing.T) (release func()) {
	t.Helper()
	var busy []*exec.Cmd
	for range 2 * runtime.NumCPU() {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it must not outlive the tests
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		busy = append(busy, cmd)
	}
	return func() {
		for _, cmd := range busy {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // with its signal
		}
	}
}
