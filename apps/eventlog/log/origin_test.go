package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// endOf is where a replica's log ends, once it is loaded.
func endOf(t testing.TB, l *Log) eventlog.Position {
	t.Helper()
	mustAppend(t, l)
	end, err := l.End()
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// deliver appends as the bus does: until it is acknowledged.
func deliver(t testing.TB, l *Log, events ...event.Event) {
	t.Helper()
	for tries := 0; ; tries++ {
		err := errors.Join(l.Append(t.Context(), events)...)
		if err == nil {
			return
		}
		if tries == 10 {
			t.Fatal(err)
		}
	}
}

func TestAllReplicasGiveALogTheSameID(t *testing.T) {
	store := statetest.New()
	replicas := make([]*Log, 5)
	for i := range replicas {
		replicas[i] = start(t, store)
	}
	id := endOf(t, replicas[0]).Log
	if _, ok := event.IDTime(id); !ok {
		t.Errorf("the id is %q", id)
	}
	for i, l := range append(replicas, start(t, store)) {
		if got := endOf(t, l).Log; got != id {
			t.Errorf("replica %d has %s, and another %s", i, got, id)
		}
	}
	mustAppend(t, replicas[0], some(t, 0, 1)...)
	if keys := store.Keys("segment-"); len(keys) != 1 || !strings.Contains(keys[0], id) {
		t.Errorf("the keys are %v, without %s", keys, id)
	}
}

// The replicas of the version before may run beside.
func TestALogFromBeforeIDsGetsOneAndKeepsItsKeys(t *testing.T) {
	store := filled(t, some(t, 0, 130))
	l := start(t, store)
	id := endOf(t, l).Log
	if _, ok := event.IDTime(id); !ok {
		t.Errorf("the id is %q", id)
	}
	mustAppend(t, l, some(t, 130, 140)...)
	former := filled(t, some(t, 0, 145)) // as one of them goes on
	store.Put("segment-00000001", former.Value("segment-00000001"))
	mustAppend(t, l, some(t, 140, 150)...)
	if keys := store.Keys("segment-"); len(keys) != 2 {
		t.Errorf("the keys are %v", keys)
	}
	wantLog(t, store, some(t, 0, 150), true)
	if again := endOf(t, start(t, store)).Log; again != id {
		t.Errorf("after a restart the id is %s, and was %s", again, id)
	}
}

// There are seldom any dead letters when the version before is upgraded.
func TestAnEmptyLogBesideOneFromBeforeIDsHasItsKeys(t *testing.T) {
	for name, store := range map[string]*statetest.Memory{"segment-00000000": filled(t, some(t, 0, 1)), "": statetest.New()} {
		l := New(Config{Store: store, Prefix: "dead-letters-", Now: time.Now})
		if err := l.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := l.origin.Key(0); name != "" && got != name || name == "" && !strings.Contains(got, l.origin.ID) {
			t.Errorf("beside %v the first segment is %s", store.Keys(""), got)
		}
		if keys := store.Keys("dead-letters-"); len(keys) != 1 || keys[0] != "dead-letters-log" {
			t.Errorf("the keys of the dead letters are %v", keys)
		}
	}
}

func TestADamagedOriginIsNotLoaded(t *testing.T) {
	for _, value := range []string{"oops", "null", "{}", `{"id":"x","segments":"segment-"}`, fmt.Sprintf(`{"id":%q}`, event.NewID())} {
		store := filled(t, some(t, 0, 3))
		store.Put(eventlog.OriginKey, string([]byte(value)))
		if err := newLog(store).load(t.Context()); err == nil || !strings.Contains(err.Error(), "origin is damaged") {
			t.Errorf("%s: %v", value, err)
		}
	}
}

func TestEveryCommitVerifiesThatTheLogIsThere(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 1)...)
	before := store.Named(statetest.Get, eventlog.OriginKey)
	for i := 1; i < 300; i++ {
		mustAppend(t, l, some(t, i, i+1)...)
	}
	mustAppend(t, l, some(t, 0, 1)...) // a repeat
	if n := store.Named(statetest.Get, eventlog.OriginKey) - before; n != 300 {
		t.Errorf("300 commits read the origin %d times", n)
	}
}

// Whatever is delivered first after the loss, and whatever log it was.
func TestAStoreThatIsEmptiedBeginsANewLogFrom1(t *testing.T) {
	for name, c := range map[string]struct {
		before  int
		former  bool
		deliver [2]int // the first events after the loss
	}{
		"in the first segment":           {3, false, [2]int{3, 8}},
		"in a later one":                 {300, false, [2]int{300, 305}},
		"where a segment begins":         {eventlog.SegmentSize, false, [2]int{128, 133}},
		"over the end of a segment":      {eventlog.SegmentSize - 2, false, [2]int{126, 140}},
		"an empty log":                   {0, false, [2]int{0, 5}},
		"a repeat of what was there":     {3, false, [2]int{2, 3}},
		"a repeat and more":              {3, false, [2]int{2, 8}},
		"a log from before ids":          {3, true, [2]int{3, 8}},
		"a longer log from before ids":   {300, true, [2]int{300, 305}},
		"and a repeat of what was there": {3, true, [2]int{1, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			store := statetest.New()
			if c.former {
				store = filled(t, some(t, 0, 1))
			}
			l := start(t, store)
			mustAppend(t, l, some(t, 0, c.before)...)
			was := endOf(t, l)
			store.Clear()
			events := some(t, c.deliver[0], c.deliver[1])
			for i, err := range l.Append(t.Context(), events) {
				if err == nil || errors.Is(err, bus.ErrPoison) {
					t.Errorf("event %d: %v, although the log is missing", i, err)
				}
			}
			deliver(t, l, events...)
			now := endOf(t, l)
			if now.Log == was.Log || now.Sequence != uint64(len(events)) {
				t.Errorf("the log ended at %v and ends at %v", was, now)
			}
			for _, key := range store.Keys("segment-") { // the writes that came too late are in no log
				if !strings.Contains(key, now.Log) {
					store.Remove(key)
				}
			}
			wantLog(t, store, events, true)
			if again := endOf(t, start(t, store)); again != now {
				t.Errorf("after a restart the log ends at %v, and ended at %v", again, now)
			}
		})
	}
}

func TestAReplicaThatHasNotNoticedWritesIntoNoOtherLog(t *testing.T) {
	store := statetest.New()
	a, b := start(t, store), start(t, store)
	mustAppend(t, a, some(t, 0, 10)...)
	mustAppend(t, b, some(t, 0, 10)...)
	store.Clear()
	deliver(t, a, some(t, 20, 22)...)
	if errs := b.Append(t.Context(), some(t, 22, 23)); errs[0] == nil {
		t.Error("acknowledged in a log that is missing")
	}
	deliver(t, b, some(t, 22, 24)...)
	if endOf(t, a).Log != endOf(t, b).Log {
		t.Fatal("the two go on in logs of their own")
	}
	want := some(t, 20, 24)
	for name, l := range map[string]*Log{"a": a, "b": b, "one that starts": start(t, store)} {
		mustAppend(t, l)
		if events, err := event.ParseBatch([]byte(served(t, l))); err != nil || len(events) != len(want) || events[0].ID != want[0].ID || events[3].ID != want[3].ID {
			t.Errorf("%s serves %d events, %v", name, len(events), err)
		}
	}
}

// Whichever of the replicas notices first, the bus delivers until it is acknowledged.
func TestReplicasUnderLoadGoOnInOneNewLog(t *testing.T) {
	store := statetest.New()
	replicas := []*Log{start(t, store), start(t, store)}
	mustAppend(t, replicas[0], some(t, 0, 200)...)
	mustAppend(t, replicas[1], some(t, 200, 300)...)
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 50 {
				if w == 0 && i == 25 {
					store.Clear()
				}
				n := 1000 + 50*w + i
				deliver(t, replicas[w%2], some(t, n, n+1)...)
			}
		})
	}
	writers.Wait()
	last := some(t, 2000, 2002)
	deliver(t, replicas[0], last[0])
	deliver(t, replicas[1], last[1])
	events, err := event.ParseBatch([]byte(served(t, replicas[0])))
	if err != nil || served(t, replicas[1]) != served(t, replicas[0]) {
		t.Fatalf("the replicas serve other logs, %v", err)
	}
	seen := map[string]int{}
	for i, e := range events {
		if e.Sequence != event.Sequence(i+1) { //nolint:gosec // never negative
			t.Fatalf("event %d has number %d", i+1, e.Sequence)
		}
		seen[e.ID]++
	}
	for n := range 25 { // sent by the writer that emptied the store, after that
		if id := some(t, 1025+n, 1026+n)[0].ID; seen[id] != 1 {
			t.Errorf("event %d is in the log %d times", 1025+n, seen[id])
		}
	}
	if seen[some(t, 0, 1)[0].ID] != 0 || seen[last[0].ID] != 1 || seen[last[1].ID] != 1 {
		t.Error("the log is not the new one")
	}
}

// A log that can't be begun anew at once, because the store is away, is begun later.
func TestANewLogBeginsOnceTheStoreIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.New()
		l := start(t, store)
		mustAppend(t, l, some(t, 0, 3)...)
		store.Clear()
		if err := l.Refresh(t.Context(), 0); !errors.Is(err, errLogMissing) {
			t.Errorf("refresh: %v", err)
		}
		store.Fail(statetest.ErrDown)
		synctest.Wait()
		wantUnavailable(t, "meanwhile", get(t, engine(context.Background(), l), "/events"))
		time.Sleep(time.Minute) // of the bubble's clock
		store.Fail(nil)
		deliver(t, l, some(t, 3, 5)...)
		wantLog(t, store, some(t, 3, 5), true)
	})
}

// at is the path of a read that goes on from a position.
func at(p eventlog.Position, more string) string {
	return fmt.Sprintf("/events?after=%d&log=%s&event=%s%s", p.Sequence, url.QueryEscape(p.Log), url.QueryEscape(p.Event), more)
}

// wantRefused checks that an answer refuses a position and says where the log ends.
func wantRefused(t *testing.T, what string, res *httptest.ResponseRecorder, end eventlog.Position) {
	t.Helper()
	var p struct{ Detail string }
	if err := json.Unmarshal(res.Body.Bytes(), &p); err != nil || res.Code != http.StatusConflict || res.Header().Get("Content-Type") != "application/problem+json" ||
		!strings.Contains(p.Detail, end.Log) || !strings.Contains(p.Detail, fmt.Sprint(end.Sequence)) {
		t.Errorf("%s: %d %s", what, res.Code, res.Body)
	}
	if got := res.Header().Get(eventlog.PositionHeader); got != end.String() || res.Header().Get(eventlog.SequenceHeader) != fmt.Sprint(end.Sequence) {
		t.Errorf("%s: the log ends at %q, want %q", what, got, end)
	}
}

func TestAPositionIsComparedBeforeReadingGoesOn(t *testing.T) {
	const n = 2*eventlog.SegmentSize + 44
	store := statetest.New()
	l := start(t, store)
	events := some(t, 0, n)
	mustAppend(t, l, events...)
	end, h := endOf(t, l), engine(context.Background(), l)
	other := eventlog.Position{Log: event.NewID()}
	for _, inMemory := range []bool{true, false} {
		if !inMemory {
			l.mu.Lock()
			l.recent = recentSegments{}
			l.mu.Unlock()
		}
		for _, after := range []int{1, 127, 128, 129, 256, 257, n - 1, n} {
			p := eventlog.Position{Sequence: uint64(after), Log: end.Log, Event: events[after-1].ID} //nolint:gosec // never negative
			res := get(t, h, at(p, ""))
			wantEvents(t, res, after, n, n)
			if got := res.Header().Get(eventlog.PositionHeader); got != end.String() {
				t.Errorf("the log ends at %q, want %q", got, end)
			}
			p.Log = ""
			wantEvents(t, get(t, h, at(p, "")), after, n, n)
			p.Event = events[after%n].ID
			wantRefused(t, "another event", get(t, h, at(p, "")), end)
			p.Log = end.Log
			wantRefused(t, "another event", get(t, h, at(p, "")), end)
			p.Event, p.Log = events[after-1].ID, other.Log
			wantRefused(t, "another log", get(t, h, at(p, "&wait=30")), end)
		}
	}
	wantEvents(t, get(t, h, at(eventlog.Position{Log: end.Log}, "")), 0, n, n)
	wantRefused(t, "another log's start", get(t, h, at(other, "")), end)
	wantRefused(t, "an event at the start", get(t, h, at(eventlog.Position{Log: end.Log, Event: events[0].ID}, "")), end)
	for _, beyond := range []uint64{n + 1, 10 * n, 1 << 62} {
		wantRefused(t, "beyond the end", get(t, h, fmt.Sprintf("/events?after=%d", beyond)), end)
		wantRefused(t, "beyond the end", get(t, h, fmt.Sprintf("/events?after=%d&wait=30", beyond)), end)
	}
}

func TestNobodyIsRefusedByWhatOneReplicaKnowsAlone(t *testing.T) {
	store := statetest.New()
	a, b := start(t, store), start(t, store)
	mustAppend(t, a, some(t, 0, 2)...)
	mustAppend(t, b, some(t, 2, 5)...)
	h := engine(context.Background(), a)
	wantEvents(t, get(t, h, at(endOf(t, b), "")), 5, 5, 5)
	mustAppend(t, b, some(t, 5, 6)...)
	store.Fail(statetest.ErrDown)
	wantUnavailable(t, "beyond what it knows", get(t, h, "/events?after=6"))
	wantUnavailable(t, "of a log that it does not know", get(t, h, at(eventlog.Position{Log: event.NewID()}, "")))
}

func TestAPositionOfALogThatIsMissingIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.New()
		l := start(t, store)
		mustAppend(t, l, some(t, 0, 3)...)
		was := endOf(t, l)
		h := engine(context.Background(), l)
		store.Clear()
		answer := ask(t.Context(), h, at(was, "&wait=30"))
		got := <-answer
		if got.res.Code == http.StatusOK || got.took > eventlog.MaxAge+time.Millisecond {
			t.Errorf("a reader who waits is answered %d after %v", got.res.Code, got.took)
		}
		deliver(t, l, some(t, 3, 8)...)
		wantRefused(t, "the end of a log that is missing", get(t, h, at(was, "")), endOf(t, l))
		wantRefused(t, "its start", get(t, h, at(eventlog.Position{Log: was.Log}, "")), endOf(t, l))
	})
}

func TestAPositionInALostEndIsRefused(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 5)...)
	id, kept := endOf(t, l).Log, []byte(store.Value(segmentKey(store, 0)))
	mustAppend(t, l, some(t, 5, 8)...)
	lost := endOf(t, l)
	store.Put(segmentKey(store, 0), string(kept))
	again := start(t, store)
	if end := endOf(t, again); end.Log != id || end.Sequence != 5 {
		t.Fatalf("after a restart the log ends at %v", end)
	}
	h := engine(context.Background(), again)
	wantRefused(t, "beyond the end", get(t, h, at(lost, "")), endOf(t, again))
	mustAppend(t, again, some(t, 10, 15)...)
	wantRefused(t, "once it has grown again", get(t, h, at(lost, "")), endOf(t, again))
	fits := eventlog.Position{Sequence: 5, Log: id, Event: some(t, 4, 5)[0].ID}
	if res := get(t, h, at(fits, "")); res.Code != http.StatusOK || lineCount(res.Body.String()) != 5 {
		t.Errorf("what was not lost: %d %s", res.Code, res.Body)
	}
}

// An answer under way must not go on with the events of another log.
func TestAnAnswerHasEventsOfOneLog(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 3*eventlog.SegmentSize)...)
	was := endOf(t, l)
	store.Clear()
	deliver(t, l, some(t, 1000, 1000+2*eventlog.SegmentSize)...)
	if _, err := l.read(t.Context(), was.Log, 1, 1); !errors.Is(err, errLogMissing) {
		t.Errorf("read: %v", err)
	}
	if segments, err := l.read(t.Context(), endOf(t, l).Log, 1, 1); err != nil || len(segments) != 1 || segments[0].Number != 1 {
		t.Errorf("read: %v", err)
	}
}

// loseOrigin is a store that loses the key that says which log it has, and nothing else.
func loseOrigin(store *statetest.Memory) { store.Remove(eventlog.OriginKey) }

// Only the origin goes: nothing of the log is lost, of neither version's log.
func TestALogWhoseOriginAloneIsMissingGoesOnUnderItsID(t *testing.T) {
	for name, c := range map[string]struct {
		before int
		former bool
	}{
		"from before ids":                       {300, true},
		"from before ids, in the first segment": {3, true},
		"from before ids, full":                 {2 * eventlog.SegmentSize, true},
		"with an id":                            {300, false},
		"with an id, in the first segment":      {3, false},
		"with an id, full":                      {eventlog.SegmentSize, false},
	} {
		for by, notice := range map[string]func(*Log) error{
			"an append": func(l *Log) error { return l.Append(t.Context(), some(t, 1000, 1001))[0] },
			"a repeat":  func(l *Log) error { return l.Append(t.Context(), some(t, 1, 2))[0] },
			"a refresh": func(l *Log) error { return l.Refresh(t.Context(), 0) },
		} {
			t.Run(name+", noticed by "+by, func(t *testing.T) {
				store := statetest.New()
				if c.former {
					store = filled(t, some(t, 0, c.before))
				}
				l := start(t, store)
				mustAppend(t, l, some(t, 0, c.before)...)
				was := endOf(t, l)
				other := start(t, store)
				if endOf(t, other) != was {
					t.Fatal("the replicas differ")
				}
				loseOrigin(store)
				if err := notice(l); !errors.Is(err, errLogMissing) {
					t.Errorf("it is not noticed: %v", err)
				}
				deliver(t, l, some(t, 1000, 1001)...)
				deliver(t, other, some(t, 1001, 1002)...)
				want := append(some(t, 0, c.before), some(t, 1000, 1002)...)
				wantLog(t, store, want, true)
				for _, l := range []*Log{l, other, start(t, store)} {
					deliver(t, l, some(t, 1, 2)...) // a repeat
					if now := endOf(t, l); now.Log != was.Log || served(t, l) == "" || now.Event != want[len(want)-1].ID {
						t.Errorf("the log ended at %v and ends at %v", was, now)
					}
				}
				wantLog(t, store, want, true)
			})
		}
	}
}

// A store may come back as it was before its log had an id: with an earlier end, too.
func TestALogFromBeforeIDsThatLostItsEndAndItsOriginBeginsAnewWithWhatIsLeft(t *testing.T) {
	for name, c := range map[string]struct{ before, left int }{
		"in a later segment":     {300, 228},
		"in the first one":       {10, 5},
		"back in the first one":  {300, 100},
		"where a segment begins": {300, eventlog.SegmentSize},
	} {
		t.Run(name, func(t *testing.T) {
			store := filled(t, some(t, 0, c.left))
			setBack := store.Save()
			l := start(t, store)
			appendBy(t, l, 7, some(t, 0, c.before))
			was := endOf(t, l)
			setBack()
			if err := l.Refresh(t.Context(), 0); !errors.Is(err, errLogMissing) {
				t.Errorf("refresh: %v", err)
			}
			deliver(t, l, some(t, 1000, 1002)...)
			deliver(t, l, some(t, c.before-1, c.before)...) // was lost, and comes again
			want := append(some(t, 0, c.left), some(t, 1000, 1002)...)
			wantLog(t, store, append(want, some(t, c.before-1, c.before)...), true)
			if now := endOf(t, l); now.Log == was.Log {
				t.Error("other events have the numbers of those that are lost, under the same id")
			}
		})
	}
}

// What is written after FLUSHALL by a replica that has not noticed is no log.
func TestWhatIsWrittenAfterTheLossOfALogFromBeforeIDsIsNotTakenForIt(t *testing.T) {
	for name, stray := range map[string]struct {
		number int
		events []event.Event
	}{
		"what it knew, and more":     {0, some(t, 0, 12)},
		"what it knew was less":      {0, append(some(t, 0, 4), some(t, 50, 51)...)},
		"of a later segment":         {1, some(t, 128, 135)},
		"all that is known in order": {0, some(t, 0, 11)},
	} {
		t.Run(name, func(t *testing.T) {
			store := filled(t, some(t, 0, 1))
			l := start(t, store)
			appendBy(t, l, 1, some(t, 0, 10))
			if stray.number > 0 {
				mustAppend(t, l, some(t, 10, 130)...)
			}
			was := endOf(t, l)
			store.Clear()
			s, _, err := (&eventlog.Segment{Number: stray.number}).With(stray.events)
			if err != nil {
				t.Fatal(err)
			}
			strayKey := eventlog.Origin{Prefix: eventlog.FormerPrefix}.Key(stray.number)
			store.Put(strayKey, string(s.Encode()))
			if err := l.Refresh(t.Context(), 0); !errors.Is(err, errLogMissing) {
				t.Errorf("refresh: %v", err)
			}
			deliver(t, l, some(t, 1000, 1002)...)
			now := endOf(t, l)
			store.Remove(strayKey)
			if now.Log == was.Log {
				t.Error("the log keeps its id")
			}
			wantLog(t, store, some(t, 1000, 1002), true)
		})
	}
}

// A replica takes back what it has written into a store that is emptied.
func TestWhatIsWrittenBeforeTheLossIsNoticedIsTakenBack(t *testing.T) {
	for _, before := range []int{3, eventlog.SegmentSize, 300} {
		store := filled(t, some(t, 0, 1))
		l := start(t, store)
		mustAppend(t, l, some(t, 0, before)...)
		store.Clear()
		deliver(t, l, some(t, 1000, 1002)...)
		wantLog(t, store, some(t, 1000, 1002), true)
	}
}

// A replica that has read the log while it was empty goes on with it, too.
func TestAnOriginThatIsMissingIsPutBackByAReplicaThatKnowsNoEvent(t *testing.T) {
	store := statetest.New()
	writer, other := newLog(store), newLog(store)
	for _, l := range []*Log{writer, other} {
		if err := l.load(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if errs := writer.commit(t.Context(), some(t, 0, 1)); errs[0] != nil {
		t.Fatal(errs[0])
	}
	before, _ := writer.End()
	store.Remove(eventlog.OriginKey)
	if err := other.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if end, err := other.End(); err != nil || end != before {
		t.Errorf("it ends at %s, %v; the log ended at %s", end, err, before)
	}
}
