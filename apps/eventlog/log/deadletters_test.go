package log

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// topics keep what is published, by topic.
type topics map[string][][]byte

func (t topics) Publish(_ context.Context, topic, _ string, messages [][]byte) []error {
	t[topic] = append(t[topic], messages...)
	return nil
}

// deliverRaw delivers messages as the sidecar does. None may be redelivered.
func deliverRaw(t testing.TB, channel http.Handler, topic string, messages ...[]byte) {
	t.Helper()
	var entries []string
	for i, m := range messages {
		entries = append(entries, fmt.Sprintf(`{"entryId":"%d","event":"%s"}`, i, base64.StdEncoding.EncodeToString(m)))
	}
	req := httptest.NewRequest(http.MethodPost, "/deliver/"+topic, strings.NewReader(`{"entries":[`+strings.Join(entries, ",")+`]}`))
	req.Header.Set("Content-Type", "application/json")
	res := httptest.NewRecorder()
	if channel.ServeHTTP(res, req); res.Code != http.StatusOK || strings.Contains(res.Body.String(), "RETRY") {
		t.Fatalf("a delivery is answered %d %s", res.Code, res.Body)
	}
}

// Publishers look for the dead letters of their events under the ids that they compute.
func TestAnEventThatTheLogRefusesIsADeadLetterUnderTheIDThatItsPublisherComputes(t *testing.T) {
	bussed, store := topics{}, statetest.New()
	events, dead := start(t, store), startDead(t, statetest.New())
	channel := gin.New()
	receiver := bus.NewReceiver("eventlog", bus.On(bussed))
	receiver.Handle(channel, event.PostCreated, events.Append)
	receiver.HandleDeadLetters(channel, DeadLetters{dead, time.Now}.Keep)

	first, other, last := titled(t, 1, "a title"), titled(t, 1, "another title"), titled(t, 2, "the last")
	var raw [][]byte
	for _, e := range []event.Event{first, other, first, last} {
		published, err := event.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, published)
	}
	spaced := []byte(strings.Replace(string(raw[1]), `"data":{`, "\"data\" : {\n", 1))
	deliverRaw(t, channel, "PostCreated", raw...)
	deliverRaw(t, channel, "PostCreated", raw[1], spaced) // again, and as something else may have encoded it
	wantLog(t, store, []event.Event{first, last}, true)

	deliverRaw(t, channel, bus.DeadLetterTopic, bussed[bus.DeadLetterTopic]...)
	id := bus.DeadLetterID("eventlog", event.PostCreated, other)
	known, err := dead.Known(t.Context(), []string{bus.DeadLetterID("eventlog", event.PostCreated, first), id, bus.DeadLetterID("query", event.PostCreated, other)})
	if err != nil || !slices.Equal(known, []string{id}) {
		t.Errorf("of the dead letters %v are known, error %v; want %s", known, err, id)
	}
	if end, err := dead.End(); err != nil || end.Sequence != 1 || len(bussed[bus.DeadLetterTopic]) != 3 {
		t.Errorf("the dead letters end at %s, error %v, and %d were published", end, err, len(bussed[bus.DeadLetterTopic]))
	}
	var letter bus.DeadLetter
	if err := json.Unmarshal(bussed[bus.DeadLetterTopic][0], &letter); err != nil {
		t.Fatal(err)
	}
	if letter.ID != id || letter.Service != "eventlog" || letter.Topic != "PostCreated" || string(letter.Payload) != string(raw[1]) || !strings.Contains(letter.Reason, first.ID) {
		t.Errorf("the dead letter is %+v", letter)
	}
}
