package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// putAt puts a value there that was written so many times.
func putAt(store *statetest.Memory, key, value string, version int) {
	store.Remove(key)
	for range version {
		store.Put(key, value)
	}
}

// appendBy appends events in commits of size each.
func appendBy(t testing.TB, l *Log, size int, events []event.Event) {
	t.Helper()
	for batch := range slices.Chunk(events, size) {
		mustAppend(t, l, batch...)
	}
}

// wantBack checks that the log goes on, with the events in that order, and that so many of them
// were given back by the replica.
func wantBack(t testing.TB, l *Log, store *statetest.Memory, events []event.Event, given int) {
	t.Helper()
	last := titled(t, 5000, "the last")
	deliver(t, l, last)
	wantLog(t, store, append(slices.Clone(events), last), true)
	if err := l.Ready(); err != nil {
		t.Errorf("the service is not ready: %v", err)
	}
	if got := l.Repairs.All()[repairs.GivenBack]; got != given {
		t.Errorf("%d events were given back, want %d", got, given)
	}
}

// While the replica can't read the log again it takes nothing, is not ready, and serves nothing
// of what may be in no log.
func TestALogOfWhichEventsAreMissingIsNotUsed(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 100)...)
	setBack := store.Save()
	mustAppend(t, l, some(t, 100, 140)...)
	setBack()
	if err := l.Refresh(t.Context(), 0); !errors.Is(err, errEventsMissing) {
		t.Errorf("refresh: %v", err)
	}
	store.Fail(statetest.ErrDown)
	h := engine(context.Background(), l)
	for range 2 {
		if l.Ready() == nil {
			t.Error("the service would say that it is ready")
		}
		for _, path := range []string{"/events", "/events?after=140", "/events?after=100"} {
			wantUnavailable(t, path, get(t, h, path))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*loadPause)
		if errs := l.Append(ctx, []event.Event{titled(t, 5001, "late")}); errs[0] == nil {
			t.Error("an event is acknowledged on top of lost ones")
		}
		cancel()
	}
	store.Fail(nil)
	wantBack(t, l, store, some(t, 0, 140), 40)
}

// The store comes back with the first 100 events, and the next write of a replica that
// knew more is of a segment that is missing, or that begins.
func TestNothingIsAcknowledgedOverALostEnd(t *testing.T) {
	for name, c := range map[string]struct{ before, size int }{
		"the tail is missing":                   {140, 1},
		"the tail that was written once":        {140, 140},
		"a later tail":                          {400, 50},
		"a tail that the append fills":          {2*eventlog.SegmentSize - 1, 3},
		"the next segment begins":               {eventlog.SegmentSize, 1},
		"the next segment begins in one commit": {eventlog.SegmentSize, eventlog.SegmentSize},
		"the third one begins":                  {2 * eventlog.SegmentSize, 32},
	} {
		t.Run(name, func(t *testing.T) { overALostEnd(t, statetest.New(), c.before, c.size) })
		t.Run(name+", in a store with opaque ETags", func(t *testing.T) { overALostEnd(t, statetest.NewOpaque(), c.before, c.size) })
	}
}

// overALostEnd appends events by commits of a size, and has the store lose those after the first
// 100.
func overALostEnd(t *testing.T, store *statetest.Memory, before, size int) {
	t.Helper()
	l := start(t, store)
	events := some(t, 0, before)
	mustAppend(t, l, events[:100]...)
	setBack := store.Save()
	appendBy(t, l, size, events[100:])
	setBack()
	if errs := l.Append(t.Context(), some(t, 1000, 1001)); errs[0] == nil {
		t.Error("acknowledged")
	}
	known := events
	if given := l.view(); given.broken == nil && given.last == uint64(before)+1 { //nolint:gosec // never negative
		known = append(slices.Clone(events), some(t, 1000, 1001)...) // it was in the store when the loss was noticed
	}
	wantBack(t, l, store, known, before-100)
}

// A replica that starts after the loss goes on from where the log ends then.
func TestALostEndThatNobodyKnowsStaysLost(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 100)...)
	setBack := store.Save()
	mustAppend(t, l, some(t, 100, 140)...)
	setBack()
	again := start(t, store)
	if end := endOf(t, again); end.Sequence != 100 {
		t.Fatalf("after a restart the log ends at %d", end.Sequence)
	}
	appendBy(t, again, 7, some(t, 1000, 1400))
	wantLog(t, store, append(some(t, 0, 100), some(t, 1000, 1400)...), true)
}

// The store falls back to before what is in memory. What is in memory comes back.
func TestWhatIsInMemoryOfALostEndComesBack(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 100)...)
	setBack := store.Save()
	const n = 5 * eventlog.SegmentSize
	appendBy(t, l, 100, some(t, 100, n+7))
	l.mu.Lock()
	l.recent.segments = l.recent.segments[2:]
	l.mu.Unlock()
	setBack()
	if err := l.Refresh(t.Context(), 0); !errors.Is(err, errEventsMissing) {
		t.Errorf("refresh: %v", err)
	}
	wantBack(t, l, store, append(some(t, 0, 100), some(t, 2*eventlog.SegmentSize, n+7)...), n+7-2*eventlog.SegmentSize)
}

// Each replica knows another part of what was lost.
func TestReplicasGiveBackWhatEachOfThemKnows(t *testing.T) {
	for name, store := range map[string]*statetest.Memory{"counting ETags": statetest.New(), "opaque ETags": statetest.NewOpaque()} {
		t.Run(name, func(t *testing.T) {
			all := []*Log{start(t, store), start(t, store), start(t, store)}
			mustAppend(t, all[0], some(t, 0, 100)...)
			setBack := store.Save()
			for i, l := range all {
				mustAppend(t, l, some(t, 100*(i+1), 100*(i+2))...)
			}
			setBack()
			var running sync.WaitGroup
			for i, l := range all {
				running.Go(func() { deliver(t, l, titled(t, 6000+i, "later")) })
			}
			running.Wait()
			want := some(t, 0, 400)
			for i := range all {
				want = append(want, titled(t, 6000+i, "later"))
			}
			wantLog(t, store, want, false)
		})
	}
}

// The store is away in the middle of giving back, or loses it again.
func TestGivingBackGoesOn(t *testing.T) {
	for name, breaks := range map[string]func(store *statetest.Memory, setBack func()){
		"after a failure":   func(store *statetest.Memory, _ func()) { store.Fail(statetest.ErrDown) },
		"after a new loss":  func(_ *statetest.Memory, setBack func()) { setBack() },
		"after an emptying": func(store *statetest.Memory, _ func()) { store.Clear() },
	} {
		t.Run(name, func(t *testing.T) {
			store := statetest.New()
			l := start(t, store)
			mustAppend(t, l, some(t, 0, 100)...)
			setBack := store.Save()
			mustAppend(t, l, some(t, 100, 5*eventlog.SegmentSize)...)
			setBack()
			broken := make(chan struct{})
			beforeSwaps(store, func(n int) {
				if n == 3 {
					breaks(store, setBack)
					close(broken)
				}
			})
			if err := l.Refresh(t.Context(), 0); !errors.Is(err, errEventsMissing) {
				t.Errorf("refresh: %v", err)
			}
			<-broken
			store.Fail(nil)
			if name == "after an emptying" {
				deliver(t, l, some(t, 0, 1)...)
				wantLog(t, store, some(t, 0, 1), true)
				return
			}
			deliver(t, l, titled(t, 5000, "the last"))
			wantLog(t, store, append(some(t, 0, 5*eventlog.SegmentSize), titled(t, 5000, "the last")), true)
		})
	}
}

// What one replica had in the tail comes back with its next write; what others had
// appended there does not, so it takes nothing more.
func TestATailThatIsMissingAloneIsLost(t *testing.T) {
	for name, size := range map[string]int{"written often": 1, "written once": 140} {
		store := statetest.New()
		l := start(t, store)
		appendBy(t, l, size, some(t, 0, 140))
		store.Remove(segmentKey(store, 1))
		if errs := l.Append(t.Context(), some(t, 140, 141)); errs[0] == nil {
			t.Errorf("%s: acknowledged", name)
		}
		deliver(t, l, some(t, 140, 143)...)
		wantLog(t, store, some(t, 0, 143), true)
	}
}

func TestARepeatOfALostEventIsNotAcknowledged(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 100)...)
	setBack := store.Save()
	mustAppend(t, l, some(t, 100, 140)...)
	setBack()
	if errs := l.Append(t.Context(), some(t, 120, 121)); errs[0] == nil {
		t.Error("acknowledged, and in no log")
	}
	wantBack(t, l, store, some(t, 0, 140), 40)
}

// Another replica's tail may have the ETag that this one expects.
func TestATailWithOtherEventsIsNotWrittenOver(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	appendBy(t, l, 1, some(t, 0, 10))
	key := segmentKey(store, 0)
	other, _, err := (&eventlog.Segment{}).With(some(t, 100, 110))
	if err != nil {
		t.Fatal(err)
	}
	putAt(store, key, string(other.Encode()), store.Version(key))
	if _, err := l.verify(t.Context(), l.tail.Number, 1); !errors.Is(err, errEventsMissing) { // as it does at the same time as it writes
		t.Errorf("verify: %v", err)
	}
	wantBack(t, l, store, append(some(t, 100, 110), some(t, 0, 10)...), 10)
}

// flushing empties the store once, when the origin was read and the tail was not yet.
type flushing struct {
	*statetest.Memory
	flushes bool
}

func (f *flushing) Get(ctx context.Context, keys ...string) ([]state.Item, error) {
	items, err := f.Memory.Get(ctx, keys[:1]...)
	if err != nil || len(keys) == 1 {
		return items, err
	}
	if f.flushes {
		f.flushes = false
		f.Clear()
	}
	rest, err := f.Memory.Get(ctx, keys[1:]...)
	return append(items, rest...), err
}

// Otherwise it would wait for a restart, with nothing there to go on from.
func TestALogThatIsRemovedWhileItIsVerifiedIsMissingAndHasNotLostEvents(t *testing.T) {
	for name, notice := range map[string]func(*Log) error{
		"an append": func(l *Log) error { return l.Append(t.Context(), some(t, 10, 11))[0] },
		"a repeat":  func(l *Log) error { return l.Append(t.Context(), some(t, 1, 2))[0] },
		"a refresh": func(l *Log) error { return l.Refresh(t.Context(), 0) },
	} {
		store := &flushing{Memory: statetest.New()}
		l := start(t, store)
		appendBy(t, l, 1, some(t, 0, 10))
		was := endOf(t, l)
		if err := l.turn.Acquire(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		store.flushes = true
		l.turn.Release(1)
		if err := notice(l); !errors.Is(err, errLogMissing) {
			t.Errorf("%s: %v", name, err)
		}
		deliver(t, l, some(t, 20, 22)...)
		if now := endOf(t, l); now.Log == was.Log || now.Sequence != 2 || l.Ready() != nil {
			t.Errorf("%s: the log ends at %v, %v", name, now, l.Ready())
		}
	}
}

// Replica b knows 140 events, the store falls back to the 100 that a knows, and a goes on.
func TestALogThatLostItsEndAndGrewAgainIsNotReadOn(t *testing.T) {
	store := statetest.New()
	a, b := start(t, store), start(t, store)
	mustAppend(t, a, some(t, 0, 100)...)
	setBack := store.Save()
	mustAppend(t, b, some(t, 0, 140)...)
	known := endOf(t, b)
	setBack()
	mustAppend(t, a, some(t, 1000, 1100)...)
	if err := b.Refresh(t.Context(), 0); err == nil {
		t.Error("refresh says nothing")
	}
	lostID := some(t, 119, 120)[0].ID
	path := at(eventlog.Position{Sequence: 120, Log: known.Log, Event: lostID}, "")
	wantBack(t, b, store, slices.Concat(some(t, 0, 100), some(t, 1000, 1100), some(t, 100, 140)), 40)
	end := endOf(t, a)
	wantRefused(t, "a lost position", get(t, engine(context.Background(), a), path), end)
}

// The same where the tail has just as many events again.
func TestATailOfOtherEventsIsNotReadOn(t *testing.T) {
	store := statetest.New()
	a, b := start(t, store), start(t, store)
	mustAppend(t, a, some(t, 0, 100)...)
	setBack := store.Save()
	mustAppend(t, b, some(t, 0, 110)...)
	setBack()
	mustAppend(t, a, some(t, 1000, 1010)...)
	if err := b.Refresh(t.Context(), 0); err == nil {
		t.Error("refresh says nothing")
	}
	wantBack(t, b, store, slices.Concat(some(t, 0, 100), some(t, 1000, 1010), some(t, 100, 110)), 10)
}

// A replica's write may bring back what it knew; what others knew may be lost all the same.
func TestATailThatStartsOverIsNotReadOn(t *testing.T) {
	for name, size := range map[string]int{"written often": 1, "written once": 140} {
		store := statetest.New()
		a, b := start(t, store), start(t, store)
		appendBy(t, a, size, some(t, 0, 140))
		mustAppend(t, b) // it is loaded
		if err := b.Refresh(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		store.Remove(segmentKey(store, 1))
		if errs := a.Append(t.Context(), some(t, 140, 141)); errs[0] == nil {
			t.Errorf("%s: acknowledged", name)
		}
		if err := b.Refresh(t.Context(), 0); !errors.Is(err, errEventsMissing) {
			t.Errorf("%s: refresh: %v", name, err)
		}
		deliver(t, a, some(t, 140, 141)...)
		wantBack(t, b, store, some(t, 0, 141), 0) // the other one had it all
	}
}

// A log that is has lost events and is then missing is begun anew.
func TestALostLogThatIsMissingBeginsAnew(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	appendBy(t, l, 1, some(t, 0, 10))
	was := endOf(t, l)
	store.Remove(segmentKey(store, 0))
	if err := l.Refresh(t.Context(), 0); !errors.Is(err, errEventsMissing) {
		t.Errorf("refresh: %v", err)
	}
	store.Clear()
	if err := l.Refresh(t.Context(), 0); err == nil {
		if now, _ := l.End(); now.Log == was.Log { // otherwise it has begun anew already
			t.Error("refresh says nothing")
		}
	}
	deliver(t, l, some(t, 20, 22)...)
	if now := endOf(t, l); now.Log == was.Log || now.Sequence != 2 {
		t.Errorf("the log ends at %v", now)
	}
}

// A gap must not be served: its reader could never go on.
func TestASegmentThatIsNeitherFullNorTheLastIsNotServed(t *testing.T) {
	const n = 3*eventlog.SegmentSize + 17
	for _, cut := range []int{0, 1, 2} {
		store := statetest.New()
		l := start(t, store)
		mustAppend(t, l, some(t, 0, n)...)
		l.mu.Lock()
		l.recent = recentSegments{}
		l.mu.Unlock()
		store.Put(segmentKey(store, cut), string(ofSize(t, cut, 100).Encode()))
		h := engine(context.Background(), l)
		for after := range n {
			for _, limit := range []int{1, 100, n} {
				res := get(t, h, fmt.Sprintf("/events?after=%d&limit=%d", after, limit))
				upTo := min(n, after+limit)
				inGap := after < (cut+1)*eventlog.SegmentSize && upTo > cut*eventlog.SegmentSize+100
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

// The tail would be filled up, and the log would go on with a segment of other events.
func TestALogWithASegmentBehindItsTailIsNotLoaded(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 140)...)
	store.Put(segmentKey(store, 0), string(ofSize(t, 0, 100).Encode()))
	err := newLog(store).load(t.Context())
	if err == nil || !strings.Contains(err.Error(), "segment 0 has 100 events") {
		t.Errorf("loaded: %v", err)
	}
}
