package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// change is a server-sent event.
type change struct {
	id       int    // the number in its id
	position string // its whole id
	event    string
	data     string
}

// reader reads a live stream in the background.
type reader struct {
	changes chan change
	cancel  context.CancelFunc
	// at is the number of the last id, of a change or not, and position is that id.
	at       int
	position string
}

// read opens the stream at a replica, after a number (0: from now on).
func read(t *testing.T, base string, after int) *reader {
	t.Helper()
	if after == 0 {
		return readOn(t, base, "")
	}
	return readOn(t, base, strconv.Itoa(after))
}

// readOn opens the stream at a replica, after the last id of another reader (empty: from
// now on).
func readOn(t *testing.T, base, lastID string) *reader {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/posts", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if got := res.Header.Get("Content-Type"); res.StatusCode != 200 || got != "text/event-stream" {
		t.Fatalf("%s, %s", res.Status, got)
	}
	r := &reader{changes: make(chan change, 10_000), cancel: cancel}
	t.Cleanup(cancel)
	go func() {
		defer close(r.changes)
		defer func() { _ = res.Body.Close() }()
		var c change
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			switch name, value, _ := strings.Cut(lines.Text(), ": "); name {
			case "id":
				number, _, _ := strings.Cut(value, "/")
				c.id, _ = strconv.Atoi(number)
				c.position = value
			case "event":
				c.event = value
			case "data":
				c.data = value
			case "":
				r.changes <- c
				c = change{id: c.id, position: c.position}
			}
		}
	}()
	return r
}

// until collects changes until enough returns true. Their ids must rise.
func (r *reader) until(t *testing.T, enough func(change) bool) []change {
	t.Helper()
	var got []change
	timeout := time.After(2 * soon)
	for {
		select {
		case c, open := <-r.changes:
			if !open {
				t.Fatalf("the stream ended after %d changes", len(got))
			}
			r.position = c.position
			if c.data == "" {
				r.at = max(r.at, c.id)
				continue
			}
			if c.id <= r.at {
				t.Fatalf("change %d after %d", c.id, r.at)
			}
			r.at = c.id
			got = append(got, c)
			if enough(c) {
				return got
			}
		case <-timeout:
			t.Fatalf("after %d changes nothing more comes", len(got))
		}
	}
}

// awaitShown waits until query shows the post. A comment that arrives before its post is
// no change of its own, but part of the post's.
func (s *stack) awaitShown(t *testing.T, post string) {
	t.Helper()
	eventually(t, func() error {
		r, err := do("GET", s.url("query", "/posts/"+post), "")
		if err == nil && r.status != http.StatusOK {
			err = errors.New(r.String())
		}
		return err
	})
}

// count counts which changes were seen, by what they are about.
func count(changes []change, into map[string]int) {
	for _, c := range changes {
		var about struct{ ID, Status string }
		if err := json.Unmarshal([]byte(c.data), &about); err == nil {
			into[c.event+" "+about.ID]++
		}
	}
}

func TestTheStreamShowsEveryChange(t *testing.T) {
	r := read(t, shared.App("query").URL(), 0)
	p := shared.createPost(t, "live")
	shared.awaitShown(t, p.ID)
	c := shared.createComment(t, p.ID, "an orange comment")
	all := r.until(t, func(change change) bool {
		return change.event == "CommentUpdated" && strings.Contains(change.data, c.ID)
	})
	// Changes of earlier tests may still arrive.
	got := slices.DeleteFunc(all, func(change change) bool { return !strings.Contains(change.data, p.ID) })
	var events []string
	for _, change := range got {
		events = append(events, change.event)
	}
	if strings.Join(events, " ") != "PostCreated CommentCreated CommentUpdated" {
		t.Fatalf("events: %v", events)
	}
	if first := decode[post](t, []byte(got[0].data)); first.ID != p.ID || first.Title != "live" {
		t.Errorf("post: %s", got[0].data)
	}
	if pending := decode[comment](t, []byte(got[1].data)); pending.ID != c.ID || pending.PostID != p.ID {
		t.Errorf("comment: %s", got[1].data)
	}
	if last := decode[comment](t, []byte(got[2].data)); last.ID != c.ID || last.Status != "rejected" {
		t.Errorf("comment: %s", got[2].data)
	}
}

// TestAReaderThatComesBackGetsEachChangeOnce disconnects a reader again and again,
// between replicas and over a restart, while others write.
func TestAReaderThatComesBackGetsEachChangeOnce(t *testing.T) {
	s := shared
	first, second := s.App("query"), s.replica(t, "query")
	seen, expected := map[string]int{}, map[string]bool{}
	r := read(t, first.URL(), 0)
	begin := s.createPost(t, "begin")
	got := r.until(t, func(c change) bool { return strings.Contains(c.data, begin.ID) })
	count(got, seen)
	at, position := r.at, r.position

	for round := range 6 {
		p := s.createPost(t, fmt.Sprint("post ", round))
		s.awaitShown(t, p.ID)
		expected["PostCreated "+p.ID] = true
		for range 3 {
			id := s.createComment(t, p.ID, "fine").ID
			expected["CommentCreated "+id], expected["CommentUpdated "+id] = true, true
		}
		r.cancel()
		from := first
		if round%2 == 0 {
			from = second
		}
		if round == 3 { // after a restart its memory is empty, and it reads the log
			p := s.process(t, from.Port)
			kill(t, p)
			s.launch(t, p)
			awaitReady(t, from)
		}
		r = readOn(t, from.URL(), position)
		mark := s.createPost(t, fmt.Sprint("round ", round))
		expected["PostCreated "+mark.ID] = true
		got := r.until(t, func(c change) bool { return strings.Contains(c.data, mark.ID) })
		if got[0].id <= at {
			t.Fatalf("round %d: change %d again", round, got[0].id)
		}
		count(got, seen)
		at, position = r.at, r.position
	}
	// Comments may still be in moderation when the last mark arrives.
	eventually(t, func() error {
		for what := range expected {
			if seen[what] == 0 {
				end := s.createPost(t, "end")
				count(r.until(t, func(c change) bool { return strings.Contains(c.data, end.ID) }), seen)
				return errors.New("missing: " + what)
			}
		}
		return nil
	})
	for what, times := range seen {
		if times != 1 {
			t.Errorf("%s came %d times", what, times)
		}
	}
	want(t, 400, "GET", first.URL()+"/posts", "", "Accept: text/event-stream", "Last-Event-ID: x")
}
