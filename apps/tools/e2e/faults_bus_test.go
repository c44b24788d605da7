package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postbus/postbus/apps/tools/system"
)

// repairedWithin bounds, in a full run, the time until what the bus lost is whole again.
const repairedWithin = 45 * time.Second

// busFaults make the bus lose what was accepted, by its streams in Redis. Only the journals
// and the log have it then.
func busFaults() []fault {
	var all []fault
	add := func(name string, short bool, on func(*testing.T) *stack, run func(t *testing.T, s *stack, l *load)) {
		all = append(all, fault{name: name, short: short, of: redisKind, on: on, within: repairedWithin, run: run})
	}
	for _, name := range []string{"eventlog", "moderation"} {
		add("each topic deleted while "+name+" is stopped (SIGSTOP)", name == "eventlog", nil, func(t *testing.T, s *stack, _ *load) {
			whileStopped(t, s.process(t, s.App(name).Port).Signal, func() {
				pause(t, 8*time.Second)
				s.deleteTopics(t)
			})
		})
	}
	add("each topic deleted while comments is stopped (SIGSTOP), which has accepted what is moderated meanwhile", false, nil, deleteWhatCommentsMissed)
	for _, name := range onTheBus {
		add("the consumer groups of "+name+" moved to the end while it is down", name == "moderation", nil, func(t *testing.T, s *stack, _ *load) {
			killed := s.killAll(t, s.App(name).Port, s.App(name).HTTPPort)
			pause(t, 5*time.Second)
			s.moveGroupsToTheEnd(t, name)
			s.restart(t, killed)
		})
	}
	add("a tenth of the messages deleted as they come, for 15 s", false, nil, deleteATenth)
	add("each topic trimmed to 10 messages every second, for 15 s", false, nil, trimTopics)
	add("each consumer group destroyed, and made again at the end", false, nil, remakeGroups)
	add("the bus's Redis, which is not the stores', flushed", false, withItsOwnBus, func(t *testing.T, s *stack, _ *load) {
		whileStopped(t, s.process(t, s.App("eventlog").HTTPPort).Signal, func() { // so that there is a backlog
			pause(t, 3*time.Second)
			if err := s.streams(t).FlushDB(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		})
	})
	add(fmt.Sprintf("the bus's Redis, which is not the stores', away for %s", away), false, withItsOwnBus, func(t *testing.T, s *stack, l *load) {
		withoutTheBus(t, l, away, s.bus.Stop, func() error { return s.bus.Start(context.WithoutCancel(t.Context())) })
	})
	add("eventlog and its sidecar away for the whole load, and each topic deleted before it is back", false, nil, func(t *testing.T, s *stack, l *load) {
		killed := s.killAll(t, s.App("eventlog").Port, s.App("eventlog").HTTPPort)
		pause(t, 10*time.Second)
		l.end()
		s.deleteTopics(t)
		s.restart(t, killed)
	})
	for _, name := range []string{"posts", "comments"} {
		add("kill -9 "+name+" and its sidecar, and each topic deleted in the same second", false, nil, func(t *testing.T, s *stack, _ *load) {
			killed := s.killAll(t, s.App(name).Port, s.App(name).HTTPPort)
			s.deleteTopics(t)
			s.restart(t, killed)
		})
	}
	return all
}

// deleteTopics deletes the stream of each topic, with its consumer groups.
func (s *stack) deleteTopics(t *testing.T) {
	t.Helper()
	if err := s.streams(t).Del(t.Context(), topics...).Err(); err != nil {
		t.Fatal(err)
	}
}

// moveGroupsToTheEnd has each consumer group of a service miss what it has not read.
func (s *stack) moveGroupsToTheEnd(t *testing.T, name string) {
	t.Helper()
	streams := s.streams(t)
	for _, topic := range topicsOf(name) {
		if err := streams.XGroupSetID(t.Context(), topic, s.App(name).ID, "$").Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// topicsOf are the topics that a service receives, without the dead letters.
func topicsOf(service string) []string {
	return slices.DeleteFunc(slices.Clone(topics), func(topic string) bool { return !slices.Contains(routes[service], topic) })
}

// deleteWhatCommentsMissed has comments accept what moderation decides only when comments
// is stopped, and then deletes the decisions.
func deleteWhatCommentsMissed(t *testing.T, s *stack, _ *load) {
	moderation, comments := s.process(t, s.App("moderation").Port), s.process(t, s.App("comments").Port)
	whileStopped(t, moderation.Signal, func() {
		pause(t, 3*time.Second)
		if err := comments.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	})
	whileStopped(t, comments.Signal, func() {
		pause(t, 8*time.Second)
		s.deleteTopics(t)
	})
}

// deleteATenth deletes a tenth of the messages, by the seed. A sidecar that waits for a
// message gets it at once, so each sidecar in turn is stopped meanwhile.
func deleteATenth(t *testing.T, s *stack, _ *load) {
	random := rand.New(rand.NewPCG(*seed, 0)) //nolint:gosec // to be repeatable
	last := map[string]string{}
	for _, topic := range topics {
		last[topic] = lastOf(t, s.streams(t), topic)
	}
	s.lossy(t, 50*time.Millisecond, func(streams *redis.Client) (unread int) {
		for _, topic := range topics {
			messages, err := streams.XRange(t.Context(), topic, "("+last[topic], "+").Result()
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range messages {
				if last[topic] = m.ID; random.IntN(10) != 0 {
					continue
				}
				if err := streams.XDel(t.Context(), topic, m.ID).Err(); err != nil {
					t.Fatal(err)
				}
				if isUnread(t, streams, topic, m.ID) {
					unread++
				}
			}
		}
		return unread
	})
}

// trimTopics leaves each topic its last messages, again and again.
func trimTopics(t *testing.T, s *stack, _ *load) {
	const left = 10
	s.lossy(t, time.Second, func(streams *redis.Client) (unread int) {
		for _, topic := range topics {
			newest, err := streams.XRevRangeN(t.Context(), topic, "+", "-", left+1).Result()
			if err == nil {
				err = streams.XTrimMaxLen(t.Context(), topic, left).Err()
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(newest) > left && isUnread(t, streams, topic, newest[left].ID) {
				unread++
			}
		}
		return unread
	})
}

// lossy calls lose at an interval while the sidecar of each service in turn is stopped,
// so that it has not read what is lost. lose returns how often it took a message that a
// service had not read. If it never did, the fault was none, and the test fails.
func (s *stack) lossy(t *testing.T, every time.Duration, lose func(*redis.Client) (unread int)) {
	t.Helper()
	const rounds, stopped, between = 3, 700 * time.Millisecond, 300 * time.Millisecond
	streams, unread := s.streams(t), 0
	loseFor := func(long time.Duration) {
		for end := time.Now().Add(long); time.Now().Before(end); {
			pause(t, min(every, time.Until(end)))
			unread += lose(streams)
		}
	}
	for range rounds {
		for _, name := range onTheBus {
			whileStopped(t, s.process(t, s.App(name).HTTPPort).Signal, func() { loseFor(stopped) })
			loseFor(between)
		}
	}
	t.Logf("%d times a message was lost that a service had not read", unread)
	if unread == 0 {
		t.Error("nothing was lost that a service had not read")
	}
}

// isUnread reports whether a consumer group has not been given a message yet.
func isUnread(t *testing.T, streams *redis.Client, topic, id string) bool {
	t.Helper()
	groups, err := streams.XInfoGroups(t.Context(), topic).Result()
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(groups, func(g redis.XInfoGroup) bool { return isBefore(g.LastDeliveredID, id) })
}

// isBefore compares the ids of two messages: milliseconds, and a number.
func isBefore(a, b string) bool {
	parse := func(id string) (parts [2]uint64) {
		milliseconds, number, _ := strings.Cut(id, "-")
		parts[0], _ = strconv.ParseUint(milliseconds, 10, 64)
		parts[1], _ = strconv.ParseUint(number, 10, 64)
		return parts
	}
	x, y := parse(a), parse(b)
	return slices.Compare(x[:], y[:]) < 0
}

// TestMessagesAreComparedByTheirIDs is a test of isBefore.
func TestMessagesAreComparedByTheirIDs(t *testing.T) {
	ordered := []string{"0-0", "9-10", "10-9", "10-10", "1795748372250-0"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := isBefore(a, b); got != (i < j) {
				t.Errorf("%s before %s: %v", a, b, got)
			}
		}
	}
}

// remakeGroups destroys each consumer group while its service has a backlog, and makes it
// again at the same instant: the service has missed the backlog.
func remakeGroups(t *testing.T, s *stack, _ *load) {
	streams := s.streams(t)
	for _, name := range onTheBus {
		whileStopped(t, s.process(t, s.App(name).HTTPPort).Signal, func() {
			pause(t, time.Second)
			if _, err := streams.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
				var errs []error
				for _, topic := range topicsOf(name) {
					group := s.App(name).ID
					errs = append(errs, p.XGroupDestroy(t.Context(), topic, group).Err(), p.XGroupCreate(t.Context(), topic, group, "$").Err())
				}
				return errors.Join(errs...)
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// withItsOwnBus starts a system in which the bus has a Redis of its own.
func withItsOwnBus(t *testing.T) *stack {
	t.Helper()
	port, err := system.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(filepath.Dir(shared.dir), notInPaths.ReplaceAllString(t.Name(), "-")+"-bus")
	bus, err := system.StartRedis(t.Context(), dir, port)
	if err != nil {
		t.Fatal(err)
	}
	stopsBy(bus, func() { _ = bus.Stop() })
	t.Cleanup(func() { // after the system, which is started below
		stopsBy(bus, nil)
		if err := bus.Stop(); err != nil {
			t.Error(err)
		}
	})
	s := another(t, func(doc system.Document) { moveBus(doc, bus.Address()) }, plain(t))
	s.bus = bus
	return s
}

// moveBus gives the bus's component another Redis.
func moveBus(doc system.Document, address string) {
	metadata, _ := doc["metadata"].(system.Document)
	spec, _ := doc["spec"].(system.Document)
	fields, _ := spec["metadata"].([]any)
	if doc["kind"] != "Component" || metadata["name"] != "bus" {
		return
	}
	for _, f := range fields {
		if field, _ := f.(system.Document); field["name"] == "redisHost" {
			field["value"] = address
		}
	}
}

// away is how long the bus is away.
const away = 30 * time.Second

// withoutTheBus breaks the bus for a time in which every command must get its 201 at once.
// Comments are on posts that the comments service knows: it learns of posts through the
// bus.
func withoutTheBus(t *testing.T, l *load, long time.Duration, breakIt, mendIt func() error) {
	t.Helper()
	l.commentOnlyOnThese()
	pause(t, 3*time.Second) // until each of them is known
	if err := breakIt(); err != nil {
		t.Fatal(err)
	}
	pause(t, time.Second) // until no try from before is under way
	created, retries := l.created.Load(), l.retries.Load()
	pause(t, long)
	created, retries = l.created.Load()-created, l.retries.Load()-retries
	if err := mendIt(); err != nil {
		t.Fatal(err)
	}
	if retries > 0 {
		t.Errorf("%d tries were not answered 201 while the bus was away, beside %d that were", retries, created)
	}
	if least := int64(long.Seconds()) * int64(*rate) / 2; created < least {
		t.Errorf("%d commands were accepted while the bus was away for %s, and not at least %d", created, long, least)
	}
}
