package catchup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

func TestAProcessGoesOnFromTheCursor(t *testing.T) {
	bubble(t, func(w *world) {
		w.log.Append(w.post(), w.post())
		w.settled().follow()
		w.wantCursor(2)
		later := w.post()
		w.log.Append(later)
		r := w.replica()
		r.followFor(12 * time.Second)
		w.wantCursor(3)
		r.wantRepairs(map[repairs.Kind]int{repairs.Effect: 1})
		w.wantDone([]event.Event{{ID: w.effects[0]}, {ID: w.effects[1]}, later}, nil)
	})
}

func TestTheCursorIsWrittenOnceARoundAndOnlyIfItHasMoved(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.settled()
		before := w.store.Version(cursorKey)
		for range 10 {
			w.log.Append(w.made(event.CommentUpdated), w.made(event.CommentUpdated))
			r.followFor(2 * time.Second)
		}
		if n := w.store.Version(cursorKey) - before; n != 10 {
			w.Errorf("%d writes, want 10", n)
		}
	})
}

// It is of another log, or the log has lost its end.
func TestACursorThatIsNotInTheLogBeginsAgain(t *testing.T) {
	for name, replace := range map[string]func(w *world, events []event.Event){
		"another log": func(w *world, events []event.Event) { w.log.Replace(event.NewID(), events...) },
		"the log has lost its end": func(w *world, events []event.Event) {
			w.log.Replace(w.log.Position(0).Log, events[:1]...)
		},
		"the log has another end": func(w *world, events []event.Event) {
			w.log.Replace(w.log.Position(0).Log, events[0], w.post(), w.post(), w.post())
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				events := []event.Event{w.post(), w.post(), w.post()}
				w.log.Append(events...)
				running := w.settled()
				running.follow()
				w.wantCursor(3)
				if name == "another log" {
					events = append(events, w.post())
				}
				replace(w, events)
				running.follow()
				if at, isRestored := w.stored(); at.Sequence != 0 || isRestored || running.Progress.IsRestored() {
					w.Errorf("the cursor is at %s (restored: %v)", at, isRestored)
				}
				running.follow()
				running.follow()
				end, _, err := w.log.Log.Read(w.Context(), eventlog.Position{}, 100, 0)
				if err != nil {
					w.Fatal(err)
				}
				w.wantCursor(uint64(len(end)))
				for _, e := range end {
					if !w.hasEffect(e.ID) {
						w.Errorf("event %d has no effect", e.Sequence)
					}
				}
				if !running.Progress.IsRestored() {
					w.Error("it is not restored")
				}
			})
		})
	}
}

func TestACursorOfAnotherLogBeginsAgainAfterARestart(t *testing.T) {
	bubble(t, func(w *world) {
		w.log.Append(w.post(), w.post())
		w.settled().follow()
		w.log.Replace(event.NewID(), w.post())
		r := w.replica()
		r.follow()
		r.follow()
		r.follow()
		w.wantCursor(1)
		if len(w.effects) != 3 {
			w.Errorf("%d effects", len(w.effects))
		}
	})
}

func TestADamagedCursorBeginsAgain(t *testing.T) {
	for _, damaged := range []string{"", "{", "7", `{"origin":"x","at":"2","restored":true}`, `{"at":"2","restored":true}`} {
		bubble(t, func(w *world) {
			w.log.Append(w.post(), w.post())
			w.settled()
			w.store.Remove(effectKey(w.effects[0]))
			w.store.Put(cursorKey, damaged)
			r := w.replica()
			r.follow()
			r.follow()
			w.wantCursor(2)
			if len(w.effects) != 3 || !r.Progress.IsRestored() {
				w.Errorf("%q: %d effects, and restored: %v", damaged, len(w.effects), r.Progress.IsRestored())
			}
		})
	}
}

// The service runs meanwhile, or is stopped.
func TestAStoreThatWasEmptiedIsFilledFromTheLogAtOnce(t *testing.T) {
	for name, isRunning := range map[string]bool{"while it runs": true, "while it is stopped": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				posts := []event.Event{w.post(), w.post()}
				w.log.Append(posts...)
				r := w.settled()
				r.followFor(10 * time.Second)
				if r.Progress.Current().IsZero() {
					w.Fatal("it is not current")
				}
				w.store.Clear()
				if !isRunning {
					r = w.replica()
				}
				w.failing(func(string, string) error { return errDown })
				r.follow()
				if r.Progress.IsRestored() || !r.Progress.Current().IsZero() {
					w.Errorf("restored: %v, and current at %v", r.Progress.IsRestored(), r.Progress.Current())
				}
				w.failing(func(string, string) error { return nil })
				r.follow()
				w.wantDone(append(posts, posts...), nil)
				r.follow()
				w.wantCursor(2)
				if _, isRestored := w.stored(); !isRestored || !r.Progress.IsRestored() {
					w.Error("it is not restored")
				}
				r.followFor(10 * time.Second)
				if r.Progress.Current().IsZero() {
					w.Error("it is not current")
				}
			})
		})
	}
}

// What was delivered before the loss is not in the store any more.
func TestADeliveryFromBeforeTheLossIsForgotten(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.settled()
		before, during := w.post(), w.post()
		r.deliver(before)
		w.failing(func(_, id string) error {
			if id == during.ID { // the store is emptied, and that is noticed, in the middle of it
				w.failing(func(string, string) error { return nil })
				w.store.Clear()
				r.follow()
			}
			return nil
		})
		r.deliver(during)
		w.store.Remove(effectKey(during.ID)) // as if it had been written before the loss
		w.log.Append(before, during)
		r.followFor(12 * time.Second)
		for _, e := range []event.Event{before, during} {
			if !w.hasEffect(e.ID) {
				w.Errorf("%s has no effect", e.ID)
			}
		}
		w.wantCursor(2)
	})
}

// A process that has just started has not read the cursor when its store is emptied.
func TestADeliveryFromBeforeTheFirstLookAtTheCursorIsForgotten(t *testing.T) {
	bubble(t, func(w *world) {
		w.settled()
		r, e := w.replica(), w.post()
		r.deliver(e)
		w.store.Clear()
		w.log.Append(e)
		r.followFor(12 * time.Second)
		if !w.hasEffect(e.ID) {
			w.Error("it has no effect")
		}
	})
}

// A replica that has not noticed the loss writes its cursor into the emptied store.
func TestACursorThatIsWrittenIntoAnEmptiedStoreIsVoid(t *testing.T) {
	bubble(t, func(w *world) {
		posts := []event.Event{w.post(), w.post()}
		w.log.Append(posts...)
		r := w.settled()
		old := w.store.Value(cursorKey)
		w.store.Clear()
		w.store.Put(cursorKey, old)
		r.follow()
		r.follow()
		w.wantDone(append(posts, posts...), nil)
		w.wantCursor(2)

		// The other one writes it after the store has another origin.
		w.store.Clear()
		w.replica().follow()
		w.store.Put(cursorKey, old)
		w.store.Remove(effectKey(posts[1].ID))
		r.follow()
		r.follow()
		if !w.hasEffect(posts[1].ID) {
			w.Error("the effect is not there")
		}
		w.wantCursor(2)
	})
}

// The standby follows the log for its journal, and has no other cost.
func TestOnlyTheWorkerHandlesEvents(t *testing.T) {
	bubble(t, func(w *world) {
		worker, standby := w.start(), w.start()
		time.Sleep(15 * time.Second) // of the bubble's clock
		if !worker.Registry.IsWorker() || standby.Registry.IsWorker() {
			w.Fatal("not the first one is the worker")
		}
		posts := []event.Event{w.post(), w.post()}
		w.log.Append(posts...)
		time.Sleep(time.Minute) // of the bubble's clock
		synctest.Wait()
		w.wantDone(posts, nil)
		w.wantCursor(2)
		worker.wantRepairs(map[repairs.Kind]int{repairs.Effect: 2})
		standby.wantRepairs(nil)
		if n := w.reads(); n != 4 { // each when it is due, and when it was written
			w.Errorf("%d effects were asked for", n)
		}
		if standby.Progress.Current().IsZero() || !standby.Progress.IsRestored() {
			w.Error("the standby does not know how far the service is")
		}
	})
}

func TestAStandbyTakesOverFromTheCursor(t *testing.T) {
	for name, isKilled := range map[string]bool{"the worker is killed": true, "the worker stops": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				gate := &gate{Store: w.store}
				worker := w.startOn(gate)
				standby := w.start()
				time.Sleep(15 * time.Second) // of the bubble's clock
				first, delivered, lost := w.post(), w.post(), w.post()
				w.log.Append(first)
				time.Sleep(15 * time.Second) // of the bubble's clock
				w.wantCursor(1)
				w.log.Append(delivered, lost)
				time.Sleep(5 * time.Second) // of the bubble's clock
				if isKilled {
					gate.close()
				} else {
					worker.stop()
				}
				standby.deliver(delivered)
				time.Sleep(45 * time.Second) // of the bubble's clock
				synctest.Wait()
				w.wantDone([]event.Event{first, delivered, lost}, nil)
				w.wantCursor(3)
				standby.wantRepairs(map[repairs.Kind]int{repairs.Effect: 1})
			})
		})
	}
}

// The worker was killed before it noticed. The cursor is of the log before.
func TestAStandbyIsNotCurrentByTheCursorOfAnotherLog(t *testing.T) {
	bubble(t, func(w *world) {
		gate := &gate{Store: w.store}
		w.startOn(gate)
		standby := w.start()
		time.Sleep(15 * time.Second) // of the bubble's clock
		w.log.Append(w.post(), w.post(), w.post())
		time.Sleep(30 * time.Second) // of the bubble's clock
		w.wantCursor(3)
		gate.close()
		lost := w.post()
		w.log.Replace(event.NewID(), lost)
		replaced := time.Now()
		for range 60 {
			time.Sleep(time.Second) // of the bubble's clock
			synctest.Wait()
			if got := standby.Progress.Current(); got.After(replaced) && !w.hasEffect(lost.ID) {
				w.Fatalf("it is current at %v, %v after the log was replaced, and nobody has handled its event", got, got.Sub(replaced))
			}
		}
		if got := standby.Progress.Current(); !got.After(replaced) {
			w.Errorf("it is current at %v", got)
		}
	})
}

// gate is the way of a process to its store, until it is killed.
type gate struct {
	state.Store
	isClosed atomic.Bool
}

func (g *gate) close() { g.isClosed.Store(true) }

func (g *gate) Get(ctx context.Context, keys ...string) ([]state.Item, error) {
	if g.isClosed.Load() {
		return nil, errDown
	}
	return g.Store.Get(ctx, keys...)
}

func (g *gate) Swap(ctx context.Context, items ...state.Item) error {
	if g.isClosed.Load() {
		return fmt.Errorf("%w: %w", state.ErrUnknown, errDown)
	}
	return g.Store.Swap(ctx, items...)
}

// For some seconds both take themselves for the worker.
func TestTwoWorkersDoNoHarm(t *testing.T) {
	bubble(t, func(w *world) {
		a, b := w.replica(), w.replica() // neither has seen the other
		var all []event.Event
		for n := range 30 {
			e := w.moderated()
			all = append(all, e)
			w.log.Append(e)
			if n%2 == 0 {
				w.log.Append(w.reactionOf(e))
			}
			a.followFor(time.Second)
			b.follow()
		}
		for _, e := range all {
			w.log.Append(w.reactionOf(e))
		}
		a.followFor(11 * time.Second)
		b.follow()
		w.wantCursor(75)
		for _, e := range all {
			if !w.hasEffect(e.ID) {
				w.Errorf("%s has no effect", e.ID)
			}
		}
		if n := w.store.Version(effectKey(all[0].ID)); n != 1 {
			w.Errorf("an effect was written %d times", n)
		}
	})
}

func TestAServiceIsCurrentOnceAllIsHandledThatTheLogHad(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.replica()
		start := time.Now()
		if !r.Progress.Current().IsZero() {
			w.Errorf("it is current at %v", r.Progress.Current())
		}
		r.follow()
		r.followFor(time.Second)
		if got := r.Progress.Current(); !got.Equal(start) {
			w.Errorf("it is current at %v, want %v", got, start)
		}
		time.Sleep(time.Second) // of the bubble's clock
		w.log.Append(w.post())
		appended := time.Now()
		r.followFor(9 * time.Second)
		if got := r.Progress.Current(); got.After(appended) {
			w.Errorf("it is current at %v, and has not handled what came at %v", got, appended)
		}
		r.followFor(5 * time.Second)
		if got := r.Progress.Current(); !got.After(appended) {
			w.Errorf("it is current at %v", got)
		}
		w.log.fail(errDown)
		before := r.Progress.Current()
		r.followFor(time.Minute)
		if got := r.Progress.Current(); !got.Equal(before) {
			w.Errorf("it is current at %v without the log", got)
		}
	})
}

// What came into the log while a slow store handled other events was not handled then.
func TestAServiceIsNotCurrentAtATimeAfterItsLastRead(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.settled()
		w.log.Append(w.post())
		r.follow()
		time.Sleep(Grace) // of the bubble's clock
		var appended time.Time
		w.failing(func(string, string) error {
			if appended.IsZero() {
				time.Sleep(2 * time.Second) // of the bubble's clock
				appended = time.Now()
				w.log.Append(w.comment())
				time.Sleep(2 * time.Second) // of the bubble's clock
			}
			return nil
		})
		for range 5 {
			r.follow()
			if got := r.Progress.Current(); appended.IsZero() || !got.Before(appended) {
				w.Errorf("it is current at %v, and has not read what came at %v", got, appended)
			}
		}
	})
}

// Whatever is delivered, to whichever replica, whatever fails and is killed: all
// that is before the cursor is handled, and at the end everything is, once.
func TestTheCursorNeverPassesWhatIsNotHandled(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.decides = rapid.Bool().Draw(rt, "decides")
			h := &history{world: w, draws: rt, chaos: true}
			w.store.Before(h.check)
			w.store.Decide(h.fate)
			w.failing(h.fail)
			for range 3 {
				h.replicas = append(h.replicas, w.replica())
			}
			for range rapid.IntRange(5, 40).Draw(rt, "steps") {
				h.step()
			}
			h.chaos = false
			w.store.Land()
			w.log.fail(nil)
			for range 40 {
				time.Sleep(time.Second) // of the bubble's clock
				for _, r := range h.replicas {
					r.follow()
				}
				h.react()
			}
			end := w.log.Position(uint64(len(h.events)))
			if at, isRestored := w.stored(); !at.Fits(end) || !isRestored {
				t.Errorf("the cursor is at %s, want %s (restored: %v)", at, end, isRestored)
			}
			for _, e := range h.events {
				if !w.isHandled(e) {
					t.Errorf("%s %s is not handled", e.Type, e.ID)
				}
			}
		})
	})
}

// history is a run of the property.
type history struct {
	*world
	draws    *rapid.T
	replicas []*replica
	events   []event.Event // of the log
	reacted  int           // how many of the reactions are in the log
	chaos    bool
	trouble  int
}

func (h *history) draw(name string, below int) int {
	return rapid.IntRange(0, below-1).Draw(h.draws, name)
}

func (h *history) append(e event.Event) {
	h.log.Append(e)
	h.events = append(h.events, e)
}

// react brings the published reactions into the log, each once.
func (h *history) react() {
	for ; h.reacted < len(h.reactions); h.reacted++ {
		e := event.Event{ID: h.reactions[h.reacted]}
		r := h.reactionOf(e)
		if known, err := h.log.Log.Known(h.Context(), []string{r.ID}); err == nil && !known[r.ID] {
			h.append(r)
		}
	}
}

func (h *history) step() {
	r := h.replicas[h.draw("replica", len(h.replicas))]
	switch h.draw("step", 9) {
	case 0, 1:
		e := h.made([]event.Type{event.PostCreated, event.CommentCreated, event.CommentModerated, event.CommentUpdated}[h.draw("type", 4)])
		h.append(e)
	case 2, 3:
		if len(h.events) > 0 {
			e := h.events[h.draw("event", len(h.events))]
			if h.consumes(e) {
				r.Deliver(e.Type)(h.Context(), []event.Event{e})
			}
		}
	case 4:
		h.react()
	case 5:
		h.replicas[h.draw("restarted", len(h.replicas))] = h.replica()
	case 6:
		if h.draw("what", 3) == 0 {
			h.store.Clear()
		} else {
			h.store.Land()
		}
	case 7:
		h.log.fail(map[int]error{0: errDown}[h.draw("log", 3)])
	case 8:
		_ = r.Registry.Beat(h.Context())
	}
	time.Sleep(time.Duration(h.draw("seconds", 8)) * time.Second) // of the bubble's clock
	r.follow()
}

func (h *history) consumes(e event.Event) bool {
	return e.Type != event.CommentUpdated && !strings.HasPrefix(e.ID, "reaction-")
}

func (h *history) fate(state.Item) statetest.Fate {
	if !h.chaos || h.trouble > 30 || h.draw("fails", 4) > 0 {
		return statetest.Written
	}
	h.trouble++
	return []statetest.Fate{statetest.Refused, statetest.Lost, statetest.Late}[h.draw("fate", 3)]
}

func (h *history) fail(string, string) error {
	if !h.chaos || h.draw("step fails", 5) > 0 {
		return nil
	}
	return errDown
}

// check looks at each write of the cursor.
func (h *history) check(_ context.Context, c statetest.Call) error {
	if c.Op != statetest.Swap || c.Items[0].Key != cursorKey {
		return nil
	}
	documents, err := state.Decode[document](state.Item{Value: c.Items[0].Value, ETag: "1"})
	if err != nil {
		return err
	}
	at, err := eventlog.ParsePosition(documents[0].At)
	if err != nil {
		return err
	}
	if documents[0].Origin != h.store.Value(OriginKey) {
		return nil // it is void
	}
	for _, e := range h.events[:at.Sequence] {
		if !h.isHandled(e) {
			h.Errorf("the cursor is moved to %s, and %s %s is not handled", at, e.Type, e.ID)
		}
	}
	return nil
}

// It would decide anew what the log has decided, until it has read the log again.
func TestAServiceThatDecidesTakesNoDeliveryWhileItsEmptiedStoreIsFilled(t *testing.T) {
	for name, isRunning := range map[string]bool{"while it runs": true, "while it is stopped": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				w.decides = true
				r := w.settled()
				w.log.Append(w.post())
				w.store.Clear()
				if !isRunning {
					r = w.replica()
				}
				w.failing(func(string, string) error { return errDown })
				r.follow()
				if errs := r.Deliver(event.CommentCreated)(w.Context(), []event.Event{w.comment()}); !errors.Is(errs[0], errCatchingUp) {
					w.Errorf("error %v", errs[0])
				}
			})
		})
	}
}

// Two events of a log may contradict each other: each takes the other's effect away.
func TestAnEffectThatDoesNotLastHoldsNothingUp(t *testing.T) {
	bubble(t, func(w *world) {
		r := w.settled()
		post := w.post()
		w.log.Append(post, w.post())
		for range 60 {
			time.Sleep(time.Second) // of the bubble's clock
			w.store.Remove(effectKey(post.ID))
			r.follow()
		}
		w.wantCursor(2)
		r.wantRepairs(map[repairs.Kind]int{repairs.Effect: maxWritten + 1})
	})
}

// A failover may lose what was written last, and nothing before that. Whenever that happens, what
// the log says is in the store in the end.
func TestAStoreThatIsSetBackGetsWhatItLost(t *testing.T) {
	steps := []func(w *world, r *replica){
		func(_ *world, r *replica) { r.follow() },
		func(w *world, r *replica) {
			posts := []event.Event{w.post(), w.post()}
			r.deliver(posts[0]) // before the log has it
			w.log.Append(posts...)
		},
		func(_ *world, r *replica) { r.follow() },
		func(_ *world, r *replica) { r.follow() },
		func(_ *world, r *replica) { r.followFor(Grace) }, // the other one's effect is written
		func(_ *world, r *replica) { r.follow() },
		func(_ *world, r *replica) { r.follow() },
	}
	for lost := range steps {
		for until := lost + 1; until <= len(steps); until++ {
			t.Run(fmt.Sprintf("what the steps from %d to %d wrote is lost", lost, until), func(t *testing.T) {
				bubble(t, func(w *world) {
					r := w.settled()
					var setBack func()
					for i, step := range steps[:until] {
						if i == lost {
							setBack = w.store.Save()
						}
						step(w, r)
					}
					setBack()
					for _, step := range steps[until:] {
						step(w, r)
					}
					r.followFor(time.Minute)
					events, end, err := w.log.Log.Read(w.Context(), eventlog.Position{}, 100, 0)
					if err != nil {
						w.Fatal(err)
					}
					w.wantCursor(end.Sequence)
					for _, e := range events {
						if !w.hasEffect(e.ID) {
							w.Errorf("event %d has no effect", e.Sequence)
						}
					}
				})
			})
		}
	}
}

// For some seconds two processes may be the worker. One of them knows that all is handled.
func TestAnotherWorkerDoesNotMoveTheCursorBack(t *testing.T) {
	bubble(t, func(w *world) {
		behind, ahead := w.settled(), w.settled()
		e := w.post()
		ahead.deliver(e)
		w.log.Append(e)
		behind.follow()
		w.wantCursor(0)
		ahead.follow()
		ahead.follow()
		w.wantCursor(1)
		behind.follow()
		w.wantCursor(1)
	})
}
