package log

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/eventlog/eventlogtest"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

// recordedEnd is the number of the last event of the recorded log.
const recordedEnd = 286

// recordedStore is eventlog's store as commit 3b4f435 left it.
func recordedStore(t *testing.T) *statetest.Memory {
	t.Helper()
	var keys map[string]struct {
		Value   []byte
		Version string
	}
	eventlogtest.ReadRecorded(t, "eventlog-store", &keys)
	store := statetest.New()
	for key, k := range keys {
		version, err := strconv.Atoi(k.Version)
		if err != nil {
			t.Fatal(err)
		}
		putAt(store, key, string(k.Value), version)
	}
	return store
}

// recordedAPI serves a log and its dead letters, once both are loaded.
func recordedAPI(t *testing.T, log, dead *Log) http.Handler {
	t.Helper()
	mustAppend(t, log)
	mustAppend(t, dead)
	e := web.NewEngine()
	e.GET(eventlog.EventsPath, Serve(context.Background(), log))
	e.GET(eventlog.DeadLettersPath, Serve(context.Background(), dead))
	return e
}

func wantRecorded(t *testing.T, h http.Handler, want []eventlogtest.RecordedAnswer) {
	t.Helper()
	for _, a := range want {
		res := get(t, h, a.Path)
		if res.Code != a.Status || res.Body.String() != a.Body {
			t.Errorf("%s: %d with %d bytes, want %d with the recorded %d bytes", a.Path, res.Code, res.Body.Len(), a.Status, len(a.Body))
		}
		for name, value := range a.Header {
			if got := res.Header().Get(name); got != value {
				t.Errorf("%s: %s is %q, want %q", a.Path, name, got, value)
			}
		}
	}
}

func TestALogOfTheFirstVersionIsAnsweredByteForByte(t *testing.T) {
	var want []eventlogtest.RecordedAnswer
	eventlogtest.ReadRecorded(t, "eventlog-answers", &want)
	store := recordedStore(t)
	for range 2 { // as it was left, and as the first replica of this version left it
		wantRecorded(t, recordedAPI(t, start(t, store), startDead(t, store)), want)
	}
}

func TestALogOfTheFirstVersionGoesOn(t *testing.T) {
	var answers []eventlogtest.RecordedAnswer
	eventlogtest.ReadRecorded(t, "eventlog-answers", &answers)
	whole := answers[0].Body
	recorded, err := event.ParseBatch([]byte(whole))
	if err != nil || len(recorded) != recordedEnd {
		t.Fatalf("%d events are recorded, error %v", len(recorded), err)
	}
	store := recordedStore(t)
	log := start(t, store)
	h := recordedAPI(t, log, startDead(t, store))

	mustAppend(t, log, recorded...) // what is delivered again is in the log once
	mustAppend(t, log, some(t, recordedEnd, recordedEnd+eventlog.SegmentSize)...)
	wantEvents(t, get(t, h, "/events?after="+strconv.Itoa(recordedEnd)), recordedEnd, recordedEnd+eventlog.SegmentSize, recordedEnd+eventlog.SegmentSize)
	if got := get(t, h, "/events?limit=10000").Body.String(); !strings.HasPrefix(got, strings.TrimSuffix(whole, "\n]\n")+",\n") {
		t.Error("what was in the log is not answered as before")
	}
	for _, a := range answers[1:] {
		if got := get(t, h, a.Path).Body.String(); got != a.Body {
			t.Errorf("%s is not answered as before", a.Path)
		}
	}
}
