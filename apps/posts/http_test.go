package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

func create(bus *topic, store *statetest.Memory, key, body string) *httptest.ResponseRecorder {
	engine := web.NewEngine()
	(&api{source: "posts", commands: command.New(bus, store)}).routes(engine)
	req := httptest.NewRequest(http.MethodPost, "/posts/create", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res := httptest.NewRecorder()
	engine.ServeHTTP(res, req)
	return res
}

// The publish is the commit: the store is written when the event comes back.
func TestCreatePublishesThePostAndStoresNothing(t *testing.T) {
	bus, store := &topic{}, statetest.New()
	res := create(bus, store, "", `{"title":"A <title>","body":"A body"}`)
	if res.Code != http.StatusCreated || len(bus.events) != 1 || store.Writes > 0 {
		t.Fatalf("answered %d with %d events and %d writes: %s", res.Code, len(bus.events), store.Writes, res.Body)
	}
	var got event.Post
	if err := json.Unmarshal(res.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	e := bus.events[0]
	if got != *e.Post || got.Title != "A <title>" || got.Body != "A body" || got.Revision != 1 {
		t.Errorf("answered %+v, published %+v", got, e.Post)
	}
	if made, ok := event.IDTime(got.ID); !ok || made.IsZero() {
		t.Errorf("the id is %s", got.ID)
	}
	if loc := res.Header().Get("Location"); loc != "/posts/"+got.ID {
		t.Errorf("Location is %s", loc)
	}
	raw, err := event.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := event.Parse(event.PostCreated, raw); err != nil {
		t.Errorf("what was published is no event: %v", err)
	}
}

func TestARepeatWithTheSameKeyAnswersTheSameBody(t *testing.T) {
	var log bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	bus, store := &topic{}, statetest.New()
	first := create(bus, store, "key", `{"title":"a <b> \u2028"}`)
	again := create(bus, store, "key", `{"title":"a <b> \u2028"}`)
	if first.Code != http.StatusCreated || again.Code != first.Code || again.Body.String() != first.Body.String() {
		t.Errorf("answered %d %s, then %d %s", first.Code, first.Body, again.Code, again.Body)
	}
	if first.Header().Get("Location") != again.Header().Get("Location") {
		t.Errorf("at %s, then at %s", first.Header().Get("Location"), again.Header().Get("Location"))
	}
	if len(bus.events) != 2 || bus.events[0].ID != bus.events[1].ID {
		t.Errorf("%d events were published", len(bus.events))
	}
	if got := log.String(); strings.Count(got, "repeat=false") != 1 || strings.Count(got, "repeat=true") != 1 {
		t.Errorf("the log does not tell the repeat from the first:\n%s", got)
	}
	if res := create(bus, store, "key", `{"title":"b"}`); res.Code != http.StatusUnprocessableEntity {
		t.Errorf("another request with the key is answered %d", res.Code)
	}
}

func TestWhatIsRefusedIsNotPublished(t *testing.T) {
	for body, status := range map[string]int{
		`{}`:                                422,
		`{"title":" "}`:                     422,
		`{"title":"a","body":"` + "\xff\"}": 422,
		`{"title":"` + strings.Repeat("x", 201) + `"}`: 422,
		`{"title":"a","id":"b"}`:                       400,
		`[]`:                                           400,
		strings.Repeat(" ", 65_537):                    413,
	} {
		bus, store := &topic{}, statetest.New()
		res := create(bus, store, "key", body)
		if res.Code != status || len(bus.events) > 0 || store.Writes > 0 {
			t.Errorf("%.40q is answered %d with %d events and %d writes, want %d", body, res.Code, len(bus.events), store.Writes, status)
		}
	}
}

func TestWhileTheBusIsDownCreateIsUnavailable(t *testing.T) {
	res := create(&topic{err: statetest.ErrDown}, statetest.New(), "", `{"title":"a"}`)
	if res.Code != http.StatusServiceUnavailable || res.Header().Get("Retry-After") == "" {
		t.Errorf("answered %d %s", res.Code, res.Body)
	}
}
