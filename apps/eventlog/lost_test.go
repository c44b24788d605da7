package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
)

// snapshot is all that the store holds now; restore goes back to it, ETags included, as
// a Redis does that comes back without what it wrote last.
func (f *fakeStore) snapshot() map[string]record {
	f.mu.Lock()
	defer f.mu.Unlock()
	values := make(map[string]record, len(f.values))
	for key, r := range f.values {
		values[key] = r
	}
	return values
}

func (f *fakeStore) restore(values map[string]record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values = map[string]record{}
	for key, r := range values {
		f.values[key] = r
	}
}

// appendBy appends events in commits of size each.
func appendBy(t testing.TB, l *eventLog, size int, events []event.Event) {
	t.Helper()
	for batch := range slices.Chunk(events, size) {
		mustAppend(t, l, batch...)
	}
}

// wantLost checks that a replica has noticed that the store lost events: it takes
// nothing, is not ready, and serves nothing of what may be in no log.
func wantLost(t testing.TB, l *eventLog) {
	t.Helper()
	if l.whole() == nil {
		t.Error("the service would say that it is ready")
	}
	if errs := l.append(t.Context(), []event.Event{titled(t, 5000, "late")}); errs[0] == nil {
		t.Error("an event is acknowledged on top of lost ones")
	}
	h := engine(context.Background(), l)
	for _, path := range []string{"/events", fmt.Sprintf("/events?after=%d", l.last())} {
		wantUnavailable(t, path, get(t, h, path))
	}
}

// The store comes back with the first 100 events, and the next write of a replica that
// knew more is of a segment that is gone, or that begins.
func TestNothingIsAcknowledgedOverALostEnd(t *testing.T) {
	for name, c := range map[string]struct{ before, size int }{
		"the tail is gone":                      {140, 1},
		"the tail that was written once":        {140, 140},
		"a later tail":                          {400, 50},
		"a tail that the append fills":          {2*segmentSize - 1, 3},
		"the next segment begins":               {segmentSize, 1},
		"the next segment begins in one commit": {segmentSize, segmentSize},
		"the third one begins":                  {2 * segmentSize, 32},
	} {
		t.Run(name, func(t *testing.T) {
			store := newFakeStore()
			l := start(t, store)
			events := some(t, 0, c.before)
			mustAppend(t, l, events[:100]...)
			earlier := store.snapshot()
			appendBy(t, l, c.size, events[100:])
			store.restore(earlier)
			if errs := l.append(t.Context(), some(t, 1000, 1001)); errs[0] == nil {
				t.Error("acknowledged")
			}
			if got := l.last(); got != uint64(c.before) { //nolint:gosec // never negative
				t.Errorf("the log ends at %d", got)
			}
			wantLost(t, l)
			again := start(t, store)
			if end := endOf(t, again); end.Sequence != 100 {
				t.Fatalf("after a restart the log ends at %d", end.Sequence)
			}
			appendBy(t, again, 7, some(t, 1000, 1400))
			wantLog(t, store, append(some(t, 0, 100), some(t, 1000, 1400)...), true)
		})
	}
}

// What one replica had in the tail comes back with its next write; what others had
// appended there does not, so it takes nothing more.
func TestATailThatIsGoneAloneIsLost(t *testing.T) {
	for name, size := range map[string]int{"written often": 1, "written once": 140} {
		store := newFakeStore()
		l := start(t, store)
		appendBy(t, l, size, some(t, 0, 140))
		store.remove(store.segmentKey(1))
		if errs := l.append(t.Context(), some(t, 140, 141)); errs[0] == nil {
			t.Errorf("%s: acknowledged", name)
		}
		wantLost(t, l)
		mustAppend(t, start(t, store), some(t, 140, 143)...)
		wantLog(t, store, some(t, 0, 143), true)
	}
}

func TestARepeatOfALostEventIsNotAcknowledged(t *testing.T) {
	store := newFakeStore()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 100)...)
	earlier := store.snapshot()
	mustAppend(t, l, some(t, 100, 140)...)
	store.restore(earlier)
	if errs := l.append(t.Context(), some(t, 120, 121)); errs[0] == nil {
		t.Error("acknowledged, and in no log")
	}
	wantLost(t, l)
}

// Another replica's tail may have the ETag that this one expects.
func TestATailWithOtherEventsIsNotWrittenOver(t *testing.T) {
	store := newFakeStore()
	l := start(t, store)
	appendBy(t, l, 1, some(t, 0, 10))
	key := store.segmentKey(0)
	other, _, err := (&segment{}).with(some(t, 100, 110))
	if err != nil {
		t.Fatal(err)
	}
	store.values[key] = record{other.encode(), store.values[key].version}
	s, _, err := other.with(some(t, 10, 11))
	if err != nil {
		t.Fatal(err)
	}
	item := state.Item{Key: key, Value: s.encode(), ETag: l.etag}
	if err := l.verifyWrite(t.Context(), l.tail, item); !errors.Is(err, errLost) {
		t.Errorf("verify: %v", err)
	}
}

// flushing empties the store once, when the origin was read and the tail was not yet.
type flushing struct {
	*fakeStore
	flushes bool
}

func (f *flushing) Get(ctx context.Context, keys ...string) ([]state.Item, error) {
	items, err := f.fakeStore.Get(ctx, keys[:1]...)
	if err != nil || len(keys) == 1 {
		return items, err
	}
	if f.flushes {
		f.flushes = false
		f.flush()
	}
	rest, err := f.fakeStore.Get(ctx, keys[1:]...)
	return append(items, rest...), err
}

// Otherwise it would wait for a restart, with nothing there to go on from.
func TestALogThatGoesWhileItIsVerifiedIsGoneAndNotLost(t *testing.T) {
	for name, notice := range map[string]func(*eventLog) error{
		"an append": func(l *eventLog) error { return l.append(t.Context(), some(t, 10, 11))[0] },
		"a repeat":  func(l *eventLog) error { return l.append(t.Context(), some(t, 1, 2))[0] },
		"a refresh": func(l *eventLog) error { return l.refresh(t.Context()) },
	} {
		store := &flushing{fakeStore: newFakeStore()}
		l := start(t, store)
		appendBy(t, l, 1, some(t, 0, 10))
		was := endOf(t, l)
		if err := l.lock(t.Context()); err != nil {
			t.Fatal(err)
		}
		store.flushes = true
		l.unlock()
		if err := notice(l); !errors.Is(err, errGone) {
			t.Errorf("%s: %v", name, err)
		}
		deliver(t, l, some(t, 20, 22)...)
		if now := endOf(t, l); now.Log == was.Log || now.Sequence != 2 || l.whole() != nil {
			t.Errorf("%s: the log ends at %v, %v", name, now, l.whole())
		}
	}
}

// Replica b knows 140 events, the store falls back to the 100 that a knows, and a goes on.
func TestALogThatLostItsEndAndGrewAgainIsNotReadOn(t *testing.T) {
	store := newFakeStore()
	a, b := start(t, store), start(t, store)
	mustAppend(t, a, some(t, 0, 100)...)
	earlier := store.snapshot()
	mustAppend(t, b, some(t, 0, 140)...)
	known := endOf(t, b)
	store.restore(earlier)
	mustAppend(t, a, some(t, 1000, 1100)...)
	for range 2 { // it is not forgotten
		if err := b.refresh(t.Context()); err == nil {
			t.Error("refresh says nothing")
		}
	}
	lostID := some(t, 119, 120)[0].ID
	path := at(eventlog.Position{Sequence: 120, Log: known.Log, Event: lostID}, "")
	wantUnavailable(t, "a lost position", get(t, engine(context.Background(), b), path))
	if errs := b.append(t.Context(), some(t, 119, 120)); errs[0] == nil {
		t.Error("a lost event is acknowledged, and in no log")
	}
	wantLost(t, b)
	wantLog(t, store, append(some(t, 0, 100), some(t, 1000, 1100)...), true)
	wantRefused(t, "a lost position", get(t, engine(context.Background(), a), path), endOf(t, a))
}

// The same where the tail has just as many events again.
func TestATailOfOtherEventsIsNotReadOn(t *testing.T) {
	store := newFakeStore()
	a, b := start(t, store), start(t, store)
	mustAppend(t, a, some(t, 0, 100)...)
	earlier := store.snapshot()
	mustAppend(t, b, some(t, 0, 110)...)
	store.restore(earlier)
	mustAppend(t, a, some(t, 1000, 1010)...)
	if err := b.refresh(t.Context()); err == nil {
		t.Error("refresh says nothing")
	}
	wantLost(t, b)
}

// A replica's write may bring back what it knew; what others knew may be lost all the same.
func TestATailThatStartsOverIsNotReadOn(t *testing.T) {
	for name, size := range map[string]int{"written often": 1, "written once": 140} {
		store := newFakeStore()
		a, b := start(t, store), start(t, store)
		appendBy(t, a, size, some(t, 0, 140))
		mustAppend(t, b) // it is loaded
		if err := b.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		store.remove(store.segmentKey(1))
		if errs := a.append(t.Context(), some(t, 140, 141)); errs[0] == nil {
			t.Errorf("%s: acknowledged", name)
		}
		if err := b.refresh(t.Context()); !errors.Is(err, errLost) {
			t.Errorf("%s: refresh: %v", name, err)
		}
		wantLost(t, b)
	}
}

// A log that is lost and then gone is begun anew.
func TestALostLogThatIsGoneBeginsAnew(t *testing.T) {
	store := newFakeStore()
	l := start(t, store)
	appendBy(t, l, 1, some(t, 0, 10))
	was := endOf(t, l)
	store.remove(store.segmentKey(0))
	if err := l.refresh(t.Context()); !errors.Is(err, errLost) {
		t.Errorf("refresh: %v", err)
	}
	wantLost(t, l)
	store.flush()
	if err := l.refresh(t.Context()); !errors.Is(err, errGone) {
		t.Errorf("refresh: %v", err)
	}
	deliver(t, l, some(t, 20, 22)...)
	if now := endOf(t, l); now.Log == was.Log || now.Sequence != 2 {
		t.Errorf("the log ends at %v", now)
	}
}

// So it does when it is an append, or a reader, that finds it gone.
func TestALostLogThatAnAppendOrAReaderFindsGoneBeginsAnew(t *testing.T) {
	for name, find := range map[string]func(*eventLog){
		"an append": func(l *eventLog) { l.append(t.Context(), some(t, 20, 21)) },
		"a reader":  func(l *eventLog) { get(t, engine(context.Background(), l), "/events?after=0") },
	} {
		store := newFakeStore()
		l := start(t, store)
		appendBy(t, l, 1, some(t, 0, 10))
		was := endOf(t, l)
		store.remove(store.segmentKey(0))
		if errs := l.append(t.Context(), some(t, 10, 11)); !errors.Is(errs[0], errLost) {
			t.Fatalf("%s: append: %v", name, errs[0])
		}
		find(l) // nothing, yet
		wantLost(t, l)
		store.flush()
		find(l)
		if err := l.whole(); err != nil {
			t.Errorf("%s: it is still taken for lost: %v", name, err)
		}
		deliver(t, l, some(t, 20, 22)...)
		if now := endOf(t, l); now.Log == was.Log || now.Sequence != 2 {
			t.Errorf("%s: the log ends at %v", name, now)
		}
	}
}

// A gap must not be served: its reader could never go on.
func TestASegmentThatIsNeitherFullNorTheLastIsNotServed(t *testing.T) {
	const n = 3*segmentSize + 17
	for _, cut := range []int{0, 1, 2} {
		store := newFakeStore()
		l := start(t, store)
		mustAppend(t, l, some(t, 0, n)...)
		l.mu.Lock()
		l.recent = recentSegments{}
		l.mu.Unlock()
		store.set(store.segmentKey(cut), ofSize(t, cut, 100).encode())
		h := engine(context.Background(), l)
		for after := range n {
			for _, limit := range []int{1, 100, n} {
				res := get(t, h, fmt.Sprintf("/events?after=%d&limit=%d", after, limit))
				upTo := min(n, after+limit)
				inGap := after < (cut+1)*segmentSize && upTo > cut*segmentSize+100
				if json.Valid(res.Body.Bytes()) && res.Code == http.StatusOK && inGap {
					t.Fatalf("segment %d is cut, and after %d are served %d of %d events", cut, after, lineCount(res.Body.String()), upTo-after)
				}
				if !inGap && res.Code != http.StatusOK {
					t.Fatalf("segment %d is cut, and after %d: %d %s", cut, after, res.Code, res.Body)
				}
			}
		}
	}
}

// Such a log would be filled up, and go on with what is of another one.
func TestALogWithASegmentBehindItsTailIsNotLoaded(t *testing.T) {
	store := newFakeStore()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 140)...)
	store.set(store.segmentKey(0), ofSize(t, 0, 100).encode())
	err := newEventLog(store).load(t.Context())
	if err == nil || !strings.Contains(err.Error(), "segment 0 has 100 events") {
		t.Errorf("loaded: %v", err)
	}
}
