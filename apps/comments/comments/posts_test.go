package comments

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// postsOf are the known posts of a replica that has not followed the log yet.
func postsOf(store state.Store) *knownPosts { return newKnownPosts(store, &followed{}, time.Now) }

// follow has a replica have followed the log up to a time.
func (k *knownPosts) follow(upTo time.Time) { k.progress.(*followed).upTo(upTo) }

// addPosts has k add posts, each of which has to be taken.
func addPosts(t *testing.T, k *knownPosts, ids ...string) {
	t.Helper()
	events := make([]event.Event, len(ids))
	for i, id := range ids {
		events[i] = postCreated(t, id, "a")
	}
	wantErrors(t, k.add(context.Background(), events), make([]error, len(ids))...)
}

// wantAwait checks what awaiting the post says, and after how long.
func wantAwait(t *testing.T, k *knownPosts, id string, want error, after time.Duration) {
	t.Helper()
	start := time.Now()
	if err := k.await(context.Background(), id); !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", id, err, want)
	}
	if took := time.Since(start); took != after {
		t.Errorf("%s: took %v, want %v", id, took, after)
	}
}

func TestAPostThatWasDeliveredIsKnownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.New()
		k := postsOf(m)
		young, old := idAt(time.Now(), 1), idAt(time.Now().Add(-time.Hour), 2)
		addPosts(t, k, young, old)
		wantAwait(t, k, young, nil, 0)
		wantAwait(t, k, old, nil, 0)
		// Another replica reads the store.
		wantAwait(t, postsOf(m), young, nil, 0)
		wantAwait(t, postsOf(m), old, nil, 0)
	})
}

func TestAKnownPostIsNotReadTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.New()
		id := idAt(time.Now(), 1)
		addPosts(t, postsOf(m), id)
		k := postsOf(m)
		wantAwait(t, k, id, nil, 0)
		wantAwait(t, k, id, nil, 0)
		if reads := m.Named(statetest.Get, "post-"); reads != 1 {
			t.Errorf("%d reads, want 1", reads)
		}
		m.Fail(errDown, statetest.Get)
		wantAwait(t, k, id, nil, 0)
	})
}

func TestWhatIsNoUUIDv7IsNoPostAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.New()
		k := postsOf(m)
		for _, id := range []string{"", "7", "8c5f0f1e-58a5-4a0a-9a55-3d8c8b1f6b11", "017F22E2-79B0-7CC3-98C4-DC0C0C07398F"} {
			wantAwait(t, k, id, errNoPost, 0)
		}
		if reads := m.Calls(statetest.Get); len(reads) > 0 {
			t.Errorf("%d reads", len(reads))
		}
	})
}

func TestAPostFromTheFarFutureIsNoneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := postsOf(statetest.New())
		wantAwait(t, k, idAt(time.Now().Add(maxClockAhead+time.Second), 1), errNoPost, 0)
		wantAwait(t, k, idAt(time.Now().Add(maxClockAhead), 1), errNotArrived, arrivalWait)
	})
}

func TestAnUnknownPostIsNoneAtOnceOnlyIfItIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := postsOf(statetest.New())
		now := time.Now()
		k.follow(now)
		wantAwait(t, k, idAt(now.Add(-postDelay-time.Millisecond), 2), errNoPost, 0)
		wantAwait(t, k, idAt(now.Add(-24*time.Hour), 2), errNoPost, 0)
		wantAwait(t, k, idAt(now.Add(-postDelay), 2), errNotArrived, arrivalWait)
		wantAwait(t, k, idAt(now, 2), errNotArrived, arrivalWait)
		wantAwait(t, k, idAt(time.Now(), 2), errNotArrived, arrivalWait)
	})
}

// Old is measured by what was read in the log, and not by the clock: while comments is
// behind, or just started, a post of an hour ago may be on its way.
func TestBehindTheLogNoPostIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := postsOf(statetest.New())
		old := time.Now().Add(-time.Hour)
		wantAwait(t, k, idAt(old, 2), errNotArrived, arrivalWait)
		addPosts(t, k, idAt(time.Now(), 1)) // a delivery says nothing of those before it
		wantAwait(t, k, idAt(old, 2), errNotArrived, arrivalWait)
		k.follow(old)
		wantAwait(t, k, idAt(old.Add(time.Minute), 2), errNotArrived, arrivalWait)
		wantAwait(t, k, idAt(old.Add(-2*postDelay), 2), errNoPost, 0)
	})
}

// Until the follower has noticed that the store was emptied, it says how far the former
// one's log was followed.
func TestInAnEmptiedStoreNoPostIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := postsOf(statetest.New())
		k.follow(time.Now())
		k.progress.(*followed).isOther = true
		wantAwait(t, k, idAt(time.Now().Add(-time.Hour), 2), errNotArrived, arrivalWait)
	})
}

// The event wakes up the requests that wait at this replica. If another replica is
// delivered it, the next read finds the post.
func TestAPostThatArrivesMeanwhileIsKnown(t *testing.T) {
	for name, test := range map[string]struct {
		elsewhere    bool
		after, known time.Duration
		reads        int
	}{
		"at this replica":                 {false, 110 * time.Millisecond, 110 * time.Millisecond, 1},
		"at this replica, at the end":     {false, arrivalWait - 1, arrivalWait - 1, 2},
		"at the other one":                {true, 110 * time.Millisecond, arrivalPause, 2},
		"at the other one, at the end":    {true, arrivalWait - 1, arrivalWait, 3},
		"at the other one, in the middle": {true, arrivalPause + 1, arrivalWait, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := statetest.New()
				k := postsOf(m)
				other, replica := postsOf(m), k
				if test.elsewhere {
					replica = other
				}
				id := idAt(time.Now(), 1)
				time.AfterFunc(test.after, func() { addPosts(t, replica, id) })
				wantAwait(t, k, id, nil, test.known)
				if got := m.Named(statetest.Get, "post-"+id); got != test.reads {
					t.Errorf("%d reads, want %d", got, test.reads)
				}
				wantNobodyWaits(t, k.arrivals)
			})
		})
	}
}

// A made-up id has the store read three times, and no more.
func TestAPostThatDoesNotArriveIsReadThreeTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.New()
		k := postsOf(m)
		id := idAt(time.Now(), 1)
		wantAwait(t, k, id, errNotArrived, arrivalWait)
		if reads := m.Calls(statetest.Get); len(reads) != 3 || m.Named(statetest.Get, "post-"+id) != 3 {
			t.Errorf("read %v, want the post three times", reads)
		}
		// One that can't be on its way is read once.
		k.follow(time.Now())
		before := len(m.Calls(statetest.Get))
		wantAwait(t, k, idAt(time.Now().Add(-time.Hour), 3), errNoPost, 0)
		if reads := m.Calls(statetest.Get)[before:]; len(reads) != 1 {
			t.Errorf("read %v, want one read", reads)
		}
		wantNobodyWaits(t, k.arrivals)
	})
}

// It became old while it was waited for, and still isn't there.
func TestAPostThatTurnsOutOldIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.New()
		k := postsOf(m)
		start := time.Now()
		time.AfterFunc(110*time.Millisecond, func() { k.follow(start) })
		wantAwait(t, k, idAt(start.Add(-time.Hour), 2), errNoPost, arrivalPause)
		wantNobodyWaits(t, k.arrivals)
	})
}

func TestAwaitingAPostEndsWithItsRequestAndWithTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.New()
		k := postsOf(m)
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if err := k.await(ctx, idAt(time.Now(), 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		k.follow(time.Now())
		m.Fail(errDown, statetest.Get)
		// Down is neither "no such post" nor "on its way", for an old one either.
		wantAwait(t, k, idAt(time.Now(), 1), errDown, 0)
		wantAwait(t, k, idAt(time.Now().Add(-time.Hour), 1), errDown, 0)
	})
}

// One forged id must not make every post of the next years a 404.
func TestAPostFromTheFutureDoesNotMakeOthersOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := postsOf(statetest.New())
		k.follow(time.Now())
		addPosts(t, k, idAt(time.Now().AddDate(10, 0, 0), 1))
		wantAwait(t, k, idAt(time.Now().Add(-time.Second), 2), errNotArrived, arrivalWait)
		id := idAt(time.Now(), 3)
		time.AfterFunc(110*time.Millisecond, func() { addPosts(t, k, id) })
		wantAwait(t, k, id, nil, 110*time.Millisecond)
	})
}

func TestWhatCouldNotBeStoredIsNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.New()
		k := postsOf(m)
		id := idAt(time.Now(), 1)
		m.Decide(statetest.Always(statetest.Refused))
		errs := k.add(context.Background(), []event.Event{postCreated(t, id, "a")})
		if len(errs) != 1 || errs[0] == nil || errors.Is(errs[0], bus.ErrPoison) {
			t.Fatalf("errors %v, want one that asks for it again", errs)
		}
		m.Decide(nil)
		wantAwait(t, k, id, errNotArrived, arrivalWait)
		addPosts(t, k, id)
		wantAwait(t, k, id, nil, 0)
	})
}

func TestAPostIsRedeliveredWithoutHarmAndAnotherOfItsIDIsPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.New()
		k := postsOf(m)
		first, forged := idAt(time.Now(), 1), idAt(time.Now(), 2)
		addPosts(t, k, first, first)
		addPosts(t, postsOf(m), first)
		errs := k.add(context.Background(), []event.Event{postCreated(t, first, "forged"), postCreated(t, forged, "a"), postCreated(t, forged, "forged")})
		wantErrors(t, errs, bus.ErrPoison, nil, bus.ErrPoison)
		for _, id := range []string{first, forged} {
			if n := m.Version("post-" + id); n != 1 {
				t.Errorf("post %s was written %d times, want once", id, n)
			}
		}
	})
}
