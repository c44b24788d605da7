package api

import (
	"net/http"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog/eventlogtest"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/query/internal/querytest"
)

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

// notApproved finds what was shown of comments that are not approved. Now it is the id and the
// status alone.
var notApproved = regexp.MustCompile(`\{"id":("[^"]*"),"content":"(?:[^"\\]|\\.)*","status":("(?:pending|rejected)")(?:,"(?:reason|author|createdAt)":"(?:[^"\\]|\\.)*")*\}`)

// added is what posts have in addition now.
var added = regexp.MustCompile(`,"commentCounts":\{[^}]*\}`)

// wantRecorded checks that the answers are those that were recorded, but for comments that
// are not approved, for what is added, and so for the tags. All bodies have ended in a line
// feed since then (for terminals).
func wantRecorded(t *testing.T, h http.Handler, name string) {
	t.Helper()
	var want []eventlogtest.RecordedAnswer
	eventlogtest.ReadRecorded(t, name, &want)
	for _, a := range want {
		res := get(t, h, a.Path)
		a.Body = notApproved.ReplaceAllString(a.Body, `{"id":$1,"status":$2}`)
		if got := added.ReplaceAllString(res.Body.String(), ""); res.Code != a.Status || got != a.Body+"\n" {
			t.Errorf("%s: %d with %d bytes, want %d with the recorded %d bytes", a.Path, res.Code, len(got), a.Status, len(a.Body))
		}
		for header, value := range a.Header {
			if header == "Etag" {
				continue // it is of what was shown then
			}
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

// It lacks who wrote what, and has the text of what was rejected.
func TestASnapshotOfTheFirstVersionIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := followingFrom(t, recordedStore(t), querytest.LogOf(querytest.OneLog, recordedLog(t)))
		time.Sleep(time.Minute) // of the bubble's clock: a damaged snapshot is read again
		synctest.Wait()
		wantRecorded(t, f.serve(), "query-answers")
	})
}
