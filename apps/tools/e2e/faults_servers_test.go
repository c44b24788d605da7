package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

// mayHang are the kinds of servers whose component may leave messages undelivered when its
// connection was lost, and why. Such events arrive by the log alone, at each hop after 10 s.
var mayHang = map[string]string{
	// Consume is called outside the mutex of the channel that all subscriptions share. A consumer
	// whose reply went to another call stays registered, and its messages are delivered to nobody.
	"RabbitMQ": "consumers leak (components-contrib#4540)",
}

// hungWithin bounds, in a full run, the time until everything is whole again if messages hang.
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
		add(kind, fmt.Sprintf("SIGSTOP %s for %s", kind, hang), false, func(t *testing.T, s *stack, l *load) {
			signal := func(to syscall.Signal) func() error {
				return func() error { return signalAll(s.daemonsOf(kind), to) }
			}
			t.Cleanup(func() { _ = signal(syscall.SIGCONT)() }) // also when this fails
			breakServer(t, s, l, kind, hang, signal(syscall.SIGSTOP), signal(syscall.SIGCONT))
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
		server, _ := serverOf[postgres](s)
		for range 20 {
			if _, err := server.Query(t.Context(), end); err != nil {
				t.Fatal(err)
			}
			pause(t, time.Second)
		}
	})
	add("RabbitMQ", "RabbitMQ's connections closed by itself, 3 times", false, func(t *testing.T, s *stack, _ *load) {
		for range 3 {
			if err := s.control(t, "close_all_connections", "a test"); err != nil {
				t.Fatal(err)
			}
			pause(t, 5*time.Second)
		}
	})
	add("RabbitMQ", fmt.Sprintf("RabbitMQ's memory alarm for %s, which blocks publishers", hang), false, func(t *testing.T, s *stack, l *load) {
		watermark := func(of string) func() error {
			return func() error { return s.control(t, "set_vm_memory_high_watermark", of) }
		}
		breakServer(t, s, l, "RabbitMQ", hang, watermark("0.0001"), watermark("0.4")) // that is the default
	})
	add("RabbitMQ", fmt.Sprintf("RabbitMQ away for %s", away), false, func(t *testing.T, s *stack, l *load) {
		broker, _ := serverOf[*system.RabbitMQ](s)
		breakServer(t, s, l, "RabbitMQ", away, broker.Stop, func() error { return broker.Start(context.WithoutCancel(t.Context())) })
	})
	return all
}

// breakServer breaks a kind of server for a time. If the stores are in another one, every command
// must get its 201 meanwhile.
func breakServer(t *testing.T, s *stack, l *load, kind string, long time.Duration, breakIt, mendIt func() error) {
	t.Helper()
	if kindsOf(s.engine)[0] != kind {
		withoutTheBus(t, l, long, breakIt, mendIt)
		return
	}
	if err := breakIt(); err != nil {
		t.Fatal(err)
	}
	pause(t, long)
	if err := mendIt(); err != nil {
		t.Fatal(err)
	}
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
func (s *stack) control(t *testing.T, args ...string) error {
	broker, _ := serverOf[rabbitMQ](s)
	_, err := broker.Control(t.Context(), args...)
	return err
}

// hangsAfter is how long a subscription has for what the bus still has for it, before it counts as
// hung. A sidecar connects again after 3 s, and RabbitMQ counts a queue's messages every 5 s.
const hangsAfter = 30 * time.Second

// hung is how many subscriptions do not get all that the bus has for them, and how many topics get
// nothing from their publisher.
func (s *stack) hung(t *testing.T) int {
	t.Helper()
	hanging := s.publishNothing(t)
	var pending []string
	err := system.Until(t.Context(), hangsAfter, func() (err error) {
		if pending, err = s.pending(t); err == nil && len(pending) > 0 {
			err = errors.New("messages hang")
		}
		return err
	})
	if err != nil && len(pending) == 0 {
		t.Error(err)
	}
	if hanging = append(hanging, pending...); len(hanging) > 0 {
		t.Logf("%d hang: %q", len(hanging), hanging)
	}
	return len(hanging)
}

// publishNothing describes each sidecar that does not publish an event again that is in the log.
func (s *stack) publishNothing(t *testing.T) (hanging []string) {
	t.Helper()
	last := map[string]string{}
	for topic, all := range s.published(t) {
		last[topic] = all[len(all)-1]
	}
	answers := make(chan error, len(last))
	for topic, message := range last {
		put := s.putter(t, topic)
		go func() { answers <- put(message) }()
	}
	for range last {
		if err := <-answers; err != nil {
			hanging = append(hanging, err.Error())
		}
	}
	return hanging
}
