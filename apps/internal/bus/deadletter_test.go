package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// fromLog is an event that came by the bus as a reader of the log gets it.
func fromLog(t testing.TB, e event.Event) event.Event {
	t.Helper()
	segment, _, err := (&eventlog.Segment{}).With([]event.Event{e})
	if err != nil {
		t.Fatal(err)
	}
	read, err := event.ParseBatch(segment.Encode())
	if err != nil {
		t.Fatal(err)
	}
	return read[0]
}

// respelled is a JSON object with its members in another order, other spaces, and every
// other character of a string escaped.
func respelled(t testing.TB, object []byte) []byte {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(members))) {
		value := members[name]
		var text string
		switch {
		case value[0] == '{':
			value = respelled(t, value)
		case json.Unmarshal(value, &text) == nil:
			value = escaped(t, text)
		}
		parts = append(parts, fmt.Sprintf("%s :\n\t%s", escaped(t, name), value))
	}
	return []byte("\n{ " + strings.Join(parts, " , ") + " }")
}

func escaped(t testing.TB, text string) []byte {
	t.Helper()
	b := []byte(`"`)
	for i, r := range []rune(text) {
		if r <= 0xffff && i%2 == 0 {
			b = fmt.Appendf(b, `\u%04x`, r)
			continue
		}
		quoted, err := jsontext.AppendQuote(nil, string(r))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, quoted[1:len(quoted)-1]...)
	}
	return append(b, '"')
}

// Whichever way an event comes to a consumer that can't take it, it is one dead letter.
func TestAnEventIsTheSameDeadLetterOffTheBusAndFromTheLog(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		at := time.Date(2024, 11, 27, 12, 0, 0, rapid.IntRange(0, 999_999_999).Draw(r, "nanoseconds"), time.UTC)
		e, err := event.OfComment(event.CommentModerated, "moderation", event.Comment{
			ID: event.NewID(), PostID: event.NewID(), Content: "x" + rapid.String().Draw(r, "content"), Author: rapid.StringN(0, 20, 40).Draw(r, "author"),
			Status: event.Approved, CreatedAt: at, Revision: rapid.IntRange(1, 1<<60).Draw(r, "revision"),
		}, at, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		if err != nil {
			r.Fatal(err)
		}
		published, err := event.Marshal(e)
		if err != nil {
			r.Fatal(err)
		}
		want := DeadLetterID("comments", event.CommentModerated, e)
		for _, raw := range [][]byte{published, respelled(t, published)} {
			if got := NewDeadLetter("comments", "CommentModerated", raw, ErrPoison).ID; got != want {
				r.Fatalf("off the bus it is %s, and %s as it was made:\n%s", got, want, raw)
			}
			parsed, err := event.Parse(event.CommentModerated, raw)
			if err != nil {
				r.Fatalf("%v:\n%s", err, raw)
			}
			if got := DeadLetterID("comments", event.CommentModerated, parsed); got != want {
				r.Fatalf("as Parse gives it, it is %s, not %s:\n%s", got, want, raw)
			}
			copied := fromLog(t, parsed)
			if got := DeadLetterID("comments", event.CommentModerated, copied); copied.Sequence != 1 || got != want {
				r.Fatalf("event %d of the log is %s, not %s:\n%s", copied.Sequence, got, want, raw)
			}
		}
	})
}

func TestADeadLetterOfOtherContentHasAnotherID(t *testing.T) {
	of := func(change func(*event.Event)) event.Event {
		e := event.Event{
			SpecVersion: "1.0", ID: "an id", Source: "/posts", Type: event.PostCreated, Subject: "a subject",
			Time: time.Date(2024, 11, 27, 12, 0, 0, 0, time.UTC), DataContentType: "application/json", Data: []byte(`{"a":[1,{"b":2}]}`),
		}
		change(&e)
		return e
	}
	same := of(func(*event.Event) {})
	want := DeadLetterID("query", event.PostCreated, same)
	seen := map[string]string{want: "the first"}
	differs := func(name, id string) {
		t.Helper()
		if other, taken := seen[id]; taken {
			t.Errorf("%s has the id of %s", name, other)
		}
		seen[id] = name
	}
	differs("another service", DeadLetterID("comments", event.PostCreated, same))
	differs("another topic", DeadLetterID("query", event.CommentCreated, same))
	for name, change := range map[string]func(*event.Event){
		"another id":      func(e *event.Event) { e.ID = "another" },
		"another type":    func(e *event.Event) { e.Type = event.CommentCreated },
		"another subject": func(e *event.Event) { e.Subject = "another" },
		"another value":   func(e *event.Event) { e.Data = []byte(`{"a":[1,{"b":3}]}`) },
		"another order":   func(e *event.Event) { e.Data = []byte(`{"a":[{"b":2},1]}`) },
		"one member more": func(e *event.Event) { e.Data = []byte(`{"a":[1,{"b":2}],"c":null}`) },
		"a large number":  func(e *event.Event) { e.Data = []byte(`{"a":9007199254740993}`) },
		"a larger one":    func(e *event.Event) { e.Data = []byte(`{"a":9007199254740992}`) },
		"no data":         func(e *event.Event) { e.Data = nil },
		"moved fields":    func(e *event.Event) { e.ID, e.Subject = "an id\",\"subject\":\"a", " subject" },
	} {
		differs(name, DeadLetterID("query", event.PostCreated, of(change)))
	}
	for name, change := range map[string]func(*event.Event){
		"the time":    func(e *event.Event) { e.Time = e.Time.Add(time.Hour) },
		"the source":  func(e *event.Event) { e.Source = "/another" },
		"the number":  func(e *event.Event) { e.Sequence = 7 },
		"the trace":   func(e *event.Event) { e.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
		"the spacing": func(e *event.Event) { e.Data = []byte(` { "\u0061" : [ 1 , { "b" : 2 } ] } `) },
	} {
		if got := DeadLetterID("query", event.PostCreated, of(change)); got != want {
			t.Errorf("%s makes another dead letter of it", name)
		}
	}
}

// Replicas of different versions, and publishers that look for their event, must agree on
// these ids for ever.
func TestADeadLettersIDNeverChanges(t *testing.T) {
	raw := []byte(`{"specversion":"1.0","id":"a","source":"/b","type":"c","subject":"d","time":"2024-11-27T12:00:00Z","data":{"z":1,"y":"\u00fc"}}`)
	check(t, "id of an event", NewDeadLetter("query", "PostCreated", raw, ErrPoison).ID, "7288ecc6-4096-5c86-a435-9cca8522725c")
	check(t, "id of no event", NewDeadLetter("query", "PostCreated", []byte("x"), ErrPoison).ID, "3dbb9f26-060c-58db-8bbb-cd64aef8304a")
}

// A CloudEvent that no version of its consumer takes keeps its id however it is spelled.
func TestACloudEventIsOneDeadLetterEvenIfItsDataIsNoEntity(t *testing.T) {
	of := func(data string) string {
		raw := fmt.Appendf(nil, `{"specversion":"1.0","id":"a","source":"/b","type":"Other","time":"2024-11-27T12:00:00Z","data":%s}`, data)
		return NewDeadLetter("query", "PostCreated", raw, ErrPoison).ID
	}
	check(t, "spaced otherwise", of(`[ 1 ]`), of(`[1]`))
	if of(`[1]`) == of(`[2]`) {
		t.Error("other data has the same id")
	}
}

// What is no readable CloudEvent is told apart by its bytes.
func TestAMessageThatIsNoCloudEventHasTheIDOfItsBytes(t *testing.T) {
	whole := string(post(t, "a"))
	for name, raw := range map[string]string{
		"no JSON":           "hello",
		"cut off":           whole[:len(whole)-1],
		"no id":             strings.Replace(whole, `"id":`, `"no":`, 1),
		"another version":   strings.Replace(whole, `"1.0"`, `"0.3"`, 1),
		"a name twice":      strings.Replace(whole, `{`, `{"id":"x",`, 1),
		"no UTF-8":          strings.Replace(whole, `/posts`, "/posts\xff", 1),
		"too large for one": whole + strings.Repeat(" ", event.MaxBytes),
	} {
		if raw == whole {
			t.Fatalf("%s: nothing is changed", name)
		}
		first := NewDeadLetter("query", "PostCreated", []byte(raw), errors.New("so")).ID
		check(t, name, versionFive(messageIDs, "query", "PostCreated", []byte(raw)), first)
		if NewDeadLetter("query", "PostCreated", []byte(raw+" "), errors.New("so")).ID == first {
			t.Errorf("%s: other bytes have the same id", name)
		}
	}
}
