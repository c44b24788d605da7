package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postbus/postbus/apps/tools/system"
)

// oldPosts is longer than a post may be on its way to the comments service.
const oldPosts = 35 * time.Second

// storeFaults empty the stores that are caches of the log. Each has a system of its own,
// because the services then read the log from its start.
//
// The claims of Idempotency-Keys are in no log. So no command is under way when the store
// of comments is emptied.
func storeFaults() []fault {
	return []fault{
		{name: "moderation's store emptied", on: alone, within: repairedWithin, run: func(t *testing.T, s *stack, l *load) {
			s.empty(t, "moderation")
			l.decisionsComeBack(t)
		}},
		{name: "comments' store emptied", on: alone, within: repairedWithin, run: func(t *testing.T, s *stack, l *load) {
			pause(t, oldPosts) // from now on comments could say of such a post that it does not exist
			l.withoutComments(func() { s.empty(t, "comments") })
			l.commentsComeBack()
		}},
		{name: "both stores emptied and the policy changed while both are down", on: alone, within: repairedWithin, run: func(t *testing.T, s *stack, l *load) {
			changePolicy(t, s, l, func() {})
		}},
		{name: "both stores emptied, the policy changed, and every comment delivered again", on: alone, within: repairedWithin, run: func(t *testing.T, s *stack, l *load) {
			changePolicy(t, s, l, func() { s.deliverAgain(t, "comments") }) // which has moderation's topic, too
		}},
	}
}

// commentsComeBack has everything whole only when comments shows each comment as before.
// What was shown once is not read again.
func (l *load) commentsComeBack() {
	var shown sync.Map
	l.alsoWhole = func(b books) error {
		reads, failed := errgroup.WithContext(context.Background())
		reads.SetLimit(commentReads)
		for id, post := range b.comments {
			if _, ok := shown.Load(id); ok || failed.Err() != nil {
				continue
			}
			reads.Go(func() error {
				var c comment
				if _, err := get(l.s.url("comments", "/posts/"+post+"/comments/"+id), &c); err != nil {
					return err
				}
				if c.Status == "pending" || c.Status != b.expected[id] && !l.mayBeDecided(id) {
					return fmt.Errorf("comment %s is %s, not %s", id, c.Status, b.expected[id])
				}
				shown.Store(id, nil)
				return nil
			})
		}
		return reads.Wait()
	}
}

// decisionsComeBack delivers every comment once more in the end, and nothing may
// contradict the decisions in the log: eventlog would refuse that to the dead letters.
func (l *load) decisionsComeBack(t *testing.T) {
	s := l.s
	before := len(readDeadLetters(t, s))
	l.afterwards = func() {
		s.deliverAgain(t, "moderation")
		late := s.write(t, 1, 1)
		eventually(t, func() error { return late.shownAt(t, s, s.App("query").Port) })
		eventually(t, func() error { return s.nothingPending(t) })
		checkLog(t, events(t, s.App("eventlog")))
		if letters := readDeadLetters(t, s)[before:]; len(letters) > 0 {
			t.Errorf("%d dead letters, the first for %q: %.300s", len(letters), letters[0].Data.Reason, letters[0].Data.Payload)
		}
	}
}

// changePolicy empties both stores while their services are down, and starts them with
// another policy. It rejects every comment of the load, but those that were decided before
// keep their decisions.
func changePolicy(t *testing.T, s *stack, l *load, meanwhile func()) {
	const another = "comment"
	binary := moderationThatRejects(t, another)
	l.withoutComments(func() {
		before := l.books()
		within(t, settledWithin, func() error { return s.settledUpTo(0, before) })
		var down []*system.Process
		for _, name := range []string{"comments", "moderation"} {
			p := s.process(t, s.App(name).Port)
			if err := errors.Join(p.Signal(syscall.SIGTERM), p.AwaitEnd(t.Context())); err != nil {
				t.Fatal(err)
			}
			if name == "moderation" {
				p.Args[0] = binary
			}
			s.empty(t, name)
			down = append(down, p)
		}
		meanwhile()
		l.orange = another
		for _, p := range down {
			s.launch(t, p)
		}
	})
	l.commentsComeBack()
	l.decisionsComeBack(t)
}

// moderationThatRejects builds moderation with another text in its policy.
func moderationThatRejects(t *testing.T, text string) (binary string) {
	t.Helper()
	dir, root := t.TempDir(), built.checkout.Root
	file := filepath.Join(root, "apps", "moderation", "policy", "policy.go")
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const had = `Text: "orange"`
	if !strings.Contains(string(source), had) {
		t.Fatalf("%s has no %s, for which this test puts another one", file, had)
	}
	changed, overlay := filepath.Join(dir, "policy.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
	if err == nil {
		err = errors.Join(
			os.WriteFile(changed, []byte(strings.Replace(string(source), had, fmt.Sprintf("Text: %q", text), 1)), 0o600),
			os.WriteFile(overlay, replace, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(dir, "moderation")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", binary, "./apps/moderation") //nolint:gosec // the arguments are ours
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}
