package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// logServer plays the sidecar and the event log behind it.
type logServer struct {
	mu     sync.Mutex
	events []event.Event
	grown  chan struct{}
	asked  []question
	// id is the log's. Without one it answers as the version before logs had ids (3b4f435).
	id string

	// most is how many events an answer has at most, if not 0.
	most int
	// slow is how long it takes to answer, after it has something to say.
	slow time.Duration
	// deaf is a replica that does not notice, while it waits, what others append.
	deaf bool
	// instead, if set, may answer the nth request (from 1) otherwise, and says whether it did.
	instead func(n int, w http.ResponseWriter) bool
}

type question struct{ after, limit, wait int }

func newLogServer(events []event.Event) *logServer {
	return &logServer{events: events, grown: make(chan struct{})}
}

func (l *logServer) append(events ...event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, numbered(len(l.events), events...)...)
	close(l.grown)
	l.grown = make(chan struct{})
}

// goAway has every request from now on answered by a gateway that does not reach the log.
func (l *logServer) goAway() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.instead = func(_ int, w http.ResponseWriter) bool { w.WriteHeader(http.StatusBadGateway); return true }
}

// replace has another log there, or the same one with another end.
func (l *logServer) replace(id string, events []event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.id, l.events = id, events
	close(l.grown)
	l.grown = make(chan struct{})
}

// end is where the log ends.
func (l *logServer) end() eventlog.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return positionIn(l.id, l.events, len(l.events))
}

// positionIn is the position of the event with the number.
func positionIn(id string, log []event.Event, number int) eventlog.Position {
	p := eventlog.Position{Sequence: uint64(number), Log: id} //nolint:gosec // never negative
	if number > 0 {
		p.Event = log[number-1].ID
	}
	return p
}

// misfits says whether the position that is asked for is not in a log with an id.
func misfits(r *http.Request, id string, events []event.Event, after int) bool {
	asked := eventlog.Position{Log: r.URL.Query().Get("log"), Event: r.URL.Query().Get("event"), Sequence: uint64(after)} //nolint:gosec // never negative
	return after > len(events) || !asked.Fits(positionIn(id, events, after)) || after == 0 && asked.Event != ""
}

func (l *logServer) questions() []question {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.asked)
}

func (l *logServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	number := func(name string) int {
		n, err := strconv.Atoi(r.URL.Query().Get(name))
		if err != nil {
			return -1
		}
		return n
	}
	q := question{number("after"), number("limit"), number("wait")}
	if r.URL.Path != "/v1.0/invoke/eventlog/method/events" || q.after < 0 || q.limit < 0 || q.wait < 0 {
		http.NotFound(w, r)
		return
	}
	l.mu.Lock()
	l.asked = append(l.asked, q)
	n, instead, id, events, grown := len(l.asked), l.instead, l.id, l.events, l.grown
	l.mu.Unlock()
	if instead != nil && instead(n, w) {
		return
	}
	if len(events) <= q.after && (id == "" || !misfits(r, id, events, q.after)) {
		if l.deaf {
			grown = nil
		}
		select {
		case <-grown:
		case <-time.After(time.Duration(q.wait) * time.Second):
		case <-r.Context().Done():
			return
		}
		l.mu.Lock()
		id, events = l.id, l.events
		l.mu.Unlock()
	}
	select {
	case <-time.After(l.slow):
	case <-r.Context().Done():
		return
	}
	w.Header().Set(eventlog.SequenceHeader, strconv.Itoa(len(events)))
	if id != "" {
		w.Header().Set(eventlog.PositionHeader, positionIn(id, events, len(events)).String())
		if misfits(r, id, events, q.after) {
			w.WriteHeader(http.StatusConflict)
			return
		}
	}
	part := events[min(q.after, len(events)):]
	part = part[:min(len(part), q.limit)]
	if l.most > 0 {
		part = part[:min(len(part), l.most)]
	}
	if body := batch(part); len(part) < 2 || !strings.Contains(r.Header.Get("Accept-Encoding"), "zstd") {
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

// batch is what the event log answers: an event a line.
func batch(events []event.Event) []byte {
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

// clientOf reads the log of a server, without a network.
func clientOf(l http.Handler) eventlog.Reader {
	c := eventlog.NewClient(eventlog.InvokeURL("http://sidecar", "eventlog", eventlog.EventsPath), "")
	c.HTTP = &http.Client{Transport: direct{l}}
	return c
}

// follow runs a follower of the server until the test ends.
func follow(t testing.TB, l *logServer, store store) *follower {
	t.Helper()
	f := newFollower(newModel(), clientOf(l), newSnapshots(store))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return f
}

// logged gets what is logged from now on. It is to be read when those that log have ended.
func logged(t *testing.T) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &out
}

// wantAt checks that a model has folded a log, all of it and nothing else.
func wantAt(t testing.TB, m *model, log []event.Event, ready bool) {
	t.Helper()
	if m.at() != uint64(len(log)) || m.isReady() != ready {
		t.Errorf("the model stands at %d, ready %v; want %d, %v", m.at(), m.isReady(), len(log), ready)
		return
	}
	if got, want := everything(m), everything(modelOf(t, log)); got != want {
		t.Errorf("the model is\n%s\nwant\n%s", got, want)
	}
}

func TestAFollowerCatchesUpAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogServer(someLog())
		f := follow(t, l, newFakeStore())
		synctest.Wait()
		wantAt(t, f.model, someLog(), true)
		for i := range 5 {
			time.Sleep(1300 * time.Millisecond) // of the bubble's clock
			l.append(posted(50 + i))
			synctest.Wait() // no time goes by: the read that waits brings it
			wantAt(t, f.model, numbered(0, append(someLog(), posts(50, 51+i)...)...), true)
		}
	})
}

func TestAnEmptyLogIsReadyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, newLogServer(nil), newFakeStore())
		synctest.Wait()
		wantAt(t, f.model, nil, true)
	})
}

func TestAFollowerIsReadyWhenItStandsWhereTheLogStoodAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := numbered(0, posts(1, 26)...)
		gates := map[int]chan struct{}{2: make(chan struct{}), 3: make(chan struct{}), 4: make(chan struct{})}
		l := newLogServer(log)
		l.most = 10
		l.instead = func(n int, _ http.ResponseWriter) bool {
			if gate, ok := gates[n]; ok {
				<-gate
			}
			return false
		}
		f := follow(t, l, newFakeStore())
		synctest.Wait()
		wantAt(t, f.model, log[:10], false)
		// What comes now is not waited for: otherwise a busy log would never be caught up with.
		l.append(posts(100, 110)...)
		close(gates[2])
		synctest.Wait()
		wantAt(t, f.model, log[:20], false)
		close(gates[3])
		synctest.Wait()
		wantAt(t, f.model, numbered(0, append(log, posts(100, 105)...)...), true)
		close(gates[4])
	})
}

// As long as it isn't ready it asks for what is there, and then it waits.
func TestAFollowerWaitsAtTheLogOnlyOnceItIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogServer(numbered(0, posts(1, 26)...))
		l.most = 10
		follow(t, l, newFakeStore())
		synctest.Wait()
		want := []question{{0, eventlog.ReadLimit, 0}, {10, eventlog.ReadLimit, 0}, {20, eventlog.ReadLimit, 0}, {25, eventlog.ReadLimit, 1}}
		if got := l.questions(); !slices.Equal(got, want) {
			t.Errorf("asked %v, want %v", got, want)
		}
		time.Sleep(10 * time.Second) // of the bubble's clock
		if n := len(l.questions()); n > len(want)+10 {
			t.Errorf("%d reads in 10 quiet seconds", n-len(want))
		}
	})
}

func TestAFollowerKeepsOnAfterErrors(t *testing.T) {
	log := someLog()
	answer := func(status int, sequence string, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			if sequence != "" {
				w.Header().Set(eventlog.SequenceHeader, sequence)
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, bad := range map[string]func(http.ResponseWriter){
		"no event log":          answer(http.StatusInternalServerError, "", `{"errorCode":"ERR_DIRECT_INVOKE"}`),
		"it is loading":         answer(http.StatusServiceUnavailable, "15", `{}`),
		"an empty answer":       answer(http.StatusOK, "15", ""),
		"no number":             answer(http.StatusOK, "", string(batch(log))),
		"another number":        answer(http.StatusOK, "many", string(batch(log))),
		"cut off":               answer(http.StatusOK, "15", string(batch(log[:9])[:900])),
		"no events":             answer(http.StatusOK, "15", `[{"specversion":"1.0"}]`),
		"something else":        answer(http.StatusOK, "15", "<html>"),
		"a gap at once":         answer(http.StatusOK, "15", string(batch(log[1:]))),
		"a gap after something": answer(http.StatusOK, "15", string(batch(append(log[:4:4], log[5:]...)))),
	} {
		synctest.Test(t, func(t *testing.T) {
			const failures = 20
			l := newLogServer(log)
			l.instead = func(n int, w http.ResponseWriter) bool {
				if n <= failures {
					bad(w)
				}
				return n <= failures
			}
			f := follow(t, l, newFakeStore())
			synctest.Wait()
			if f.model.isReady() {
				t.Errorf("%s: ready", name)
			}
			if at := f.model.at(); at != 0 && (at != 4 || name != "a gap after something") {
				t.Errorf("%s: stands at %d", name, at)
			}
			time.Sleep(failures * retryDelay) // of the bubble's clock
			synctest.Wait()
			t.Log(name)
			wantAt(t, f.model, log, true)
			if n := len(l.questions()); n < failures || n > failures+2 {
				t.Errorf("%s: %d reads", name, n)
			}
		})
	}
}

// All services start at once: that the log is not there yet is nothing to act on.
func TestAFollowerWarnsOfALogThatIsAwayOnlyIfItStaysAwayOrWasThere(t *testing.T) {
	const warning = "can't read the event log"
	for name, test := range map[string]struct {
		there, away time.Duration // since the start; then it is there again
		warnings    int
	}{
		"not yet there":           {0, quietStart - time.Second, 0},
		"it does not come":        {0, quietStart + time.Second, 1},
		"away after it was there": {time.Second, 2 * time.Second, 1},
	} {
		said := logged(t)
		synctest.Test(t, func(t *testing.T) {
			l := newLogServer(someLog())
			start := time.Now()
			l.instead = func(_ int, w http.ResponseWriter) bool {
				at := time.Since(start)
				gone := at >= test.there && at < test.away
				if gone {
					w.WriteHeader(http.StatusInternalServerError)
				}
				return gone
			}
			f := follow(t, l, newFakeStore())
			time.Sleep(quietStart + 2*time.Second) // of the bubble's clock
			synctest.Wait()
			wantAt(t, f.model, someLog(), true)
		})
		if got := strings.Count(said.String(), warning); got != test.warnings {
			t.Errorf("%s: %d warnings, want %d", name, got, test.warnings)
		}
	}
}

// A long log is read in several batches at once, which are folded in the log's order.
func TestALongLogIsFoldedInItsOrder(t *testing.T) {
	long := posts(1, 4)
	for i := range 5*eventlog.ReadLimit - len(long) + 200 {
		long = append(long, commented(100+i, 1+i%3))
	}
	log := numbered(0, long...)
	want := modelOf(t, log).postsPage(nil, 3)
	const reads = 6
	for name, c := range map[string]struct {
		instead  func(n, after int, w http.ResponseWriter) bool
		failures int
		reads    [2]int // the least and the most
	}{
		"one answer at a time": {func(n, _ int, _ http.ResponseWriter) bool {
			time.Sleep(time.Duration(n) * time.Millisecond) // of the bubble's clock, as all here
			return false
		}, 0, [2]int{reads, reads}},
		"the last answer first": {func(n, _ int, _ http.ResponseWriter) bool {
			time.Sleep(time.Duration(reads-n) * time.Millisecond)
			return false
		}, 0, [2]int{reads, reads}},
		"one that fails": {func(n, _ int, w http.ResponseWriter) bool {
			if n == 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return n == 3
		}, 1, [2]int{reads + 1, 2 * reads}},
		"one that isn't full": {func(n, after int, w http.ResponseWriter) bool {
			if n == 3 {
				w.Header().Set(eventlog.SequenceHeader, strconv.Itoa(len(log)))
				_, _ = w.Write(batch(log[after : after+100]))
			}
			return n == 3
		}, 0, [2]int{reads + 1, 2 * reads}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLogServer(log)
				l.instead = func(n int, w http.ResponseWriter) bool { return c.instead(n, l.questions()[n-1].after, w) }
				start := time.Now()
				f := follow(t, l, newFakeStore())
				time.Sleep(retryDelay - time.Millisecond) // of the bubble's clock
				synctest.Wait()
				if f.model.isReady() != (c.failures == 0) {
					t.Errorf("ready %v after %v", f.model.isReady(), time.Since(start))
				}
				time.Sleep(time.Duration(c.failures) * retryDelay)
				synctest.Wait()
				if !f.model.isReady() || f.model.at() != uint64(len(log)) {
					t.Fatalf("stands at %d of %d, ready %v", f.model.at(), len(log), f.model.isReady())
				}
				if got := f.model.postsPage(nil, 3); got.etag != want.etag {
					t.Error("the first page is not that of the log")
				}
				replay := slices.DeleteFunc(l.questions(), func(q question) bool { return q.wait > 0 })
				if n := len(replay); n < c.reads[0] || n > c.reads[1] {
					t.Errorf("%d reads, %d to %d expected", n, c.reads[0], c.reads[1])
				}
			})
		})
	}
}

func TestAFollowerServesOnWhileTheLogIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away sync.Mutex
		gone := false
		l := newLogServer(someLog())
		l.instead = func(_ int, w http.ResponseWriter) bool {
			away.Lock()
			defer away.Unlock()
			if gone {
				w.WriteHeader(http.StatusBadGateway)
			}
			return gone
		}
		set := func(is bool) {
			away.Lock()
			defer away.Unlock()
			gone = is
		}
		f := follow(t, l, newFakeStore())
		synctest.Wait()
		set(true)
		time.Sleep(time.Minute) // of the bubble's clock
		wantAt(t, f.model, someLog(), true)
		set(false)
		l.append(posted(77))
		time.Sleep(retryDelay)
		synctest.Wait()
		wantAt(t, f.model, numbered(0, append(someLog(), posted(77))...), true)
	})
}

func TestAFollowerReadsOnFromItsSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := someLog()
		l := newLogServer(log)
		f := follow(t, l, saved(t, log[:9]))
		synctest.Wait()
		wantAt(t, f.model, log, true)
		if got := l.questions(); got[0].after != 9 {
			t.Errorf("asked %v", got)
		}
	})
}

func TestAFollowerWhoseSnapshotIsTheWholeLogIsReadyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, newLogServer(someLog()), saved(t, someLog()))
		synctest.Wait()
		wantAt(t, f.model, someLog(), true)
	})
}

func TestASnapshotOfAnotherLogIsDiscarded(t *testing.T) {
	for name, log := range map[string][]event.Event{"a shorter one": numbered(0, posted(50), posted(51), commented(500, 51)), "an empty one": nil} {
		synctest.Test(t, func(t *testing.T) {
			f := follow(t, newLogServer(log), saved(t, someLog()))
			synctest.Wait()
			t.Log(name)
			wantAt(t, f.model, log, true)
		})
	}
}

func TestADamagedSnapshotIsRebuiltFromTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := saved(t, someLog())
		store.set(store.chunks()[0], []byte("oops"))
		f := follow(t, newLogServer(someLog()), store)
		time.Sleep(time.Second) // of the bubble's clock: the snapshot is tried more than once
		wantAt(t, f.model, someLog(), true)
	})
}

// The replica of the event log that the waiting read is at may be the one that
// does not know of the event yet.
func TestTheBellMakesItReadAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogServer(someLog())
		l.deaf = true
		f := follow(t, l, newFakeStore())
		synctest.Wait()
		log := someLog()
		for i, e := range []event.Event{posted(50), commented(501, 50), approved(501, 50)} {
			synctest.Wait() // the read that waits has begun
			began := time.Now()
			l.append(e)
			log = numbered(0, append(log, e)...)
			synctest.Wait()
			if at := f.model.at(); at != uint64(len(log))-1 {
				t.Fatalf("the test is of no use: it stands at %d before the bell", at)
			}
			if err := errors.Join(f.hear(t.Context(), []event.Event{e})...); err != nil {
				t.Fatal(err)
			}
			_, grown := f.model.growth()
			<-grown
			if took := time.Since(began); took > bellGrace {
				t.Errorf("event %d took %v", i, took)
			}
			wantAt(t, f.model, log, true)
		}
	})
}

// On a busy machine the bell rings faster than the log answers.
func TestABellThatRingsOnDoesNotEndEveryRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogServer(nil)
		l.slow = 4 * bellGrace
		f := follow(t, l, newFakeStore())
		time.Sleep(time.Second) // of the bubble's clock: it is ready
		for i := 1; i <= 40; i++ {
			l.append(posted(i))
			if err := errors.Join(f.hear(t.Context(), posts(i, i+1))...); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * bellGrace) // of the bubble's clock
		}
		if at := f.model.at(); at < 30 {
			t.Errorf("it stands at %d of 40", at)
		}
	})
}

// Between two reads no call waits that the bell could end.
func TestABellBetweenTwoReadsHasTheNextOneAskAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogServer(nil)
		f := newFollower(newModel(), clientOf(l), nil)
		ctx, stop := context.WithCancel(t.Context())
		go f.answerBell(ctx)
		f.ring(posted(1))
		time.Sleep(bellGrace) // of the bubble's clock
		synctest.Wait()
		for range 2 {
			if _, err := f.readOn(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := l.questions(), []question{{0, eventlog.ReadLimit, 0}, {0, eventlog.ReadLimit, 1}}; !slices.Equal(got, want) {
			t.Errorf("asked %v, want %v", got, want)
		}
		stop()
	})
}

func TestABellForWhatIsKnownDisturbsNoRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogServer(someLog())
		f := follow(t, l, newFakeStore())
		synctest.Wait()
		before := len(l.questions())
		for _, e := range []event.Event{posted(1), commented(101, 1), approved(101, 1)} {
			f.hear(t.Context(), []event.Event{e})
			synctest.Wait()
		}
		time.Sleep(eventlog.ReadWait / 2) // of the bubble's clock
		if n := len(l.questions()); n != before {
			t.Errorf("%d more reads", n-before)
		}
	})
}

// A batch that is delivered again may end with an event that came by itself meanwhile.
func TestTheBellRingsForWhatOfTheBatchIsNotKnown(t *testing.T) {
	f := newFollower(modelOf(t, someLog()), nil, nil)
	for name, c := range map[string]struct {
		heard []event.Event
		want  string
	}{
		"all known":       {[]event.Event{posted(1), commented(101, 1)}, ""},
		"the last":        {[]event.Event{posted(1), posted(50)}, uuid7(50)},
		"an older one":    {[]event.Event{posted(50), posted(1), approved(101, 1)}, uuid7(50)},
		"the last of two": {[]event.Event{posted(50), posted(51), posted(1)}, uuid7(51)},
	} {
		f.hear(t.Context(), c.heard)
		got := ""
		select {
		case e := <-f.bell:
			got = e.Subject
		default:
		}
		if got != c.want {
			t.Errorf("%s: rang for %q, want %q", name, got, c.want)
		}
	}
}

// The usual case: the read that waits brings the event within the grace.
func TestABellForWhatIsOnItsWayDisturbsNoRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogServer(nil)
		f := follow(t, l, newFakeStore())
		synctest.Wait()
		f.hear(t.Context(), posts(1, 2))
		synctest.Wait()
		time.Sleep(bellGrace / 2) // of the bubble's clock
		l.append(posted(1))
		time.Sleep(bellGrace)
		if got, want := l.questions(), []question{{0, eventlog.ReadLimit, 0}, {0, eventlog.ReadLimit, 1}, {1, eventlog.ReadLimit, 1}}; !slices.Equal(got, want) {
			t.Errorf("asked %v, want %v", got, want)
		}
	})
}

// Events are acknowledged whatever becomes of them, the log being down included.
func TestHearNeverRefusesNorBlocks(t *testing.T) {
	f := newFollower(newModel(), nil, nil)
	for i := range 100 {
		if err := errors.Join(f.hear(t.Context(), posts(i, i+3))...); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatContradictsTheLogIsPoison(t *testing.T) {
	f := newFollower(newModel(), nil, nil)
	if err := f.model.apply(someLog()); err != nil {
		t.Fatal(err)
	}
	with := func(e event.Event, edit func(p *event.Post, c *event.Comment)) event.Event {
		var p event.Post
		var c event.Comment
		if e.Post != nil {
			p = *e.Post
			e.Post = &p
		}
		if e.Comment != nil {
			c = *e.Comment
			e.Comment = &c
		}
		edit(&p, &c)
		return e
	}
	nothing := func(*event.Post, *event.Comment) {}
	for name, c := range map[string]struct {
		event  event.Event
		edit   func(p *event.Post, c *event.Comment)
		poison bool
	}{
		"a post again":                     {posted(1), nothing, false},
		"a post of another title":          {posted(1), func(p *event.Post, _ *event.Comment) { p.Title = "forged" }, true},
		"a post that is not known":         {posted(77), nothing, false},
		"a comment before its moderation":  {commented(101, 1), nothing, false},
		"the same with other content":      {commented(101, 1), func(_ *event.Post, c *event.Comment) { c.Content = "forged" }, true},
		"the same by another author":       {commented(101, 1), func(_ *event.Post, c *event.Comment) { c.Author = "forged" }, true},
		"a moderated comment again":        {approved(101, 1), nothing, false},
		"its other content":                {approved(101, 1), func(_ *event.Post, c *event.Comment) { c.Content = "forged" }, true},
		"its other decision":               {approved(101, 1), func(_ *event.Post, c *event.Comment) { c.Status = event.Rejected }, true},
		"a later decision":                 {approved(101, 1), func(_ *event.Post, c *event.Comment) { c.Status, c.Revision = event.Rejected, 3 }, false},
		"a comment that is not known":      {commented(177, 1), nothing, false},
		"a comment on an unknown post":     {commented(101, 77), nothing, false},
		"an approval of what is not known": {approved(177, 1), nothing, false},
	} {
		errs := f.hear(t.Context(), []event.Event{posted(1), with(c.event, c.edit)})
		if len(errs) != 2 || errs[0] != nil || (errs[1] != nil) != c.poison || c.poison && !errors.Is(errs[1], bus.ErrPoison) {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

func TestTheBellForTheLastEventIsNotLostBehindAnOlderOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogServer(nil)
		l.deaf = true
		f := follow(t, l, newFakeStore())
		synctest.Wait()
		l.append(posts(1, 3)...)
		f.hear(t.Context(), posts(1, 2)) // in its grace, after which 1 and 2 are read
		synctest.Wait()
		f.hear(t.Context(), posts(2, 3)) // waits
		f.hear(t.Context(), posts(3, 4)) // takes its place
		time.Sleep(bellGrace)            // of the bubble's clock
		synctest.Wait()
		l.append(posted(3))
		time.Sleep(2 * bellGrace)
		synctest.Wait()
		if at := f.model.at(); at != 3 {
			t.Errorf("%v after the bell for event 3 the model stands at %d", 2*bellGrace, at)
		}
	})
}

func TestAFollowerEndsWithItsContext(t *testing.T) {
	for name, bad := range map[string]bool{"while it waits": false, "between errors": true} {
		synctest.Test(t, func(t *testing.T) {
			l := newLogServer(someLog())
			l.instead = func(_ int, w http.ResponseWriter) bool {
				if bad {
					w.WriteHeader(http.StatusBadGateway)
				}
				return bad
			}
			f := newFollower(newModel(), clientOf(l), newSnapshots(newFakeStore()))
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				f.run(ctx)
			}()
			synctest.Wait()
			began := time.Now()
			cancel()
			<-ended
			if took := time.Since(began); took != 0 {
				t.Errorf("%s: took %v", name, took)
			}
		})
	}
}

// Everything once over a real network.
func TestAFollowerOverHTTP(t *testing.T) {
	l := newLogServer(someLog())
	waits := make(chan struct{}, 1)
	tokens := make(chan string, 1)
	sidecar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case tokens <- r.Header.Get("dapr-api-token"):
		default:
		}
		if r.URL.Query().Get("wait") == "1" {
			select {
			case waits <- struct{}{}:
			default:
			}
		}
		l.ServeHTTP(w, r)
	}))
	client := eventlog.NewClient(eventlog.InvokeURL(sidecar.URL, "eventlog", eventlog.EventsPath), "secret")
	f := newFollower(newModel(), client, newSnapshots(newFakeStore()))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.run(ctx)
	}()
	defer func() {
		cancel()
		<-ended
		client.HTTP.CloseIdleConnections()
		sidecar.Close()
	}()
	<-waits // it does so once it is ready
	wantAt(t, f.model, someLog(), true)
	if token := <-tokens; token != "secret" {
		t.Errorf("the sidecar's token is %q", token)
	}
	_, grown := f.model.growth()
	l.append(posted(70))
	<-grown
	wantAt(t, f.model, numbered(0, append(someLog(), posted(70))...), true)
}
