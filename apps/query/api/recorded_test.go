package api

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog/eventlogtest"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/query/internal/querytest"
)

// recordedSnapshot is the number at which the recorded snapshot stands; the log goes on to 286.
const recordedSnapshot = 276

// recordedLog is the log that commit 3b4f435 wrote.
func recordedLog(t *testing.T) []event.Event {
	t.Helper()
	var answers []eventlogtest.RecordedAnswer
	eventlogtest.ReadRecorded(t, "eventlog-answers", &answers)
	events, err := event.ParseBatch([]byte(answers[0].Body))
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// recordedStore is query's store as commit 3b4f435 left it.
func recordedStore(t *testing.T) *statetest.Memory {
	t.Helper()
	var keys map[string]struct{ Value []byte }
	eventlogtest.ReadRecorded(t, "query-store", &keys)
	store := statetest.New()
	for key, k := range keys {
		store.Put(key, string(k.Value))
	}
	return store
}

// wantRecorded checks that the answers are those that were recorded. All bodies have ended
// in a line feed since then (for terminals); the tags of pages are of those without it.
func wantRecorded(t *testing.T, h http.Handler, name string) {
	t.Helper()
	var want []eventlogtest.RecordedAnswer
	eventlogtest.ReadRecorded(t, name, &want)
	for _, a := range want {
		res := get(t, h, a.Path)
		if res.Code != a.Status || res.Body.String() != a.Body+"\n" {
			t.Errorf("%s: %d with %d bytes, want %d with the recorded %d bytes", a.Path, res.Code, res.Body.Len(), a.Status, len(a.Body))
		}
		for header, value := range a.Header {
			if got := res.Header().Get(header); got != value {
				t.Errorf("%s: %s is %q, want %q", a.Path, header, got, value)
			}
		}
	}
}

func TestALogOfTheFirstVersionIsShownByteForByte(t *testing.T) {
	for name, logID := range map[string]string{"by the eventlog of then": "", "by the eventlog of now": querytest.OneLog} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := following(t, querytest.LogOf(logID, recordedLog(t)))
				synctest.Wait()
				wantRecorded(t, f.serve(), "query-answers")
			})
		})
	}
}

func TestASnapshotOfTheFirstVersionIsShownByteForByte(t *testing.T) {
	for name, logID := range map[string]string{"with the eventlog of then": "", "with the eventlog of now": querytest.OneLog} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				events := recordedLog(t)
				l := querytest.LogOf(logID, events[:recordedSnapshot])
				f := followingFrom(t, recordedStore(t), l)
				synctest.Wait()
				wantRecorded(t, f.serve(), "posts-at-snapshot")
				for _, q := range l.Questions() {
					if q.Limit > 1 && q.After < recordedSnapshot {
						t.Errorf("the log is read from event %d on: the snapshot is not used", q.After)
					}
				}
				l.Append(events[recordedSnapshot:]...)
				synctest.Wait()
				wantRecorded(t, f.serve(), "query-answers")
			})
		})
	}
}

// Another log that has grown as long is no reason to show the snapshot.
func TestASnapshotOfTheFirstVersionIsComparedWithTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := querytest.LogOf(querytest.OtherLog, querytest.Numbered(0, querytest.Posts(0, recordedSnapshot+10)...))
		f := followingFrom(t, recordedStore(t), l)
		synctest.Wait()
		if got := get(t, f.serve(), "/posts?limit=1").Body.String(); !strings.Contains(got, `"title":"post `) {
			t.Errorf("of a log of other posts is shown %.300s", got)
		}
	})
}
