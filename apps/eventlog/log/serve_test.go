package log

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

// engine serves a replica's API.
func engine(stopping context.Context, l *Log) http.Handler {
	e := web.NewEngine()
	e.GET("/events", Serve(stopping, l))
	return e
}

func get(t testing.TB, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	return getWith(t.Context(), h, path)
}

func getWith(ctx context.Context, h http.Handler, path string) *httptest.ResponseRecorder {
	res := httptest.NewRecorder()
	h.ServeHTTP(res, httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil))
	return res
}

// wantEvents checks that an answer has the events after first up to last, and
// says that the log ends at end.
func wantEvents(t testing.TB, res *httptest.ResponseRecorder, after, upTo, end int) {
	t.Helper()
	if res.Code != http.StatusOK {
		t.Fatalf("%d: %s", res.Code, res.Body)
	}
	if got := res.Header().Get("Content-Type"); got != "application/cloudevents-batch+json" {
		t.Errorf("Content-Type is %q", got)
	}
	if got := res.Header().Get("Postbus-Sequence"); got != strconv.Itoa(end) {
		t.Errorf("Postbus-Sequence is %q, want %d", got, end)
	}
	events, err := event.ParseBatch(res.Body.Bytes())
	if err != nil {
		t.Fatalf("%v: %.200s", err, res.Body)
	}
	if len(events) != max(0, upTo-after) {
		t.Fatalf("%d events, want those after %d up to %d", len(events), after, upTo)
	}
	for i, e := range events {
		if e.Sequence != event.Sequence(after+i+1) || e.Post == nil || e.Post.Title != fmt.Sprintf("post %d", after+i) { //nolint:gosec // never negative
			t.Fatalf("event %d has number %d and says %s", after+i+1, e.Sequence, e.Data)
		}
	}
}

func wantUnavailable(t testing.TB, what string, res *httptest.ResponseRecorder) {
	t.Helper()
	if h := res.Header(); res.Code != http.StatusServiceUnavailable || h.Get("Content-Type") != "application/problem+json" || h.Get("Retry-After") == "" {
		t.Errorf("%s: %d %s, Retry-After %q: %.200s", what, res.Code, h.Get("Content-Type"), h.Get("Retry-After"), res.Body)
	}
}

func TestEventsAreThoseAfterTheNumberUpToTheLimit(t *testing.T) {
	const n = 2*eventlog.SegmentSize + 44
	l := start(t, statetest.New())
	mustAppend(t, l, some(t, 0, n)...)
	h := engine(context.Background(), l)
	for _, after := range []int{0, 1, 126, 127, 128, 129, 200, 255, 256, 257, n - 1, n} {
		for _, limit := range []int{0, 1, 2, 127, 128, 129, n, 10_000} {
			wantEvents(t, get(t, h, fmt.Sprintf("/events?after=%d&limit=%d", after, limit)), after, min(n, after+limit), n)
		}
	}
}

func TestEventsAreAThousandUnlessAskedForMore(t *testing.T) {
	l := start(t, statetest.New())
	mustAppend(t, l, some(t, 0, 1100)...)
	h := engine(context.Background(), l)
	wantEvents(t, get(t, h, "/events"), 0, 1000, 1100)
	wantEvents(t, get(t, h, "/events?after=1000"), 1000, 1100, 1100)
}

func TestEventsOfAnEmptyLogAreAnEmptyArray(t *testing.T) {
	l := start(t, statetest.New())
	mustAppend(t, l)
	res := get(t, engine(context.Background(), l), "/events")
	wantEvents(t, res, 0, 0, 0)
	if res.Body.String() != "[]\n" {
		t.Errorf("the body is %q", res.Body)
	}
}

func TestWhatIsNoNumberOrOutOfBoundsIs400(t *testing.T) {
	l := start(t, statetest.New())
	mustAppend(t, l, some(t, 0, 3)...)
	h := engine(context.Background(), l)
	for _, query := range []string{
		"after=", "after=-1", "after=x", "after=1.5", "after=4611686018427387905", "after=99999999999999999999", "after=%201",
		"limit=", "limit=-1", "limit=10001", "limit=all", "wait=", "wait=-1", "wait=31", "wait=1s",
	} {
		res := get(t, h, "/events?"+query)
		var p web.Problem
		if err := json.Unmarshal(res.Body.Bytes(), &p); err != nil || res.Code != http.StatusBadRequest || p.Status != res.Code || p.Detail == "" ||
			res.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", query, res.Code, res.Body)
		}
	}
	if res := get(t, h, "/events?after=4611686018427387904"); res.Code != http.StatusConflict { // a number, and ahead of the log
		t.Errorf("the largest number: %d %s", res.Code, res.Body)
	}
	for _, query := range []string{"after=3", "limit=0", "limit=10000", "wait=0"} {
		if res := get(t, h, "/events?"+query); res.Code != http.StatusOK {
			t.Errorf("%s: %d %s", query, res.Code, res.Body)
		}
	}
}

func TestALogThatIsStillBeingReadIs503(t *testing.T) {
	l := newLog(statetest.New())
	wantUnavailable(t, "loading", get(t, engine(context.Background(), l), "/events?wait=10"))
}

func TestAReaderWhoIsBehindNeedsNoStore(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 300)...)
	store.Fail(statetest.ErrDown)
	h := engine(context.Background(), l)
	wantEvents(t, get(t, h, "/events?after=10"), 10, 300, 300)
	// At the end of what is known it is not known whether there is more.
	wantUnavailable(t, "at the end", get(t, h, "/events?after=300"))
}

// asked is a request under way.
type asked struct {
	res  *httptest.ResponseRecorder
	took time.Duration
}

func ask(ctx context.Context, h http.Handler, path string) <-chan asked {
	answer := make(chan asked, 1)
	began := time.Now()
	go func() {
		res := getWith(ctx, h, path)
		answer <- asked{res, time.Since(began)}
	}()
	return answer
}

func TestAReaderWaitsAndIsAnsweredAsSoonAsSomethingIsAppended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, statetest.New())
		mustAppend(t, l, some(t, 0, 5)...)
		answer := ask(t.Context(), engine(context.Background(), l), "/events?after=5&wait=30")
		time.Sleep(1234 * time.Millisecond) // of the bubble's clock
		select {
		case a := <-answer:
			t.Fatalf("answered with no event: %s", a.res.Body)
		default:
		}
		mustAppend(t, l, some(t, 5, 7)...)
		a := <-answer
		if a.took != 1234*time.Millisecond {
			t.Errorf("answered after %v, want at once after 1.234 s", a.took)
		}
		wantEvents(t, a.res, 5, 7, 7)
	})
}

func TestAReaderWaitsNoLongerThanItAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, statetest.New())
		mustAppend(t, l, some(t, 0, 2)...)
		for _, wait := range []int{0, 1, 30} {
			a := <-ask(t.Context(), engine(context.Background(), l), fmt.Sprintf("/events?after=2&wait=%d", wait))
			if a.took != time.Duration(wait)*time.Second {
				t.Errorf("wait=%d took %v", wait, a.took)
			}
			wantEvents(t, a.res, 2, 2, 2)
		}
	})
}

func TestAReaderSeesAtOnceWhatAnotherReplicaHasAppended(t *testing.T) {
	store := statetest.New()
	a, b := start(t, store), start(t, store)
	mustAppend(t, a)
	mustAppend(t, b, some(t, 0, 200)...)
	wantEvents(t, get(t, engine(context.Background(), a), "/events"), 0, 200, 200)
}

func TestAReaderWhoWaitsSeesWhatAnotherReplicaAppends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.New()
		a, b := start(t, store), start(t, store)
		mustAppend(t, a)
		answer := ask(t.Context(), engine(context.Background(), a), "/events?wait=30")
		time.Sleep(1100 * time.Millisecond) // of the bubble's clock
		mustAppend(t, b, some(t, 0, 3)...)
		got := <-answer
		if late := got.took - 1100*time.Millisecond; late < 0 || late > eventlog.MaxAge {
			t.Errorf("answered %v after it was appended", late)
		}
		wantEvents(t, got.res, 0, 3, 3)
	})
}

// An append shows where the tail is, so readers that ask again and again need not read the
// store.
func TestReadersWhoWaitLookAtTheStoreNoMoreThanNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.New()
		l := start(t, store)
		for i := range 10 {
			mustAppend(t, l, some(t, i, i+1)...)
			_, before := count(store)
			answers := make([]<-chan asked, 5)
			for reader := range answers {
				answers[reader] = ask(t.Context(), engine(context.Background(), l), fmt.Sprintf("/events?after=%d&wait=2", i+1))
			}
			time.Sleep(eventlog.MaxAge - time.Millisecond) // of the bubble's clock
			if _, reads := count(store); reads != before {
				t.Errorf("%d looks right after an append", reads-before)
			}
			for _, answer := range answers {
				<-answer
			}
			if _, reads := count(store); reads < before+3 {
				t.Errorf("%d looks in the 2 s after that", reads-before)
			}
		}
	})
}

// A reader that doesn't wait was woken up by the bus.
func TestAReaderWhoDoesNotWaitSeesWhatAnotherReplicaHasJustAppended(t *testing.T) {
	store := statetest.New()
	a, b := start(t, store), start(t, store)
	mustAppend(t, b, some(t, 0, 1)...)
	mustAppend(t, a, some(t, 1, 2)...)
	mustAppend(t, b, some(t, 2, 3)...)
	wantEvents(t, get(t, engine(context.Background(), a), "/events?after=2"), 2, 3, 3)
}

// Query takes what its first answer says for the end of the log.
func TestAReaderWhoDoesNotWaitLearnsWhereTheLogEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.New()
		a, b := start(t, store), start(t, store)
		mustAppend(t, b, some(t, 0, 2)...)
		mustAppend(t, a, some(t, 2, 3)...)
		time.Sleep(2 * eventlog.MaxAge) // of the bubble's clock
		wantEvents(t, get(t, engine(context.Background(), b), "/events?after=0"), 0, 3, 3)
		// When the store can't say, what is known is better than nothing.
		time.Sleep(2 * eventlog.MaxAge) // of the bubble's clock
		store.Fail(statetest.ErrDown)
		wantEvents(t, get(t, engine(context.Background(), b), "/events?after=1"), 1, 3, 3)
	})
}

func TestStoppingEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, statetest.New())
		mustAppend(t, l, some(t, 0, 1)...)
		stopping, stop := context.WithCancel(context.Background())
		answer := ask(t.Context(), engine(stopping, l), "/events?after=1&wait=30")
		synctest.Wait()
		stop()
		a := <-answer
		if a.took != 0 {
			t.Errorf("went on for %v", a.took)
		}
		wantEvents(t, a.res, 1, 1, 1)
	})
}

func TestAReaderWhoGoesAwayEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, statetest.New())
		mustAppend(t, l)
		ctx, goAway := context.WithCancel(t.Context())
		answer := ask(ctx, engine(context.Background(), l), "/events?wait=30")
		synctest.Wait()
		goAway()
		if a := <-answer; a.took != 0 {
			t.Errorf("went on for %v", a.took)
		}
	})
}

func TestAStoreThatGoesDownWhileAReaderWaitsIs503(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.New()
		l := start(t, store)
		mustAppend(t, l, some(t, 0, 1)...)
		answer := ask(t.Context(), engine(context.Background(), l), "/events?after=1&wait=30")
		synctest.Wait()
		store.Fail(statetest.ErrDown)
		a := <-answer
		wantUnavailable(t, "while it waits", a.res)
		if a.took > eventlog.MaxAge {
			t.Errorf("answered after %v", a.took)
		}
	})
}

// A part of the log must never be taken for the whole.
func TestAnAnswerThatCantBeCompletedIsNoJSON(t *testing.T) {
	for name, damage := range map[string]func(*statetest.Memory){
		"a segment is missing": func(f *statetest.Memory) { f.Remove(segmentKey(f, 3)) },
		"a segment is damaged": func(f *statetest.Memory) { f.Put(segmentKey(f, 3), "oops") },
		"a packed one is cut": func(f *statetest.Memory) {
			f.Put(segmentKey(f, 3), string(ofSize(t, 3, eventlog.SegmentSize).Encode()[:500]))
		},
	} {
		store := statetest.New()
		answersAtMost(store, 2) // so that the answer has begun when it comes to the damage
		l := start(t, store)
		mustAppend(t, l, some(t, 0, 6*eventlog.SegmentSize)...)
		l.mu.Lock()
		l.recent = recentSegments{}
		l.mu.Unlock()
		damage(store)
		h := engine(context.Background(), l)
		if res := get(t, h, "/events?limit=10000"); json.Valid(res.Body.Bytes()) {
			t.Errorf("%s: %d with %d events, which is valid JSON", name, res.Code, lineCount(res.Body.String()))
		}
		wantEvents(t, get(t, h, fmt.Sprintf("/events?limit=%d", eventlog.SegmentSize)), 0, eventlog.SegmentSize, 6*eventlog.SegmentSize)
		// Where nothing was sent yet there is still time to say so.
		wantUnavailable(t, name, get(t, h, fmt.Sprintf("/events?after=%d", 3*eventlog.SegmentSize)))
	}
}

func TestLongAnswersAreCompressedForThoseWhoTakeIt(t *testing.T) {
	store := statetest.New()
	answersAtMost(store, 2)
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 6*eventlog.SegmentSize)...)
	h := engine(context.Background(), l)
	ask := func(path string) *httptest.ResponseRecorder {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		req.Header.Set("Accept-Encoding", "zstd")
		res := httptest.NewRecorder()
		h.ServeHTTP(res, req)
		return res
	}
	for _, fromStore := range []bool{false, true} {
		if fromStore {
			l.mu.Lock()
			l.recent = recentSegments{}
			l.mu.Unlock()
		}
		for _, page := range []struct{ after, limit int }{{0, compressFrom}, {0, 6 * eventlog.SegmentSize}, {1, compressFrom}, {eventlog.SegmentSize - 1, 6 * eventlog.SegmentSize}, {eventlog.SegmentSize, 2*eventlog.SegmentSize + 1}} {
			path, limit := fmt.Sprintf("/events?after=%d&limit=%d", page.after, page.limit), page.limit
			res := ask(path)
			if res.Header().Get("Content-Encoding") != "zstd" || res.Body.Len() > 100*limit {
				t.Fatalf("%s: %q, %d bytes", path, res.Header().Get("Content-Encoding"), res.Body.Len())
			}
			if whole, plain := unzstd(t, res.Body.Bytes()), get(t, h, path).Body.String(); whole != plain {
				t.Errorf("%s: %d bytes are not what others get", path, len(whole))
			}
			for number := range 6 { // a segment that is all in it is in it as it is stored
				all := page.after <= number*eventlog.SegmentSize && (number+1)*eventlog.SegmentSize <= page.after+page.limit
				if bytes.Contains(res.Body.Bytes(), []byte(store.Value(segmentKey(store, number)))) != all {
					t.Errorf("%s, from the store %v: segment %d as it is stored: %v, want %v", path, fromStore, number, !all, all)
				}
			}
		}
		for _, path := range []string{fmt.Sprintf("/events?limit=%d", compressFrom-1), fmt.Sprintf("/events?after=%d", 6*eventlog.SegmentSize), "/events?after=9999", "/events?limit=x"} {
			if res := ask(path); res.Header().Get("Content-Encoding") != "" || !json.Valid(res.Body.Bytes()) {
				t.Errorf("%s: %q", path, res.Header().Get("Content-Encoding"))
			}
		}
	}
	// One that can't be completed is no JSON, and one that is none says so.
	store.Remove(segmentKey(store, 3))
	res := ask("/events?limit=10000")
	if part := unzstd(t, res.Body.Bytes()); res.Code != http.StatusOK || len(part) == 0 || json.Valid([]byte(part)) {
		t.Errorf("%d, and a part of %d bytes is taken for the whole", res.Code, len(part))
	}
	res = ask(fmt.Sprintf("/events?after=%d", 3*eventlog.SegmentSize))
	if wantUnavailable(t, "the problem", res); res.Header().Get("Content-Encoding") != "" {
		t.Errorf("a problem is said to be %s", res.Header().Get("Content-Encoding"))
	}
}

func TestReadersOfEveryPageSizeGetTheWholeLog(t *testing.T) {
	const n = 3*eventlog.SegmentSize + 17
	l := start(t, statetest.New())
	mustAppend(t, l, some(t, 0, n)...)
	h := engine(context.Background(), l)
	for _, limit := range []int{1, 7, 128, 200} {
		for after := 0; after < n; after += limit {
			wantEvents(t, get(t, h, fmt.Sprintf("/events?after=%d&limit=%d", after, limit)), after, min(n, after+limit), n)
		}
	}
}

func TestOtherMethodsAndPathsAreProblems(t *testing.T) {
	h := engine(context.Background(), newLog(statetest.New()))
	for path, want := range map[string]int{"/events": http.StatusMethodNotAllowed, "/": http.StatusNotFound} {
		res := httptest.NewRecorder()
		h.ServeHTTP(res, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, nil))
		if res.Code != want || res.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("POST %s: %d %s", path, res.Code, res.Header().Get("Content-Type"))
		}
	}
}
