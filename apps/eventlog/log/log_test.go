package log

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

func TestAppendNumbersFrom1WithoutGap(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	events := some(t, 0, 300)
	for from, size := 0, 1; from < len(events); size++ {
		upTo := min(from+size, len(events))
		mustAppend(t, l, events[from:upTo]...)
		if l.view().last != uint64(upTo) { //nolint:gosec // never negative
			t.Fatalf("after %d events the log ends at %d", upTo, l.view().last)
		}
		from = upTo
	}
	wantLog(t, store, events, true)
}

func TestAppendOfNothingWritesNothing(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l)
	if swaps, _ := count(store); swaps != 0 {
		t.Errorf("%d writes", swaps)
	}
}

func TestARepeatIsAcknowledgedAndNotAppended(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	events := some(t, 0, 200)
	mustAppend(t, l, events...)
	swaps, _ := count(store)
	mustAppend(t, l, events[50:60]...)
	mustAppend(t, l, events[0])
	if again, _ := count(store); again != swaps {
		t.Errorf("repeats made %d writes", again-swaps)
	}
	mustAppend(t, l, append(events[190:200:200], some(t, 200, 203)...)...)
	wantLog(t, store, some(t, 0, 203), true)
}

func TestARepeatWithinABatchIsAppendedOnce(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	e := some(t, 0, 2)
	mustAppend(t, l, e[0], e[1], e[0], e[0], e[1])
	wantLog(t, store, e, true)
}

func TestTheSameIDWithOtherContentIsPoisonAndItsNeighboursAreNot(t *testing.T) {
	for name, reload := range map[string]bool{"as it was appended": false, "as it was read from the log": true} {
		store := statetest.New()
		l := start(t, store)
		mustAppend(t, l, titled(t, 0, "first"))
		if reload {
			l = start(t, store)
		}
		errs := l.Append(t.Context(), []event.Event{titled(t, 1, "x"), titled(t, 0, "another"), titled(t, 2, "y")})
		if errs[0] != nil || !errors.Is(errs[1], bus.ErrPoison) || errs[2] != nil {
			t.Errorf("%s: got %v, want the second alone to be poison", name, errs)
		}
		wantLog(t, store, []event.Event{titled(t, 0, ""), titled(t, 1, ""), titled(t, 2, "")}, true)
	}
}

func TestTheSameIDWithOtherContentWithinABatchIsPoison(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	errs := l.Append(t.Context(), []event.Event{titled(t, 0, "first"), titled(t, 0, "another")})
	if errs[0] != nil || !errors.Is(errs[1], bus.ErrPoison) {
		t.Errorf("got %v, want the second to be poison", errs)
	}
	if got := stored(t, store); len(got) != 1 || got[0].Post.Title != "first" {
		t.Errorf("the log is %v", got)
	}
}

// The number on an event that comes off the bus is not to be believed.
func TestAppendOverwritesASequenceThatCameAlong(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	e := titled(t, 0, "x")
	e.Sequence = 77
	mustAppend(t, l, e)
	wantLog(t, store, []event.Event{e}, true)
}

// While one write is under way all others wait, and then share the next.
func TestAppendsThatWaitShareOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.New()
		gate := make(chan struct{})
		hold(store, map[int]chan struct{}{1: gate})
		l := start(t, store)
		events := some(t, 0, 100)
		var all sync.WaitGroup
		all.Go(func() { mustAppend(t, l, events[0]) })
		synctest.Wait() // the first is being written
		for _, e := range events[1:] {
			all.Go(func() { mustAppend(t, l, e) })
		}
		synctest.Wait() // all others wait
		close(gate)
		all.Wait()
		if swaps, _ := count(store); swaps != 2 {
			t.Errorf("100 appends made %d writes, want 2", swaps)
		}
		wantLog(t, store, events, false)
	})
}

// commented is the event of type t of the ith comment.
func commented(t testing.TB, kind event.Type, i int) event.Event {
	t.Helper()
	c := event.Comment{ID: uuid7(i), PostID: uuid7(0), Content: "Nice.", Status: event.Pending, CreatedAt: someTime, Revision: 1}
	if kind != event.CommentCreated {
		c.Status, c.Revision = event.Approved, 2
	}
	e, err := event.OfComment(kind, "comments", c, someTime, "")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// The first two of a comment's events wait for the third, and what may not wait
// takes along what waits, in the order in which it came.
func TestACommentsEventsShareOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.New()
		l := start(t, store)
		want := []event.Event{commented(t, event.CommentCreated, 1), commented(t, event.CommentModerated, 1), commented(t, event.CommentUpdated, 1)}
		began := time.Now()
		var all sync.WaitGroup
		for _, e := range want {
			all.Go(func() { mustAppend(t, l, e) })
			time.Sleep(flushDelay / 4) // of the bubble's clock
		}
		all.Wait()
		if took := time.Since(began); took != 3*(flushDelay/4) {
			t.Errorf("took %v", took)
		}
		if swaps, _ := count(store); swaps != 1 {
			t.Errorf("%d writes", swaps)
		}
		wantLog(t, store, want, true)
	})
}

// Moderation may be down.
func TestWhatNothingFollowsIsAppendedAfterTheFlushDelay(t *testing.T) {
	for kind, want := range map[event.Type]time.Duration{
		event.PostCreated: 0, event.CommentCreated: flushDelay, event.CommentModerated: flushDelay, event.CommentUpdated: 0,
	} {
		synctest.Test(t, func(t *testing.T) {
			e := titled(t, 1, "first")
			if kind != event.PostCreated {
				e = commented(t, kind, 1)
			}
			l := start(t, statetest.New())
			began := time.Now()
			mustAppend(t, l, e)
			if took := time.Since(began); took != want {
				t.Errorf("%s took %v, want %v", kind, took, want)
			}
		})
	}
}

// However many come: the first waits no longer for them.
func TestTheFlushDelayBeginsWithTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.New()
		l := start(t, store)
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() { mustAppend(t, l, commented(t, event.CommentCreated, i)) })
			time.Sleep(flushDelay/3 + time.Millisecond) // of the bubble's clock
		}
		all.Wait()
		if swaps, _ := count(store); swaps != 4 {
			t.Errorf("%d writes, want one for each three, and one for the last", swaps)
		}
	})
}

// What may not wait is not held up by what comes after it and could wait.
func TestOneThatMayNotWaitEndsTheDelayOfItsGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.New()
		gate := make(chan struct{})
		hold(store, map[int]chan struct{}{1: gate})
		l := start(t, store)
		var all sync.WaitGroup
		for _, e := range []event.Event{titled(t, 0, "first"), commented(t, event.CommentUpdated, 1), commented(t, event.CommentCreated, 2)} {
			all.Go(func() { mustAppend(t, l, e) })
			synctest.Wait()
		}
		began := time.Now()
		close(gate)
		all.Wait()
		if swaps, _ := count(store); swaps != 2 || time.Since(began) != 0 {
			t.Errorf("%d writes, after %v", swaps, time.Since(began))
		}
	})
}

// A group must not grow without end, or its first append would never be answered.
func TestAGroupCommitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const batch = commitEvents / 4
		// The first commit is one event's, in one write. The second is of four
		// batches: they fill 8 segments and begin one more. So the third begins with:
		const third = 1 + (commitEvents/eventlog.SegmentSize + 1) + 1
		store := statetest.New()
		gates := map[int]chan struct{}{1: make(chan struct{}), third: make(chan struct{})}
		hold(store, gates)
		l := start(t, store)
		answers := make(chan []error, 8)
		offer := func(events []event.Event) { answers <- l.Append(t.Context(), events) }
		go offer(some(t, 0, 1))
		synctest.Wait()
		for i := range 7 {
			go offer(some(t, 1+i*batch, 1+(i+1)*batch))
		}
		synctest.Wait() // one is being written, seven wait
		close(gates[1])
		synctest.Wait()
		if n := len(answers); n != 1+4 {
			t.Errorf("%d appends are answered when the third commit begins, want 5", n)
		}
		close(gates[third])
		for range 8 {
			if err := errors.Join(<-answers...); err != nil {
				t.Fatal(err)
			}
		}
		wantLog(t, store, some(t, 0, 1+7*batch), false)
	})
}

func TestOneErrorInAGroupIsItsOwnAppendsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.New()
		gate := make(chan struct{})
		hold(store, map[int]chan struct{}{1: gate})
		l := start(t, store)
		first := make(chan []error, 1)
		go func() { first <- l.Append(t.Context(), []event.Event{titled(t, 0, "first")}) }()
		synctest.Wait()
		bad, good := make(chan []error, 1), make(chan []error, 1)
		go func() { bad <- l.Append(t.Context(), []event.Event{titled(t, 1, "x"), titled(t, 0, "another")}) }()
		go func() { good <- l.Append(t.Context(), some(t, 2, 5)) }()
		synctest.Wait()
		close(gate)
		if errs := <-first; errs[0] != nil {
			t.Error(errs)
		}
		if errs := <-bad; len(errs) != 2 || errs[0] != nil || !errors.Is(errs[1], bus.ErrPoison) {
			t.Errorf("the append with a poison event got %v", errs)
		}
		if errs := <-good; len(errs) != 3 || errors.Join(errs...) != nil {
			t.Errorf("its neighbour got %v", errs)
		}
	})
}

func TestALogRollsOverToTheNextSegmentWhenOneIsFull(t *testing.T) {
	for _, step := range []int{1, 127, 128, 129, 500} {
		store := statetest.New()
		l := start(t, store)
		events := some(t, 0, 500)
		for batch := range slices.Chunk(events, step) {
			mustAppend(t, l, batch...)
		}
		wantLog(t, store, events, true)
		for number, want := range []int{128, 128, 128, 116} {
			if s, err := eventlog.ParseSegment(number, []byte(store.Value(segmentKey(store, number)))); err != nil || s.Count() != want {
				t.Errorf("by %d: segment %d has %d events, %v; want %d", step, number, s.Count(), err, want)
			}
		}
	}
}

func TestAFullSegmentIsNeverWrittenAgain(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 128)...)
	full := store.Version(segmentKey(store, 0))
	mustAppend(t, l, some(t, 0, 300)...)
	if now := store.Version(segmentKey(store, 0)); now != full {
		t.Errorf("segment 0 was written %d times after it was full", now-full)
	}
}

// In the usual case the ETag is as expected. All that is read is what verifies the write at
// the same time: the origin and the segment that it follows. Of a segment that is begun the one
// before it is read, too.
func TestAppendReadsOneSegmentWithTheOriginWhenNobodyElseWrites(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 1)...)
	_, before := count(store)
	gets := len(store.Calls(statetest.Get))
	for i := 1; i < 300; i++ {
		mustAppend(t, l, some(t, i, i+1)...)
	}
	const begun = 2 // segments, beside the first
	if _, after := count(store); after-before > 299+begun || len(store.Calls(statetest.Get))-gets != 299+begun {
		t.Errorf("299 appends read %d segments in %d calls", after-before, len(store.Calls(statetest.Get))-gets)
	}
}

// Where ETags are no counters they have to be read.
func TestAnETagThatIsNotKnownCostsOneRead(t *testing.T) {
	store := statetest.NewOpaque()
	l := start(t, store)
	events := some(t, 0, 300)
	for batch := range slices.Chunk(events, 7) {
		mustAppend(t, l, batch...)
	}
	wantLog(t, store, events, true)
	if failed := len(store.Calls(statetest.Swap)) - store.Written(); failed > 0 {
		t.Errorf("%d writes conflicted", failed)
	}
}

func TestAFailedWriteIsTriedAgainAndHappensOnce(t *testing.T) {
	for name, what := range map[string]statetest.Fate{"did not happen": statetest.Refused, "happened": statetest.Lost, "happens later": statetest.Late} {
		for _, before := range []int{0, 1, 127, 128} { // inserts and updates
			store := filled(t, some(t, 0, before))
			decide(store, func(n int) statetest.Fate {
				if n <= 2 {
					return what
				}
				return statetest.Written
			})
			beforeSwaps(store, func(n int) {
				if n > 2 { // after the second failure, before the third try
					store.Land()
				}
			})
			l := start(t, store)
			mustAppend(t, l, some(t, before, before+200)...)
			store.Land()
			t.Logf("a write that %s, after %d events", name, before)
			wantLog(t, store, some(t, 0, before+200), true)
		}
	}
}

// A write that was given up may arrive when its events are long in the log, or
// others are in their place.
func TestALateWriteChangesNothingThatWasAcknowledged(t *testing.T) {
	store := statetest.New()
	decide(store, func(n int) statetest.Fate {
		if n == 1 {
			return statetest.Late
		}
		return statetest.Written
	})
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 3)...)
	mustAppend(t, l, some(t, 3, 5)...)
	store.Land()
	mustAppend(t, l, some(t, 5, 6)...)
	wantLog(t, store, some(t, 0, 6), true)
}

// Each of a commit's tries can be beaten by another replica; at last the events
// are asked for again, and no event is taken for appended that isn't.
func TestAStoreThatRefusesEveryWriteIsReportedForEachEvent(t *testing.T) {
	store := statetest.New()
	decide(store, func(int) statetest.Fate { return statetest.Refused })
	l := start(t, store)
	errs := l.Append(t.Context(), some(t, 0, 3))
	for i, err := range errs {
		if !errors.Is(err, state.ErrUnknown) || errors.Is(err, bus.ErrPoison) {
			t.Errorf("event %d: %v", i, err)
		}
	}
	if swaps, _ := count(store); swaps != commitTries {
		t.Errorf("%d tries, want %d", swaps, commitTries)
	}
	if l.view().last != 0 {
		t.Errorf("the log ends at %d", l.view().last)
	}
}

func TestWhatFailedWhileTheStoreWasDownIsAppendedOnceItIsBack(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 2)...)
	store.Fail(statetest.ErrDown)
	for i, err := range l.Append(t.Context(), some(t, 1, 4)) {
		// The first of them is in the log: that needs no store.
		if (err == nil) != (i == 0) {
			t.Errorf("event %d: %v", i, err)
		}
	}
	store.Fail(nil)
	mustAppend(t, l, some(t, 1, 4)...)
	wantLog(t, store, some(t, 0, 4), true)
}

func TestTwoReplicasAppendInTurn(t *testing.T) {
	store := statetest.New()
	a, b := start(t, store), start(t, store)
	events := some(t, 0, 400)
	for i, batch := range slices.Collect(slices.Chunk(events, 9)) {
		mustAppend(t, []*Log{a, b}[i%2], batch...)
	}
	wantLog(t, store, events, true)
}

func TestAReplicaKnowsWhatTheOtherAppended(t *testing.T) {
	store := statetest.New()
	a, b := start(t, store), start(t, store)
	mustAppend(t, b) // it has loaded an empty log
	mustAppend(t, a, some(t, 0, 200)...)
	// The repeat is found out by the write that fails.
	mustAppend(t, b, some(t, 100, 210)...)
	if errs := b.Append(t.Context(), []event.Event{titled(t, 5, "another")}); !errors.Is(errs[0], bus.ErrPoison) {
		t.Errorf("another content for what the other replica appended: %v", errs)
	}
	wantLog(t, store, some(t, 0, 210), true)
}

// served is what a replica answers to a reader of everything.
func served(t testing.TB, l *Log) string {
	t.Helper()
	if err := l.Refresh(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	res := get(t, engine(context.Background(), l), "/events?limit=10000")
	if res.Code != http.StatusOK {
		t.Fatalf("%d: %s", res.Code, res.Body)
	}
	return res.Body.String()
}

// The heart of it: whatever the store does to the writes of two replicas that
// append overlapping batches at the same time, the log has every event exactly
// once, and everybody sees the same log.
func TestTwoReplicasUnderFaultsKeepEveryEventOnce(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) } //nolint:gosec // to be repeatable
			store := statetest.New()
			var mu sync.Mutex
			faults := random(0)
			decide(store, func(int) statetest.Fate {
				mu.Lock()
				dice := faults.IntN(20)
				mu.Unlock()
				switch {
				case dice%5 == 0:
					return statetest.Refused
				case dice%5 == 1:
					return statetest.Lost
				case dice%5 == 2 && seed%2 == 0:
					return statetest.Late
				}
				return statetest.Written
			})
			beforeSwaps(store, func(int) { // those under way may land at any time
				mu.Lock()
				dice := faults.IntN(20)
				mu.Unlock()
				if dice < 4 {
					store.Land()
				}
			})
			events := some(t, 0, 600)
			replicas := []*Log{start(t, store), start(t, store)}
			var writers sync.WaitGroup
			for w := range 6 {
				writers.Go(func() {
					order := random(uint64(w) + 1) //nolint:gosec // never negative
					// Each writer delivers two thirds of the events, so that each event
					// comes four times, to either replica.
					var mine []event.Event
					for i, e := range events {
						if i%3 != w%3 {
							mine = append(mine, e)
						}
					}
					order.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
					for len(mine) > 0 {
						batch := mine[:min(len(mine), 1+order.IntN(60))]
						mine = mine[len(batch):]
						for len(batch) > 0 { // as the bus does: until it is acknowledged
							var again []event.Event
							for i, err := range replicas[w%2].Append(t.Context(), batch) {
								if errors.Is(err, bus.ErrPoison) {
									t.Errorf("event %s: %v", batch[i].ID, err)
								} else if err != nil {
									again = append(again, batch[i])
								}
							}
							batch = again
						}
					}
				})
			}
			writers.Wait()
			store.Land()
			wantLog(t, store, events, false)
			first, second, third := served(t, replicas[0]), served(t, replicas[1]), start(t, store)
			mustAppend(t, third)
			if first != second || first != served(t, third) || lineCount(first) != len(events) {
				t.Errorf("the replicas and one that starts now serve %d, %d and %d bytes", len(first), len(second), len(served(t, third)))
			}
		})
	}
}

func TestLoadFindsTheEndOfALogOfAnySize(t *testing.T) {
	for _, n := range []int{0, 1, 2, 127, 128, 129, 255, 256, 257, 383, 384, 1000, 1024, 1025, 2500} {
		events := some(t, 0, n)
		store := filled(t, events)
		l := start(t, store)
		mustAppend(t, l, titled(t, n, "next"))
		if l.view().last != uint64(n)+1 { //nolint:gosec // never negative
			t.Fatalf("%d events: after one more the log ends at %d", n, l.view().last)
		}
		// All of them are remembered.
		mustAppend(t, l, events...)
		wantLog(t, store, append(events, titled(t, n, "next")), true)
	}
}

func TestTheTailIsFoundInALogOfAnyLength(t *testing.T) {
	whole := ofSize(t, 0, eventlog.SegmentSize).Encode()
	store := statetest.New()
	l := newLog(store)
	l.origin.Prefix = eventlog.FormerPrefix
	for full := range 80 {
		for _, tail := range []int{0, 1, 127} {
			store.Remove(segmentKey(store, full))
			if tail > 0 {
				store.Put(segmentKey(store, full), string(ofSize(t, full, tail).Encode()))
			}
			_, before := count(store)
			got, err := l.findTail(t.Context())
			if err != nil || got != full {
				t.Fatalf("%d full segments and %d events: the tail is %d, %v", full, tail, got, err)
			}
			if _, after := count(store); after-before > 16 {
				t.Errorf("%d full segments: %d reads to find the tail", full, after-before)
			}
		}
		store.Put(segmentKey(store, full), string(whole))
	}
}

func TestALogIsReadyOnceItIsRead(t *testing.T) {
	l := newLog(filled(t, some(t, 0, 200)))
	if err := l.Ready(); !errors.Is(err, errLoading) {
		t.Errorf("before: %v", err)
	}
	if err := l.Refresh(t.Context(), 0); !errors.Is(err, errLoading) {
		t.Errorf("refresh before: %v", err)
	}
	if err := l.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Ready(); err != nil {
		t.Errorf("after: %v", err)
	}
}

// Nothing is acknowledged before the log is known.
func TestAppendWhileTheStoreIsDownAtStartWaitsAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := filled(t, some(t, 0, 130))
		store.Fail(statetest.ErrDown)
		l := start(t, store)

		brief, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		for i, err := range l.Append(brief, some(t, 130, 132)) {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("event %d: %v, want that it was given up", i, err)
			}
		}
		answered := make(chan []error, 1)
		go func() { answered <- l.Append(t.Context(), some(t, 128, 135)) }()
		synctest.Wait()
		select {
		case errs := <-answered:
			t.Fatalf("answered while the store is down: %v", errs)
		default:
		}
		store.Fail(nil)
		for i, err := range <-answered {
			if err != nil {
				t.Errorf("event %d: %v", i, err)
			}
		}
		wantLog(t, store, some(t, 0, 135), true)
	})
}

// The service may be there before its sidecar, which is nothing to act on.
func TestALogThatCanNotBeReadAtStartWarnsOnlyIfThatLasts(t *testing.T) {
	for name, test := range map[string]struct {
		events int // in the store; what fails first differs
		down   time.Duration
		warns  bool
	}{
		"not yet there":            {0, eventlog.QuietStart - time.Second, false},
		"not yet there, with some": {130, eventlog.QuietStart - time.Second, false},
		"it does not come":         {0, eventlog.QuietStart + time.Second, true},
	} {
		var said bytes.Buffer
		before := slog.Default()
		slog.SetDefault(slog.New(slog.NewTextHandler(&said, nil)))
		synctest.Test(t, func(t *testing.T) {
			store := filled(t, some(t, 0, test.events))
			store.Fail(statetest.ErrDown)
			l := start(t, store)
			time.Sleep(test.down) // of the bubble's clock
			store.Fail(nil)
			time.Sleep(time.Second)
			if err := l.Ready(); err != nil {
				t.Errorf("%s: in the end %v", name, err)
			}
		})
		slog.SetDefault(before)
		if got := strings.Contains(said.String(), "level=WARN"); got != test.warns {
			t.Errorf("%s: warned is %v:\n%s", name, got, said.String())
		}
	}
}

// Waiting does not mend it.
func TestADamagedLogIsReportedAtOnce(t *testing.T) {
	var said bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&said, nil)))
	defer slog.SetDefault(before)
	synctest.Test(t, func(t *testing.T) {
		store := filled(t, some(t, 0, 130))
		store.Put(segmentKey(store, 1), "oops")
		start(t, store)
		synctest.Wait()
	})
	if !strings.Contains(said.String(), "level=ERROR") || !strings.Contains(said.String(), "segment 1 is damaged") {
		t.Errorf("it said:\n%s", said.String())
	}
}

// A reader that gave up waiting for its answer learns nothing, but the events
// are appended all the same, once.
func TestAnAppendThatWasGivenUpIsNoDoubleWhenItComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.New()
		gate := make(chan struct{})
		hold(store, map[int]chan struct{}{1: gate})
		l := start(t, store)
		brief, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if errs := l.Append(brief, some(t, 0, 2)); !errors.Is(errs[0], context.DeadlineExceeded) || !errors.Is(errs[1], context.DeadlineExceeded) {
			t.Errorf("got %v", errs)
		}
		close(gate)
		mustAppend(t, l, some(t, 0, 2)...)
		wantLog(t, store, some(t, 0, 2), true)
	})
}

func TestADamagedLogIsNotLoaded(t *testing.T) {
	for name, damage := range map[string]func(*statetest.Memory){
		"a segment in the middle is no array": func(f *statetest.Memory) { f.Put(segmentKey(f, 1), "oops") },
		"a segment in the middle is short":    func(f *statetest.Memory) { f.Put(segmentKey(f, 2), string(ofSize(t, 2, 100).Encode())) },
		"the tail is no array":                func(f *statetest.Memory) { f.Put(segmentKey(f, 4), "[1]") },
		"a line of the tail is no JSON":       func(f *statetest.Memory) { f.Put(segmentKey(f, 4), "[\n{\"id\":\n]") },
	} {
		store := filled(t, some(t, 0, 4*eventlog.SegmentSize+3))
		damage(store)
		l := newLog(store)
		if err := l.load(t.Context()); err == nil && name != "a segment in the middle is short" {
			t.Errorf("%s: loaded up to %d", name, l.view().last)
		} else if err == nil && l.view().last > 2*eventlog.SegmentSize+100 {
			// The search may take the short one for the tail; never may it go beyond.
			t.Errorf("%s: loaded up to %d, over the gap", name, l.view().last)
		}
	}
}

func TestALogThatLostEventsIsReported(t *testing.T) {
	for name, lose := range map[string]func(*statetest.Memory){
		"the tail is missing":  func(f *statetest.Memory) { f.Remove(segmentKey(f, 1)) },
		"the tail is an older": func(f *statetest.Memory) { f.Put(segmentKey(f, 1), string(ofSize(t, 1, 3).Encode())) },
	} {
		store := statetest.New()
		l := start(t, store)
		mustAppend(t, l, some(t, 0, 140)...)
		if err := l.Ready(); err != nil {
			t.Errorf("%s: before anything was lost: %v", name, err)
		}
		lose(store)
		if err := l.Refresh(t.Context(), 0); err == nil {
			t.Errorf("%s: refresh says nothing", name)
		}
		deliver(t, l, some(t, 140, 141)...)
		if l.view().last < 141 {
			t.Errorf("%s: the log now ends at %d", name, l.view().last)
		}
		if err := l.Ready(); err != nil {
			t.Errorf("%s: the service would say that it is not ready: %v", name, err)
		}
	}
}

// An older tail has another ETag: what is appended then must not be acknowledged
// on top of events that are missing.
func TestNothingIsAppendedToATailThatLostEvents(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 10)...)
	store.Put(segmentKey(store, 0), string(ofSize(t, 0, 3).Encode()))
	if errs := l.Append(t.Context(), some(t, 10, 11)); errs[0] == nil {
		t.Error("acknowledged")
	}
	deliver(t, l, some(t, 10, 11)...)
	if all := idsOf(stored(t, store)); !slices.Equal(all[len(all)-11:], idsOf(some(t, 0, 11))) {
		t.Errorf("the log ends with %q", all)
	}
}

func TestRefreshSeesWhatAnotherReplicaAppended(t *testing.T) {
	store := statetest.New()
	a, b := start(t, store), start(t, store)
	mustAppend(t, a)
	for n := 1; n < 700; n += 99 { // from within a segment and over the end of more than one
		mustAppend(t, b, some(t, 0, n)...)
		if err := a.Refresh(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if a.view().last != uint64(n) { //nolint:gosec // never negative
			t.Fatalf("sees %d of %d events", a.view().last, n)
		}
	}
	if served(t, a) != served(t, b) {
		t.Error("the two serve other bytes")
	}
}

func TestAReaderWaitsUntilTheLogHasGrownBeyondItsPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, statetest.New())
		mustAppend(t, l, some(t, 0, 3)...)
		h := engine(context.Background(), l)
		wantEvents(t, get(t, h, "/events?after=2&wait=30"), 2, 3, 3) // at once
		refused := <-ask(t.Context(), h, "/events?after=4&wait=30")
		wantRefused(t, "beyond the end", refused.res, endOf(t, l))
		mustAppend(t, l, some(t, 3, 4)...)
		answer := ask(t.Context(), h, "/events?after=4&wait=30")
		for range 5 { // polling the store does not end the wait
			time.Sleep(eventlog.MaxAge) // of the bubble's clock
			select {
			case a := <-answer:
				t.Fatalf("returned at 4, not beyond: %s", a.res.Body)
			default:
			}
		}
		mustAppend(t, l, some(t, 4, 5)...)
		wantEvents(t, (<-answer).res, 4, 5, 5)
	})
}

func TestOnlyTheYoungestSegmentsStayInMemory(t *testing.T) {
	var r recentSegments
	for number := 7; number < 7+cachedSegments; number++ {
		r.add(&eventlog.Segment{Number: number})
	}
	if r.find(7) == nil {
		t.Errorf("%d segments are too many", cachedSegments)
	}
	r.add(&eventlog.Segment{Number: 7 + cachedSegments})
	if r.find(7) != nil || r.find(8) == nil {
		t.Errorf("%d segments are kept, the oldest is %d", len(r.segments), r.segments[0].Number)
	}
}

// Long comments would take some 700 MB otherwise.
func TestOnlySoManyBytesOfSegmentsStayInMemory(t *testing.T) {
	var r recentSegments
	half := func(number, more int) *eventlog.Segment {
		frame := append([]byte{0x28, 0xb5, 0x2f, 0xfd}, make([]byte, cachedBytes/2-4+more)...)
		s, err := eventlog.ParseSegment(number, frame)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	r.add(half(1, 0))
	r.add(half(2, 0))
	if r.find(1) == nil || r.find(2) == nil {
		t.Error("what just fits is not kept")
	}
	r.add(half(3, 1))
	if r.find(1) != nil || r.find(2) != nil || r.find(3) == nil {
		t.Errorf("%d segments of %d bytes are kept", len(r.segments), r.bytes)
	}
}

func TestSegmentsThatAreNotInMemoryAreReadFromTheStore(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l, some(t, 0, 10*eventlog.SegmentSize+5)...)
	want := served(t, l)
	for name, most := range map[string]int{"all at once": 0, "one by one": 1, "some at once": 3} {
		l.mu.Lock()
		l.recent = recentSegments{}
		l.mu.Unlock()
		answersAtMost(store, most)
		if got := served(t, l); got != want {
			t.Errorf("%s: %d bytes, %d from memory", name, len(got), len(want))
		}
	}
}

// A delivery carries the data as its publisher wrote it, the log keeps it without
// white space: both are the same event.
func TestARepeatIsARepeatHoweverItsDataIsSpaced(t *testing.T) {
	raw, err := json.MarshalIndent(titled(t, 0, "x"), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	wantARepeatKnown(t, raw)
}

// wantARepeatKnown appends an event by a log, and again by one that has read it.
func wantARepeatKnown(t *testing.T, raw []byte) {
	t.Helper()
	e, err := event.Parse(event.PostCreated, raw)
	if err != nil {
		t.Fatal(err)
	}
	store := statetest.New()
	mustAppend(t, start(t, store), e)
	mustAppend(t, start(t, store), e)
	wantLog(t, store, []event.Event{e}, true)
}

// The sidecar escapes what HTML would need escaped, and the log does not.
func TestARepeatIsARepeatHoweverItsTextIsEscaped(t *testing.T) {
	raw, err := json.Marshal(titled(t, 0, "<b>a & b</b>\u2028"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(raw, []byte(`\u003cb\u003ea \u0026 b`)) {
		t.Fatalf("the test is of no use: nothing is escaped in %s", raw)
	}
	wantARepeatKnown(t, raw)
}

func TestADeadLetterThatComesAgainForAnotherReasonIsKeptOnce(t *testing.T) {
	l := DeadLetters{start(t, statetest.New()), time.Now}
	letter := bus.DeadLetter{ID: "one", Service: "query", Topic: "PostCreated", Reason: "can't be decoded", Payload: []byte("x")}
	again := letter
	again.Reason = "unable to decode it"
	for i, d := range []bus.DeadLetter{letter, again, letter} {
		if err := errors.Join(l.Keep(t.Context(), []bus.DeadLetter{d})...); err != nil {
			t.Errorf("time %d: %v", i+1, err)
		}
	}
	if n := l.Log.view().last; n != 1 {
		t.Errorf("%d are kept", n)
	}
}

// What the log takes, every reader of it has to be able to take.
func TestAnEventOfTheLargestSizeCanBeReadBack(t *testing.T) {
	raw, err := event.Marshal(titled(t, 0, "x"))
	if err != nil {
		t.Fatal(err)
	}
	padding := make([]byte, event.MaxBytes-len(raw)-len(`,"pad":""`))
	for i := range padding {
		padding[i] = 'x'
	}
	raw = append(raw[:len(raw)-2], `,"pad":"`+string(padding)+`"}}`...)
	e, err := event.Parse(event.PostCreated, raw)
	if err != nil || len(raw) != event.MaxBytes {
		t.Fatalf("%d bytes: %v", len(raw), err)
	}
	store := statetest.New()
	mustAppend(t, start(t, store), e)
	wantLog(t, store, []event.Event{e}, true)
}

// Readers come while the log is still being read, again and again while the store
// is unsteady.
func TestReadersMayComeWhileTheLogIsLoading(t *testing.T) {
	store := filled(t, some(t, 0, 3*eventlog.SegmentSize))
	flaky := &flakyStore{Memory: store, failing: segmentKey(store, 2)}
	l := newLog(flaky)
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	e := engine(context.Background(), l)
	readers.Go(func() {
		for ctx.Err() == nil {
			get(t, e, "/events")
		}
	})
	for range 20 {
		if l.load(t.Context()) == nil {
			t.Error("the test is of no use: the log was loaded")
		}
	}
	cancel()
	readers.Wait()
}

// flakyStore can read a key on its own; as one of many, with the origin, it can't.
type flakyStore struct {
	*statetest.Memory

	failing string
}

func (f *flakyStore) Get(ctx context.Context, keys ...string) ([]state.Item, error) {
	if keys[0] == eventlog.OriginKey && slices.Contains(keys, f.failing) {
		return nil, errors.New("unsteady")
	}
	return f.Memory.Get(ctx, keys...)
}

// A segment that is missing in the middle is not the log's end: what is appended there
// would have numbers that other events have.
func TestALogWithAGapIsNotLoaded(t *testing.T) {
	for _, missing := range []int{4, 5, 18} {
		store := filled(t, some(t, 0, 20*eventlog.SegmentSize+7))
		store.Remove(segmentKey(store, missing))
		l := newLog(store)
		if err := l.load(t.Context()); !errors.Is(err, eventlog.ErrDamaged) {
			t.Errorf("segment %d is missing: loaded up to %d with error %v", missing, l.view().last, err)
		}
	}
}

// A window of few events forgets the first events of a commit while the last ones are
// being appended.
func TestACommitLargerThanTheWindowIsAppendedOnce(t *testing.T) {
	store := statetest.New()
	l := run(t, New(Config{Store: store, Now: time.Now, Window: 10}))
	all := some(t, 0, 3*eventlog.SegmentSize)
	mustAppend(t, l, all...)
	wantLog(t, store, all, true)
	mustAppend(t, l, all[len(all)-10:]...)
	wantLog(t, store, all, true)
}
