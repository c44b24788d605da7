package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// swapsOf counts the calls that write a page.
func (w *world) swapsOf(prefix string) int {
	n := 0
	for _, c := range w.store.Calls(statetest.Swap) {
		if slices.ContainsFunc(c.Keys(), func(key string) bool { return strings.HasPrefix(key, prefix) }) {
			n++
		}
	}
	return n
}

// commitAll commits events at once, and returns their errors.
func (p *process) commitAll(events []event.Event) []error {
	errs := make([]error, len(events))
	var all sync.WaitGroup
	for i, e := range events {
		all.Go(func() { _, errs[i] = p.journal.Commit(context.Background(), e, Claim{}) })
	}
	all.Wait()
	return errs
}

// commitTogether commits events while the first of them is being written, so that the others
// share pages.
func (p *process) commitTogether(events []event.Event) {
	p.w.Helper()
	first := make(chan struct{})
	go func() {
		defer close(first)
		p.commit(events[0])
	}()
	synctest.Wait()
	if err := errors.Join(p.commitAll(events[1:])...); err != nil {
		p.w.Fatal(err)
	}
	<-first
}

// slow has each call that writes a page take a while.
func (w *world) slow(long time.Duration) {
	w.store.Before(func(_ context.Context, c statetest.Call) error {
		if c.Op == statetest.Swap && strings.HasPrefix(c.Items[0].Key, "journal-") {
			time.Sleep(long) // of the bubble's clock
		}
		return nil
	})
}

func TestALonelyCommandWaitsForNothing(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		start := time.Now()
		first, second := titled(w, "a"), titled(w, "b")
		p.commit(first)
		standing, err := p.journal.Commit(context.Background(), second, claimOf("k", "r"))
		if err != nil || !isOf(standing, second) || standing.Request != "r" {
			w.Errorf("the claim is %+v, and error %v", standing, err)
		}
		if took := time.Since(start); took != 0 {
			w.Errorf("took %v", took)
		}
		w.wantPublished(first, second)
		if took := time.Since(start); took != 0 {
			w.Errorf("the publish took %v", took)
		}
		// A page and its claims are one call.
		if n := w.swapsOf("journal-"); n != 2 {
			w.Errorf("%d writes of pages, want 2", n)
		}
		if n := w.swapsOf("claim-"); n != 1 || w.store.TTL("claim-k") != 24*time.Hour {
			w.Errorf("%d writes of claims, which live for %v", n, w.store.TTL("claim-k"))
		}
		if reads := w.store.Named(statetest.Get, "journal-") + w.store.Named(statetest.Get, "claim-"); reads > 0 {
			w.Errorf("%d documents were read", reads)
		}
	})
}

func TestCommandsThatArriveTogetherShareACall(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.slow(100 * time.Millisecond)
		events := titledAll(w, 60)
		start := time.Now()
		p.commitTogether(events)
		if took := time.Since(start); took != 200*time.Millisecond {
			w.Errorf("took %v", took)
		}
		if n := w.swapsOf("journal-"); n != 2 { // the first one alone, and then all others
			w.Errorf("%d writes, want 2", n)
		}
		if got := w.onTheBus(); len(got) != 60 || len(w.calls) != 2 || w.calls[1] != 59 {
			w.Errorf("%d events in publishes of %v", len(got), w.calls)
		}
	})
}

func TestAPageHasABound(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.slow(100 * time.Millisecond)
		p.commitTogether(titledAll(w, 1+pageEvents+1))
		if n := w.swapsOf("journal-"); n != 3 {
			w.Errorf("%d pages, want 3", n)
		}
		// Of events of 40 KB not so many fit into a page.
		const large, fit = 200, pageBytes / 40_000
		var events []event.Event
		for range large {
			e := titled(w, "a")
			e.Post.Body = strings.Repeat("\u20ac", 10_000)
			e, err := event.OfPost(event.PostCreated, "posts", *e.Post, e.Time, "")
			if err != nil {
				w.Fatal(err)
			}
			e.TraceParent = strings.Repeat("x", 10_000)
			events = append(events, e)
		}
		before := w.swapsOf("journal-")
		if err := errors.Join(p.commitAll(events)...); err != nil {
			w.Fatal(err)
		}
		if n := w.swapsOf("journal-") - before; n < large/(fit+1) || n > 2+large/fit {
			w.Errorf("%d pages", n)
		}
		for _, c := range w.store.Calls(statetest.Swap) {
			if size := len(c.Items[0].Value); size > pageBytes+50_000 {
				w.Errorf("a page of %d bytes", size)
			}
		}
	})
}

// Whatever becomes of the writes: a command is answered once a page in the store has its
// event, and its claim is there.
func TestACommandIsAnsweredOnlyWhenItIsInTheStore(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{T: t, store: statetest.New(), log: newKnownLog(), letters: newKnownLog()}
			p := w.start()
			fates := rapid.SliceOfN(rapid.SampledFrom([]statetest.Fate{statetest.Written, statetest.Refused, statetest.Lost, statetest.Late}), 0, 60).Draw(rt, "fates")
			w.store.Decide(func(state.Item) statetest.Fate {
				if len(fates) == 0 {
					return statetest.Written
				}
				fate := fates[0]
				fates = fates[1:]
				return fate
			})
			var all sync.WaitGroup
			for i := range rapid.IntRange(1, 12).Draw(rt, "commands") {
				e, key := titled(t, fmt.Sprint(i)), rapid.SampledFrom([]string{"", "", "a", "b"}).Draw(rt, "key")
				after := time.Duration(rapid.IntRange(0, 3).Draw(rt, "after")) * 100 * time.Millisecond
				all.Go(func() {
					time.Sleep(after) // of the bubble's clock
					claim := Claim{}
					if key != "" {
						claim = claimOf(key, "r")
					}
					standing, err := p.journal.Commit(context.Background(), e, claim)
					switch {
					case err != nil:
						t.Error(err)
					case (key == "" || isOf(standing, e)) && !w.hasPageOf(e):
						t.Errorf("%s is answered, and in no page", e.Post.Title)
					case key != "" && !strings.Contains(w.store.Value("claim-"+key), string(standing.Event)):
						t.Errorf("claim %s does not stand", key)
					}
				})
			}
			all.Wait()
			w.store.Land()
			for _, id := range w.onTheBus() {
				if !p.has(id) {
					t.Errorf("%s was published, and is not in the journal", id)
				}
			}
		})
	})
}

func (p *process) has(id string) bool {
	p.journal.mu.Lock()
	defer p.journal.mu.Unlock()
	return p.journal.entries[id] != nil
}

// Only one of the two documents of a command is written at first.
func TestAWriteThatHappensByHalfIsCompleted(t *testing.T) {
	for name, prefix := range map[string]string{"page without claim": "claim-", "claim without page": "journal-"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				p, refused := w.start(), 0
				w.store.Decide(func(item state.Item) statetest.Fate {
					if strings.HasPrefix(item.Key, prefix) && refused < 3 {
						refused++
						return statetest.Refused
					}
					return statetest.Written
				})
				e := titled(w, "a")
				standing, err := p.journal.Commit(context.Background(), e, claimOf("k", "r"))
				if err != nil || !isOf(standing, e) || refused != 3 {
					w.Errorf("the claim is %+v, error %v after %d writes", standing, err, refused)
				}
				if !w.hasPageOf(e) || w.store.Value("claim-k") == "" || len(w.store.Keys("")) != 3 {
					w.Errorf("the store has %q", w.store.Keys(""))
				}
				w.wantPublished(e)
			})
		})
	}
}

func TestAWriteWhoseAnswerIsLostIsFoundAndOneThatLandsLateDoesNoHarm(t *testing.T) {
	for name, fate := range map[string]statetest.Fate{"lost": statetest.Lost, "late": statetest.Late} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				p, times := w.start(), 0
				w.store.Decide(func(item state.Item) statetest.Fate {
					if strings.HasPrefix(item.Key, "members") || times >= 2 {
						return statetest.Written
					}
					times++
					return fate
				})
				e := titled(w, "a")
				standing, err := p.journal.Commit(context.Background(), e, claimOf("k", "r"))
				if err != nil || !isOf(standing, e) {
					w.Errorf("the claim is %+v, error %v", standing, err)
				}
				w.store.Land()
				if w.store.Version("claim-k") != 1 || len(w.pages()) != 1 || w.store.Version(w.pages()[0]) != 1 {
					w.Errorf("the store has %q", w.store.Keys(""))
				}
				w.wantPublished(e)
				p.wantJournal(1, 1)
			})
		})
	}
}

func TestAClaimThatStandsForAnotherEventIsReturned(t *testing.T) {
	bubble(t, func(w *world) {
		p, other := w.start(), w.start()
		first, second := titled(w, "a <b> & \u2028"), titled(w, "b")
		if _, err := p.journal.Commit(context.Background(), first, claimOf("k", "r")); err != nil {
			w.Fatal(err)
		}
		for _, p := range []*process{p, other} {
			standing, err := p.journal.Commit(context.Background(), second, claimOf("k", "other"))
			if err != nil || !isOf(standing, first) || standing.Request != "r" || standing.Key != "claim-k" {
				w.Errorf("the claim is %+v, error %v", standing, err)
			}
		}
		w.wantPublished(first)
		p.wantJournal(1, 1) // it knows its own claims
		other.wantJournal(0, 1)
		for _, p := range []*process{p, other} {
			p.follow() // of the second event nothing is needed
		}
		p.wantJournal(1, 1)
		other.wantJournal(0, 0)
		w.wantPages(1)
	})
}

// The first of them stands for all, whichever page they are in.
func TestOneKeyTwiceAtOnceIsOneEvent(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.slow(100 * time.Millisecond)
		go p.commit(titled(w, "so that the others wait"))
		synctest.Wait()
		events := titledAll(w, 5)
		claims := make([]Claim, len(events))
		var all sync.WaitGroup
		for i, e := range events {
			all.Go(func() {
				var err error
				if claims[i], err = p.journal.Commit(context.Background(), e, claimOf("k", fmt.Sprint(i))); err != nil {
					w.Error(err)
				}
			})
		}
		all.Wait()
		if n := w.swapsOf("journal-"); n != 2 {
			w.Errorf("%d pages", n)
		}
		won := slices.IndexFunc(events, func(e event.Event) bool { return isOf(claims[0], e) })
		for i, c := range claims {
			if !isOf(c, events[won]) || c.Request != fmt.Sprint(won) {
				w.Errorf("command %d: the claim is %s of request %s", i, c.Event, c.Request)
			}
		}
		if got := w.onTheBus(); len(got) != 2 || got[1] != events[won].ID {
			w.Errorf("published %q", got)
		}
		p.wantJournal(2, 2)
	})
}

func TestADamagedClaimIsAnErrorAndNothingIsPublished(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.store.Put("claim-k", "{")
		_, err := p.journal.Commit(context.Background(), titled(w, "a"), claimOf("k", "r"))
		var syntax *json.SyntaxError
		if !errors.As(err, &syntax) {
			w.Errorf("error %v", err)
		}
		w.wantPublished()
		p.wantJournal(0, 1)
	})
}

// The request is over, and the command is committed when the store is back: it is not known
// when it was written.
func TestNothingIsForgottenWhileTheStoreIsDown(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		before := titledAll(w, 3)
		for _, e := range before {
			p.commit(e)
		}
		w.wantPublished(before...)
		w.store.Fail(errDown)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		during := titled(w, "during")
		if _, err := p.journal.Commit(ctx, during, Claim{}); !errors.Is(err, context.DeadlineExceeded) {
			w.Errorf("error %v", err)
		}
		// One that the writer has not taken is not committed.
		ctx, cancel = context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if _, err := p.journal.Commit(ctx, titled(w, "waits"), Claim{}); !errors.Is(err, context.DeadlineExceeded) {
			w.Errorf("error %v", err)
		}
		time.Sleep(time.Minute) // of the bubble's clock
		w.wantPublished(before...)
		w.store.Fail(nil)
		time.Sleep(time.Second) // of the bubble's clock
		w.wantPublished(append(before, during)...)
		if !w.hasPageOf(during) {
			w.Error("it was published, and is in no page")
		}
		for _, e := range before {
			if !w.hasPageOf(e) {
				w.Errorf("%s is in no page", e.Post.Title)
			}
		}
	})
}

func TestAStoreThatFailsOftenOnlySlowsCommandsDown(t *testing.T) {
	bubble(t, func(w *world) {
		p, calls := w.start(), 0
		w.store.Before(func(context.Context, statetest.Call) error {
			if calls++; calls%3 == 0 {
				return errDown
			}
			return nil
		})
		events := titledAll(w, 300)
		if err := errors.Join(p.commitAll(events)...); err != nil {
			w.Fatal(err)
		}
		w.store.Before(nil)
		got := w.onTheBus()
		slices.Sort(got)
		want := idsOf(events)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			w.Errorf("%d events were published, want %d", len(got), len(want))
		}
	})
}

// putEvents has a journal count events that are not there, without a page.
func (p *process) putEvents(n, size int) {
	p.journal.mu.Lock()
	defer p.journal.mu.Unlock()
	for range n {
		e := event.Event{ID: event.NewID(), Type: event.PostCreated}
		p.journal.entries[e.ID] = &entry{event: e, size: size, queued: true}
		p.journal.bytes += size
	}
}

func TestAtItsBoundOfEventsAJournalIsFull(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		p.putEvents(MaxEvents-4, 0)
		p.commit(titled(w, "so that pages are reserved"))
		w.slow(100 * time.Millisecond)
		events := titledAll(w, 10)
		full := 0
		for _, err := range p.commitAll(events) {
			if errors.Is(err, ErrFull) {
				full++
			} else if err != nil {
				w.Error(err)
			}
		}
		if full != 7 {
			w.Errorf("%d commands were refused, want 7", full)
		}
		got := w.onTheBus()
		if len(got) != 4 {
			w.Errorf("%d events were published, want 4", len(got))
		}
		// One that the log has makes room for one.
		i := slices.IndexFunc(events, func(e event.Event) bool { return e.ID == got[3] })
		p.journal.Confirm(events[i], "a log")
		p.commit(titled(w, "last"))
		if _, err := p.journal.Commit(context.Background(), titled(w, "one too many"), claimOf("k", "r")); !errors.Is(err, ErrFull) {
			w.Errorf("error %v", err)
		}
		if w.store.Value("claim-k") != "" {
			w.Error("a command that was refused has a claim")
		}
	})
}

func TestAtItsBoundOfBytesAJournalIsFull(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		p.putEvents(1, MaxBytes-1)
		e := titled(w, "fits")
		p.commit(e)
		if _, err := p.journal.Commit(context.Background(), titled(w, "one too many"), Claim{}); !errors.Is(err, ErrFull) {
			w.Errorf("error %v", err)
		}
		p.journal.Confirm(e, "a log")
		p.commit(titled(w, "fits again"))
	})
}

// A client that repeats a command while the log is away must fill neither the store nor the
// memory, and gets its answer at the journal's bound, too.
func TestARepeatOfAnEventInTheJournalNeedsNoOtherPage(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		e := titled(w, "a")
		p.commit(e)
		w.wantPublished(e)
		p.putEvents(MaxEvents, 0)
		for range 3 {
			p.commit(e)
			synctest.Wait()
		}
		w.wantPublished(e, e, e, e) // each repeat publishes it, in case that it was lost
		w.wantPages(1)
		if n := w.swapsOf("journal-"); n != 1 {
			w.Errorf("%d writes of pages", n)
		}
	})
}

// Of a command whose key is taken nothing is needed. Its page is removed though the log is
// away.
func TestAPageWithoutAnEventThatIsNeededIsRemovedWithoutTheLog(t *testing.T) {
	bubble(t, func(w *world) {
		p, other := w.start(), w.start()
		first := titled(w, "a")
		if _, err := p.journal.Commit(context.Background(), first, claimOf("k", "r")); err != nil {
			w.Fatal(err)
		}
		for i := range 20 {
			if _, err := other.journal.Commit(context.Background(), titled(w, fmt.Sprint(i)), claimOf("k", fmt.Sprint(i))); err != nil {
				w.Fatal(err)
			}
		}
		w.wantPages(21)
		other.journal.Tidy(context.Background())
		w.wantPages(1)
		p.wantJournal(1, 1)
		if !w.hasPageOf(first) {
			w.Error("the event that stands is in no page")
		}
	})
}

// The pages that are not removed yet are bounded, too.
func TestAtItsBoundOfPagesAJournalIsFull(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		p.commit(titled(w, "a"))
		p.journal.mu.Lock()
		for i := range MaxEvents - 1 {
			key := fmt.Sprint("another ", i)
			p.journal.pages[key] = &page{key: key}
		}
		p.journal.mu.Unlock()
		if _, err := p.journal.Commit(context.Background(), titled(w, "b"), Claim{}); !errors.Is(err, ErrFull) {
			w.Errorf("error %v", err)
		}
		p.journal.Tidy(context.Background())
		p.commit(titled(w, "c"))
	})
}

func TestACommandWaitsForTheJournalToRunAndNotForOneThatHasStopped(t *testing.T) {
	bubble(t, func(w *world) {
		idle := New(Config{Store: w.store, Now: time.Now})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := idle.Commit(ctx, titled(w, "a"), Claim{}); !errors.Is(err, context.DeadlineExceeded) {
			w.Errorf("error %v", err)
		}
		p := w.start()
		p.stop()
		start := time.Now()
		if _, err := p.journal.Commit(context.Background(), titled(w, "a"), Claim{}); !errors.Is(err, ErrStopped) || time.Since(start) != 0 {
			w.Errorf("error %v after %v", err, time.Since(start))
		}
		w.wantPublished()
	})
}

func TestAnEventThatCannotBeEncodedIsRefusedAlone(t *testing.T) {
	bubble(t, func(w *world) {
		p, bad := w.start(), titled(w, "a")
		bad.Time = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
		if _, err := p.journal.Commit(context.Background(), bad, Claim{}); err == nil {
			w.Error("it is committed")
		}
		e := titled(w, "b")
		p.commit(e)
		w.wantPublished(e)
	})
}

// Each process's numbers are reserved in advance, and no page has the number of another one.
func TestPagesAreWrittenWithinWhatIsReserved(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.store.Before(func(_ context.Context, c statetest.Call) error {
			for _, key := range c.Keys() {
				number, isPage := strings.CutPrefix(key, "journal-"+p.registry.ID()+"-")
				if c.Op != statetest.Swap || !isPage {
					continue
				}
				var all struct{ Members []struct{ From, Until int } }
				if err := json.Unmarshal([]byte(w.store.Value("members")), &all); err != nil {
					w.Error(err)
				}
				var n int
				if _, err := fmt.Sscan(number, &n); err != nil || n < all.Members[0].From || n >= all.Members[0].Until {
					w.Errorf("page %s (error %v) is not among %+v", number, err, all)
				}
			}
			return nil
		})
		stuck := titled(w, "the log never has this one")
		p.commit(stuck)
		var before []event.Event
		for range 2*reserved + 5 {
			e := titled(w, "a")
			p.commit(e)
			before = append(before, e)
		}
		w.wantPages(2*reserved + 6)
		for _, e := range before {
			p.journal.Confirm(e, "a log")
		}
		p.follow()
		w.wantPages(1)
	})
}

// Nothing that the process still reads confirms such an event. A stop must not wait for the
// time after which an event counts as lost.
func TestARepeatThatTheLogHasLeavesTheJournalAtOnce(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		e, lost := titled(w, "a"), titled(w, "b")
		w.log.Append(e)
		p.follow()
		for _, again := range []event.Event{e, lost} {
			if _, err := p.journal.Commit(context.Background(), again, Claim{IsRepeat: true}); err != nil {
				w.Fatal(err)
			}
		}
		p.followFor(2 * time.Second)
		p.wantJournal(1, 1) // of lost, which is perhaps on its way
		w.wantPublished(e, lost)
		p.followFor(absentAfter + stillFor)
		w.wantPublished(e, lost, lost)
	})
}
