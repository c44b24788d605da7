package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/postbus/postbus/apps/tools/system"
)

// The bus delivers nothing to eventlog, as the component of a broker does whose subscriptions
// hang. The services put their events into its log without the bus.
func TestALogToWhichTheBusDeliversNothingGetsAllEvents(t *testing.T) {
	s := another(t, func(resource system.Document) {
		meta, _ := resource["metadata"].(map[string]any)
		if name, _ := meta["name"].(string); resource["kind"] == "Subscription" && strings.HasPrefix(name, "eventlog-") {
			resource["scopes"] = []any{"nobody"}
		}
	}, built.binaries)
	p := s.createPost(t, "of which the log gets nothing by the bus")
	c := s.createComment(t, p.ID, "So it is with me.")
	eventually(t, func() error { return settled(s.App("query"), p.ID, map[string]string{c.ID: "approved"}) })
	types := map[string]int{}
	for _, e := range events(t, s.App("eventlog")) {
		types[e.Type]++
	}
	for _, one := range []string{"PostCreated", "CommentCreated", "CommentModerated", "CommentUpdated"} {
		if types[one] != 1 {
			t.Errorf("the log has %d of %s, want 1", types[one], one)
		}
	}
}

// Only the app channel takes events for the log, and there no web page may send them. (On
// Kubernetes each service may send its own types: TestOnKubernetes.)
func TestNobodyOutsideCanAppendToTheLog(t *testing.T) {
	event, subject := forgedEvent(t, "PostCreated")
	const batch = "Content-Type: application/cloudevents-batch+json"
	want(t, http.StatusNotFound, "POST", shared.url("eventlog", "/append/PostCreated"), "["+event+"]", batch)
	channel := fmt.Sprintf("http://127.0.0.1:%d/append/PostCreated", shared.App("eventlog").AppPort)
	want(t, http.StatusForbidden, "POST", channel, "["+event+"]", batch, "Origin: http://localhost:3000")
	want(t, http.StatusForbidden, "POST", channel, "["+event+"]", batch, "Sec-Fetch-Site: same-site")
	want(t, http.StatusUnsupportedMediaType, "POST", channel, "["+event+"]", "Content-Type: text/plain")
	want(t, http.StatusNotFound, "POST", shared.url("eventlog", "/import?after=0"), "[]", batch)
	imports := fmt.Sprintf("http://127.0.0.1:%d/import?after=0", shared.App("eventlog").AppPort)
	want(t, http.StatusForbidden, "POST", imports, "[]", batch, "Origin: http://localhost:3000")
	want(t, http.StatusUnsupportedMediaType, "POST", imports, "[]", "Content-Type: text/plain")
	if inLog(t, shared, subject) {
		t.Error("a forged event is in the log")
	}
	// Without the guards it is taken.
	if want(t, http.StatusNoContent, "POST", channel, "["+event+"]", batch); !inLog(t, shared, subject) {
		t.Error("the request does not succeed even without the guards")
	}
}
