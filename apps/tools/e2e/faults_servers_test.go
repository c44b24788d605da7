package e2e

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

// mayHang are the kinds of servers whose component may leave a sidecar's subscriptions hanging
// when its connection is lost, and why. Such events arrive by the log alone, at each hop after 10 s.
var mayHang = map[string]string{
	// Consume is called outside the mutex of the channel that all subscriptions share
	// (components-contrib 1.18.4, pubsub/rabbitmq; no issue found).
	"RabbitMQ": "subscriptions may hang",
}

// hungWithin bounds, in a full run, the time until everything is whole again if subscriptions hang.
const hungWithin = 90 * time.Second

// serverFaults break the servers behind the bus and the stores.
func serverFaults() []fault {
	var all []fault
	add := func(kind, name string, short bool, run func(t *testing.T, s *stack, l *load)) {
		f := fault{name: name, short: short, of: kind, within: wholeWithin, run: run}
		if why := mayHang[kind]; why != "" {
			f.on, f.within, f.hangs = alone, hungWithin, why
		}
		all = append(all, f)
	}
	for _, kind := range serverKinds() {
		add(kind, "kill -9 "+kind, true, func(t *testing.T, s *stack, _ *load) {
			killDaemons(t, s.daemonsOf(kind))
			startDaemons(t, s.daemonsOf(kind))
		})
		add(kind, fmt.Sprintf("SIGSTOP %s for %s", kind, hang), false, func(t *testing.T, s *stack, _ *load) {
			whileStopped(t, func(signal syscall.Signal) error { return signalAll(s.daemonsOf(kind), signal) }, func() { pause(t, hang) })
		})
	}
	add(redisKind, "Redis's connections cut every second for 20 s", false, func(t *testing.T, s *stack, _ *load) {
		store := s.store(t)
		for range 20 {
			if err := store.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
				t.Fatal(err)
			}
			pause(t, time.Second)
		}
	})
	add("PostgreSQL", "PostgreSQL's sessions ended every second for 20 s", false, func(t *testing.T, s *stack, _ *load) {
		const end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()"
		postgres, _ := serverOf[*system.Postgres](s)
		for range 20 {
			if _, err := postgres.Query(t.Context(), end); err != nil {
				t.Fatal(err)
			}
			pause(t, time.Second)
		}
	})
	add("RabbitMQ", "RabbitMQ's connections closed by itself, 3 times", false, func(t *testing.T, s *stack, _ *load) {
		for range 3 {
			s.control(t, "close_all_connections", "a test")
			pause(t, 5*time.Second)
		}
	})
	add("RabbitMQ", fmt.Sprintf("RabbitMQ's memory alarm for %s, which blocks publishers", hang), false, func(t *testing.T, s *stack, _ *load) {
		s.control(t, "set_vm_memory_high_watermark", "0.0001")
		pause(t, hang)
		s.control(t, "set_vm_memory_high_watermark", "0.4") // the default
	})
	return all
}

// serverKinds are all kinds of servers, each once.
func serverKinds() []string {
	var all []string
	for _, e := range system.Engines() {
		for _, kind := range kindsOf(e) {
			if !slices.Contains(all, kind) {
				all = append(all, kind)
			}
		}
	}
	return all
}

// control runs rabbitmqctl on the system's RabbitMQ.
func (s *stack) control(t *testing.T, args ...string) {
	t.Helper()
	broker, _ := serverOf[*system.RabbitMQ](s)
	if _, err := broker.Control(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
}
