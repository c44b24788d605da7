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
)

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
