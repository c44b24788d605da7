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
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/identity/identitytest"
	"github.com/postbus/postbus/apps/internal/journal"
	"github.com/postbus/postbus/apps/internal/journal/journaltest"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

func create(j command.Journal, store *statetest.Memory, key, body string) *httptest.ResponseRecorder {
	engine := web.NewEngine()
	New("posts", j, store, identitytest.Open(), nil, time.Now).Routes(engine)
	req := httptest.NewRequest(http.MethodPost, "/posts/create", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res := httptest.NewRecorder()
	engine.ServeHTTP(res, req)
	return res
}

// The journal's commit is all: the post is stored when the event comes back.
func TestCreatePublishesThePostAndStoresNothing(t *testing.T) {
	j, store := journaltest.New(), statetest.New()
	res := create(j, store, "", `{"title":"A <title>","body":"A body"}`)
	if res.Code != http.StatusCreated || len(j.Events()) != 1 || store.Written() > 0 {
		t.Fatalf("answered %d with %d events and %d writes: %s", res.Code, len(j.Events()), store.Written(), res.Body)
	}
	var got event.Post
	if err := json.Unmarshal(res.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	e := j.Events()[0]
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
	j, store := journaltest.New(), statetest.New()
	first := create(j, store, "key", `{"title":"a <b> \u2028"}`)
	again := create(j, store, "key", `{"title":"a <b> \u2028"}`)
	if first.Code != http.StatusCreated || again.Code != first.Code || again.Body.String() != first.Body.String() {
		t.Errorf("answered %d %s, then %d %s", first.Code, first.Body, again.Code, again.Body)
	}
	if first.Header().Get("Location") != again.Header().Get("Location") {
		t.Errorf("at %s, then at %s", first.Header().Get("Location"), again.Header().Get("Location"))
	}
	if len(j.Events()) != 2 || j.Events()[0].ID != j.Events()[1].ID {
		t.Errorf("%d events were published", len(j.Events()))
	}
	if got := log.String(); strings.Count(got, "repeat=false") != 1 || strings.Count(got, "repeat=true") != 1 {
		t.Errorf("the log does not say which is the repeat:\n%s", got)
	}
	if res := create(j, store, "key", `{"title":"b"}`); res.Code != http.StatusUnprocessableEntity {
		t.Errorf("another request with the key is answered %d", res.Code)
	}
}

// A key belongs to what the client asked for, whatever the spacing and order of its JSON.
func TestAKeyHoldsHoweverTheBodyIsWritten(t *testing.T) {
	j, store := journaltest.New(), statetest.New()
	first := create(j, store, "key", `{"title":"a","body":"b <c>"}`)
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
			res := create(j, store, "key", test.body)
			if res.Code != test.status {
				t.Fatalf("answered %d %s, want %d", res.Code, res.Body, test.status)
			}
			if test.status == http.StatusCreated && (res.Body.String() != first.Body.String() || res.Header().Get("Location") != first.Header().Get("Location")) {
				t.Errorf("answered %s, and at first %s", res.Body, first.Body)
			}
		})
	}
	for _, e := range j.Events() {
		if e.ID != j.Events()[0].ID {
			t.Errorf("another event was published: %+v", e)
		}
	}
	none := create(j, store, "another key", `{"title":"a"}`)
	if res := create(j, store, "another key", `{"title":"a","body":""}`); res.Code != http.StatusCreated || res.Body.String() != none.Body.String() {
		t.Errorf("no body and an empty one: answered %d %s, and at first %s", res.Code, res.Body, none.Body)
	}
}

// Replicas of commit 3b4f435 compare this digest. During an upgrade one of them may get a
// repeat.
func TestAClaimHasTheDigestOfTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.New()
		create(journaltest.Start(t, store, &journaltest.Bus{}), store, "key", ` {"title":"a"}`)
		var claim struct{ Request string }
		if err := json.Unmarshal([]byte(store.Value(fmt.Sprintf("claim-%x", sha256.Sum256([]byte("key"))))), &claim); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%x", sha256.Sum256([]byte(` {"title":"a"}`))); claim.Request != want {
			t.Errorf("the digest is %s, want %s", claim.Request, want)
		}
	})
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
		j, store := journaltest.New(), statetest.New()
		res := create(j, store, "", postJSON(t, blank, ""))
		if res.Code != http.StatusUnprocessableEntity || len(j.Events()) > 0 || !strings.Contains(res.Body.String(), "title must not be empty") {
			t.Errorf("title %+q: %d %s", blank, res.Code, res.Body)
		}
		res = create(j, store, "", postJSON(t, "\u200bx👨‍👩‍👧", blank))
		if res.Code != http.StatusCreated || j.Events()[0].Post.Body != "" || j.Events()[0].Post.Title != "\u200bx👨‍👩‍👧" {
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
		j, store := journaltest.New(), statetest.New()
		res := create(j, store, "key", body)
		if res.Code != status || len(j.Events()) > 0 || store.Written() > 0 {
			t.Errorf("%.40q is answered %d with %d events and %d writes, want %d", body, res.Code, len(j.Events()), store.Written(), status)
		}
	}
}

// The bus gets the post when it is back.
func TestWhileTheBusIsDownPostsAreCreated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, bus := statetest.New(), &journaltest.Bus{}
		bus.Fail(statetest.ErrDown)
		res := create(journaltest.Start(t, store, bus), store, "", `{"title":"a"}`)
		if res.Code != http.StatusCreated || len(bus.Events()) > 0 {
			t.Errorf("answered %d %s", res.Code, res.Body)
		}
		bus.Fail(nil)
		time.Sleep(time.Second) // of the bubble's clock
		if events := bus.Events(); len(events) != 1 || events[0].Post.Title != "a" {
			t.Errorf("published %+v", events)
		}
	})
}

func TestWhileTheStoreIsDownCreateIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.New()
		j := journaltest.Start(t, store, &journaltest.Bus{})
		store.Fail(statetest.ErrDown)
		wantUnavailable(t, create(j, store, "", `{"title":"a"}`))
		store.Fail(nil)
	})
}

func TestAtTheJournalsBoundCreateIsUnavailable(t *testing.T) {
	j := journaltest.New()
	j.Fail(journal.ErrFull)
	wantUnavailable(t, create(j, statetest.New(), "", `{"title":"a"}`))
}

func wantUnavailable(t *testing.T, res *httptest.ResponseRecorder) {
	t.Helper()
	if res.Code != http.StatusServiceUnavailable || res.Header().Get("Retry-After") == "" {
		t.Errorf("answered %d %s", res.Code, res.Body)
	}
}
