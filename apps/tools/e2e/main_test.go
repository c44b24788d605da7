//go:build !k8s

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/postbus/postbus/apps/tools/system"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	ctx := context.Background()
	go stopWhenInterrupted()
	if _, err := system.EngineOf(string(engine)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	dir, err := os.MkdirTemp("", "postbus-e2e-")
	if err == nil {
		err = build(ctx, filepath.Join(dir, "bin"))
	}
	if err == nil {
		shared, err = start(ctx, filepath.Join(dir, "shared"), built.binaries, nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the system does not start:", err)
		return 1
	}
	defer func() {
		if err := shared.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "the system does not stop:", err)
			code = 1
		}
		if code == 0 {
			_ = os.RemoveAll(dir)
		} else {
			fmt.Fprintln(os.Stderr, "logs are kept in", dir)
		}
	}()
	return m.Run()
}

// stopWhenInterrupted cleans up after Ctrl-C, because the systems and the browser have
// process groups of their own.
func stopWhenInterrupted() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	<-signals
	fmt.Fprintln(os.Stderr, "interrupted: stopping what the tests have started")
	running.Lock() // never unlocked: nothing more can start
	var all sync.WaitGroup
	for _, stop := range running.stops {
		all.Go(stop)
	}
	all.Wait()
	os.Exit(1)
}

func build(ctx context.Context, into string) (err error) {
	if built.checkout, err = system.FindCheckout(); err != nil {
		return err
	}
	// Always the pinned Dapr: these tests are for that version.
	if built.dapr, err = built.checkout.BuildDapr(ctx); err != nil {
		return err
	}
	built.binaries = into
	return built.checkout.BuildServices(ctx, into, "-race")
}
