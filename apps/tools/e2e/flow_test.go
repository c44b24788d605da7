package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
)

func TestAPostIsShownToReaders(t *testing.T) {
	r := want(t, 201, "POST", shared.url("posts", "/posts/create"), `{"title":"Hello","body":"A first post."}`)
	p := decode[post](t, r.body)
	if p.ID == "" || p.Title != "Hello" || p.Body != "A first post." {
		t.Fatalf("created: %s", r.body)
	}
	if got := r.header.Get("Location"); got != "/posts/"+p.ID {
		t.Errorf("Location: %q", got)
	}
	eventually(t, func() error {
		r := want(t, 200, "GET", shared.url("query", "/posts"), "")
		if got := decode[map[string]post](t, r.body)[p.ID]; got.Title != "Hello" {
			return fmt.Errorf("not in GET /posts: %s", r)
		}
		return nil
	})
	if got := decode[post](t, want(t, 200, "GET", shared.url("query", "/posts/"+p.ID), "").body); got.Title != "Hello" {
		t.Errorf("GET /posts/%s: %+v", p.ID, got)
	}
}

func TestACommentIsModeratedAndShownEverywhere(t *testing.T) {
	p := shared.createPost(t, "moderated")
	eventually(t, func() error { return settled(shared.App("query"), p.ID, nil) }) // a 404 ends the test below
	for content, status := range map[string]string{
		"A kind word.":              "approved",
		"I like orange.":            "rejected",
		"I like ORANGE juice":       "rejected",
		"ｏｒａｎｇｅ in full width":      "rejected",
		"an örángé with accents":    "rejected",
		"o\u0072\u0301ange, marked": "rejected",
		"Oranje is Dutch.":          "approved",
	} {
		r := want(t, 201, "POST", shared.url("comments", "/posts/"+p.ID+"/comments"), jsonOf(t, map[string]string{"content": content, "author": "Ann"}))
		c := decode[comment](t, r.body)
		if c.Status != "pending" || c.PostID != p.ID || c.Content != content || c.Author != "Ann" {
			t.Fatalf("created: %s", r.body)
		}
		eventually(t, func() error {
			one := decode[comment](t, want(t, 200, "GET", shared.url("comments", r.header.Get("Location")), "").body)
			listed := decode[[]comment](t, want(t, 200, "GET", shared.url("comments", "/posts/"+p.ID+"/comments"), "").body)
			post := decode[post](t, want(t, 200, "GET", shared.url("query", "/posts/"+p.ID), "").body)
			page := decode[map[string]struct{ Comments []comment }](t, want(t, 200, "GET", shared.url("query", "/posts"), "").body)
			for where, found := range map[string][]comment{
				"GET one comment": {one}, "GET the comments": listed, "GET /posts/:id": post.Comments, "GET /posts": page[p.ID].Comments,
			} {
				i := slices.IndexFunc(found, func(f comment) bool { return f.ID == c.ID })
				if i < 0 || found[i].Status != status {
					return fmt.Errorf("%q is not %s in %s: %+v", content, status, where, found)
				}
			}
			return nil
		})
	}
}

func TestTheLogHasAllEventsAsCloudEvents(t *testing.T) {
	before := len(events(t, shared.App("eventlog")))
	p := shared.createPost(t, "logged")
	c := shared.createComment(t, p.ID, "logged as well")
	var mine []cloudevents.Event
	eventually(t, func() error {
		mine = nil
		for _, e := range readLog(t, before) {
			if e.Subject() == p.ID || e.Subject() == c.ID {
				mine = append(mine, e)
			}
		}
		if len(mine) < 4 {
			return fmt.Errorf("%d of the 4 events are there", len(mine))
		}
		return nil
	})
	var types []string
	for _, e := range mine {
		types = append(types, e.Type())
		if err := e.Validate(); err != nil {
			t.Errorf("%s: %v", e.Type(), err)
		}
		if e.DataContentType() != "application/json" || e.Time().IsZero() || e.Source() == "" {
			t.Errorf("attributes of %s: %s", e.Type(), e)
		}
	}
	slices.Sort(types)
	if want := []string{"CommentCreated", "CommentModerated", "CommentUpdated", "PostCreated"}; !slices.Equal(types, want) {
		t.Errorf("events: %v, want each once of %v", types, want)
	}
	// The data is in the canonical order, too. Otherwise a replay is slow.
	for _, e := range events(t, shared.App("eventlog"))[before:] {
		if data := string(e.Data); !strings.HasPrefix(data, `{"body":`) && !strings.HasPrefix(data, `{"content":`) {
			t.Errorf("the members of %s's data are not sorted: %s", e.Type, data)
		}
	}
	for _, e := range mine {
		var data comment
		if e.Type() == "PostCreated" {
			continue
		}
		if err := e.DataAs(&data); err != nil || data.Content != "logged as well" {
			t.Errorf("data %+v, %v", data, err)
		}
	}
	checkLog(t, events(t, shared.App("eventlog")))
}

// The events on the bus are CloudEvents, too, exactly as the services encoded them.
func TestTheBusHasTheEventsAsTheServicesEncodedThem(t *testing.T) {
	needs(t, redisKind, "it reads Redis's streams")
	c := shared.createComment(t, shared.createPost(t, "on the bus").ID, "as well")
	eventually(t, func() error {
		logged, err := inTheLogSoFar(shared.App("eventlog"), 0)
		if err == nil && logged["CommentUpdated "+c.ID] == 0 {
			err = errors.New("the comment is not updated yet")
		}
		return err
	})
	store := shared.store(t)
	for _, topic := range topics {
		last, err := store.XRevRangeN(t.Context(), topic, "+", "-", 1).Result()
		if err != nil || len(last) != 1 {
			t.Fatalf("%s: %v, %v", topic, last, err)
		}
		data, _ := last[0].Values["data"].(string)
		var e cloudevents.Event
		if err := json.Unmarshal([]byte(data), &e); err != nil || e.Validate() != nil || e.Type() != topic {
			t.Errorf("%s: %v %v: %s", topic, err, e.Validate(), data)
		}
		// The beginning of the canonical form (apps/internal/event/canonical.go). Other
		// forms make deliveries more expensive.
		if !strings.HasPrefix(data, `{"specversion":"1.0","id":`) {
			t.Errorf("a sidecar has encoded %s anew: %s", topic, data)
		}
	}
}

// readLog parses the log with the CloudEvents SDK.
func readLog(t *testing.T, after int) []cloudevents.Event {
	t.Helper()
	r := want(t, 200, "GET", shared.url("eventlog", fmt.Sprintf("/events?limit=10000&after=%d", after)), "")
	if got := r.header.Get("Content-Type"); got != cloudevents.ApplicationCloudEventsBatchJSON {
		t.Fatalf("Content-Type: %s", got)
	}
	var batch []cloudevents.Event
	if err := json.Unmarshal(r.body, &batch); err != nil {
		t.Fatal(err)
	}
	return batch
}

func TestTheLogIsReadFromACursor(t *testing.T) {
	for i := range 3 {
		shared.createPost(t, fmt.Sprint("cursor ", i))
	}
	var all []logEvent
	eventually(t, func() error {
		if all = events(t, shared.App("eventlog")); len(all) < 3 {
			return fmt.Errorf("%d events", len(all))
		}
		return nil
	})
	at := len(all) - 2
	r := want(t, 200, "GET", shared.url("eventlog", fmt.Sprintf("/events?after=%d&limit=1", at)), "")
	if got := decode[[]logEvent](t, r.body); len(got) != 1 || got[0].ID != all[at].ID {
		t.Errorf("after %d, limit 1: %s", at, r.body)
	}
	// A waiting read gets the next events as soon as they are in the log. (Events of
	// earlier tests may still arrive.)
	p := post{}
	for after, found := len(all), false; !found; {
		done := make(chan response, 1)
		go func() {
			r, err := do("GET", shared.url("eventlog", fmt.Sprintf("/events?after=%d&wait=15", after)), "")
			if err != nil {
				r.body = []byte(err.Error())
			}
			done <- r
		}()
		if p.ID == "" {
			p = shared.createPost(t, "waited for")
		}
		r := <-done
		got := decode[[]logEvent](t, r.body)
		if len(got) == 0 || r.took > 5*time.Second {
			t.Fatalf("the waiting read got %s after %s", r, r.took)
		}
		after += len(got)
		found = slices.ContainsFunc(got, func(e logEvent) bool { return e.Subject == p.ID })
	}
	for _, query := range []string{"after=-1", "after=x", "limit=10001", "wait=31"} {
		want(t, 400, "GET", shared.url("eventlog", "/events?"+query), "")
	}
}

func TestDaprListsAllApps(t *testing.T) {
	cmd := exec.Command(shared.Dapr.CLI, "list", "-o", "json")
	cmd.Env = append(os.Environ(), "DAPR_RUNTIME_PATH="+shared.Dapr.Runtime)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var listed []struct{ AppID string }
	if err := json.Unmarshal(out, &listed); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	for _, a := range shared.Apps {
		if !slices.ContainsFunc(listed, func(l struct{ AppID string }) bool { return l.AppID == a.ID }) {
			t.Errorf("dapr list does not show %s: %s", a.ID, out)
		}
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestACommentRightAfterItsPostIsTaken(t *testing.T) {
	for i := range 200 {
		p := shared.createPost(t, fmt.Sprint("commented at once ", i))
		r, err := do("POST", shared.url("comments", "/posts/"+p.ID+"/comments"), `{"content":"first"}`)
		if err != nil || r.status != http.StatusCreated {
			t.Fatalf("comment on post %d: %s, %v", i, r, err)
		}
	}
}
