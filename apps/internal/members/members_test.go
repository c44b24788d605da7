package members

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// bubble runs a test with the store of a service.
func bubble(t *testing.T, test func(t *testing.T, store *statetest.Memory)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, statetest.New()) })
}

// join returns a new process that has beaten.
func join(t *testing.T, store state.Store) *Registry {
	t.Helper()
	r := New(store, time.Now)
	beat(t, r)
	return r
}

func beat(t *testing.T, all ...*Registry) {
	t.Helper()
	for _, r := range all {
		if err := r.Beat(t.Context()); err != nil {
			t.Fatalf("can't beat: %v", err)
		}
	}
}

// sleep lets time pass while some processes beat.
func sleep(t *testing.T, long time.Duration, beating ...*Registry) {
	t.Helper()
	for long > BeatEvery {
		time.Sleep(BeatEvery) // of the bubble's clock
		beat(t, beating...)
		long -= BeatEvery
	}
	time.Sleep(long) // of the bubble's clock
}

// stored are the members that the store has, by id.
func stored(t *testing.T, store state.Store) map[string]Member {
	t.Helper()
	items, err := store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	read, err := state.Decode[document](items...)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]Member{}
	for _, m := range read[0].Members {
		if _, again := all[m.ID]; again {
			t.Errorf("%s is there twice", m.ID)
		}
		all[m.ID] = m
	}
	return all
}

func wantDead(t *testing.T, r *Registry, want ...*Registry) {
	t.Helper()
	var ids, wanted []string
	for _, m := range r.Dead() {
		ids = append(ids, m.ID)
	}
	for _, w := range want {
		wanted = append(wanted, w.ID())
	}
	if !slices.Equal(ids, wanted) {
		t.Errorf("dead are %q, want %q", ids, wanted)
	}
}

// wantWorkers checks who of the processes takes itself for the worker.
func wantWorkers(t *testing.T, all []*Registry, want ...bool) {
	t.Helper()
	for i, r := range all {
		if got := r.IsWorker(); got != want[i] {
			t.Errorf("process %d: is worker %v, want %v", i, got, want[i])
		}
	}
}

func TestAProcessIsAMemberWithItsPagesAndItsBeats(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		r := New(store, time.Now)
		if _, isID := event.IDTime(r.ID()); !isID {
			t.Errorf("its id is %s", r.ID())
		}
		beat(t, r)
		if got, want := stored(t, store)[r.ID()], (Member{ID: r.ID(), Beat: 1}); got != want {
			t.Errorf("it is %+v, want %+v", got, want)
		}
		r.SetPages(3, 203)
		if got := stored(t, store)[r.ID()]; got.Until != 0 {
			t.Errorf("before its next beat it is %+v", got)
		}
		beat(t, r)
		if got, want := stored(t, store)[r.ID()], (Member{ID: r.ID(), Beat: 2, From: 3, Until: 203}); got != want {
			t.Errorf("it is %+v, want %+v", got, want)
		}
	})
}

func TestALeaseIsHeldForTenSecondsFromTheStartOfABeat(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		r := New(store, time.Now)
		if r.HasLease() {
			t.Error("it has a lease before its first beat")
		}
		store.Before(func(_ context.Context, c statetest.Call) error {
			if c.Op == statetest.Swap {
				time.Sleep(3 * time.Second) // of the bubble's clock
			}
			return nil
		})
		beat(t, r)
		time.Sleep(HeldFor - 3*time.Second - 1) // of the bubble's clock
		if !r.HasLease() {
			t.Error("it has lost its lease too soon")
		}
		time.Sleep(time.Nanosecond) // of the bubble's clock
		if r.HasLease() {
			t.Error("it has its lease for too long")
		}
	})
}

func TestABeatThatFailsIsNoLease(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		r := join(t, store)
		time.Sleep(HeldFor - 1) // of the bubble's clock
		store.Fail(statetest.ErrDown, statetest.Swap)
		if err := r.Beat(t.Context()); !errors.Is(err, statetest.ErrDown) {
			t.Errorf("error %v", err)
		}
		time.Sleep(time.Nanosecond) // of the bubble's clock
		if r.HasLease() {
			t.Error("it has a lease")
		}
		store.Fail(nil)
		beat(t, r)
		if !r.HasLease() {
			t.Error("it has no lease after a beat")
		}
	})
}

// A store that does not answer must not hold the next beat for ever.
func TestABeatEndsAfterItsTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		store.Before(func(ctx context.Context, _ statetest.Call) error {
			<-ctx.Done()
			return ctx.Err()
		})
		start := time.Now()
		err := New(store, time.Now).Beat(t.Context())
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != beatTimeout {
			t.Errorf("error %v after %v", err, took)
		}
	})
}

// Fifteen seconds by the clock of the process that sees no beat.
func TestAProcessIsDeadFifteenSecondsAfterItsLastBeatWasSeen(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		a, b := join(t, store), join(t, store)
		time.Sleep(4 * time.Second) // of the bubble's clock
		beat(t, a)                  // sees b for the first time
		sleep(t, Lease-1, a)
		wantDead(t, a)
		time.Sleep(time.Nanosecond) // of the bubble's clock
		wantDead(t, a, b)
		beat(t, b, a)
		wantDead(t, a)
		sleep(t, Lease, a)
		wantDead(t, a, b)
	})
}

// No process can be taken for dead while it has its lease, whenever the other one looks.
func TestALeaseEndsBeforeOthersTakeItsProcessForDead(t *testing.T) {
	for offset := range 50 {
		bubble(t, func(t *testing.T, store *statetest.Memory) {
			a := join(t, store)
			time.Sleep(time.Duration(offset) * 100 * time.Millisecond) // of the bubble's clock
			b := join(t, store)
			for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
				time.Sleep(100 * time.Millisecond) // of the bubble's clock
				beat(t, a)
				if len(a.Dead()) > 0 && b.HasLease() {
					t.Fatalf("offset %d: dead, and with a lease", offset)
				}
			}
			wantDead(t, a, b)
		})
	}
}

func TestTheOldestLivingProcessIsTheWorker(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		a := join(t, store)
		wantWorkers(t, []*Registry{a}, true)
		b, c := join(t, store), join(t, store)
		all := []*Registry{a, b, c}
		beat(t, all...)
		beat(t, all...) // each has seen the others beat
		wantWorkers(t, all, true, false, false)

		sleep(t, Lease, b, c) // a is killed
		wantWorkers(t, []*Registry{b, c}, true, false)
		wantDead(t, b, a)
		wantDead(t, c, a)

		beat(t, a, b, c) // a was only paused
		wantWorkers(t, all, true, false, false)
	})
}

// The members of processes that were killed long ago do not keep a new process from its
// work.
func TestAProcessThatWasNeverSeenBeatingIsNotTheWorker(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		killed := join(t, store)
		time.Sleep(time.Hour) // of the bubble's clock
		r := join(t, store)
		wantWorkers(t, []*Registry{r}, true)
		wantDead(t, r) // it may be alive
		sleep(t, Lease, r)
		wantDead(t, r, killed)
	})
}

func TestProcessesThatBeatAtOnceAreAllMembers(t *testing.T) {
	const processes = 8
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		var all []*Registry
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		for range processes {
			r := New(store, time.Now)
			all = append(all, r)
			running.Go(func() { r.Run(ctx) })
		}
		time.Sleep(time.Minute) // of the bubble's clock
		if got := stored(t, store); len(got) != processes {
			t.Errorf("%d members, want %d", len(got), processes)
		}
		workers := 0
		for _, r := range all {
			wantDead(t, r)
			if !r.HasLease() {
				t.Errorf("%s has no lease", r.ID())
			}
			if r.IsWorker() {
				workers++
			}
		}
		if workers != 1 || !all[0].IsWorker() {
			t.Errorf("%d workers, and the oldest is one: %v", workers, all[0].IsWorker())
		}
		cancel()
		running.Wait()
	})
}

func TestRunBeatsEveryFiveSecondsUntilItEnds(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		r := New(store, time.Now)
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		start := time.Now()
		r.Run(ctx)
		if took := time.Since(start); took != 12*time.Second {
			t.Errorf("it ran for %v", took)
		}
		if got := stored(t, store)[r.ID()].Beat; got != 3 {
			t.Errorf("%d beats, want 3", got)
		}
	})
}

func TestAProcessThatLeavesWithoutPagesIsNoMember(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		a, b := join(t, store), join(t, store)
		beat(t, a, b, a, b)
		if err := a.Leave(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if got := stored(t, store); len(got) != 1 {
			t.Errorf("the members are %+v", got)
		}
		beat(t, b)
		wantDead(t, b)
		wantWorkers(t, []*Registry{b}, true)
	})
}

// Its pages can be adopted at once.
func TestAProcessThatLeavesPagesIsDeadAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		a, b := join(t, store), join(t, store)
		beat(t, a, b, a, b)
		a.SetPages(7, 9)
		if err := a.Leave(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		beat(t, b)
		wantDead(t, b, a)
		dead := b.Dead()[0]
		if dead.From != 7 || dead.Until != 9 || !dead.HasLeft {
			t.Errorf("it is %+v", dead)
		}
		wantWorkers(t, []*Registry{b}, true)
		if err := b.Remove(t.Context(), dead); err != nil {
			t.Fatal(err)
		}
		if _, isThere := stored(t, store)[a.ID()]; isThere {
			t.Error("it is still there")
		}
		beat(t, b)
		wantDead(t, b)
	})
}

func TestAProcessThatBeatsAgainIsNotRemoved(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		a, b := join(t, store), join(t, store)
		beat(t, b)
		sleep(t, Lease, b)
		wantDead(t, b, a)
		dead := b.Dead()[0]
		beat(t, a) // it was paused
		if err := b.Remove(t.Context(), dead); !errors.Is(err, errIsBack) {
			t.Errorf("error %v", err)
		}
		if _, isThere := stored(t, store)[a.ID()]; !isThere {
			t.Error("it was removed")
		}
		beat(t, b)
		wantDead(t, b)
	})
}

// Nor is anything left of the pause.
func TestAProcessThatWasRemovedWhilePausedIsBackWithItsNextBeat(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		a, b := join(t, store), join(t, store)
		a.SetPages(0, 200)
		beat(t, a, b)
		sleep(t, Lease, b)
		if err := b.Remove(t.Context(), b.Dead()[0]); err != nil {
			t.Fatal(err)
		}
		if a.HasLease() {
			t.Error("a process that was removed has a lease")
		}
		beat(t, a)
		if got := stored(t, store)[a.ID()]; got.Until != 200 || got.HasLeft || !a.HasLease() {
			t.Errorf("it is %+v, and has a lease: %v", got, a.HasLease())
		}
		beat(t, b, a, b)
		wantDead(t, b)
		wantWorkers(t, []*Registry{a, b}, true, false)
	})
}

func TestRemovingTwiceDoesNoHarm(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		a, b, c := join(t, store), join(t, store), join(t, store)
		beat(t, b, c)
		sleep(t, Lease, b, c)
		dead := b.Dead()[0]
		for _, r := range []*Registry{b, c, b} {
			if err := r.Remove(t.Context(), dead); err != nil {
				t.Error(err)
			}
		}
		if got := stored(t, store); len(got) != 2 || got[a.ID()].ID != "" {
			t.Errorf("the members are %+v", got)
		}
	})
}

// A process that could not look has not seen who has beaten. Before its next beat it takes
// nobody for dead, and after that the others have a whole lease again.
func TestAProcessThatWasPausedTakesNobodyForDead(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		a, b := join(t, store), join(t, store)
		beat(t, a, b)
		sleep(t, time.Minute, b) // a is paused
		wantDead(t, a)
		beat(t, a)
		wantDead(t, a)
		sleep(t, Lease-1, a) // and b is killed
		wantDead(t, a)
		time.Sleep(time.Nanosecond) // of the bubble's clock
		wantDead(t, a, b)
	})
}

// The first process that beats when the store is back must not take the others for dead.
func TestAfterTheStoreWasDownEachHasANewLease(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		a, b := join(t, store), join(t, store)
		beat(t, a, b)
		store.Fail(statetest.ErrDown)
		time.Sleep(time.Minute) // of the bubble's clock
		store.Fail(nil)
		beat(t, a)
		wantDead(t, a)
		time.Sleep(BeatEvery) // of the bubble's clock
		beat(t, b, a)
		wantDead(t, a)
		wantDead(t, b)
	})
}

func TestWhenTheStoreIsEmptiedTheProcessesAreMembersAgain(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		a, b := join(t, store), join(t, store)
		a.SetPages(4, 204)
		beat(t, a, b, a, b)
		store.Clear()
		beat(t, b)
		wantDead(t, b)
		beat(t, a, b, a, b)
		if got := stored(t, store); len(got) != 2 || got[a.ID()].From != 4 || got[a.ID()].Until != 204 {
			t.Errorf("the members are %+v", got)
		}
		wantDead(t, a)
		wantDead(t, b)
		wantWorkers(t, []*Registry{a, b}, true, false)
	})
}

func TestADamagedDocumentIsWrittenAnew(t *testing.T) {
	for _, damaged := range []string{"", "{", `{"members":7}`, `[]`} {
		bubble(t, func(t *testing.T, store *statetest.Memory) {
			a, b := join(t, store), join(t, store)
			store.Put(key, damaged)
			beat(t, a, b)
			if got := stored(t, store); len(got) != 2 {
				t.Errorf("%q: the members are %+v", damaged, got)
			}
		})
	}
}

// The beat happened, and its answer was lost: it is done again, and the process is there
// once.
func TestABeatWhoseAnswerIsLostIsRepeated(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		a, b := join(t, store), New(store, time.Now)
		lost := 0
		store.Decide(func(state.Item) statetest.Fate {
			if lost++; lost <= 2 {
				return statetest.Lost
			}
			return statetest.Written
		})
		beat(t, b)
		if got := stored(t, store); len(got) != 2 || got[b.ID()].Beat != 1 {
			t.Errorf("the members are %+v", got)
		}
		beat(t, a)
		wantDead(t, a)
	})
}

// A beat that lands after the process has left must not bring it back.
func TestALateBeatLosesToLaterOnes(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		a, b := join(t, store), join(t, store)
		store.Decide(statetest.Always(statetest.Late))
		if err := a.Beat(t.Context()); !errors.Is(err, state.ErrUnknown) {
			t.Errorf("error %v", err)
		}
		store.Decide(nil)
		if err := a.Leave(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		store.Land()
		if got := stored(t, store); len(got) != 1 || got[b.ID()].ID == "" {
			t.Errorf("the members are %+v", got)
		}
	})
}

// Versions that come later may say more of a member.
func TestUnknownFieldsOfAMemberAreNoDamage(t *testing.T) {
	bubble(t, func(t *testing.T, store *statetest.Memory) {
		a := join(t, store)
		store.Put(key, strings.Replace(store.Value(key), `"beat"`, `"later":[1],"beat"`, 1))
		b := join(t, store)
		if got := stored(t, store); len(got) != 2 || got[a.ID()].Beat != 1 || got[b.ID()].Beat != 1 {
			t.Errorf("the members are %+v", got)
		}
	})
}
