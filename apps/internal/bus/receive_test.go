package bus

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	dapr "github.com/dapr/go-sdk/client"
	"github.com/gin-gonic/gin"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/event"
)

// keeper is a sidecar that keeps the dead letters. While it is down it keeps none.
type keeper struct {
	dapr.Client

	letters []DeadLetter
	down    bool
}

func (g *keeper) PublishEvent(_ context.Context, _, _ string, data any, _ ...dapr.PublishEventOption) error {
	if g.down {
		return errors.New("bus is down")
	}
	var d DeadLetter
	if err := json.Unmarshal(data.([]byte), &d); err != nil {
		return err
	}
	g.letters = append(g.letters, d)
	return nil
}

// recorder is a handler that returns results and records its events.
type recorder struct {
	calls   int
	events  []event.Event
	results func(n int) []error
}

func (r *recorder) handle(_ context.Context, events []event.Event) []error {
	r.calls++
	r.events = append(r.events, events...)
	if r.results == nil {
		return nil
	}
	return r.results(len(events))
}

func channel(g *keeper, handle Handler) http.Handler {
	gin.SetMode(gin.TestMode)
	engine := gin.New()
	NewReceiver("tester", New(g)).Handle(engine, event.PostCreated, handle)
	return engine
}

func deliver(h http.Handler, body []byte, header http.Header) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, "/deliver/PostCreated", bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	for name, values := range header {
		req.Header[name] = values
	}
	res := httptest.NewRecorder()
	h.ServeHTTP(res, req)
	return res
}

// delivered delivers messages as the sidecar does, and returns the statuses by entry id.
func delivered(t *testing.T, h http.Handler, messages ...[]byte) []string {
	t.Helper()
	type entry struct {
		EntryID     string            `json:"entryId"`
		Event       []byte            `json:"event"`
		ContentType string            `json:"contentType"`
		Metadata    map[string]string `json:"metadata"`
	}
	in := struct {
		ID         string            `json:"id"`
		Entries    []entry           `json:"entries"`
		Metadata   map[string]string `json:"metadata"`
		Topic      string            `json:"topic"`
		PubSubName string            `json:"pubsubname"`
		Type       string            `json:"type"`
	}{ID: "envelope", Topic: "PostCreated", PubSubName: "bus", Type: "com.dapr.event.sent.bulk"}
	for i, m := range messages {
		in.Entries = append(in.Entries, entry{fmt.Sprint("entry-", i), m, "application/octet-stream", map[string]string{"rawPayload": "true"}})
	}
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	res := deliver(h, body, nil)
	if res.Code != http.StatusOK {
		t.Fatalf("answered %d: %s", res.Code, res.Body)
	}
	var out reply
	if err := json.Unmarshal(res.Body.Bytes(), &out); err != nil {
		t.Fatalf("answered %s: %v", res.Body, err)
	}
	if len(out.Statuses) != len(messages) {
		t.Fatalf("answered for %d entries of %d: %s", len(out.Statuses), len(messages), res.Body)
	}
	statuses := make([]string, len(messages))
	for i, s := range out.Statuses {
		if want := fmt.Sprint("entry-", i); s.EntryID != want {
			t.Errorf("status %d is of %s, want %s", i, s.EntryID, want)
		}
		statuses[i] = s.Status
	}
	return statuses
}

// post is an encoded PostCreated.
func post(t testing.TB, title string) []byte {
	t.Helper()
	at := time.Date(2024, 11, 27, 12, 0, 0, 0, time.UTC)
	e, err := event.OfPost(event.PostCreated, "posts", event.Post{ID: event.NewID(), Title: title, CreatedAt: at, Revision: 1}, at, "")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := event.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func titles(events []event.Event) []string {
	var all []string
	for _, e := range events {
		all = append(all, e.Post.Title)
	}
	return all
}

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestEventsReachTheHandlerInOrderAndAreAcknowledged(t *testing.T) {
	var g keeper
	var r recorder
	got := delivered(t, channel(&g, r.handle), post(t, "a"), post(t, "b"), post(t, "c"))
	check(t, "statuses", got, []string{success, success, success})
	check(t, "events", titles(r.events), []string{"a", "b", "c"})
	check(t, "calls", r.calls, 1)
	check(t, "dead letters", len(g.letters), 0)
}

func TestTheBeginningOfLargePoisonIsKept(t *testing.T) {
	for _, size := range []int{mostKept + 1, event.MaxBytes + 1, 13 << 20} {
		raw := append(bytes.Repeat([]byte("x"), firstKept), bytes.Repeat([]byte("y"), size-firstKept)...)
		var g keeper
		var r recorder
		check(t, "statuses", delivered(t, channel(&g, r.handle), raw), []string{success})
		if len(g.letters) != 1 {
			t.Fatalf("%d dead letters, want 1", len(g.letters))
		}
		d := g.letters[0]
		if !bytes.Equal(d.Payload, raw[:firstKept]) {
			t.Errorf("of %d bytes, %d are kept: %.80q", size, len(d.Payload), d.Payload)
		}
		if want := fmt.Sprintf("of its %d bytes the first %d are kept", size, firstKept); !strings.Contains(d.Reason, want) {
			t.Errorf("the reason is %q", d.Reason)
		}
	}
}

// A reason may quote the message, and a segment of dead letters must fit into one write.
func TestTheBeginningOfALongReasonIsKept(t *testing.T) {
	d := NewDeadLetter("query", "PostCreated", []byte("x"), errors.New(strings.Repeat("ü", firstKept)))
	if len(d.Reason) > firstKept+10 || !strings.HasPrefix(d.Reason, "üü") || !utf8.ValidString(d.Reason) {
		t.Errorf("%d bytes: %.60q", len(d.Reason), d.Reason)
	}
	if d = NewDeadLetter("query", "PostCreated", []byte("x"), errors.New(strings.Repeat("u", firstKept))); len(d.Reason) != firstKept {
		t.Errorf("of %d bytes %d are kept", firstKept, len(d.Reason))
	}
}

func TestAMessageThatIsNoDeadLetterBecomesOne(t *testing.T) {
	var kept []DeadLetter
	h := gin.New()
	NewReceiver("eventlog", New(&keeper{})).HandleDeadLetters(h, func(_ context.Context, letters []DeadLetter) []error {
		kept = letters
		return nil
	})
	messages := [][]byte{[]byte(`{"id":"a","service":"query"}`), []byte(`{}`), []byte(`{"reason":"none has an id"}`), []byte("no JSON")}
	var entries []string
	for i, m := range messages {
		entries = append(entries, fmt.Sprintf(`{"entryId":"%d","event":"%s"}`, i, base64.StdEncoding.EncodeToString(m)))
	}
	req := httptest.NewRequest(http.MethodPost, Path(DeadLetterTopic), strings.NewReader(`{"entries":[`+strings.Join(entries, ",")+`]}`))
	req.Header.Set("Content-Type", "application/json")
	h.ServeHTTP(httptest.NewRecorder(), req)
	if len(kept) != len(messages) || kept[0].ID != "a" {
		t.Fatalf("got %+v", kept)
	}
	ids := map[string]bool{}
	for i, d := range kept[1:] {
		if ids[d.ID] = true; d.Service != "eventlog" || d.Topic != DeadLetterTopic || !bytes.Equal(d.Payload, messages[i+1]) || d.Reason == "" {
			t.Errorf("%s became %+v", messages[i+1], d)
		}
	}
	if len(ids) != len(messages)-1 || ids[""] {
		t.Errorf("their ids are %v", ids)
	}
}

func TestPoisonIsDeadLetteredAsItCameAndAcknowledged(t *testing.T) {
	comment, err := event.OfComment(event.CommentCreated, "comments", event.Comment{
		ID: event.NewID(), PostID: event.NewID(), Content: "x", Status: event.Pending, CreatedAt: time.Now(), Revision: 1,
	}, time.Now(), "")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := event.Marshal(comment)
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{
		"nothing":                {},
		"no JSON":                []byte("hello"),
		"no UTF-8":               []byte("{\"id\":\"\xff\"}"),
		"zero bytes":             {0, 0, 0},
		"no event":               []byte(`{"some":"thing"}`),
		"another topic's event":  elsewhere,
		"a type of no topic":     bytes.Replace(post(t, "a"), []byte("PostCreated"), []byte("PostHidden"), 1),
		"as large as is kept":    bytes.Repeat([]byte("x"), mostKept),
		"what base64 looks like": []byte("aGVsbG8="),
	} {
		t.Run(name, func(t *testing.T) {
			var g keeper
			var r recorder
			check(t, "statuses", delivered(t, channel(&g, r.handle), raw), []string{success})
			check(t, "calls", r.calls, 0)
			if len(g.letters) != 1 {
				t.Fatalf("%d dead letters, want 1", len(g.letters))
			}
			d := g.letters[0]
			if !bytes.Equal(d.Payload, raw) {
				t.Errorf("the dead letter holds %.80q, want %.80q", d.Payload, raw)
			}
			check(t, "service", d.Service, "tester")
			check(t, "topic", d.Topic, "PostCreated")
			if !strings.Contains(d.Reason, "malformed event: ") {
				t.Errorf("the reason is %q", d.Reason)
			}
		})
	}
}

func TestPoisonIsRedeliveredWhileItsDeadLetterCannotBePublished(t *testing.T) {
	g := keeper{down: true}
	var r recorder
	h := channel(&g, r.handle)
	poison, good := []byte("poison"), post(t, "a")
	check(t, "statuses while down", delivered(t, h, poison, good), []string{retry, success})
	g.down = false
	check(t, "statuses after", delivered(t, h, poison), []string{success})
	check(t, "dead letters", len(g.letters), 1)
}

func TestADeadLettersIDIsThatOfServiceTopicAndBytes(t *testing.T) {
	check(t, "id", NewDeadLetter("query", "PostCreated", []byte("x"), ErrPoison).ID, uuid.NewSHA1(uuid.NameSpaceOID, []byte("query\x00PostCreated\x00x")).String())
	id := func(service string, topic event.Type, raw string) string {
		return NewDeadLetter(service, string(topic), []byte(raw), errors.New(fmt.Sprint("a reason ", event.NewID()))).ID
	}
	first := id("query", event.PostCreated, "x")
	check(t, "the same again", id("query", event.PostCreated, "x"), first)
	for _, other := range []string{id("posts", event.PostCreated, "x"), id("query", event.CommentCreated, "x"), id("query", event.PostCreated, "y")} {
		if other == first {
			t.Error("another dead letter has the same id")
		}
	}
}

func TestAHandlersErrorHasThatEventAloneRedelivered(t *testing.T) {
	var g keeper
	r := recorder{results: func(int) []error { return []error{nil, errors.New("store is down"), nil} }}
	got := delivered(t, channel(&g, r.handle), post(t, "a"), post(t, "b"), post(t, "c"))
	check(t, "statuses", got, []string{success, retry, success})
	check(t, "dead letters", len(g.letters), 0)
}

func TestAnEventThatItsHandlerCallsPoisonIsDeadLettered(t *testing.T) {
	var g keeper
	r := recorder{results: func(int) []error { return []error{nil, fmt.Errorf("%w: it contradicts", ErrPoison)} }}
	bad := post(t, "b")
	check(t, "statuses", delivered(t, channel(&g, r.handle), post(t, "a"), bad), []string{success, success})
	if len(g.letters) != 1 || !bytes.Equal(g.letters[0].Payload, bad) || !strings.HasSuffix(g.letters[0].Reason, "it contradicts") {
		t.Errorf("dead letters %+v", g.letters)
	}
	g.down = true
	check(t, "statuses while the bus is down", delivered(t, channel(&g, r.handle), post(t, "a"), bad), []string{success, retry})
}

// The handler gets the valid events only, so its results must be assigned to the right
// entries.
func TestPoisonAmongValidEventsShiftsNoAnswer(t *testing.T) {
	var g keeper
	r := recorder{results: func(n int) []error {
		if n != 3 {
			t.Errorf("the handler got %d events, want 3", n)
		}
		return []error{nil, errors.New("store is down"), ErrPoison}
	}}
	got := delivered(t, channel(&g, r.handle), []byte("x"), post(t, "a"), []byte("y"), post(t, "b"), post(t, "c"), []byte("z"))
	check(t, "statuses", got, []string{success, success, success, retry, success, success})
	check(t, "events", titles(r.events), []string{"a", "b", "c"})
	check(t, "dead letters", len(g.letters), 4)
}

func TestAPanicHasAllValidEventsRedelivered(t *testing.T) {
	var g keeper
	h := channel(&g, func(context.Context, []event.Event) []error { panic("a bug") })
	check(t, "statuses", delivered(t, h, post(t, "a"), []byte("x"), post(t, "b")), []string{retry, success, retry})
	check(t, "dead letters", len(g.letters), 1)
}

// An acknowledged event that was not handled would be lost.
func TestAResultOfTheWrongLengthHasAllValidEventsRedelivered(t *testing.T) {
	for name, results := range map[string][]error{
		"too few":  {nil},
		"too many": {nil, nil, nil},
		"none":     {},
		"poison":   {ErrPoison},
	} {
		t.Run(name, func(t *testing.T) {
			var g keeper
			r := recorder{results: func(int) []error { return results }}
			got := delivered(t, channel(&g, r.handle), post(t, "a"), []byte("x"), post(t, "b"))
			check(t, "statuses", got, []string{retry, success, retry})
			check(t, "dead letters", len(g.letters), 1)
		})
	}
}

// Otherwise any app could publish as any other, by calling a delivery route.
func TestServiceInvocationCannotForgeADelivery(t *testing.T) {
	var g keeper
	var r recorder
	h := channel(&g, r.handle)
	body := fmt.Appendf(nil, `{"entries":[{"entryId":"1","event":%q}]}`, base64.StdEncoding.EncodeToString(post(t, "a")))
	for _, body := range [][]byte{body, []byte("x"), nil} {
		for _, caller := range [][]string{{"query"}, {""}, {"", "query"}} {
			res := deliver(h, body, http.Header{"Dapr-Caller-App-Id": caller})
			check(t, "status", res.Code, http.StatusForbidden)
		}
	}
	check(t, "calls", r.calls, 0)
	check(t, "dead letters", len(g.letters), 0)
	// The same body without a caller is a delivery. So the caller was the reason.
	check(t, "status without caller", deliver(h, body, nil).Code, http.StatusOK)
	check(t, "calls without caller", r.calls, 1)
}

func TestWhatIsNoEnvelopeIsABadRequest(t *testing.T) {
	var g keeper
	var r recorder
	h := channel(&g, r.handle)
	for _, body := range []string{"", "x", `"x"`, "[]", `{"entries":{}}`, `{"entries":[7]}`, `{"entries":[{"entryId":7}]}`, `{"entries":[`} {
		if res := deliver(h, []byte(body), nil); res.Code != http.StatusBadRequest {
			t.Errorf("%s: answered %d: %s", body, res.Code, res.Body)
		}
	}
	check(t, "calls", r.calls, 0)
	check(t, "dead letters", len(g.letters), 0)
}

func TestADeliveryOfNothingIsAnsweredWithNothing(t *testing.T) {
	var g keeper
	var r recorder
	res := deliver(channel(&g, r.handle), []byte(`{"entries":[]}`), nil)
	check(t, "answer", res.Body.String(), `{"statuses":[]}`)
	check(t, "calls", r.calls, 0)
}

// A subscription without raw payloads has other JSON in place of the base64. It is
// refused for its content, or accepted if it is the event.
func TestAnyJSONInPlaceOfTheEventIsTheMessage(t *testing.T) {
	var g keeper
	var r recorder
	body := fmt.Sprintf(`{"entries":[{"entryId":"a","event":%s},{"entryId":"b","event":"not base64!"},{"entryId":"c"},{"entryId":"d","event":7},{"entryId":"e","event":null},null]}`, post(t, "a"))
	res := deliver(channel(&g, r.handle), []byte(body), nil)
	check(t, "status", res.Code, http.StatusOK)
	check(t, "events", titles(r.events), []string{"a"})
	var payloads []string
	for _, d := range g.letters {
		payloads = append(payloads, string(d.Payload))
	}
	check(t, "dead letters", payloads, []string{`"not base64!"`, "", "7", "null", ""})
}

// The runtime would count a batch that is refused for its size as undelivered, and retry
// it for ever.
func TestALargeDeliveryIsTaken(t *testing.T) {
	var g keeper
	var r recorder
	messages := make([][]byte, 20)
	for i := range messages {
		messages[i] = append(post(t, fmt.Sprint(i)), bytes.Repeat([]byte(" "), 100<<10)...)
	}
	for i, s := range delivered(t, channel(&g, r.handle), messages...) {
		if s != success {
			t.Fatalf("event %d: %s", i, s)
		}
	}
	check(t, "events", len(r.events), len(messages))
}

func TestEachTypeHasItsOwnRoute(t *testing.T) {
	seen := map[string]bool{}
	for _, typ := range event.Types {
		check(t, "path", Path(typ), "/deliver/"+string(typ))
		seen[Path(typ)] = true
	}
	check(t, "routes", len(seen), len(event.Types))
}

func FuzzReceive(f *testing.F) {
	whole := base64.StdEncoding.EncodeToString(post(f, "a"))
	for _, body := range []string{
		"", "null", "{}", "[]", `{"entries":null}`, `{"entries":[null]}`, `{"entries":[{}]}`,
		`{"entries":[{"entryId":"1","event":"` + whole + `"},{"entryId":"2","event":"eA=="},{"entryId":"1","event":"` + whole + `"}]}`,
		`{"entries":[{"entryId":"\ud800","event":{"specversion":"1.0"}}]} trailing`,
	} {
		f.Add([]byte(body), byte(0))
		f.Add([]byte(body), byte(1))
		f.Add([]byte(body), byte(2))
		f.Add([]byte(body), byte(3))
	}
	f.Fuzz(func(t *testing.T, body []byte, how byte) {
		g := keeper{down: how&1 == 1}
		handle := func(_ context.Context, events []event.Event) []error {
			switch how / 2 % 4 {
			case 0:
				return nil
			case 1:
				return All(len(events), errors.New("down"))
			case 2:
				return All(len(events), ErrPoison)
			}
			panic("a bug")
		}
		res := deliver(channel(&g, handle), body, nil)
		if res.Code == http.StatusBadRequest {
			return
		}
		if res.Code != http.StatusOK {
			t.Fatalf("answered %d", res.Code)
		}
		var in struct {
			Entries []struct {
				EntryID string `json:"entryId"`
			} `json:"entries"`
		}
		if err := jsonv2.Unmarshal(body, &in); err != nil {
			t.Fatalf("took %q: %v", body, err)
		}
		var out reply
		if err := json.Unmarshal(res.Body.Bytes(), &out); err != nil {
			t.Fatalf("answered %s: %v", res.Body, err)
		}
		if len(out.Statuses) != len(in.Entries) {
			t.Fatalf("answered for %d entries of %d", len(out.Statuses), len(in.Entries))
		}
		for i, s := range out.Statuses {
			if s.EntryID != in.Entries[i].EntryID {
				t.Fatalf("status %d is of %q, want %q", i, s.EntryID, in.Entries[i].EntryID)
			}
			if s.Status != "SUCCESS" && s.Status != "RETRY" {
				t.Fatalf("entry %q is answered with %q", s.EntryID, s.Status)
			}
		}
	})
}
