package system

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
)

// Alone is a system that disturbs nothing else on the machine. It has its own servers,
// ports, app ids and files.
type Alone struct {
	*System
	// Redis is nil if the engine has none.
	Redis *Redis
	// Servers are those of an engine that is not the default.
	Servers *Servers
	// Log gets the output of the CLI and the apps.
	Log *os.File

	mu       sync.Mutex
	launched []*Process // beside what `dapr run` started
}

// Shifts of the ports. The first one for which all ports are free is used.
const firstShift, lastShift, shiftStep = 10_000, 28_000, 1000

// Alone starts an engine and writes a run file for it, with d completed by Redis and Shift.
// The caller starts and stops the system.
func (c Checkout) Alone(ctx context.Context, dapr Dapr, d Derivation) (*Alone, error) {
	a := &Alone{}
	if err := c.startEngine(ctx, a, &d); err != nil {
		return nil, err
	}
	var err error
	if a.System, err = c.onFreePorts(dapr, d); err == nil {
		a.Env = a.Servers.Env()
		a.Log, err = os.Create(filepath.Join(d.Into, "run.log")) //nolint:gosec // our own folder
	}
	if err != nil {
		return nil, errors.Join(err, a.stopEngine())
	}
	return a, nil
}

func (c Checkout) startEngine(ctx context.Context, a *Alone, d *Derivation) error {
	if cmp.Or(d.Engine, RedisEngine) == RedisEngine {
		port, err := FreePort()
		if err != nil {
			return err
		}
		if a.Redis, err = StartRedis(ctx, filepath.Join(d.Into, "redis"), port); err != nil {
			return err
		}
		d.Redis = a.Redis.Address()
	}
	kinds := d.Engine.Kinds()
	if d.Replicated {
		kinds = d.Engine.ReplicatedKinds()
	}
	var err error
	a.Servers, err = c.StartServers(ctx, kinds, d.Into,
		func(k *Kind) ([]int, error) { return FreePorts(len(k.Ports)) }, func(string) string { return "" })
	if err != nil && a.Redis != nil {
		err = errors.Join(err, a.Redis.Stop())
	}
	return err
}

func (a *Alone) stopEngine() error {
	err := a.Servers.Stop()
	if a.Redis != nil {
		err = errors.Join(err, a.Redis.Stop())
	}
	return err
}

// onFreePorts derives a system whose ports are all free.
func (c Checkout) onFreePorts(dapr Dapr, d Derivation) (*System, error) {
	for d.Shift = firstShift; d.Shift <= lastShift; d.Shift += shiftStep {
		runFile, err := c.Derive(d)
		if err != nil {
			return nil, err
		}
		s, err := Load(dapr, runFile)
		if err != nil {
			return nil, err
		}
		if AllFree(s.Ports()) {
			return s, nil
		}
	}
	return nil, errors.New("no range of ports is free")
}

// Start starts the system and returns when every service is ready.
func (a *Alone) Start(ctx context.Context) error { return a.System.Start(ctx, a.Log) }

// Launch starts a process that ends with the system at the latest: a second instance of a
// service or a sidecar, which `dapr run` does not know.
func (a *Alone) Launch(p *Process) error {
	if err := p.Start(a.Log); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.launched = append(a.launched, p)
	return nil
}

// Stop ends all processes of the system, the engine last.
func (a *Alone) Stop() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, p := range a.launched {
		// By its handle, because the id of an ended process may be reused.
		if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
			continue
		}
		<-p.gone
	}
	return errors.Join(append(errs, a.System.Stop(), a.stopEngine(), a.Log.Close())...)
}
