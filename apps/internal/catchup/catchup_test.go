package catchup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/journal"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// The store may have lost it since.
func TestWhatWasDeliveredIsSeenOnceInTheStore(t *testing.T) {
	for name, isLate := range map[string]bool{"before it was read": false, "after it was read": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				r := w.settled()
				post, moderated := w.post(), w.moderated()
				if !isLate {
					r.deliver(post)
					r.deliver(moderated)
				}
				w.log.Append(post, moderated)
				if isLate {
					r.followFor(9 * time.Second)
					w.wantCursor(0)
					r.deliver(post)
					r.deliver(moderated)
				}
				w.log.Append(w.reactionOf(moderated))
				r.followFor(3 * time.Second)
				w.wantCursor(3)
				r.followFor(time.Minute)
				if w.reads() != 2 || len(w.log.asked) > 0 {
					w.Errorf("the store was asked for %d effects, and the log for %d reactions", w.reads(), len(w.log.asked))
				}
				w.wantDone([]event.Event{post, moderated}, []event.Event{moderated})
				r.wantRepairs(nil)
			})
		})
	}
}

func TestALostEffectIsWrittenTenSecondsAfterItWasRead(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.settled()
		time.Sleep(time.Hour) // of the bubble's clock: the age of the event itself does not matter
		post := w.post()
		post.Time = post.Time.Add(-time.Hour)
		w.log.Append(post)
		r.follow()
		time.Sleep(Grace - 1) // of the bubble's clock
		r.follow()
		w.wantDone(nil, nil)
		w.wantCursor(0)
		if n := w.reads(); n > 0 {
			w.Errorf("%d effects were asked for", n)
		}
		time.Sleep(time.Nanosecond) // of the bubble's clock
		r.follow()
		w.wantDone([]event.Event{post}, nil)
		r.follow()
		w.wantCursor(1)
		r.followFor(time.Minute)
		w.wantDone([]event.Event{post}, nil)
		r.wantRepairs(map[repairs.Kind]int{repairs.Effect: 1})
	})
}

// Another replica was delivered it.
func TestAnEffectThatIsInTheStoreIsSeenTwiceAndNotWrittenAgain(t *testing.T) {
	bubble(t, func(w *world) {
		r, other := w.settled(), w.replica()
		post := w.post()
		w.log.Append(post)
		other.deliver(post)
		r.followFor(time.Minute)
		w.wantDone([]event.Event{post}, nil)
		w.wantCursor(1)
		if n := w.reads(); n != 2 {
			w.Errorf("%d effects were asked for, want 2", n)
		}
		r.wantRepairs(nil)
	})
}

func TestALostReactionIsPublishedUntilTheLogHasIt(t *testing.T) {
	for _, topic := range []event.Type{event.CommentCreated, event.CommentModerated} {
		t.Run(string(topic), func(t *testing.T) {
			bubble(t, func(w *world) {
				r, other := w.settled(), w.settled()
				e := w.made(topic)
				other.deliver(e) // its reaction is lost
				effects := []event.Event{e}
				if topic == event.CommentCreated {
					effects = nil
				}
				w.log.Append(e)
				r.follow()
				time.Sleep(Grace - 1) // of the bubble's clock
				r.follow()
				w.wantDone(effects, []event.Event{e})
				time.Sleep(time.Nanosecond) // of the bubble's clock
				r.follow()
				w.wantDone(effects, []event.Event{e, e})
				r.followFor(9 * time.Second) // it may be on its way
				w.wantDone(effects, []event.Event{e, e})
				r.followFor(time.Second)
				w.wantDone(effects, []event.Event{e, e, e})
				w.wantCursor(0)
				w.log.Append(w.reactionOf(e))
				r.followFor(time.Minute)
				w.wantDone(effects, []event.Event{e, e, e})
				w.wantCursor(2)
				r.wantRepairs(map[repairs.Kind]int{repairs.Reaction: 2})
			})
		})
	}
}

// The bus may take a reaction and not bring it to eventlog, or not take it, or hang.
func TestALostReactionIsPutIntoTheLogWithoutTheBus(t *testing.T) {
	for name, breaks := range map[string]func(w *world){
		"it delivers nothing": func(*world) {},
		"it refuses":          func(w *world) { w.failing(func(step, _ string) error { return failOn(step, "react") }) },
		"it hangs":            func(w *world) { w.hangs = true },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				r := w.settled()
				w.appends = true
				breaks(w)
				events := w.many(event.CommentCreated, 2*handleAtOnce+1)
				w.log.Append(events...)
				r.followFor(Grace - time.Second)
				w.wantEnd(uint64(len(events)))
				r.followFor(2 * time.Second)
				w.wantEnd(uint64(2 * len(events)))
				r.followFor(time.Minute)
				w.wantEnd(uint64(2 * len(events)))
				w.wantCursor(uint64(2 * len(events)))
				r.wantRepairs(map[repairs.Kind]int{repairs.Reaction: len(events)})
			})
		})
	}
}

// Both were lost: the effect comes first.
func TestAReactionIsPublishedAfterTheEffect(t *testing.T) {
	bubble(t, func(w *world) {
		r, e := w.settled(), w.moderated()
		w.log.Append(e)
		w.failing(func(step, _ string) error {
			if step == "effect" {
				return errDown
			}
			return nil
		})
		r.followFor(time.Minute)
		w.wantDone(nil, nil)
		w.wantCursor(0)
		w.failing(func(step, id string) error {
			if step == "react" && !w.hasEffect(id) {
				w.Error("it was reacted to before its effect")
			}
			return nil
		})
		r.followFor(2 * time.Second)
		w.wantDone([]event.Event{e}, []event.Event{e})
		r.wantRepairs(map[repairs.Kind]int{repairs.Effect: 1, repairs.Reaction: 1})
	})
}

func TestAReactionMayBeInTheLogBeforeItsCause(t *testing.T) {
	bubble(t, func(w *world) {
		r, e := w.settled(), w.comment()
		w.log.Append(w.reactionOf(e), w.post(), e)
		r.followFor(time.Minute)
		w.wantCursor(3)
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.reactions) > 0 || len(w.log.asked) > 0 {
			w.Errorf("it was reacted to %d times, and the log was asked for %q", len(w.reactions), w.log.asked)
		}
	})
}

// The cursor has passed the reaction, so it is not read again.
func TestAReactionFromBeforeTheCursorIsAskedFor(t *testing.T) {
	bubble(t, func(w *world) {
		e := w.comment()
		w.log.Append(w.reactionOf(e))
		w.settled()
		w.wantCursor(1)
		w.log.Append(e)
		r := w.replica() // after a restart
		r.followFor(20 * time.Second)
		w.wantDone(nil, nil)
		w.wantCursor(2)
		if !slices.Equal(w.log.asked, []string{reactionTo(e)}) {
			w.Errorf("the log was asked for %q", w.log.asked)
		}
		r.wantRepairs(nil)
	})
}

func TestAnEventThatCanNeverBeTakenIsDeadLetteredOnce(t *testing.T) {
	for step, e := range map[string]func(w *world) event.Event{"effect": (*world).moderated, "react": (*world).comment} {
		t.Run(step, func(t *testing.T) {
			bubble(t, func(w *world) {
				r, bad, good := w.settled(), e(w), w.post()
				w.log.Append(bad, good)
				w.failing(func(s, id string) error {
					switch {
					case s == step && id == bad.ID:
						return fmt.Errorf("%w: so", bus.ErrPoison)
					case s == "letter":
						return errDown
					}
					return nil
				})
				r.followFor(20 * time.Second)
				w.wantCursor(0) // until the dead letter is published
				r.wantRepairs(map[repairs.Kind]int{repairs.Effect: 1})
				w.failing(func(s, id string) error {
					if s == step && id == bad.ID {
						return bus.ErrPoison
					}
					return nil
				})
				r.followFor(time.Minute)
				w.wantCursor(2)
				w.wantDone([]event.Event{good}, nil)
				r.wantRepairs(map[repairs.Kind]int{repairs.Effect: 1, repairs.DeadLettered: 1})
				w.mu.Lock()
				defer w.mu.Unlock()
				if !slices.Equal(w.letters, []string{bad.ID}) {
					w.Errorf("dead letters of %q", w.letters)
				}
			})
		})
	}
}

// One that fails does not hold back the others.
func TestTheCursorStaysBeforeTheFirstEventThatIsNotHandled(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.settled()
		first, bad, last := w.post(), w.post(), w.post()
		w.log.Append(first, bad, last)
		w.failing(func(_, id string) error {
			if id == bad.ID {
				return errDown
			}
			return nil
		})
		r.followFor(time.Minute)
		w.wantCursor(1)
		w.wantDone([]event.Event{first, last}, nil)
		w.failing(func(string, string) error { return nil })
		r.followFor(2 * time.Second)
		w.wantCursor(3)
		w.wantDone([]event.Event{first, last, bad}, nil)
		r.wantRepairs(map[repairs.Kind]int{repairs.Effect: 3})
	})
}

// As a damaged document does: the call fails for all events that it is asked for.
func TestAPartThatFailsDoesNotHoldBackTheOthers(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.replica()
		for i := range r.Consumers {
			ask := r.Config.Consumers[i].Missing
			r.Config.Consumers[i].Missing = func(ctx context.Context, events []event.Event) ([]bool, error) {
				if slices.ContainsFunc(events, func(e event.Event) bool { return e.ID == "PostCreated 0" }) {
					return nil, errors.New("the document is damaged")
				}
				return ask(ctx, events)
			}
		}
		const total = maxPending + 3*eventlog.ReadLimit
		w.log.Append(w.many(event.PostCreated, total)...)
		r.followFor(30 * time.Second)
		if n := len(r.pending); n != handleAtOnce {
			w.Errorf("%d events are pending, want %d", n, handleAtOnce)
		}
		if r.at.Sequence != total {
			w.Errorf("the log was read up to event %d of %d", r.at.Sequence, total)
		}
	})
}

// A store that does not answer costs a round the time of one call for each consumer.
func TestWhileTheStoreHangsARoundIsShort(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.settled()
		w.log.Append(w.many(event.PostCreated, 10*handleAtOnce)...)
		r.follow()
		time.Sleep(Grace) // of the bubble's clock
		w.store.Before(func(ctx context.Context, c statetest.Call) error {
			if c.Items[0].Key == cursorKey {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		began := time.Now()
		r.follow()
		if took := time.Since(began); took > 2*callTimeout {
			w.Errorf("it took %v", took)
		}
	})
}

func TestWhatFailsIsRepeatedForEachStepOfTheStore(t *testing.T) {
	for _, op := range []statetest.Op{statetest.Get, statetest.Swap} {
		t.Run(string(op), func(t *testing.T) {
			bubble(t, func(w *world) {
				r, post := w.settled(), w.post()
				w.log.Append(post)
				w.store.Fail(errDown, op)
				r.followFor(time.Minute)
				w.wantDone(nil, nil)
				w.store.Fail(nil)
				r.followFor(12 * time.Second)
				w.wantDone([]event.Event{post}, nil)
				w.wantCursor(1)
			})
		})
	}
}

// Versions that come later have types that this one does not know.
func TestEventsThatMeanNothingToTheServiceArePassed(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.settled()
		unknown := w.comment()
		unknown.Type, unknown.Comment = "PostPraised", nil
		w.log.Append(unknown, w.made(event.CommentUpdated))
		r.follow()
		w.wantCursor(2)
		w.wantDone(nil, nil)
		r.wantRepairs(nil)
	})
}

// The bus is behind by more than it may have kept.
func TestFarBehindTheEndEffectsAreNotLeftToTheBus(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.settled()
		first, comment, last := w.post(), w.comment(), w.post()
		w.log.Append(first, comment)
		w.log.Append(w.many(event.CommentUpdated, farBehind)...)
		w.log.Append(last)
		r.follow()
		w.wantDone([]event.Event{first}, nil) // reactions may be anywhere in the log
		r.follow()
		w.wantCursor(1)
		r.followFor(11 * time.Second)
		w.wantDone([]event.Event{first, last}, []event.Event{comment})
	})
}

// Otherwise a service that can handle nothing would read the whole log into memory.
func TestOnlySoManyEventsAreReadBeforeTheyAreHandled(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.settled()
		const total = maxPending + 3*2048
		comments := w.many(event.CommentCreated, total)
		w.log.Append(comments...)
		r.followFor(5 * time.Second)
		if n := len(r.pending); n <= maxPending || n > maxPending+2048 {
			w.Errorf("%d events are pending", n)
		}
		if !r.Progress.Current().IsZero() {
			w.Errorf("it is current at %v", r.Progress.Current())
		}
		reactions := w.many(event.CommentUpdated, total)
		for i, c := range comments {
			reactions[i].ID = reactionTo(c)
		}
		w.log.Append(reactions...)
		r.followFor(30 * time.Second) // those that it has read are known to the log
		if n := len(r.pending); n > 0 {
			w.Errorf("%d events are pending", n)
		}
		w.wantCursor(2 * total)
		w.wantDone(nil, nil)
	})
}

func TestFollowingGoesOnWhenTheLogIsBack(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.settled()
		w.log.Append(w.post())
		w.log.fail(errDown)
		r.followFor(time.Hour)
		w.wantCursor(0)
		w.log.fail(nil)
		r.followFor(12 * time.Second)
		w.wantCursor(1)
		r.wantRepairs(map[repairs.Kind]int{repairs.Effect: 1})
	})
}

func TestADeliveryIsHandledEffectFirst(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.settled()
		a, b, c := w.moderated(), w.moderated(), w.moderated()
		w.failing(func(step, id string) error {
			switch {
			case step == "effect" && id == a.ID:
				return bus.ErrPoison
			case step == "react" && id == b.ID:
				return errDown
			}
			return nil
		})
		errs := r.Deliver(event.CommentModerated)(w.Context(), []event.Event{a, b, c})
		if len(errs) != 3 || !errors.Is(errs[0], bus.ErrPoison) || !errors.Is(errs[1], errDown) || errs[2] != nil {
			w.Errorf("errors %v", errs)
		}
		w.wantDone([]event.Event{b, c}, []event.Event{c})

		// What was not handled is not remembered as handled.
		w.failing(func(string, string) error { return nil })
		w.log.Append(a, b, c, w.reactionOf(c))
		r.followFor(11 * time.Second)
		w.wantDone([]event.Event{b, c, a}, []event.Event{c, a, b})
		r.wantRepairs(map[repairs.Kind]int{repairs.Effect: 1, repairs.Reaction: 2})
	})
}

func TestADeliveryOfWhichNothingIsStoredPublishesNothing(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.settled()
		w.failing(func(step, _ string) error {
			if step == "effect" {
				return errDown
			}
			return nil
		})
		errs := r.Deliver(event.CommentModerated)(w.Context(), []event.Event{w.moderated()})
		if len(errs) != 1 || !errors.Is(errs[0], errDown) {
			w.Errorf("errors %v", errs)
		}
		w.wantDone(nil, nil)
	})
}

// Nil says that no event failed.
func TestHandlersMayReturnNoErrors(t *testing.T) {
	none := func(context.Context, []event.Event) []error { return nil }
	noReactions := func(context.Context, []event.Event) ([]event.Event, []error) { return nil, nil }
	for _, c := range []Consumer{{Effect: none}, {React: noReactions}, {Effect: none, React: noReactions}} {
		if _, errs := handle(t.Context(), &c, make([]event.Event, 2)); len(errs) != 2 || errs[0] != nil || errs[1] != nil {
			t.Errorf("errors %v", errs)
		}
	}
}

// The reaction's effect is that of the handler which has published it.
func TestTheEffectOfAnOwnReactionIsSeenOnceInTheStore(t *testing.T) {
	bubble(t, func(w *world) {
		c := w.replica().Config
		react := func(ctx context.Context, events []event.Event) ([]event.Event, []error) {
			for _, e := range events {
				w.store.Put(effectKey(reactionTo(e)), "done")
			}
			return w.react(ctx, events)
		}
		c.Consumers = []Consumer{
			{Type: event.CommentUpdated, Missing: w.missing, Effect: w.effect},
			{Type: event.CommentCreated, React: react, Reaction: reactionTo, OwnEffects: func(reaction event.Event) []string { return []string{reaction.ID} }},
		}
		r := &replica{w: w, Follower: New(c)}
		r.follow()
		e, other := w.comment(), w.comment()
		r.deliver(e)
		w.log.Append(e, w.reactionOf(e), other, w.reactionOf(other)) // another replica has reacted
		r.followFor(20 * time.Second)
		w.wantCursor(4)
		if n := w.reads(); n != 3 {
			w.Errorf("%d effects were asked for, want 1 of its own and 2 of the other's", n)
		}
		r.wantRepairs(map[repairs.Kind]int{repairs.Effect: 1})
	})
}

// The bus has delivered another event with the id of the one in the log: other data, another
// effect.
func TestADeliveryIsOfAnEventWithThatDataAlone(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.replica()
		r.follow()
		logged := w.post()
		delivered := logged
		delivered.Data = []byte(strings.Replace(string(logged.Data), `"a"`, `"b"`, 1))
		r.deliver(delivered)
		w.log.Append(logged)
		r.followFor(15 * time.Second)
		if n := w.reads(); n != 2 {
			w.Errorf("%d effects were asked for, want 2", n)
		}
		w.wantCursor(1)
	})
}

// Until then React would decide what the log has decided already.
func TestWhileTheStoreIsNotRestoredDeliveriesThatFollowTheLogAreRefused(t *testing.T) {
	bubble(t, func(w *world) {
		w.decides = true
		w.log.Append(w.post(), w.moderated())
		r := w.replica()
		deliver := func() []error {
			return r.Deliver(event.CommentCreated)(w.Context(), []event.Event{w.comment(), w.comment()})
		}
		wantRefused := func() {
			w.Helper()
			errs := deliver()
			if len(errs) != 2 || !errors.Is(errs[0], errCatchingUp) || !errors.Is(errs[1], errCatchingUp) || errors.Is(errs[0], bus.ErrPoison) {
				w.Errorf("errors %v", errs)
			}
		}
		wantRefused()
		w.failing(func(step, _ string) error {
			if step == "effect" {
				return errDown
			}
			return nil
		})
		r.followFor(20 * time.Second)
		wantRefused()
		w.failing(func(string, string) error { return nil })
		r.deliver(w.post()) // of a type that does not follow the log
		wantRefused()
		r.follow()
		if errs := deliver(); errors.Join(errs...) != nil {
			w.Errorf("errors %v once the store is restored", errs)
		}
	})
}

// The effects come back at once. The bus has no part in it.
func TestANewStoreIsFilledFromTheLogAtOnce(t *testing.T) {
	bubble(t, func(w *world) {
		var events []event.Event
		for range 5 {
			events = append(events, w.post())
		}
		undecided := w.comment()
		w.log.Append(append(slices.Clone(events), undecided)...)
		r := w.replica()
		r.follow()
		w.wantDone(events, nil)
		r.follow()
		w.wantCursor(5)
		if at, isRestored := w.stored(); !isRestored {
			w.Errorf("it is not restored at %s", at)
		}
		r.followFor(11 * time.Second)
		w.wantDone(events, []event.Event{undecided})
	})
}

// However many comments seem to be undecided, their decisions may come at the log's end.
func TestAServiceDecidesNothingBeforeItKnowsTheWholeLog(t *testing.T) {
	bubble(t, func(w *world) {
		w.decides = true
		undecided, last := w.many(event.CommentCreated, maxPending+eventlog.ReadLimit+1), w.post()
		w.log.Append(append(slices.Clone(undecided), last)...)
		r := w.replica()
		r.follow()
		w.wantDone([]event.Event{last}, nil)
		r.followFor(9 * time.Second)
		if r.Progress.IsRestored() {
			w.Error("what was on its way into the log gets no time")
		}
		r.followFor(time.Second)
		if w.wantDone([]event.Event{last}, nil); !r.Progress.IsRestored() {
			w.Error("it does not know the log")
		}
		r.followFor(11 * time.Second)
		if n := len(w.reactions); n <= maxPending {
			w.Errorf("%d reactions to %d comments", n, len(undecided))
		}
	})
}

// A service follows the log, and its journal with it.
func TestTheLogConfirmsWhatTheJournalHas(t *testing.T) {
	bubble(t, func(w *world) {
		lost := map[string]bool{}
		r := w.replica()
		j := w.journalOf(r, func(e event.Event) bool {
			defer func() { lost[e.ID] = true }()
			return e.Type == event.CommentCreated && !lost[e.ID]
		})
		r.Journal = j
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{}, 2)
		go func() { j.Run(ctx); done <- struct{}{} }()
		go func() { r.Run(ctx); done <- struct{}{} }()
		for _, e := range []event.Event{w.post(), w.comment()} { // the bus loses one at first
			if _, err := j.Commit(ctx, e, journal.Claim{}); err != nil {
				w.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second) // of the bubble's clock
		if n := j.Len(); n != 1 {
			w.Errorf("%d events are in the journal, want 1", n)
		}
		if pages := w.store.Keys("journal-"); len(pages) != 1 {
			w.Errorf("the pages are %q", pages)
		}
		time.Sleep(15 * time.Second) // of the bubble's clock
		if !j.IsEmpty() || len(w.store.Keys("journal-")) > 0 {
			w.Errorf("%d events are in the journal", j.Len())
		}
		if r.Repairs.All()[repairs.PublishedAgain] != 1 {
			w.Errorf("repairs: %v", r.Repairs.All())
		}
		cancel()
		<-done
		<-done
	})
}

// The follower goes on while the journal waits for the log.
func TestAServiceThatStopsFollowsTheLogUntilItsJournalIsEmpty(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.replica()
		isLate := true
		j := w.journalOf(r, func(event.Event) bool { return isLate })
		r.Journal = j
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{}, 2)
		go func() { j.Run(ctx); done <- struct{}{} }()
		go func() { r.Run(ctx); done <- struct{}{} }()
		e := w.comment()
		if _, err := j.Commit(ctx, e, journal.Claim{}); err != nil {
			w.Fatal(err)
		}
		start := time.Now()
		cancel()
		time.Sleep(2 * time.Second) // of the bubble's clock
		w.log.Append(e)             // at last
		<-done
		<-done
		if took := time.Since(start); took > 2*time.Second+200*time.Millisecond {
			w.Errorf("took %v", took)
		}
		if keys := w.store.Keys("journal-"); len(keys) > 0 || !j.IsEmpty() {
			w.Errorf("left are %q", keys)
		}
	})
}

// It would count as dead, and be looked for.
func TestAServiceWithoutJournalLeavesTheMembers(t *testing.T) {
	bubble(t, func(w *world) {
		a, b := w.start(), w.start()
		time.Sleep(12 * time.Second) // of the bubble's clock
		a.stop()
		time.Sleep(6 * time.Second) // of the bubble's clock
		if dead := b.Registry.Dead(); len(dead) > 0 || !b.Registry.IsWorker() {
			w.Errorf("dead are %+v, and it is the worker: %v", dead, b.Registry.IsWorker())
		}
	})
}

func TestAServiceWithoutJournalRemovesDeadMembers(t *testing.T) {
	bubble(t, func(w *world) {
		if err := w.replica().Registry.Beat(w.Context()); err != nil { // and then it is killed
			w.Fatal(err)
		}
		w.start()
		time.Sleep(time.Minute) // of the bubble's clock
		if members := w.store.Value("members"); len(members) > 120 {
			w.Errorf("the members are %s", members)
		}
	})
}

// Between two rounds of an idle service nothing is written.
func TestAnIdleServiceOnlyReads(t *testing.T) {
	bubble(t, func(w *world) {
		w.log.Append(w.post())
		r := w.settled()
		r.followFor(5 * time.Second)
		writes, reads := len(w.store.Calls(statetest.Swap)), len(w.store.Calls(statetest.Get))
		r.followFor(time.Minute)
		if n := len(w.store.Calls(statetest.Swap)) - writes; n > 0 {
			w.Errorf("%d writes", n)
		}
		if n := len(w.store.Calls(statetest.Get)) - reads; n != 60 {
			w.Errorf("%d reads in 60 rounds", n)
		}
	})
}

func TestRunFollowsEveryTwoSeconds(t *testing.T) {
	bubble(t, func(w *world) {
		w.start()
		before := w.log.timesRead()
		time.Sleep(time.Minute) // of the bubble's clock
		synctest.Wait()
		if n := w.log.timesRead() - before; n != 30 {
			w.Errorf("%d reads", n)
		}
	})
}

// A bus that is behind delivers what was handled from the log by then. To handle that again would
// keep it behind.
func TestADeliveryThatComesTooLateCostsNothing(t *testing.T) {
	for _, topic := range []event.Type{event.PostCreated, event.CommentCreated, event.CommentModerated} {
		t.Run(string(topic), func(t *testing.T) {
			bubble(t, func(w *world) {
				r := w.settled()
				w.appends = true
				late, other := w.made(topic), w.made(topic)
				w.log.Append(late)
				r.followFor(time.Minute)
				effects, reactions := len(w.effects), len(w.reactions)
				if effects+reactions == 0 {
					w.Error("it was not handled from the log")
				}
				r.deliver(late, other)
				for _, id := range append(w.effects[effects:], w.reactions[reactions:]...) {
					if id != other.ID {
						t.Errorf("%s was handled again", id)
					}
				}
				if len(w.effects)+len(w.reactions) == effects+reactions {
					t.Error("the one that came in time was not handled")
				}
			})
		})
	}
}

// What the store has lost is handled again, by whatever comes first.
func TestADeliveryAfterALossIsHandled(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.settled()
		post := w.post()
		setBack := w.store.Save()
		w.log.Append(post)
		r.followFor(time.Minute)
		setBack()
		w.failing(func(step, _ string) error { return failOn(step, "effect") })
		r.follow() // notices it, and can do nothing
		w.failing(func(string, string) error { return nil })
		r.deliver(post)
		if !w.hasEffect(post.ID) {
			w.Error("it has no effect")
		}
	})
}
