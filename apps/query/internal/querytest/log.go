package querytest

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// LogServer plays the sidecar and the event log behind it.
type LogServer struct {
	mu     sync.Mutex
	events []event.Event
	grown  chan struct{}
	asked  []Question
	// id is the log's. Without one it answers as the version before logs had ids (3b4f435).
	id string

	// Most is how many events an answer has at most, if not 0.
	Most int
	// Slow is how long it takes to answer, after it has something to say.
	Slow time.Duration
	// Unaware is a replica that does not notice, while it waits, what others append.
	Unaware bool
	// Instead, if set, may answer the nth request (from 1) otherwise, and says whether it did.
	Instead func(n int, w http.ResponseWriter) bool
}

// Question is what the server was asked for; Wait is in seconds.
type Question struct{ After, Limit, Wait int }

// NewLogServer serves a log without an id.
func NewLogServer(events []event.Event) *LogServer {
	return &LogServer{events: events, grown: make(chan struct{})}
}

// Append adds events to the log, which numbers them.
func (l *LogServer) Append(events ...event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, Numbered(len(l.events), events...)...)
	close(l.grown)
	l.grown = make(chan struct{})
}

// GoAway has every request from now on answered by a gateway that does not reach the log.
func (l *LogServer) GoAway() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Instead = func(_ int, w http.ResponseWriter) bool { w.WriteHeader(http.StatusBadGateway); return true }
}

// Replace has another log there, or the same one with another end.
func (l *LogServer) Replace(id string, events []event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.id, l.events = id, events
	close(l.grown)
	l.grown = make(chan struct{})
}

// End is where the log ends.
func (l *LogServer) End() eventlog.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return PositionIn(l.id, l.events, len(l.events))
}

// LogOf serves a log with an id.
func LogOf(id string, events []event.Event) *LogServer {
	l := NewLogServer(events)
	l.id = id
	return l
}

// misfits says whether the position that is asked for is not in a log with an id.
func misfits(r *http.Request, id string, events []event.Event, after int) bool {
	asked := eventlog.Position{Log: r.URL.Query().Get("log"), Event: r.URL.Query().Get("event"), Sequence: uint64(after)} //nolint:gosec // never negative
	return after > len(events) || !asked.Fits(PositionIn(id, events, after)) || after == 0 && asked.Event != ""
}

// Questions are those that were asked so far.
func (l *LogServer) Questions() []Question {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.asked)
}

// ServeHTTP answers as the sidecar does for the event log.
func (l *LogServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	number := func(name string) int {
		n, err := strconv.Atoi(r.URL.Query().Get(name))
		if err != nil {
			return -1
		}
		return n
	}
	q := Question{number("after"), number("limit"), number("wait")}
	if r.URL.Path != "/v1.0/invoke/eventlog/method/events" || q.After < 0 || q.Limit < 0 || q.Wait < 0 {
		http.NotFound(w, r)
		return
	}
	l.mu.Lock()
	l.asked = append(l.asked, q)
	n, instead, id, events, grown := len(l.asked), l.Instead, l.id, l.events, l.grown
	l.mu.Unlock()
	if instead != nil && instead(n, w) {
		return
	}
	if len(events) <= q.After && (id == "" || !misfits(r, id, events, q.After)) {
		if l.Unaware {
			grown = nil
		}
		select {
		case <-grown:
		case <-time.After(time.Duration(q.Wait) * time.Second):
		case <-r.Context().Done():
			return
		}
		l.mu.Lock()
		id, events = l.id, l.events
		l.mu.Unlock()
	}
	select {
	case <-time.After(l.Slow):
	case <-r.Context().Done():
		return
	}
	w.Header().Set(eventlog.SequenceHeader, strconv.Itoa(len(events)))
	if id != "" {
		w.Header().Set(eventlog.PositionHeader, PositionIn(id, events, len(events)).String())
		if misfits(r, id, events, q.After) {
			w.WriteHeader(http.StatusConflict)
			return
		}
	}
	part := events[min(q.After, len(events)):]
	part = part[:min(len(part), q.Limit)]
	if l.Most > 0 {
		part = part[:min(len(part), l.Most)]
	}
	if body := Batch(part); len(part) < 2 || !strings.Contains(r.Header.Get("Accept-Encoding"), "zstd") {
		_, _ = w.Write(body)
	} else {
		w.Header().Set("Content-Encoding", "zstd")
		encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		if err != nil {
			panic(err)
		}
		for part := range slices.Chunk(body, len(body)/3+1) { // frames, as it passes them on
			_, _ = w.Write(encoder.EncodeAll(part, nil))
		}
	}
}

// Batch is what the event log answers: an event a line.
func Batch(events []event.Event) []byte {
	lines := make([][]byte, len(events))
	for i, e := range events {
		var err error
		if lines[i], err = event.Marshal(e); err != nil {
			panic(err)
		}
	}
	return slices.Concat([]byte("[\n"), bytes.Join(lines, []byte(",\n")), []byte("\n]\n"))
}

// direct is an http.Client's way to a handler without a network, so that a
// synctest bubble's clock goes on while it waits.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := make(chan *http.Response, 1)
	go func() {
		w := httptest.NewRecorder()
		d.handler.ServeHTTP(w, r)
		answer <- w.Result()
	}()
	select {
	case res := <-answer:
		return res, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// ClientOf reads the log of a server, without a network.
func ClientOf(l http.Handler) eventlog.Reader {
	c := eventlog.NewClient(eventlog.InvokeURL("http://sidecar", "eventlog", eventlog.EventsPath), "")
	c.HTTP = &http.Client{Transport: direct{l}}
	return c
}

// Anothers are logs that take the place of SomeLog: it has lost all, and another one has begun; or its end, and has grown again. The
// other log may be shorter, as long or longer.
func Anothers() map[string]*LogServer {
	log := SomeLog()
	return map[string]*LogServer{
		"another log, shorter": LogOf(OtherLog, OtherEvents(3)),
		"another, as long":     LogOf(OtherLog, OtherEvents(len(log))),
		"another, longer":      LogOf(OtherLog, OtherEvents(40)),
		"an empty one":         LogOf(OtherLog, nil),
		"a lost end":           LogOf(OneLog, log[:5]),
		"one that grew to it":  LogOf(OneLog, Numbered(0, append(slices.Clone(log[:5]), Posts(5000, 5000+len(log)-5)...)...)),
		"one that grew beyond": LogOf(OneLog, Numbered(0, append(slices.Clone(log[:5]), Posts(5000, 5040)...)...)),
	}
}

// Events are those of the log.
func (l *LogServer) Events() []event.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events
}

// ID is the log's.
func (l *LogServer) ID() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id
}
