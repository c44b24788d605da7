package log

import (
	"net/http"
	"net/http/httptest"
	"testing"

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
