package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

// idleFor is the time for which idle processes are watched in each round.
const idleFor = 5 * time.Second

// bareShift is added to the ports of the bare sidecars.
const bareShift = 550

// idle measures the cost of the system when nobody uses it, and the cost of its sidecars
// alone.
func (b *bench) idle(ctx context.Context, s *stack) error {
	if err := s.quiet(ctx); err != nil {
		return err
	}
	pids, err := s.processes()
	if err != nil {
		return err
	}
	delete(pids, loadGenerator)
	bare, err := b.bareSidecars(ctx, s)
	defer func() {
		for _, pid := range bare {
			_ = (&system.Process{PID: pid}).Kill(ctx)
		}
	}()
	if err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // until they have started: no event says when
	var whole, alone idleness
	for range b.rounds {
		if err := watch(ctx, map[*idleness]map[string]int{&whole: pids, &alone: bare}); err != nil {
			return err
		}
	}
	b.add(row{fmt.Sprintf("the whole system idle, %d processes", len(pids)), whole.String(),
		fmt.Sprintf("its %d sidecars alone, without apps", len(bare)), alone.String(),
		fmt.Sprintf("CPU %s, memory %s", whole.percent.over(alone.percent).format(""), whole.mib.over(alone.mib).format("")), "printed", ""})
	return nil
}

// bareSidecars starts the system's sidecars again without apps, with other ports, app ids
// and resources. It returns the processes, even after an error.
func (b *bench) bareSidecars(ctx context.Context, s *stack) (bare map[string]int, err error) {
	dir, suffix := filepath.Join(s.dir, "bare"), s.suffix+"-bare"
	if _, err := b.checkout.Derive(system.Derivation{Into: dir, Suffix: suffix, Redis: s.Redis.Address(), Binaries: b.binaries}); err != nil {
		return nil, err
	}
	services := slices.DeleteFunc(slices.Clone(s.Apps), func(a system.App) bool { return a.Name == reference })
	bare = map[string]int{}
	for _, a := range services {
		p, err := system.ProcessOn(a.HTTPPort)
		if err != nil {
			return bare, err
		}
		q := p.Shifted(s.Ports(), bareShift)
		q.Args = withoutApp(q.Args)
		for i, arg := range q.Args {
			q.Args[i] = strings.ReplaceAll(strings.ReplaceAll(arg, s.suffix, suffix), s.dir+"/components", dir+"/components")
		}
		if err := q.Start(s.Log); err != nil {
			return bare, err
		}
		bare["bare "+a.Name] = q.PID
	}
	for _, a := range services {
		if err := system.Until(ctx, time.Minute, func() error {
			answer, err := system.Ask(client, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/v1.0/healthz/outbound", a.HTTPPort+bareShift), "")
			if err != nil {
				return err
			}
			return answer.Want(http.StatusNoContent)
		}); err != nil {
			return bare, fmt.Errorf("the bare sidecar of %s: %w", a.Name, err)
		}
	}
	return bare, nil
}

// withoutApp removes the app from a sidecar's arguments.
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

// idleness is the cost of processes by round: in percent of a core, and in MiB of
// resident memory.
type idleness struct{ percent, mib figures }

func (i idleness) String() string {
	return fmt.Sprintf("%s of a core, %s", i.percent.format(" %"), i.mib.format(" MiB"))
}

// watch adds a round to each group of processes. It watches all groups at the same time.
func watch(ctx context.Context, groups map[*idleness]map[string]int) error {
	used := func(pids map[string]int) (sum time.Duration, err error) {
		for _, pid := range pids {
			one, err := cpu(pid)
			if err != nil {
				return 0, err
			}
			sum += one
		}
		return sum, nil
	}
	before := map[*idleness]time.Duration{}
	for group, pids := range groups {
		var err error
		if before[group], err = used(pids); err != nil {
			return err
		}
	}
	select {
	case <-time.After(idleFor):
	case <-ctx.Done():
		return ctx.Err()
	}
	for group, pids := range groups {
		after, err := used(pids)
		if err != nil {
			return err
		}
		var bytes int64
		for _, pid := range pids {
			n, err := memory(pid)
			if err != nil {
				return err
			}
			bytes += n
		}
		// At least the resolution, so that nothing is divided by 0.
		spent := max(after-before[group], cpuResolution)
		group.percent = append(group.percent, 100*spent.Seconds()/idleFor.Seconds())
		group.mib = append(group.mib, float64(bytes)/(1<<20))
	}
	return nil
}
