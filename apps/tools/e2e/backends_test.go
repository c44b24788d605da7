package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/tools/system"
)

// A test of the whole engine asks for its servers here. Whatever it needs of the bus or a store
// itself is here, too, for each kind of server; the rest goes through a sidecar.

// redisKind is the name of the default engine's kind of server.
const redisKind = "Redis"

// kindsOf are the names of the kinds of servers of an engine, in the order in which they start.
// The stores' is the first one.
func kindsOf(e system.Engine) []string {
	if e == "" || e == system.RedisEngine {
		return []string{redisKind}
	}
	var names []string
	for _, kind := range e.Kinds() {
		names = append(names, kind.Name)
	}
	return names
}

// serverOf returns the system's server of a type, if its engine has one.
func serverOf[T system.Server](s *stack) (server T, ok bool) {
	if s.alone == nil { // on Kubernetes
		return server, false
	}
	for _, started := range s.alone.Servers.Started {
		if server, ok = started.(T); ok {
			return server, true
		}
	}
	return server, false
}

// daemonsOf are the daemons of a kind of server.
func (s *stack) daemonsOf(kind string) []*system.Daemon {
	if s.redis != nil && kind == redisKind {
		return []*system.Daemon{&s.redis.Daemon}
	}
	return s.alone.Servers.Started[slices.Index(kindsOf(s.engine), kind)].Daemons()
}

// daemons are all daemons of the engine, in the order in which they were started.
func (s *stack) daemons() []*system.Daemon {
	var all []*system.Daemon
	for _, kind := range kindsOf(s.engine) {
		all = append(all, s.daemonsOf(kind)...)
	}
	return all
}

// signalStores sends a signal to the daemons that keep the stores.
func (s *stack) signalStores(signal syscall.Signal) error {
	return signalAll(s.daemonsOf(kindsOf(s.engine)[0]), signal)
}

// signalAll sends a signal to all processes of daemons.
func signalAll(daemons []*system.Daemon, signal syscall.Signal) error {
	var errs []error
	for _, d := range daemons {
		errs = append(errs, d.SignalAll(signal))
	}
	return errors.Join(errs...)
}

// killDaemons kills daemons, all at once, and waits for their end.
func killDaemons(t *testing.T, daemons []*system.Daemon) {
	t.Helper()
	if err := signalAll(daemons, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, d := range daemons {
		if err := d.AwaitEnd(); err != nil {
			t.Fatal(err)
		}
	}
}

// startDaemons starts daemons again.
func startDaemons(t *testing.T, daemons []*system.Daemon) {
	t.Helper()
	for _, d := range daemons {
		// PostgreSQL refuses to start while a process of the one that was killed is left.
		eventually(t, func() error { return d.Start(context.WithoutCancel(t.Context())) })
	}
}

// put publishes messages on a topic, byte for byte, by a sidecar that may do that.
func (s *stack) put(t *testing.T, topic string, messages ...string) {
	t.Helper()
	for _, message := range messages {
		if err := s.tryToPut(topic, message); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *stack) tryToPut(topic, message string) error {
	publisher := "eventlog" // of dead letters, as all others
	if of, ok := publisherOf[topic]; ok {
		publisher = of
	}
	url := s.App(publisher).Sidecar() + "/v1.0/publish/bus/" + topic + "?metadata.rawPayload=true"
	r, err := do("POST", url, message, "Content-Type: application/octet-stream")
	if err == nil && r.status != 204 {
		err = fmt.Errorf("POST %s: %s", url, r)
	}
	return err
}

// nothingPending returns an error while a subscription is missing or has messages that are not
// acknowledged.
func (s *stack) nothingPending(t *testing.T) error {
	pending, err := s.pending(t)
	for _, one := range pending {
		err = errors.Join(err, errors.New(one))
	}
	return err
}

// pending describes each subscription that is missing or has messages that are not acknowledged.
func (s *stack) pending(t *testing.T) ([]string, error) {
	if broker, ok := serverOf[*system.RabbitMQ](s); ok {
		return s.pendingInQueues(t.Context(), broker)
	}
	return s.pendingInGroups(t.Context(), s.streams(t))
}

// allTopics are the topics with that of the dead letters.
func allTopics() []string { return append(slices.Clone(topics), "dead-letters") }

// pendingInGroups looks at Redis's consumer groups.
func (s *stack) pendingInGroups(ctx context.Context, streams *redis.Client) (pending []string, err error) {
	for _, topic := range allTopics() {
		stream, err := streams.XInfoStream(ctx, topic).Result()
		if err != nil {
			return nil, err
		}
		groups, err := streams.XInfoGroups(ctx, topic).Result()
		if err != nil {
			return nil, err
		}
		for _, service := range subscribers(topic) {
			if !slices.ContainsFunc(groups, func(g redis.XInfoGroup) bool { return g.Name == s.App(service).ID }) {
				pending = append(pending, fmt.Sprintf("%s has no group that receives %s", service, topic))
			}
		}
		for _, g := range groups {
			// The lag is not used: Redis 7.0 miscounts it after it has read its
			// append-only file, where a read is an XCLAIM without a count. It can be
			// used when every Redis that is tested has redis/redis#12898.
			if g.Pending != 0 || g.LastDeliveredID != stream.LastGeneratedID {
				pending = append(pending, fmt.Sprintf("%s has %d pending of %s, and was given up to %s of %s",
					g.Name, g.Pending, topic, g.LastDeliveredID, stream.LastGeneratedID))
			}
		}
	}
	return pending, nil
}

// pendingInQueues looks at RabbitMQ's queues. It has one of each subscription.
func (s *stack) pendingInQueues(ctx context.Context, broker *system.RabbitMQ) (pending []string, err error) {
	out, err := broker.Control(ctx, "list_queues", "--formatter", "json", "name", "messages", "consumers")
	if err != nil {
		return nil, err
	}
	type queue struct {
		Name                string
		Messages, Consumers int
	}
	var queues []queue
	if err := json.Unmarshal([]byte(out), &queues); err != nil {
		return nil, fmt.Errorf("%w in %s", err, out)
	}
	for _, topic := range allTopics() {
		for _, service := range subscribers(topic) {
			name := s.App(service).ID + "-" + topic
			i := slices.IndexFunc(queues, func(q queue) bool { return q.Name == name })
			switch {
			case i < 0:
				pending = append(pending, fmt.Sprintf("%s has no queue of %s", service, topic))
			case queues[i].Messages > 0 || queues[i].Consumers == 0:
				pending = append(pending, fmt.Sprintf("%s has %d messages of %s in its queue, and %d consumers of it", service, queues[i].Messages, topic, queues[i].Consumers))
			}
		}
	}
	return pending, nil
}

// letter is what a dead letter says.
type letter struct {
	Service, Topic, Reason string
	Payload                []byte
}

// lastLetter is the place of the last dead letter, for lettersAfter.
func (s *stack) lastLetter(t *testing.T) string {
	t.Helper()
	if s.redisAt.Addr != "" {
		return lastOf(t, s.streams(t), "dead-letters")
	}
	return fmt.Sprint(len(readDeadLetters(t, s)))
}

// lettersAfter are the dead letters after a place: in Redis those of the topic, which may have one
// twice; elsewhere those that eventlog keeps.
func (s *stack) lettersAfter(t *testing.T, place string) (letters []letter, err error) {
	if s.redisAt.Addr == "" {
		var after int
		if _, err := fmt.Sscan(place, &after); err != nil {
			return nil, err
		}
		for _, kept := range readDeadLetters(t, s)[after:] {
			letters = append(letters, letter(kept.Data))
		}
		return letters, nil
	}
	streams := s.streams(t)
	for {
		page, err := streams.XRangeN(t.Context(), "dead-letters", "("+place, "+", 100).Result()
		if err != nil || len(page) == 0 {
			return letters, err
		}
		for _, message := range page {
			place = message.ID
			raw, _ := message.Values["data"].(string)
			var l letter
			if err := json.Unmarshal([]byte(raw), &l); err != nil {
				return nil, fmt.Errorf("no dead letter: %.300s", raw)
			}
			letters = append(letters, l)
		}
	}
}

// empty deletes all that a service's store has, at once.
func (s *stack) empty(t *testing.T, service string) {
	t.Helper()
	var deleted int
	var err error
	if postgres, ok := serverOf[*system.Postgres](s); ok {
		var out string
		if out, err = postgres.Query(t.Context(), "WITH gone AS (DELETE FROM "+service+"_state RETURNING 1) SELECT count(*) FROM gone"); err == nil {
			_, err = fmt.Sscan(out, &deleted)
		}
	} else {
		deleted, err = redis.NewScript(`
			local keys = redis.call("KEYS", ARGV[1])
			for _, key in ipairs(keys) do redis.call("DEL", key) end
			return #keys`).Run(t.Context(), s.store(t), nil, s.App(service).ID+"||*").Int()
	}
	if err != nil {
		t.Fatal(err)
	}
	if deleted == 0 {
		t.Fatalf("the store of %s was empty", service)
	}
}

// deliverAgain publishes again all that the log has of the topics of some services.
func (s *stack) deliverAgain(t *testing.T, services ...string) {
	t.Helper()
	raw, err := readPages[json.RawMessage](s.App("eventlog"), eventlog.EventsPath, 0, eventlog.MaxLimit)
	if err != nil {
		t.Fatal(err)
	}
	var puts errgroup.Group
	puts.SetLimit(writers)
	for _, one := range raw {
		e := decode[map[string]any](t, one)
		delete(e, "sequence") // the log's own
		topic, message := fmt.Sprint(e["type"]), jsonOf(t, e)
		if slices.ContainsFunc(services, func(service string) bool { return slices.Contains(routes[service], topic) }) {
			puts.Go(func() error { return s.tryToPut(topic, message) })
		}
	}
	if err := puts.Wait(); err != nil {
		t.Fatal(err)
	}
}
