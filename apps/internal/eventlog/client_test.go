package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/eventlog/eventlogtest"
)

const someLog = "01900000-0000-7000-8000-000000000001"

// direct is an http.Client's way to a handler without a network, so that a
// synctest bubble's clock goes on while it waits.
type direct struct{ handler http.HandlerFunc }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := make(chan *http.Response, 1)
	go func() {
		w := httptest.NewRecorder()
		d.handler(w, r)
		answer <- w.Result()
	}()
	select {
	case res := <-answer:
		return res, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func clientOf(handler http.HandlerFunc) *eventlog.Client {
	c := eventlog.NewClient(eventlog.InvokeURL("http://sidecar", "eventlog", eventlog.EventsPath), "secret")
	c.HTTP = &http.Client{Transport: direct{handler}}
	return c
}

// posts are n events of one post each.
func posts(t testing.TB, n int) []event.Event {
	t.Helper()
	events := make([]event.Event, n)
	for i := range events {
		p := event.Post{ID: event.NewID(), Title: fmt.Sprintf("post %d", i), CreatedAt: time.Unix(int64(i+1), 0).UTC(), Revision: 1}
		var err error
		if events[i], err = event.OfPost(event.PostCreated, "posts", p, p.CreatedAt, ""); err != nil {
			t.Fatal(err)
		}
	}
	return events
}

func TestAReadOfTheLogIsGivenUpWithItsContext(t *testing.T) {
	for name, log := range map[string]eventlog.Reader{
		"a client": clientOf(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), "in memory": eventlogtest.New(),
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error, 1)
			if name == "in memory" {
				log = eventlogtest.New() // its channels belong to the bubble
			}
			go func() {
				_, _, err := log.Read(ctx, eventlog.Position{}, 1, eventlog.ReadWait)
				failed <- err
			}()
			synctest.Wait()
			cancel()
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

func TestAReadOfTheLogSaysWhatWasAnswered(t *testing.T) {
	c := clientOf(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprint(w, "access control")
	})
	_, _, err := c.Read(t.Context(), eventlog.Position{}, 1, 0)
	if err == nil || !strings.Contains(err.Error(), "403") || !strings.Contains(err.Error(), "access control") {
		t.Errorf("got %v", err)
	}
}

// Positions go on over events of types that only a newer version knows.
func TestReadersOfTheLogGoOnOverTypesThatTheyDoNotKnow(t *testing.T) {
	events := posts(t, 4)
	events[1].Type, events[2].Type, events[2].Post = "PostHidden", "PostPinned", nil
	inMemory := eventlogtest.New(events...)
	segment, _, err := (&eventlog.Segment{}).With(events)
	if err != nil {
		t.Fatal(err)
	}
	overHTTP := clientOf(func(w http.ResponseWriter, r *http.Request) {
		after, err := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64)
		if err != nil {
			t.Error(err)
		}
		lines, err := segment.Lines(after, after+2)
		if err != nil {
			t.Error(err)
		}
		inMemory.Position(4).SetHeaders(w.Header())
		_, _ = w.Write(eventlog.Batch(lines))
	})
	for name, log := range map[string]eventlog.Reader{"a client": overHTTP, "in memory": inMemory} {
		var got []event.Event
		for at := (eventlog.Position{}); at.Sequence < 4; {
			read, _, err := log.Read(t.Context(), at, 2, 0)
			if err != nil || len(read) != 2 {
				t.Fatalf("%s: after %s came %v, error %v", name, at, read, err)
			}
			got = append(got, read...)
			last := read[len(read)-1]
			at = eventlog.Position{Sequence: uint64(last.Sequence), Event: last.ID}
		}
		for i, e := range got {
			known := i == 0 || i == 3
			if e.ID != events[i].ID || int(e.Sequence) != i+1 || e.Type != events[i].Type || (e.Post != nil) != known || e.Comment != nil { //nolint:gosec // small
				t.Errorf("%s: event %d is %+v", name, i+1, e)
			}
		}
		if e, err := eventlog.EventAt(t.Context(), log, 2); err != nil || e.ID != events[1].ID {
			t.Errorf("%s: event 2 is %+v, error %v", name, e, err)
		}
	}
}

// What is said here is the wire format: other versions say and read it, too.
func TestAClientAsksAsEventlogExpects(t *testing.T) {
	end := eventlog.Position{Sequence: 9, Log: someLog, Event: "a b"}
	c := clientOf(func(w http.ResponseWriter, r *http.Request) {
		want := "/v1.0/invoke/eventlog/method/events?after=7&event=a%2Fb&limit=5&log=" + someLog + "&wait=1"
		if r.URL.String() != "http://sidecar"+want || r.Header.Get("dapr-api-token") != "secret" || r.Header.Get("Accept-Encoding") != "zstd" {
			t.Errorf("asked for %s with %v", r.URL, r.Header)
		}
		end.SetHeaders(w.Header())
		w.Header().Set("Content-Encoding", "zstd")
		for _, part := range []string{"[\n", "", "\n]"} {
			_, _ = w.Write(eventlog.Pack([]byte(part)))
		}
	})
	events, got, err := c.Read(t.Context(), eventlog.Position{Sequence: 7, Log: someLog, Event: "a/b"}, 5, time.Second)
	if err != nil || len(events) != 0 || got != end {
		t.Errorf("got %v, %v, %v", events, got, err)
	}
}

func TestTheHeadersOfAnAnswerSayWhereTheLogEnds(t *testing.T) {
	h := http.Header{}
	end := eventlog.Position{Sequence: 9, Log: someLog, Event: "a b"}
	end.SetHeaders(h)
	if h.Get("Postbus-Sequence") != "9" || h.Get("Postbus-Position") != "9/"+someLog+"/a%20b" {
		t.Errorf("the headers are %v", h)
	}
	if got, err := eventlog.FromHeaders(h); err != nil || got != end {
		t.Errorf("got %v, %v", got, err)
	}
	h.Del("Postbus-Position") // as of the version before logs had ids
	if got, err := eventlog.FromHeaders(h); err != nil || got != (eventlog.Position{Sequence: 9}) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := eventlog.FromHeaders(http.Header{}); err == nil {
		t.Error("headers that say nothing are taken for a position")
	}
}

// A test that uses it instead must see the same.
func TestALogInMemoryAnswersAsEventlogDoes(t *testing.T) {
	all := posts(t, 5)
	log := eventlogtest.New(all...)
	end := log.Position(uint64(len(all)))
	for name, c := range map[string]struct {
		from  eventlog.Position
		limit int
		want  []event.Event
	}{
		"from the start":   {eventlog.Position{}, 9, all},
		"a part":           {eventlog.Position{Sequence: 1}, 2, all[1:3]},
		"a whole position": {log.Position(3), 9, all[3:]},
		"nothing":          {log.Position(3), 0, nil},
		"at the end":       {end, 9, nil},
		"beyond the end":   {eventlog.Position{Sequence: 6}, 9, nil},
		"another log":      {eventlog.Position{Sequence: 1, Log: someLog}, 9, nil},
		"another event":    {eventlog.Position{Sequence: 1, Event: all[1].ID}, 9, nil},
		"one at the start": {eventlog.Position{Event: all[1].ID}, 9, nil},
		"the log's start":  {eventlog.Position{Log: end.Log}, 9, all},
	} {
		got, at, err := log.Read(t.Context(), c.from, c.limit, 0)
		misfits := strings.Contains("beyond the end, another log, another event, one at the start", name)
		if errors.Is(err, eventlog.ErrMisfit) != misfits || err != nil && !misfits || at != end || len(got) != len(c.want) {
			t.Errorf("%s: %d events, %v, %v", name, len(got), at, err)
		}
		for i, e := range got {
			if e.ID != c.want[i].ID || e.Sequence != event.Sequence(c.from.Sequence)+event.Sequence(i+1) { //nolint:gosec // never negative
				t.Errorf("%s: event %d is %s with number %d", name, i, e.ID, e.Sequence)
			}
		}
	}
	if e, err := eventlog.EventAt(t.Context(), log, 2); err != nil || e.ID != all[1].ID {
		t.Errorf("event 2 is %s, %v", e.ID, err)
	}
	if _, err := eventlog.EventAt(t.Context(), log, 6); !errors.Is(err, eventlog.ErrMisfit) {
		t.Errorf("event 6: %v", err)
	}
	if err := eventlog.Compare(t.Context(), log, end); err != nil {
		t.Errorf("the end: %v", err)
	}
}

func TestALogInMemoryWakesUpItsReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := eventlogtest.New(posts(t, 1)...)
		more := posts(t, 1)
		go func() {
			time.Sleep(eventlog.ReadWait / 2) // of the bubble's clock
			log.Append(more...)
		}()
		if got, _, err := log.Read(t.Context(), log.Position(1), 1, eventlog.ReadWait); err != nil || len(got) != 1 || got[0].ID != more[0].ID {
			t.Errorf("got %v, %v", got, err)
		}
		began := time.Now()
		if got, _, err := log.Read(t.Context(), log.Position(2), 1, eventlog.ReadWait); err != nil || len(got) != 0 || time.Since(began) != eventlog.ReadWait {
			t.Errorf("after %v: %v, %v", time.Since(began), got, err)
		}
	})
}

func TestAnOriginIsAsItWas(t *testing.T) {
	o := eventlog.NewOrigin()
	value, err := event.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf(`{"id":%q,"segments":"segment-%s-"}`, o.ID, o.ID); string(value) != want || eventlog.OriginKey != "log" {
		t.Errorf("the origin is %s at %s", value, eventlog.OriginKey)
	}
	if got, err := eventlog.ParseOrigin(value); err != nil || got != o {
		t.Errorf("it comes back as %v, %v", got, err)
	}
	if got := o.Key(17); got != "segment-"+o.ID+"-00000017" {
		t.Errorf("segment 17 is at %s", got)
	}
}

func TestAClientAsksWhichEventsALogHas(t *testing.T) {
	var asked, token string
	c := clientOf(func(w http.ResponseWriter, r *http.Request) {
		asked, token = r.URL.String(), r.Header.Get("dapr-api-token")
		_, _ = fmt.Fprint(w, `{"known":["a b","c"]}`)
	})
	known, err := c.Known(t.Context(), []string{"a b", "b&c=d", "c"})
	if err != nil || len(known) != 2 || !known["a b"] || !known["c"] {
		t.Errorf("known are %v (error %v)", known, err)
	}
	if want := "http://sidecar/v1.0/invoke/eventlog/method/events/known?ids=a+b%2Cb%26c%3Dd%2Cc"; asked != want || token != "secret" {
		t.Errorf("asked for %s with token %q, want %s", asked, token, want)
	}
}

// What is not answered is not known to be absent: it would be published again.
func TestAnEventlogThatDoesNotAnswerSaysNothingOfItsEvents(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"an error":                   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"a version without the path": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"no JSON":                    func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"known":["a"`) },
		"nothing":                    func(http.ResponseWriter, *http.Request) {},
	} {
		if known, err := clientOf(handler).Known(t.Context(), []string{"a"}); err == nil {
			t.Errorf("%s: known are %v, and no error", name, known)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ended := make(chan struct{})
	defer close(ended)
	hangs := clientOf(func(http.ResponseWriter, *http.Request) { <-ended })
	if _, err := hangs.Known(ctx, []string{"a"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestALogInMemoryKnowsItsEvents(t *testing.T) {
	all := posts(t, 3)
	log := eventlogtest.New(all[:2]...)
	known, err := log.Known(t.Context(), []string{all[0].ID, all[1].ID, all[2].ID, ""})
	if err != nil || len(known) != 2 || !known[all[0].ID] || !known[all[1].ID] {
		t.Errorf("known are %v (error %v)", known, err)
	}
	log.Replace(someLog, all[2])
	if known, err := log.Known(t.Context(), []string{all[0].ID, all[2].ID}); err != nil || len(known) != 1 || !known[all[2].ID] {
		t.Errorf("of another log known are %v (error %v)", known, err)
	}
}
