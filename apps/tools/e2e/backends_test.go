package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/tools/system"
)

// A test of the whole engine asks for its servers here. Whatever it needs of the bus or a store
// itself is here, too, for each kind of server; the rest goes through a sidecar.

const (
	// redisKind is the name of the default engine's kind of server.
	redisKind = "Redis"
	// redisHAKind is that of a Redis with replicas.
	redisHAKind = "Redis with Sentinels"
)

// needs leaves a test out unless the engine has a kind of server, and says why. Apps/tools/check
// lists what was left out.
func needs(t *testing.T, kind, why string) {
	t.Helper()
	if !slices.Contains(kindsOf(engine), kind) {
		t.Skipf("left out on %s, which has no %s: %s", engine, kind, why)
	}
}

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

// rabbitMQ is a node or a cluster, postgres a server or a pair.
type (
	rabbitMQ interface {
		Control(ctx context.Context, args ...string) (string, error)
	}
	postgres interface {
		Query(ctx context.Context, sql string) (string, error)
	}
)

// isOnNATS reports whether an engine's bus is NATS.
func isOnNATS(e system.Engine) bool { return slices.Contains(kindsOf(e), "NATS") }

// serverOf returns the system's server of a type, if its engine has one.
func serverOf[T any](s *stack) (server T, ok bool) {
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

// stopStores stops in order what keeps the stores, and startStores starts it again.
func (s *stack) stopStores() error {
	if s.redis != nil {
		return s.redis.Stop()
	}
	return s.alone.Servers.Started[0].Stop()
}

func (s *stack) startStores(ctx context.Context) error {
	var errs []error
	for _, d := range s.daemonsOf(kindsOf(s.engine)[0]) {
		errs = append(errs, d.Start(ctx))
	}
	return errors.Join(errs...)
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
	put := s.putter(t, topic)
	for _, message := range messages {
		if err := put(message); err != nil {
			t.Fatal(err)
		}
	}
}

// putTimeout bounds the publishing of a message.
const putTimeout = 20 * time.Second

// putter returns what publishes a message on a topic.
func (s *stack) putter(t *testing.T, topic string) func(message string) error {
	t.Helper()
	publisher := "eventlog" // of dead letters, as all others
	if of, ok := publisherOf[topic]; ok {
		publisher = of
	}
	sidecar := sidecarOf(t, s.App(publisher))
	return func(message string) error {
		ctx, cancel := context.WithTimeout(t.Context(), putTimeout)
		defer cancel()
		_, err := sidecar.PublishEvent(ctx, &pb.PublishEventRequest{
			PubsubName: "bus", Topic: topic, Data: []byte(message), DataContentType: "application/octet-stream",
			Metadata: map[string]string{"rawPayload": "true"},
		})
		if err != nil {
			return fmt.Errorf("%s's sidecar does not publish a %s: %w", publisher, topic, err)
		}
		return nil
	}
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
	if broker, ok := serverOf[rabbitMQ](s); ok {
		return s.pendingInQueues(t.Context(), broker)
	}
	if cluster, ok := serverOf[*system.NATSCluster](s); ok {
		return s.pendingInConsumers(t.Context(), cluster)
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

// queue is the name of the queue in RabbitMQ from which a service receives a topic.
func (s *stack) queue(service, topic string) string { return s.App(service).ID + "-" + topic }

// pendingInQueues looks at RabbitMQ's queues. It has one of each subscription.
func (s *stack) pendingInQueues(ctx context.Context, broker rabbitMQ) (pending []string, err error) {
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
			i := slices.IndexFunc(queues, func(q queue) bool { return q.Name == s.queue(service, topic) })
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

// pendingInConsumers looks at JetStream's consumers. It has one of each subscription. A message that
// a sidecar has is pending no more, whether its app has it or not.
func (s *stack) pendingInConsumers(ctx context.Context, cluster *system.NATSCluster) (pending []string, err error) {
	js, err := cluster.Open()
	if err != nil {
		return nil, err
	}
	defer js.Conn().Close()
	for _, topic := range allTopics() {
		for _, service := range subscribers(topic) {
			consumer, err := js.PushConsumer(ctx, topic, s.App(service).ID)
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				pending = append(pending, fmt.Sprintf("%s has no consumer of %s", service, topic))
				continue
			}
			if err != nil {
				return nil, err
			}
			if info := consumer.CachedInfo(); info.NumPending > 0 || !info.PushBound {
				pending = append(pending, fmt.Sprintf("%s has %d messages of %s before it, and receives them: %t", service, info.NumPending, topic, info.PushBound))
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
	if server, ok := serverOf[postgres](s); ok {
		var out string
		if out, err = server.Query(t.Context(), "WITH gone AS (DELETE FROM "+service+"_state RETURNING 1) SELECT count(*) FROM gone"); err == nil {
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

// loseAll deletes all that all stores have, at once.
func (s *stack) loseAll(ctx context.Context) error {
	if server, ok := serverOf[postgres](s); ok {
		_, err := server.Query(ctx, "TRUNCATE "+strings.Join(system.Services, "_state, ")+"_state")
		return err
	}
	store := s.redisClient()
	defer func() { _ = store.Close() }()
	return store.FlushAll(ctx).Err()
}

// stored is all that the stores have, by place. Of Redis it has the topics, too.
func (s *stack) stored(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	if server, ok := serverOf[postgres](s); ok {
		for _, name := range system.Services {
			rows, err := server.Query(t.Context(), "SELECT key, encode(value, 'escape') FROM "+name+"_state")
			if err != nil {
				t.Fatal(err)
			}
			all["the store of "+name] = rows
		}
		return all
	}
	store := s.store(t)
	for keys := store.Scan(t.Context(), 0, "", 1000).Iterator(); keys.Next(t.Context()); {
		all["Redis at "+keys.Val()] = keys.Val() + string(valueOf(t, store, keys.Val()))
	}
	return all
}

// published are the messages of all events in the log, by topic.
func (s *stack) published(t *testing.T) map[string][]string {
	t.Helper()
	raw, err := readPages[json.RawMessage](s.App("eventlog"), eventlog.EventsPath, 0, eventlog.MaxLimit)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, one := range raw {
		e := decode[map[string]any](t, one)
		delete(e, "sequence") // the log's own
		topic := fmt.Sprint(e["type"])
		all[topic] = append(all[topic], jsonOf(t, e))
	}
	return all
}

// deliverAgain publishes again all that the log has of a service's topics.
func (s *stack) deliverAgain(t *testing.T, service string) {
	t.Helper()
	published := s.published(t)
	var puts errgroup.Group
	puts.SetLimit(writers)
	for _, topic := range topicsOf(service) {
		put := s.putter(t, topic)
		for _, message := range published[topic] {
			puts.Go(func() error { return put(message) })
		}
	}
	if err := puts.Wait(); err != nil {
		t.Fatal(err)
	}
}
