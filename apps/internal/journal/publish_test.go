package journal

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

func TestAnEventIsPublishedAfterItsPageIsWritten(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.busHook = func(events []event.Event) {
			for _, e := range events {
				if !w.hasPageOf(e) || w.store.Value("claim-"+e.Subject) == "" {
					w.Errorf("%s is published before its page and its claim are there", e.Post.Title)
				}
			}
		}
		for _, e := range titledAll(w, 5) {
			if _, err := p.journal.Commit(context.Background(), e, claimOf(e.Subject, "r")); err != nil {
				w.Fatal(err)
			}
		}
		if got := w.onTheBus(); len(got) != 5 {
			w.Errorf("%d events", len(got))
		}
	})
}

// The service's commands go on meanwhile.
func TestWhileTheBusIsDownEventsWaitInTheirOrder(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.failBus(func(event.Event) error { return errDown })
		events := titledAll(w, 2*publishAtOnce+50)
		for _, e := range events {
			p.commit(e)
		}
		time.Sleep(time.Minute) // of the bubble's clock
		w.wantPublished()
		w.failBus(nil)
		time.Sleep(retryPause) // of the bubble's clock
		w.wantPublished(events...)
		for _, n := range w.calls {
			if n > publishAtOnce {
				w.Errorf("%d events in one publish", n)
			}
		}
		p.wantRepairs(nil) // a retry is no repair
	})
}

func TestEventsOfSeveralTypesArePublishedApart(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.failBus(func(event.Event) error { return errDown })
		events := []event.Event{titled(w, "a"), titled(w, "b"), commented(w), commented(w), titled(w, "c")}
		for _, e := range events {
			p.commit(e)
		}
		w.failBus(nil)
		time.Sleep(time.Second) // of the bubble's clock
		w.wantPublished(events...)
		if n := len(w.calls); !slices.Equal(w.calls[n-3:], []int{2, 2, 1}) {
			w.Errorf("publishes of %v", w.calls)
		}
	})
}

func TestOnlyWhatFailsIsPublishedAgain(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.failBus(func(event.Event) error { return errDown })
		events := titledAll(w, 10)
		for _, e := range events {
			p.commit(e)
		}
		times := map[string]int{}
		w.failBus(func(e event.Event) error {
			times[e.ID]++
			if times[e.ID] <= slices.Index(idsOf(events), e.ID)%3 {
				return errDown
			}
			return nil
		})
		time.Sleep(time.Second) // of the bubble's clock
		w.wantPublished(events[0], events[3], events[6], events[9], events[1], events[4], events[7], events[2], events[5], events[8])
	})
}

// Another process, or an earlier publish whose answer was lost, has brought it into the log.
func TestWhatTheLogHasIsNotPublished(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.failBus(func(event.Event) error { return errDown })
		events := titledAll(w, 3)
		for _, e := range events {
			p.commit(e)
		}
		w.log.Append(events[1])
		p.follow()
		w.failBus(nil)
		time.Sleep(time.Second) // of the bubble's clock
		w.wantPublished(events[0], events[2])
		p.wantJournal(2, 2)
	})
}

// A publish that does not end must not hold back the others for ever.
func TestAPublishEndsAfterItsTimeout(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.busHangs.Store(true)
		e := titled(w, "a")
		p.commit(e)
		time.Sleep(callTimeout + retryPause - 1) // of the bubble's clock
		w.wantPublished()
		w.busHangs.Store(false)
		time.Sleep(time.Nanosecond) // of the bubble's clock
		w.wantPublished(e)
	})
}

func TestWhatTheLogHasLeavesTheJournalAndThenItsPages(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.slow(100 * time.Millisecond)
		events := titledAll(w, 5)
		p.commitTogether(events) // in two pages, of 1 and of 4
		p.wantJournal(5, 2)
		order := w.onTheBus()
		w.log.Append(w.published[:3]...)
		p.follow()
		p.wantJournal(2, 1)
		w.wantPages(1)
		w.log.Append(w.published[3:]...)
		w.store.Fail(errDown, statetest.Drop)
		p.follow()
		p.wantJournal(0, 1)
		w.wantPages(1)
		if p.journal.IsEmpty() {
			w.Error("it is empty, and has a page in the store")
		}
		w.store.Fail(nil)
		p.follow()
		p.wantJournal(0, 0)
		w.wantPages(0)
		if !p.journal.IsEmpty() {
			w.Error("it is not empty")
		}
		p.wantRepairs(nil)
		if got := w.onTheBus(); !slices.Equal(got, order) {
			w.Errorf("published %q, and then %q", order, got)
		}
	})
}

// Its id is not enough: another event in the log may have it.
func TestAnEventWithOtherContentConfirmsNothing(t *testing.T) {
	bubble(t, func(w *world) {
		p, e := w.start(), titled(w, "a")
		p.commit(e)
		forged := titled(w, "forged")
		forged.ID = e.ID
		p.journal.Confirm(forged, "a log")
		p.wantJournal(1, 1)
		p.journal.Confirm(titled(w, "another"), "a log")
		p.wantJournal(1, 1)
		p.journal.Confirm(e, "a log")
		p.wantJournal(0, 1)
	})
}

// grow lets the log grow by events of others.
func (w *world) grow() { w.log.Append(titled(w, "of another process")) }

func TestAnEventIsAbsentTenSecondsAfterItsPublishInALogThatStandsStill(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		p.follow()
		e := titled(w, "a")
		p.commit(e)
		w.wantPublished(e)
		p.followFor(9 * time.Second)
		time.Sleep(time.Second - 1) // of the bubble's clock
		p.follow()
		if n := w.log.timesAsked() + w.letters.timesAsked(); n > 0 {
			w.Errorf("the log was asked %d times", n)
		}
		time.Sleep(time.Nanosecond) // of the bubble's clock
		p.follow()
		w.wantPublished(e, e)
		p.wantRepairs(map[repairs.Kind]int{repairs.PublishedAgain: 1})
		wantSameBytes(w, w.published[0], w.published[1])

		p.followFor(9 * time.Second) // it may be on its way again
		w.wantPublished(e, e)
		p.followFor(time.Second)
		w.wantPublished(e, e, e)
		w.log.Append(e)
		p.followFor(time.Minute)
		w.wantPublished(e, e, e)
		p.wantJournal(0, 0)
		p.wantRepairs(map[repairs.Kind]int{repairs.PublishedAgain: 2})
	})
}

func wantSameBytes(w *world, a, b event.Event) {
	w.Helper()
	x, err := event.Marshal(a)
	if err != nil {
		w.Fatal(err)
	}
	y, err := event.Marshal(b)
	if err != nil {
		w.Fatal(err)
	}
	if string(x) != string(y) {
		w.Errorf("first\n%s, then\n%s", x, y)
	}
}

// The ten seconds begin with the publish that the bus has taken, and not with the commit.
func TestTimeOnAQueueIsNotTimeOnTheBus(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.failBus(func(event.Event) error { return errDown })
		e := titled(w, "a")
		p.commit(e)
		p.followFor(time.Hour)
		w.failBus(nil)
		p.followFor(time.Second)
		w.wantPublished(e)
		before := w.log.timesAsked()
		p.followFor(8 * time.Second)
		if n := w.log.timesAsked() - before; n > 0 {
			w.Errorf("the log was asked %d times", n)
		}
		p.followFor(3 * time.Second)
		w.wantPublished(e, e)
	})
}

func TestTheLogMustStandStillForThreeSeconds(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		e := titled(w, "a")
		p.commit(e)
		for range 12 {
			w.grow()
			p.followFor(time.Second)
		}
		w.wantPublished(e)       // its last growth is seen now
		time.Sleep(stillFor - 1) // of the bubble's clock
		p.follow()
		w.wantPublished(e)
		time.Sleep(time.Nanosecond) // of the bubble's clock
		p.follow()
		w.wantPublished(e, e)
	})
}

// A log that grows on says that the bus is not empty. A later event of the same process and
// topic in it says that this one is not on its way.
func TestAnEventThatWasOvertakenIsAbsent(t *testing.T) {
	for name, test := range map[string]struct {
		overtakes func(t *world) event.Event
		isAbsent  bool
	}{
		"on its topic":      {func(w *world) event.Event { return titled(w, "b") }, true},
		"on another topic":  {func(w *world) event.Event { return commented(w) }, false},
		"by nothing of its": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				p := w.start()
				e := titled(w, "a")
				p.commit(e)
				synctest.Wait()
				if test.overtakes != nil {
					later := test.overtakes(w)
					p.commit(later)
					synctest.Wait()
					w.log.Append(later)
				}
				for range 9 {
					w.grow()
					p.followFor(time.Second)
				}
				if n := w.log.timesAsked(); n > 0 {
					w.Errorf("the log was asked %d times before ten seconds", n)
				}
				w.grow()
				p.followFor(time.Second)
				if got := p.repairs.All()[repairs.PublishedAgain] == 1; got != test.isAbsent {
					w.Errorf("it is absent: %v, want %v", got, test.isAbsent)
				}
			})
		})
	}
}

// An earlier event in the log says nothing of a later one.
func TestAnEarlierEventInTheLogDoesNotOvertake(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		first, second := titled(w, "a"), titled(w, "b")
		p.commit(first)
		synctest.Wait()
		p.commit(second)
		w.wantPublished(first, second)
		w.log.Append(first)
		for range 20 {
			w.grow()
			p.followFor(time.Second)
		}
		w.wantPublished(first, second)
	})
}

// The log may grow for ever, and the process may never have another event.
func TestAnEventIsAbsentAnywayAfterThirtySecondsAndThenTwiceAsLong(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		p.follow()
		p.commit(titled(w, "a"))
		var after []int
		last := 0
		for second := 1; len(after) < 7; second++ {
			w.grow()
			p.followFor(time.Second)
			if n := len(w.onTheBus()); n != len(after)+1 {
				after, last = append(after, second-last), second
			}
			if second > 3600 {
				w.Fatalf("published after %v", after)
			}
		}
		if want := []int{30, 60, 120, 240, 300, 300, 300}; !slices.Equal(after, want) {
			w.Errorf("published again after %v seconds, want %v", after, want)
		}
	})
}

// It was in the log before this process began to read it, or has the id of a repeat.
func TestAnEventThatTheLogKnowsIsNotPublishedAgain(t *testing.T) {
	bubble(t, func(w *world) {
		p, e := w.start(), titled(w, "a")
		p.commit(e)
		w.wantPublished(e)
		w.log.known[e.ID] = true
		p.followFor(time.Minute)
		w.wantPublished(e)
		p.wantJournal(0, 0)
		p.wantRepairs(nil)
		if n := w.log.timesAsked(); n != 2 { // once more after it was read up to its end
			w.Errorf("the log was asked %d times", n)
		}
	})
}

func TestAnEventThatEventlogRefusedIsGivenUp(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		refused, lost := titled(w, "refused"), titled(w, "lost")
		p.commit(refused)
		p.commit(lost)
		w.letters.known[bus.DeadLetterID("eventlog", event.PostCreated, refused)] = true
		w.letters.known[bus.DeadLetterID("posts", event.PostCreated, lost)] = true // of another service
		p.followFor(11 * time.Second)
		w.wantPublished(refused, lost, lost)
		p.wantRepairs(map[repairs.Kind]int{repairs.GivenUp: 1, repairs.PublishedAgain: 1})
		p.wantJournal(1, 1)
		if w.hasPageOf(refused) {
			w.Error("its page is still there")
		}
	})
}

// Otherwise all that is on its way would be published again.
func TestWhileEventlogCannotBeAskedNothingIsPublishedAgain(t *testing.T) {
	for name, fail := range map[string]func(w *world, err error){
		"the log":          func(w *world, err error) { w.log.fail(err) },
		"the dead letters": func(w *world, err error) { w.letters.fail(err) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				p, e := w.start(), titled(w, "a")
				p.commit(e)
				fail(w, errDown)
				p.followFor(time.Minute)
				w.wantPublished(e)
				p.wantJournal(1, 1)
				fail(w, nil)
				p.followFor(2 * time.Second)
				w.wantPublished(e, e)
			})
		})
	}
}

// While eventlog was away the bus has kept the events for it. It needs time to take them.
func TestWhenEventlogIsBackItGetsTimeToTakeWhatTheBusHasKept(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		p.follow()
		events := titledAll(w, 40)
		for _, e := range events {
			p.commit(e)
			time.Sleep(time.Second) // of the bubble's clock
		}
		w.wantPublished(events...)
		p.follow() // the log is back, and has nothing yet
		for len(events) > 0 {
			p.followFor(2 * time.Second)
			w.log.Append(events[:4]...)
			events = events[4:]
		}
		p.followFor(2 * time.Second)
		if n := w.log.timesAsked(); n > 0 {
			w.Errorf("it was asked for %d events", n)
		}
		p.wantJournal(0, 0)
		p.wantRepairs(nil)
	})
}

func TestAtMostFiveHundredEventsASecondArePublishedAgainOldestFirst(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		events := titledAll(w, 1_200)
		for i, e := range events {
			p.commit(e)
			if i%100 == 99 {
				time.Sleep(time.Millisecond) // of the bubble's clock
			}
		}
		w.wantPublished(events...)
		p.followFor(10 * time.Second)
		again := func() int { return len(w.onTheBus()) - len(events) }
		for range 10 { // rounds that follow each other faster, as while the process stops
			time.Sleep(50 * time.Millisecond) // of the bubble's clock
			p.follow()
		}
		if n := again(); n != 500 {
			w.Errorf("%d events were published again, want 500", n)
		}
		p.followFor(time.Second)
		if n := again(); n != 1_000 {
			w.Errorf("%d events were published again, want 1000", n)
		}
		p.followFor(5 * time.Second)
		if n := again(); n != 1_200 {
			w.Errorf("%d events were published again, want 1200", n)
		}
		w.wantPublished(append(events, events...)...)
		p.wantRepairs(map[repairs.Kind]int{repairs.PublishedAgain: 1_200})
	})
}

// An event may get into the log while the log is asked for it.
func TestAnEventThatIsConfirmedMeanwhileIsNotPublishedAgain(t *testing.T) {
	bubble(t, func(w *world) {
		p, e := w.start(), titled(w, "a")
		p.commit(e)
		synctest.Wait()
		p.followFor(5 * time.Second)
		time.Sleep(5 * time.Second) // of the bubble's clock
		p.journal.Log = knownWhile(func() { p.journal.Confirm(e, "a log") })
		p.follow()
		w.wantPublished(e)
		p.wantJournal(0, 0)
		p.wantRepairs(nil)
	})
}

// knownWhile is a log that does something before it answers that it knows nothing.
type knownWhile func()

func (do knownWhile) Known(context.Context, []string) (map[string]bool, error) {
	do()
	return map[string]bool{}, nil
}

// The log is asked in calls of as many ids as it takes.
func TestTheLogIsAskedInParts(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		for i := range eventlog.MaxKnown + 1 {
			p.commit(titled(w, fmt.Sprint(i)))
		}
		p.followFor(12 * time.Second)
		if len(w.log.asked) != 2 || len(w.log.asked[0]) != eventlog.MaxKnown || len(w.log.asked[1]) != 1 || len(w.letters.asked) != 2 {
			w.Errorf("%d and %d questions", len(w.log.asked), len(w.letters.asked))
		}
	})
}

// So that commands under load share pages and publishes. A bus that is slow or down holds no
// command for longer than that.
func TestTheNextPageWaitsForThePublishBeforeItOnlyForAWhile(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		p.commit(titled(w, "so that pages are reserved"))
		w.onTheBus()
		w.busHook = func([]event.Event) { time.Sleep(4 * time.Millisecond) } // of the bubble's clock
		took := func() time.Duration {
			start := time.Now()
			p.commit(titled(w, "a"))
			return time.Since(start)
		}
		if first, second := took(), took(); first != 0 || second != 4*time.Millisecond {
			w.Errorf("a lonely command took %v, and the next one %v", first, second)
		}
		time.Sleep(time.Second) // of the bubble's clock
		w.busHangs.Store(true)
		if first, second, third := took(), took(), took(); first != 0 || second != publishFirst || third != publishFirst {
			w.Errorf("while the bus hangs commands took %v, %v and %v", first, second, third)
		}
		w.busHangs.Store(false)
	})
}
