package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/postbus/postbus/apps/e2e/system"
)

var (
	allFaults = flag.Bool("all-faults", false, "run every fault, not only a few representative ones")
	seed      = flag.Uint64("seed", uint64(time.Now().UnixNano()), "what the load follows from") //nolint:gosec // never negative
)

// fault breaks one thing and mends it while the load goes on.
type fault struct {
	name string
	// short says that it is one of the representative ones.
	short bool
	// run returns when all is mended.
	run func(t *testing.T, s *stack)
}

// hang is how long a process is stopped for.
const hang = 20 * time.Second

func faults() []fault {
	var all []fault
	add := func(name string, short bool, run func(t *testing.T, s *stack)) {
		all = append(all, fault{name, short, run})
	}
	for _, name := range system.Services {
		app := func(s *stack) int { return s.App(name).Port }
		sidecar := func(s *stack) int { return s.App(name).HTTPPort }
		add("kill -9 "+name+", 3 times", name == "comments" || name == "eventlog", func(t *testing.T, s *stack) {
			for range 3 {
				s.killAndRestart(t, app(s))
				awaitReady(t, s.App(name))
			}
		})
		add("kill -9 "+name+"'s sidecar", name == "comments", func(t *testing.T, s *stack) {
			s.killAndRestart(t, sidecar(s))
		})
		add("kill -9 "+name+" and its sidecar", false, func(t *testing.T, s *stack) {
			s.killAndRestart(t, app(s), sidecar(s))
		})
		add("SIGTERM "+name, false, func(t *testing.T, s *stack) {
			p := s.process(t, app(s))
			if err := errors.Join(p.Signal(syscall.SIGTERM), p.AwaitEnd(t.Context())); err != nil {
				t.Fatal(err)
			}
			s.launch(t, p)
		})
		add(fmt.Sprintf("SIGSTOP %s for %s", name, hang), false, func(t *testing.T, s *stack) {
			p := s.process(t, app(s))
			s.stopFor(t, hang, p.Signal)
		})
	}
	add("kill -9 Redis", true, func(t *testing.T, s *stack) {
		if err := errors.Join(s.redis.Signal(syscall.SIGKILL), s.redis.AwaitEnd(), s.redis.Start(t.Context())); err != nil {
			t.Fatal(err)
		}
	})
	add(fmt.Sprintf("SIGSTOP Redis for %s", hang), false, func(t *testing.T, s *stack) {
		s.stopFor(t, hang, s.redis.Signal)
	})
	add("Redis's connections cut every second for 20 s", false, func(t *testing.T, s *stack) {
		store := s.store(t)
		for range 20 {
			if err := store.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
				t.Fatal(err)
			}
			pause(t, time.Second)
		}
	})
	for _, name := range []string{"eventlog", "query"} {
		add(name+" down for the whole load", name == "eventlog", func(t *testing.T, s *stack) {
			p := s.process(t, s.App(name).Port)
			kill(t, p)
			pause(t, 10*time.Second)
			s.launch(t, p)
		})
	}
	add("two replicas of every service, one of each killed", false, func(t *testing.T, s *stack) {
		var doomed []*system.Process
		for _, name := range system.Services {
			b := s.replica(t, name)
			doomed = append(doomed, s.process(t, b.Port), s.process(t, b.HTTPPort))
		}
		pause(t, 3*time.Second) // both work
		for _, p := range doomed {
			if err := p.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	})
	add("everything killed and started again", false, func(t *testing.T, s *stack) {
		var ports []int
		for _, a := range s.Apps {
			ports = append(ports, a.Port, a.HTTPPort)
		}
		s.killAndRestart(t, ports...)
	})
	return all
}

// killAndRestart kills what listens on the ports, all at once, and starts it again.
func (s *stack) killAndRestart(t *testing.T, ports ...int) {
	t.Helper()
	killed := make([]*system.Process, len(ports))
	for i, port := range ports {
		killed[i] = s.process(t, port)
	}
	for _, p := range killed {
		if err := p.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range killed {
		if err := p.AwaitEnd(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.launch(t, p)
	}
}

func (s *stack) stopFor(t *testing.T, long time.Duration, signal func(syscall.Signal) error) {
	t.Helper()
	if err := signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	pause(t, long)
	if err := signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// pause lets the load go on for a time: how long a fault lasts is no condition.
func pause(t *testing.T, long time.Duration) {
	t.Helper()
	select {
	case <-time.After(long):
	case <-t.Context().Done():
		t.Fatal(context.Cause(t.Context()))
	}
}

// row is a line of the table.
type row struct {
	name                     string
	writes, created, retries int64
	lost, repeated           int
	whole                    time.Duration
}

// wholeWithin bounds the time until all that was written is settled again.
const wholeWithin = 15 * time.Second

// TestFaults breaks one thing at a time under load and then does the accounts.
func TestFaults(t *testing.T) {
	t.Logf("seed %d; -seed repeats it", *seed)
	fmt.Printf("TestFaults: seed %d\n", *seed)
	plain := filepath.Join(t.TempDir(), "bin") // without the race detector, for the load's sake
	if err := built.checkout.BuildServices(t.Context(), plain); err != nil {
		t.Fatal(err)
	}
	s := another(t, nil, plain)
	var rows []row
	for _, f := range faults() {
		if !f.short && !*allFaults {
			continue
		}
		t.Run(f.name, func(t *testing.T) { rows = append(rows, underLoad(t, s, f)) })
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "case\twrites\t201s\tretries\tlost\trepeated\twhole again after")
	for _, r := range rows {
		_, _ = fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%s\n", r.name, r.writes, r.created, r.retries, r.lost, r.repeated, r.whole.Round(10*time.Millisecond))
	}
	_ = table.Flush()
}

func underLoad(t *testing.T, s *stack, f fault) (r row) {
	store := s.store(t)
	start := len(events(t, s.App("eventlog")))
	deadBefore := store.XLen(t.Context(), "dead-letters").Val()
	l := begin(t, s, *seed)
	defer l.cancel()
	pause(t, 2*time.Second) // the load before the fault
	f.run(t, s)
	mended := time.Now()
	before := l.books() // everything that had its 201 by then

	within(t, time.Minute, func() error {
		inLog, err := inTheLogSoFar(s.App("eventlog"), start)
		if err != nil {
			return err
		}
		var missing []string
		for id := range before.posts {
			if inLog["PostCreated "+id] == 0 {
				missing = append(missing, id)
			}
		}
		for id := range before.comments {
			if inLog["CommentUpdated "+id] == 0 {
				missing = append(missing, id)
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("%d are not settled, among them %s", len(missing), missing[0])
		}
		// And query shows it.
		_, err = get(s.url("query", fmt.Sprintf("/posts?limit=1&min_sequence=%d", start+inLog["events"])), &map[string]post{})
		return err
	})
	r.whole = time.Since(mended)
	pause(t, time.Second) // and the load after it
	l.end()

	r.name, r.writes, r.retries = f.name, l.attempts.Load(), l.retries.Load()
	b := l.books()
	r.created = int64(len(b.posts) + len(b.comments))
	if len(l.wrong) > 0 {
		t.Errorf("%d writes went wrong; the first: %v", len(l.wrong), l.wrong[0])
	}
	within(t, time.Minute, func() error { return nothingPending(t, store) })
	var v verdict
	within(t, time.Minute, func() error {
		inLog, err1 := inTheLog(s.App("eventlog"), start)
		inQuery, err2 := inQuery(s.App("query"), b)
		inComments, err3 := inComments(s.App("comments"), b)
		if err := errors.Join(err1, err2, err3); err != nil {
			return err
		}
		v = verdict{}
		for _, f := range []*found{inLog, inQuery, inComments} {
			one := b.compare(f)
			v.lost, v.repeated, v.errs = v.lost+one.lost, v.repeated+one.repeated, append(v.errs, one.errs...)
		}
		if len(v.errs) > 0 {
			return fmt.Errorf("%d errors; the first: %w", len(v.errs), v.errs[0])
		}
		return nil
	})
	r.lost, r.repeated = v.lost, v.repeated
	if dead := store.XLen(t.Context(), "dead-letters").Val() - deadBefore; dead != 0 {
		t.Errorf("%d dead letters", dead)
	}
	if r.whole > wholeWithin {
		t.Errorf("whole again only after %s", r.whole)
	}
	return r
}

// inTheLogSoFar counts events by type and subject, and all of them as "events".
func inTheLogSoFar(a system.App, after int) (map[string]int, error) {
	counts := map[string]int{}
	for {
		var page []logEvent
		if _, err := get(fmt.Sprintf("%s/events?after=%d&limit=10000", a.URL(), after+counts["events"]), &page); err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return counts, nil
		}
		for _, e := range page {
			counts[e.Type+" "+e.Subject]++
			counts["events"]++
		}
	}
}
