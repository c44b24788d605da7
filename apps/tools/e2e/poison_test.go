package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

var topics = []string{"PostCreated", "CommentCreated", "CommentModerated", "CommentUpdated"}

// subscribers are the services that receive a topic.
func subscribers(topic string) (services []string) {
	for service, topics := range routes {
		for _, t := range topics {
			if t == topic {
				services = append(services, service)
			}
		}
	}
	return services
}

// tooMuch is many times what an event may have, in bytes. NATS takes messages of up to 1 MiB.
func tooMuch() int {
	if isOnNATS(engine) {
		return 1_000_000
	}
	return 1 << 20
}

// poison has a message of each kind that can never become an event of the topic.
func poison(t *testing.T, topic string) map[string]string {
	t.Helper()
	mark := uuid.NewString()
	valid := func(edit func(event, data map[string]any)) string {
		event := map[string]any{}
		if err := json.Unmarshal([]byte(rawEvent(t, topic)), &event); err != nil {
			t.Fatal(err)
		}
		data, _ := event["data"].(map[string]any)
		edit(event, data)
		return jsonOf(t, event)
	}
	return map[string]string{
		"not JSON":        "this is no JSON " + mark,
		"no CloudEvent":   `{"hello":"` + mark + `"}`,
		"an unknown type": valid(func(e, _ map[string]any) { e["type"] = "PostDeleted" }),
		"missing fields":  valid(func(_, d map[string]any) { delete(d, "createdAt") }),
		"wrong types":     valid(func(_, d map[string]any) { d["revision"] = "one" }),
		"too much data":   valid(func(_, d map[string]any) { d["padding"] = strings.Repeat("x", tooMuch()) }),
		"invalid UTF-8":   strings.Replace(valid(func(_, d map[string]any) { d["note"] = "NOTE" }), "NOTE", "\xff\xfe", 1),
		"no status":       valid(func(_, d map[string]any) { d["status"] = "two words"; d["title"] = "" }),
	}
}

// rawEvent is a valid event of the topic, about a new entity.
func rawEvent(t *testing.T, topic string) string {
	t.Helper()
	event, _ := forgedEvent(t, topic)
	return event
}

func TestPoisonIsDeadLetteredOnceByEachSubscriber(t *testing.T) {
	s := shared
	sidecars := map[string]int{}
	for _, a := range s.Apps {
		sidecars[a.Name] = s.process(t, a.HTTPPort).PID
	}
	before, dead := len(readDeadLetters(t, s)), s.lastLetter(t)
	expected, onTopic, valid := map[string]int{}, map[deadKey]int{}, s.write(t, 1, 2)
	for _, topic := range topics {
		for kind, message := range poison(t, topic) {
			s.put(t, topic, message, rawEvent(t, topic)) // in the same batch; a comment on a missing post is not poison
			for _, service := range subscribers(topic) {
				start := message
				if len(start) > 1024 && kind == "too much data" {
					start = start[:1024]
				}
				expected[service+" "+topic+" "+start]++
				onTopic[deadKeyOf(s.App(service).ID, topic, message)]++
			}
		}
	}
	eventually(t, func() error {
		found := map[string]int{}
		for _, d := range readDeadLetters(t, s)[before:] {
			if d.Data.Reason == "" {
				t.Fatalf("no reason: %+v", d)
			}
			found[strings.TrimSuffix(d.Data.Service, strings.TrimPrefix(s.App("posts").ID, "posts"))+" "+d.Data.Topic+" "+string(d.Data.Payload)]++
		}
		for key, n := range found {
			if n != expected[key] {
				t.Fatalf("%d times: %.300q, expected %d", n, key, expected[key])
			}
		}
		if len(found) < len(expected) {
			return fmt.Errorf("%d of %d dead letters are there", len(found), len(expected))
		}
		return nil
	})
	after := s.write(t, 1, 2)
	for _, c := range []content{valid, after} {
		eventually(t, func() error { return c.shownAt(t, s, s.App("query").Port) })
	}
	for _, a := range s.Apps {
		if pid := s.process(t, a.HTTPPort).PID; pid != sidecars[a.Name] {
			t.Errorf("the sidecar of %s was %d and is %d", a.Name, sidecars[a.Name], pid)
		}
	}
	eventually(t, func() error { return s.nothingPending(t) })
	if err := s.sameDeadLetters(t, dead, onTopic, false); err != nil {
		t.Error(err)
	}
}

// deadKey identifies a dead letter by its service, topic and payload. Of a long payload
// it has the beginning.
type deadKey struct{ service, topic, payload string }

func deadKeyOf(service, topic, payload string) deadKey {
	return deadKey{service, topic, payload[:min(len(payload), 1024)]}
}

// reused is an event with the id of one in the log, and other content.
func reused(t *testing.T, e logEvent) string {
	t.Helper()
	data := map[string]any{}
	if err := json.Unmarshal(e.Data, &data); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"title", "content"} {
		if _, ok := data[field]; ok {
			data[field] = "forged " + uuid.NewString()
		}
	}
	return jsonOf(t, map[string]any{
		"specversion": "1.0", "id": e.ID, "source": e.Source, "type": e.Type, "subject": e.Subject,
		"time": "2026-01-01T00:00:00Z", "datacontenttype": "application/json", "data": data,
	})
}

// poisonRounds is the number of times that each topic gets ten messages: 1,000 in all.
const poisonRounds = 100

// poisonAll puts ten kinds of messages on each topic, mixed and with valid events between
// them. Nine kinds are poison. The tenth is about a post that never comes: it is logged,
// waits, and stays invisible.
func poisonAll(t *testing.T, s *stack, l *load) {
	random := rand.New(rand.NewPCG(*seed, 0)) //nolint:gosec // to be repeatable
	sidecars := s.sidecarPIDs(t)

	// The events whose ids are used again: one of each type, received and stored by all.
	base := s.write(t, 1, 1)
	eventually(t, func() error { return base.shownAt(t, s, s.App("query").Port) })
	l.bookPost(base.posts[0].ID)
	for id := range base.statuses[base.posts[0].ID] {
		l.bookComment(id, base.posts[0].ID, "")
	}
	originals := map[string]logEvent{}
	eventually(t, func() error {
		for _, e := range events(t, s.App("eventlog")) {
			if _, ofComment := base.statuses[base.posts[0].ID][e.Subject]; ofComment || e.Subject == base.posts[0].ID {
				originals[e.Type] = e
			}
		}
		if len(originals) < len(topics) {
			return fmt.Errorf("%d of %d are in the log", len(originals), len(topics))
		}
		return nil
	})

	put := map[string]func(string) error{}
	for _, topic := range topics {
		put[topic] = s.putter(t, topic)
	}
	for range poisonRounds {
		for _, topic := range topics {
			kinds := poison(t, topic)
			kinds["an id used again"] = reused(t, originals[topic])
			messages := make([]string, 0, len(kinds)+1)
			for _, kind := range slices.Sorted(maps.Keys(kinds)) { // sorted, so that the order depends on the seed alone
				message := kinds[kind]
				messages = append(messages, message)
				for _, service := range subscribers(topic) {
					l.poison[deadKeyOf(s.App(service).ID, topic, message)]++
				}
			}
			messages = append(messages, s.valid(t, topic, l))
			random.Shuffle(len(messages), func(i, j int) { messages[i], messages[j] = messages[j], messages[i] })
			for _, message := range messages {
				if err := put[topic](message); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	l.afterwards = func() {
		if after := s.sidecarPIDs(t); !maps.Equal(after, sidecars) {
			t.Errorf("the sidecars were %v and are %v", sidecars, after)
		}
	}
}

// poisonAndKill kills a service and its sidecar, twice, while the service dead-letters
// messages.
func poisonAndKill(t *testing.T, s *stack, l *load) {
	const name, topic, messages = "comments", "CommentCreated", 500
	before := len(readDeadLetters(t, s))
	l.deadLetteredAgain = true
	mine := map[deadKey]int{}
	for range 2 {
		bad := make([]string, messages)
		for i := range bad {
			bad[i] = poison(t, topic)["wrong types"]
			for _, service := range subscribers(topic) {
				mine[deadKeyOf(s.App(service).ID, topic, bad[i])]++
			}
		}
		last := s.lastLetter(t)
		whileStopped(t, s.process(t, s.App(name).Port).Signal, func() { s.put(t, topic, bad...) }) // so that there is a backlog
		eventually(t, func() error {                                                               // dead-lettering has begun
			letters, err := s.lettersAfter(t, last)
			if err == nil && !slices.ContainsFunc(letters, func(l letter) bool { return l.Service == s.App(name).ID }) {
				err = errors.New("nothing is dead-lettered yet")
			}
			return err
		})
		s.killAndRestart(t, s.App(name).Port, s.App(name).HTTPPort)
	}
	maps.Copy(l.poison, mine)
	l.afterwards = func() {
		kept := map[deadKey]int{}
		for _, d := range readDeadLetters(t, s)[before:] {
			kept[deadKeyOf(d.Data.Service, d.Data.Topic, string(d.Data.Payload))]++
		}
		if !maps.Equal(kept, mine) {
			t.Errorf("eventlog keeps %d dead letters, and not each of %d once", len(kept), len(mine))
		}
	}
}

// valid is a valid event of the topic without a command: a post, or a comment on a post
// that never comes.
func (s *stack) valid(t *testing.T, topic string, l *load) string {
	t.Helper()
	raw := rawEvent(t, topic)
	var e struct{ Subject string }
	if err := json.Unmarshal([]byte(raw), &e); err != nil {
		t.Fatal(err)
	}
	if topic == "PostCreated" {
		l.bookPost(e.Subject)
	} else {
		l.plant(e.Subject)
	}
	return raw
}

// sidecarPIDs are the process ids of the sidecars, by service.
func (s *stack) sidecarPIDs(t *testing.T) map[string]int {
	t.Helper()
	pids := map[string]int{}
	for _, a := range s.Apps {
		pids[a.Name] = s.process(t, a.HTTPPort).PID
	}
	return pids
}

// lastOf is the id of a stream's last message, or of the place before the first.
func lastOf(t *testing.T, store *redis.Client, stream string) string {
	t.Helper()
	last, err := store.XRevRangeN(t.Context(), stream, "+", "-", 1).Result()
	if err != nil {
		t.Fatal(err)
	}
	if len(last) == 0 {
		return "0"
	}
	return last[0].ID
}

// sameDeadLetters returns nil when there is, after a place, each wanted dead letter as often as
// wanted and nothing else. With more, the topic may have them more often. Where two versions
// decide, the second decisions are dead letters, too.
func (s *stack) sameDeadLetters(t *testing.T, after string, want map[deadKey]int, more bool) error {
	letters, err := s.lettersAfter(t, after)
	if err != nil {
		return err
	}
	if s.isMixed {
		letters = s.withoutSecondDecisions(t, letters)
	}
	found := map[deadKey]int{}
	for _, l := range letters {
		if l.Reason == "" {
			return fmt.Errorf("no reason: %+v", l)
		}
		found[deadKeyOf(l.Service, l.Topic, string(l.Payload))]++
	}
	var errs []error
	wrong := map[string]int{} // by service
	for key, n := range found {
		if n != want[key] && (!more || n < want[key] || want[key] == 0) {
			errs = append(errs, fmt.Errorf("%d times, not %d: %.300q", n, want[key], key))
			wrong[key.service]++
		}
	}
	for key, n := range want {
		if found[key] == 0 {
			errs = append(errs, fmt.Errorf("not there, and should be %d times: %.300q", n, key))
			wrong[key.service]++
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("of %d dead letters some are wrong, by service %v; the first: %w", len(want), wrong, errs[0])
	}
	return nil
}
