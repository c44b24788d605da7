package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/postbus/postbus/apps/e2e/system"
)

// idleFor is how long idle processes are watched.
const idleFor = 10 * time.Second

// bareShift is added to the ports of the bare sidecars.
const bareShift = 550

// idle measures what the system costs when nobody uses it, and what its sidecars
// cost alone.
func (b *bench) idle(ctx context.Context, s *stack) error {
	if err := s.quiet(ctx); err != nil {
		return err
	}
	pids, err := s.processes()
	if err != nil {
		return err
	}
	delete(pids, "load generator")
	var sidecars []*system.Process
	for _, a := range s.Apps {
		if a.Name == reference {
			continue
		}
		p, err := system.ProcessOn(a.HTTPPort)
		if err != nil {
			return err
		}
		sidecars = append(sidecars, p)
	}
	whole, err := watch(ctx, pids)
	if err != nil {
		return err
	}

	// The same sidecars once more, with other ports and app ids, resources for
	// those, and no app behind them.
	bareDir, bareSuffix := filepath.Join(s.dir, "bare"), s.suffix+"-bare"
	if _, err := b.checkout.Derive(system.Derivation{Into: bareDir, Suffix: bareSuffix, Redis: s.redis.Address(), Binaries: b.binaries}); err != nil {
		return err
	}
	bare := map[string]int{}
	defer func() {
		for _, pid := range bare {
			_ = (&system.Process{PID: pid}).Kill(ctx)
		}
	}()
	for i, p := range sidecars {
		q := p.Shifted(s.Ports(), bareShift)
		q.Args = withoutApp(q.Args)
		for i, arg := range q.Args {
			q.Args[i] = strings.ReplaceAll(strings.ReplaceAll(arg, s.suffix, bareSuffix), s.dir+"/components", bareDir+"/components")
		}
		if err := q.Start(s.log); err != nil {
			return err
		}
		bare[fmt.Sprint("bare ", i)] = q.PID
	}
	for _, a := range s.Apps {
		if a.Name == reference {
			continue
		}
		if err := system.Until(ctx, time.Minute, func() error {
			return getAny(fmt.Sprintf("http://127.0.0.1:%d/v1.0/healthz/outbound", a.HTTPPort+bareShift))
		}); err != nil {
			return fmt.Errorf("the bare sidecar of %s: %w", a.Name, err)
		}
	}
	time.Sleep(2 * time.Second) // past their start; there is nothing to wait for
	alone, err := watch(ctx, bare)
	if err != nil {
		return err
	}
	b.add(row{fmt.Sprintf("the whole system idle, %d processes", len(pids)), whole.String(),
		fmt.Sprintf("its %d sidecars alone, without apps", len(bare)), alone.String(),
		fmt.Sprintf("CPU %s, memory %s", short(whole.cores/max(alone.cores, 1e-4)), short(whole.mib/alone.mib)), "printed", ""})
	return nil
}

// withoutApp takes the app out of a sidecar's arguments.
func withoutApp(args []string) []string {
	var kept []string
	for i := 0; i < len(args); i++ {
		if strings.HasPrefix(args[i], "--app-port") || strings.HasPrefix(args[i], "--app-protocol") || strings.HasPrefix(args[i], "--app-max-concurrency") {
			if !strings.Contains(args[i], "=") {
				i++
			}
			continue
		}
		kept = append(kept, args[i])
	}
	return kept
}

// idleness is what processes cost: in cores, and in MiB of resident memory.
type idleness struct{ cores, mib float64 }

func (i idleness) String() string {
	return fmt.Sprintf("%.1f %% of a core, %s MiB", 100*i.cores, short(i.mib))
}

func watch(ctx context.Context, pids map[string]int) (idleness, error) {
	var before, after time.Duration
	var bytes int64
	add := func(sum *time.Duration) error {
		for _, pid := range pids {
			used, err := cpu(pid)
			if err != nil {
				return err
			}
			*sum += used
		}
		return nil
	}
	if err := add(&before); err != nil {
		return idleness{}, err
	}
	select {
	case <-time.After(idleFor):
	case <-ctx.Done():
		return idleness{}, ctx.Err()
	}
	if err := add(&after); err != nil {
		return idleness{}, err
	}
	for _, pid := range pids {
		n, err := memory(pid)
		if err != nil {
			return idleness{}, err
		}
		bytes += n
	}
	return idleness{(after - before).Seconds() / idleFor.Seconds(), float64(bytes) / (1 << 20)}, nil
}
