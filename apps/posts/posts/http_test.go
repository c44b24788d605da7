package posts

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

func create(bus *topic, store *statetest.Memory, key, body string) *httptest.ResponseRecorder {
	engine := web.NewEngine()
	New("posts", bus, store, time.Now).Routes(engine)
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
	if res.Code != http.StatusCreated || len(bus.events) != 1 || store.Written() > 0 {
		t.Fatalf("answered %d with %d events and %d writes: %s", res.Code, len(bus.events), store.Written(), res.Body)
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
		t.Errorf("the log does not say which is the repeat:\n%s", got)
	}
	if res := create(bus, store, "key", `{"title":"b"}`); res.Code != http.StatusUnprocessableEntity {
		t.Errorf("another request with the key is answered %d", res.Code)
	}
}

// A key belongs to what the client asked for, whatever the spacing and order of its JSON.
func TestAKeyHoldsHoweverTheBodyIsWritten(t *testing.T) {
	bus, store := &topic{}, statetest.New()
	first := create(bus, store, "key", `{"title":"a","body":"b <c>"}`)
	if first.Code != http.StatusCreated {
		t.Fatalf("answered %d %s", first.Code, first.Body)
	}
	for name, test := range map[string]struct {
		body   string
		status int
	}{
		"spaces":         {" {\n\t\"title\" : \"a\", \"body\": \"b <c>\"\r\n}\n", 201},
		"order":          {`{"body":"b <c>","title":"a"}`, 201},
		"escapes":        {`{"\u0074itle":"\u0061","body":"b \u003Cc\u003e"}`, 201},
		"another title":  {`{"title":"A","body":"b <c>"}`, 422},
		"another body":   {`{"title":"a","body":"b <c> "}`, 422},
		"no body":        {`{"title":"a"}`, 422},
		"title and body": {`{"title":"b <c>","body":"a"}`, 422},
	} {
		t.Run(name, func(t *testing.T) {
			res := create(bus, store, "key", test.body)
			if res.Code != test.status {
				t.Fatalf("answered %d %s, want %d", res.Code, res.Body, test.status)
			}
			if test.status == http.StatusCreated && (res.Body.String() != first.Body.String() || res.Header().Get("Location") != first.Header().Get("Location")) {
				t.Errorf("answered %s, and at first %s", res.Body, first.Body)
			}
		})
	}
	for _, e := range bus.events {
		if e.ID != bus.events[0].ID {
			t.Errorf("another event was published: %+v", e)
		}
	}
	none := create(bus, store, "another key", `{"title":"a"}`)
	if res := create(bus, store, "another key", `{"title":"a","body":""}`); res.Code != http.StatusCreated || res.Body.String() != none.Body.String() {
		t.Errorf("no body and an empty one: answered %d %s, and at first %s", res.Code, res.Body, none.Body)
	}
}

// Replicas of commit 3b4f435 compare this digest. During an upgrade one of them may get a
// repeat.
func TestAClaimHasTheDigestOfTheBody(t *testing.T) {
	store := statetest.New()
	create(&topic{}, store, "key", ` {"title":"a"}`)
	var claim struct{ Request string }
	if err := json.Unmarshal([]byte(store.Value(fmt.Sprintf("claim-%x", sha256.Sum256([]byte("key"))))), &claim); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte(` {"title":"a"}`))); claim.Request != want {
		t.Errorf("the digest is %s, want %s", claim.Request, want)
	}
}

func postJSON(t *testing.T, title, body string) string {
	t.Helper()
	raw, err := json.Marshal(map[string]string{"title": title, "body": body})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestATitleThatShowsNothingIsRefusedAndABodyLikeThatIsNone(t *testing.T) {
	for _, blank := range []string{"   ", "\u200b", "\u00ad", "\u2800", "\u3164", "\u0007"} {
		bus, store := &topic{}, statetest.New()
		res := create(bus, store, "", postJSON(t, blank, ""))
		if res.Code != http.StatusUnprocessableEntity || len(bus.events) > 0 || !strings.Contains(res.Body.String(), "title must not be empty") {
			t.Errorf("title %+q: %d %s", blank, res.Code, res.Body)
		}
		res = create(bus, store, "", postJSON(t, "\u200bx👨‍👩‍👧", blank))
		if res.Code != http.StatusCreated || bus.events[0].Post.Body != "" || bus.events[0].Post.Title != "\u200bx👨‍👩‍👧" {
			t.Errorf("body %+q: %d %s", blank, res.Code, res.Body)
		}
	}
}

func TestWhatIsRefusedIsNotPublished(t *testing.T) {
	for body, status := range map[string]int{
		`{}`:                                422,
		`{"title":" "}`:                     422,
		`{"title":"a","body":"` + "\xff\"}": 422,
		`{"title":"` + strings.Repeat("x", 201) + `"}`:               422,
		`{"title":"a","body":"` + strings.Repeat(" ", 10_001) + `"}`: 422,
		`{"title":"a","id":"b"}`:                                     400,
		`[]`:                                                         400,
		strings.Repeat(" ", 65_537):                                  413,
	} {
		bus, store := &topic{}, statetest.New()
		res := create(bus, store, "key", body)
		if res.Code != status || len(bus.events) > 0 || store.Written() > 0 {
			t.Errorf("%.40q is answered %d with %d events and %d writes, want %d", body, res.Code, len(bus.events), store.Written(), status)
		}
	}
}

func TestWhileTheBusIsDownCreateIsUnavailable(t *testing.T) {
	res := create(&topic{err: statetest.ErrDown}, statetest.New(), "", `{"title":"a"}`)
	if res.Code != http.StatusServiceUnavailable || res.Header().Get("Retry-After") == "" {
		t.Errorf("answered %d %s", res.Code, res.Body)
	}
}
