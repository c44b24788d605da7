package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// hearers are the services that hear a topic.
func hearers(topic string) (services []string) {
	for service, topics := range routes {
		for _, t := range topics {
			if t == topic {
				services = append(services, service)
			}
		}
	}
	return services
}

// poison is a message of each kind that can never become an event of the topic.
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
		"1 MiB of data":   valid(func(_, d map[string]any) { d["padding"] = strings.Repeat("x", 1<<20) }),
		"invalid UTF-8":   strings.Replace(valid(func(_, d map[string]any) { d["note"] = "NOTE" }), "NOTE", "\xff\xfe", 1),
		"a future status": valid(func(_, d map[string]any) { d["status"] = "shadowed"; d["title"] = "" }),
	}
}

// rawEvent is a valid event of the topic, of something new.
func rawEvent(t *testing.T, topic string) string {
	t.Helper()
	envelope, _ := forged(t, topic)
	var in struct{ Entries []struct{ Event []byte } }
	if err := json.Unmarshal([]byte(envelope), &in); err != nil {
		t.Fatal(err)
	}
	return string(in.Entries[0].Event)
}

// putOnTopic writes a message straight to a topic's stream.
func putOnTopic(t *testing.T, store *redis.Client, topic, message string) {
	t.Helper()
	if err := store.XAdd(t.Context(), &redis.XAddArgs{Stream: topic, Values: map[string]any{"data": message}}).Err(); err != nil {
		t.Fatal(err)
	}
}

// deadLetter is one as GET /dead-letters shows it.
type deadLetter struct {
	Data struct {
		Service, Topic, Reason string
		Payload                []byte
	}
}

func readDeadLetters(t *testing.T, s *stack) []deadLetter {
	t.Helper()
	var all []deadLetter
	for {
		r := want(t, 200, "GET", s.url("eventlog", fmt.Sprintf("/dead-letters?limit=10&after=%d", len(all))), "")
		page := decode[[]deadLetter](t, r.body)
		if all = append(all, page...); len(page) == 0 {
			return all
		}
	}
}

func TestPoisonIsBuriedOnceByEachThatHearsIt(t *testing.T) {
	s, store := shared, shared.store(t)
	sidecars := map[string]int{}
	for _, a := range s.Apps {
		sidecars[a.Name] = s.process(t, a.HTTPPort).PID
	}
	before := len(readDeadLetters(t, s))
	expected, valid := map[string]int{}, s.write(t, 1, 2)
	for topic := range map[string]bool{"PostCreated": true, "CommentCreated": true, "CommentModerated": true, "CommentUpdated": true} {
		for kind, message := range poison(t, topic) {
			putOnTopic(t, store, topic, message)
			putOnTopic(t, store, topic, rawEvent(t, topic)) // in the same batch; a comment of a post that never comes is none
			for _, service := range hearers(topic) {
				start := message
				if len(start) > 1024 && kind == "1 MiB of data" {
					start = start[:1024]
				}
				expected[service+" "+topic+" "+start]++
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
	eventually(t, func() error { return nothingPending(t, store) })
}

func TestDeadLettersAreListedAndGivenBack(t *testing.T) {
	s, store := shared, shared.store(t)
	tool := filepath.Join(t.TempDir(), "deadletters")
	build := exec.Command("go", "build", "-o", tool, "./apps/eventlog/deadletters") //nolint:gosec // our own
	build.Dir = built.checkout.Root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(verb string) string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		args := []string{"-app-id", s.App("eventlog").ID}
		for _, name := range []string{"eventlog", "posts", "comments", "moderation"} {
			args = append(args, "-"+name, s.App(name).Sidecar())
		}
		out, err := exec.CommandContext(ctx, tool, append(args, verb)...).CombinedOutput() //nolint:gosec // our own
		if err != nil {
			t.Fatalf("%s: %v\n%s", verb, err, out)
		}
		return string(out)
	}
	// One that is valid by now, as after an upgrade, and one that never will be.
	event, bad := rawEvent(t, "PostCreated"), "never valid "+uuid.NewString()
	for _, payload := range []string{event, bad} {
		putOnTopic(t, store, "dead-letters", jsonOf(t, map[string]any{
			"id": uuid.NewString(), "service": "query", "topic": "PostCreated", "reason": "an old version did not know it", "payload": []byte(payload),
		}))
	}
	eventually(t, func() error {
		if listed := run("list"); !strings.Contains(listed, bad) || !strings.Contains(listed, "an old version did not know it") {
			return fmt.Errorf("not listed:\n%s", listed)
		}
		return nil
	})
	var subject struct{ Subject string }
	if err := json.Unmarshal([]byte(event), &subject); err != nil {
		t.Fatal(err)
	}
	want(t, 404, "GET", s.url("query", "/posts/"+subject.Subject), "")
	for range 2 { // the second time changes nothing
		if said := run("redrive"); !strings.Contains(said, "published again") || !strings.Contains(said, "stays: ") {
			t.Fatalf("redrive says\n%s", said)
		}
		eventually(t, func() error {
			r, err := do("GET", s.url("query", "/posts/"+subject.Subject), "")
			if err == nil && r.status != 200 {
				err = fmt.Errorf("the post is not there: %s", r)
			}
			return err
		})
	}
	checkLog(t, events(t, s.App("eventlog")))
}
