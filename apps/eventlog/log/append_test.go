package log

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

// appendRoute serves what eventlog's channel has for a log and its dead letters.
func appendRoute(log, dead *Log) http.Handler {
	engine := web.NewEngine()
	engine.POST(eventlog.AppendPath+"/:type", ServeAppend("eventlog", log, DeadLetters{dead, time.Now}))
	return engine
}

// appendAs appends events as the services do: with their client.
func appendAs(t *testing.T, log, dead *Log, topic event.Type, events ...event.Event) error {
	t.Helper()
	server := httptest.NewServer(appendRoute(log, dead))
	defer server.Close()
	client := eventlog.NewClient(server.URL+eventlog.AppendPath, "")
	defer client.HTTP.CloseIdleConnections()
	return client.Append(t.Context(), topic, events)
}

func TestEventsArePutIntoTheLogWithoutTheBus(t *testing.T) {
	store := statetest.New()
	l, dead := start(t, store), startDead(t, statetest.New())
	all := some(t, 0, eventlog.MaxAppend+1)
	mustAppend(t, l, all[0]) // it came by the bus
	for range 2 {
		if err := appendAs(t, l, dead, event.PostCreated, all[:eventlog.MaxAppend]...); err != nil {
			t.Fatal(err)
		}
	}
	wantLog(t, store, all[:eventlog.MaxAppend], true)
	if err := appendAs(t, l, dead, event.PostCreated, all...); err == nil || !strings.Contains(err.Error(), "413") {
		t.Errorf("%d events: %v", len(all), err)
	}
	wantLog(t, store, all[:eventlog.MaxAppend], true)
	if end, err := dead.End(); err != nil || end.Sequence != 0 {
		t.Errorf("the dead letters end at %s, error %v", end, err)
	}
}

// The journal finds an event that eventlog refuses among the dead letters, as after a delivery.
func TestWhatTheLogCanNeverTakeBecomesADeadLetter(t *testing.T) {
	store := statetest.New()
	l, dead := start(t, store), startDead(t, statetest.New())
	first, other, last := titled(t, 1, "a title"), titled(t, 1, "another title"), titled(t, 2, "the last")
	mustAppend(t, l, first)
	for range 2 {
		if err := appendAs(t, l, dead, event.PostCreated, other, last); err != nil {
			t.Fatal(err)
		}
	}
	wantLog(t, store, []event.Event{first, last}, true)
	id := bus.DeadLetterID("eventlog", event.PostCreated, other)
	known, err := dead.Known(t.Context(), []string{id})
	if end, endErr := dead.End(); err != nil || endErr != nil || !slices.Equal(known, []string{id}) || end.Sequence != 1 {
		t.Errorf("known are %v, the dead letters end at %s, errors %v, %v", known, end, err, endErr)
	}
	if err := appendAs(t, l, dead, event.CommentCreated, titled(t, 3, "of another type")); err != nil {
		t.Error(err)
	}
	if end, err := dead.End(); err != nil || end.Sequence != 2 {
		t.Errorf("the dead letters end at %s, error %v", end, err)
	}
	wantLog(t, store, []event.Event{first, last}, true)
}

func TestAnAppendThatTheStoreDoesNotTakeIs503(t *testing.T) {
	store := statetest.New()
	l, dead := start(t, store), startDead(t, statetest.New())
	store.Fail(statetest.ErrDown)
	err := appendAs(t, l, dead, event.PostCreated, titled(t, 1, "a"))
	if err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("error %v", err)
	}
	store.Fail(nil)
	if err := appendAs(t, l, dead, event.PostCreated, titled(t, 1, "a")); err != nil {
		t.Error(err)
	}
}

func TestAnAppendThatIsNotWellFormedIsRefused(t *testing.T) {
	store := statetest.New()
	routes := appendRoute(start(t, store), startDead(t, statetest.New()))
	for name, test := range map[string]struct {
		path, mediaType, body string
		status                int
	}{
		"an unknown type":    {"/append/Nothing", eventlog.ContentType, "[]", http.StatusNotFound},
		"no type":            {"/append/", eventlog.ContentType, "[]", http.StatusNotFound},
		"plain JSON":         {"/append/PostCreated", "application/json", "[]", http.StatusUnsupportedMediaType},
		"a form":             {"/append/PostCreated", "text/plain", "[]", http.StatusUnsupportedMediaType},
		"no JSON":            {"/append/PostCreated", eventlog.ContentType, "[", http.StatusBadRequest},
		"an object":          {"/append/PostCreated", eventlog.ContentType, "{}", http.StatusBadRequest},
		"something after it": {"/append/PostCreated", eventlog.ContentType, "[] []", http.StatusBadRequest},
		"no events":          {"/append/PostCreated", eventlog.ContentType, "[]", http.StatusNoContent},
		"the largest body":   {"/append/PostCreated", eventlog.ContentType, "[" + strings.Repeat(" ", eventlog.MaxAppendBytes-2) + "]", http.StatusNoContent},
		"a larger body":      {"/append/PostCreated", eventlog.ContentType, "[" + strings.Repeat(" ", eventlog.MaxAppendBytes-1) + "]", http.StatusRequestEntityTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest(http.MethodPost, test.path, strings.NewReader(test.body))
			req.Header.Set("Content-Type", test.mediaType)
			res := httptest.NewRecorder()
			routes.ServeHTTP(res, req)
			if res.Code != test.status {
				t.Errorf("%d %.200s, want %d", res.Code, res.Body, test.status)
			}
		})
	}
	wantLog(t, store, nil, true)
}

func TestAnEventlogThatCanNotAppendIsAnError(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"an older one": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"one that answers something else": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprint(w, "hello")
		},
		"one that cuts off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(handler)
			defer server.Close()
			client := eventlog.NewClient(server.URL, "")
			defer client.HTTP.CloseIdleConnections()
			if err := client.Append(t.Context(), event.PostCreated, some(t, 0, 1)); err == nil || errors.Is(err, t.Context().Err()) {
				t.Errorf("error %v", err)
			}
		})
	}
}
