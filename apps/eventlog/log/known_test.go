package log

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

// knownBy asks a log as the services do: with their client, over the routes of eventlog.
func knownBy(t *testing.T, l *Log, ids []string) (map[string]bool, error) {
	t.Helper()
	engine := web.NewEngine()
	routes := engine.Group("/", web.WellFormedQuery) // as service.API does
	routes.GET(eventlog.EventsPath+eventlog.KnownPath, ServeKnown(l))
	server := httptest.NewServer(engine)
	defer server.Close()
	client := eventlog.NewClient(server.URL+eventlog.EventsPath, "")
	defer client.HTTP.CloseIdleConnections()
	return client.Known(t.Context(), ids)
}

func idsOf(events []event.Event) []string {
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	return ids
}

func TestALogSaysWhichOfSeveralEventsItHas(t *testing.T) {
	store := statetest.New()
	l, other := start(t, store), start(t, store)
	all := some(t, 0, eventlog.MaxKnown)
	mustAppend(t, l, all[:60]...)
	mustAppend(t, other, all[60:70]...) // by another replica, which this one has not read yet
	known, err := knownBy(t, l, idsOf(all))
	if err != nil || len(known) != 70 {
		t.Fatalf("%d of 70 are known: %v", len(known), err)
	}
	for i, e := range all {
		if known[e.ID] != (i < 70) {
			t.Errorf("event %d is known: %v", i, known[e.ID])
		}
	}
	if _, err := knownBy(t, l, append(idsOf(all), "one more")); err == nil {
		t.Errorf("%d ids are not too many", eventlog.MaxKnown+1)
	}
	if known, err := knownBy(t, l, []string{""}); err != nil || len(known) != 0 {
		t.Errorf("no id is known: %v, %v", known, err)
	}
}

func TestALogThatCannotBeReadDoesNotSayWhatItHas(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 1)...)
	store.Fail(statetest.ErrDown)
	w := httptest.NewRecorder()
	engine := gin.New()
	engine.GET("/known", ServeKnown(l))
	engine.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/known?ids=a,b", http.NoBody))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
}

// askKnown asks a log which events it has, with a query as it is.
func askKnown(t *testing.T, l *Log, query string) *httptest.ResponseRecorder {
	t.Helper()
	engine := web.NewEngine()
	engine.Group("/", web.WellFormedQuery).GET("/known", ServeKnown(l))
	return get(t, engine, "/known"+query)
}

func TestAQuestionThatIsNotWellFormedIs400(t *testing.T) {
	l := start(t, statetest.New())
	mustAppend(t, l, some(t, 0, 1)...)
	many := func(n int) string { return "?ids=" + strings.Repeat(",", n-1) }
	for query, status := range map[string]int{
		"": 200, "?ids=": 200, "?ids=a,,b": 200, many(eventlog.MaxKnown): 200,
		many(eventlog.MaxKnown + 1): 400, "?ids=a&ids=b": 400, "?ids=%zz": 400,
	} {
		res := askKnown(t, l, query)
		if res.Code != status || status == http.StatusOK && res.Body.String() != `{"known":[]}` {
			t.Errorf("%.20s: answered %d %s, want %d", query, res.Code, res.Body, status)
		}
		if status != http.StatusOK && res.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%.20s: answered %s", query, res.Header().Get("Content-Type"))
		}
	}
}

// It can say neither that it has an event nor that it has not.
func TestALogThatIsLoadedDoesNotSayWhatItHas(t *testing.T) {
	l := New(Config{Store: statetest.New(), Now: time.Now})
	wantUnavailable(t, "a log that is loaded", askKnown(t, l, "?ids=a"))
}

// Beyond the window of ids an event is not recognised: the same answer as for one that is
// not there.
func TestALogKnowsTheEventsOfItsWindow(t *testing.T) {
	const window = 20
	store := statetest.New()
	l := run(t, New(Config{Store: store, Now: time.Now, Window: window}))
	all := some(t, 0, 3*window)
	mustAppend(t, l, all...)
	for _, replica := range []*Log{l, run(t, New(Config{Store: store, Now: time.Now, Window: window}))} {
		known, err := knownBy(t, replica, idsOf(all))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all[2*window:] {
			if !known[e.ID] {
				t.Errorf("event %s of the window is not known", e.Subject)
			}
		}
		if len(known) > 2*window {
			t.Errorf("%d events are known", len(known))
		}
	}
}
