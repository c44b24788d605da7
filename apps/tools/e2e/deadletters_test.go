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
	"unicode"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/eventlog"
)

// deadLetter is a dead letter in GET /dead-letters.
type deadLetter struct {
	Data struct {
		Service, Topic, Reason string
		Payload                []byte
	}
}

func readDeadLetters(t *testing.T, s *stack) []deadLetter {
	t.Helper()
	all, err := readPages[deadLetter](s.App("eventlog"), eventlog.DeadLettersPath, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// noEscapes fails the test if the text would do anything in a terminal but appear.
func noEscapes(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		if !unicode.IsPrint(r) && r != '\n' {
			t.Fatalf("%q has a %q", text, r)
		}
	}
}

func TestDeadLettersAreListedAndGivenBack(t *testing.T) {
	s := shared
	tool := filepath.Join(t.TempDir(), "deadletters")
	build := exec.Command("go", "build", "-o", tool, "./apps/eventlog/deadletters") //nolint:gosec // our own
	build.Dir = built.checkout.Root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(verb string) string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		args := []string{"-app-id", s.App("eventlog").ID, "-eventlog", s.App("eventlog").Sidecar()}
		for _, name := range []string{"posts", "comments", "moderation"} {
			args = append(args, "-"+name, fmt.Sprintf("127.0.0.1:%d", s.App(name).GRPCPort))
		}
		out, err := exec.CommandContext(ctx, tool, append(args, verb)...).CombinedOutput() //nolint:gosec // our own
		if err != nil {
			t.Fatalf("%s: %v\n%s", verb, err, out)
		}
		return string(out)
	}
	// One that has become valid, as after an upgrade; one that never will; and a valid
	// one on an unknown topic, whose name contains terminal escapes.
	event, bad := rawEvent(t, "PostCreated"), "never valid "+uuid.NewString()
	const escapes = "\x1b]0;owned\a\x1b[2J\u009b31m\u202e\n\t"
	for _, letter := range []struct{ id, service, topic, payload string }{
		{uuid.NewString(), "query", "PostCreated", event},
		{uuid.NewString(), "query", "PostCreated", bad},
		{uuid.NewString() + escapes, "query" + escapes, "PostCreated" + escapes, event + escapes},
		{uuid.NewString() + escapes, "query" + escapes, "PostCreated" + escapes, event},
	} {
		s.put(t, "dead-letters", jsonOf(t, map[string]any{
			"id": letter.id, "service": letter.service, "topic": letter.topic, "reason": "an old version did not know it" + escapes, "payload": []byte(letter.payload),
		}))
	}
	const shown = `\x1b]0;owned\a\x1b[2J\u009b31m\u202e\n\t`
	eventually(t, func() error {
		listed := run("list")
		if strings.Count(listed, "PostCreated"+shown) != 2 || strings.Count(listed, "query"+shown) != 2 ||
			!strings.Contains(listed, bad) || !strings.Contains(listed, "an old version did not know it") {
			return fmt.Errorf("not listed:\n%q", listed)
		}
		noEscapes(t, listed)
		return nil
	})
	var subject struct{ Subject string }
	if err := json.Unmarshal([]byte(event), &subject); err != nil {
		t.Fatal(err)
	}
	want(t, 404, "GET", s.url("query", "/posts/"+subject.Subject), "")
	for range 2 { // the second time changes nothing
		said := run("redrive")
		if !strings.Contains(said, "published again") || !strings.Contains(said, "stays: ") || !strings.Contains(said, "on topic PostCreated"+shown) {
			t.Fatalf("redrive says\n%q", said)
		}
		noEscapes(t, said)
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
