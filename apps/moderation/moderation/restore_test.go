package moderation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/catchup"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog/eventlogtest"
	"github.com/postbus/postbus/apps/internal/members"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/moderation/policy"
)

// moderatedBy is the decision of a policy on a comment, as the log has it.
func moderatedBy(t *testing.T, rules policy.Rules, e event.Event) event.Event {
	t.Helper()
	bus := &topic{}
	m := by(rules, bus, statetest.New())
	if err := errors.Join(errorsOf(m.decideAll(t.Context(), []event.Event{e}))...); err != nil {
		t.Fatal(err)
	}
	raw, err := event.Marshal(bus.events[0])
	if err != nil {
		t.Fatal(err)
	}
	logged, err := event.Parse(event.CommentModerated, raw)
	if err != nil {
		t.Fatal(err)
	}
	return logged
}

func wantMissing(t *testing.T, m *Service, events []event.Event, want ...bool) {
	t.Helper()
	if missing, err := m.missing(t.Context(), events); err != nil || !slices.Equal(missing, want) {
		t.Errorf("missing are %v (error %v), want %v", missing, err, want)
	}
}

// A restored decision is the one that was made, to the byte.
func TestADecisionIsRestoredFromTheLogAsItWasMade(t *testing.T) {
	for _, content := range []string{"Hello", "An orange <b> & \u2028"} {
		e := created(t, content)
		made, emptied := statetest.New(), statetest.New()
		newModerator(&topic{}, made).decideAll(t.Context(), []event.Event{e})
		decided := []event.Event{moderatedBy(t, banned("orange"), e)}

		wantMissing(t, newModerator(&topic{}, made), decided, false)
		m := newModerator(&topic{}, emptied)
		wantMissing(t, m, decided, true)
		if errs := m.restore(t.Context(), decided); errors.Join(errs...) != nil {
			t.Fatal(errs)
		}
		key := "decision-" + e.Comment.ID
		if emptied.Value(key) != made.Value(key) {
			t.Errorf("made was\n%s, restored is\n%s", made.Value(key), emptied.Value(key))
		}
		wantMissing(t, m, decided, false)
		written := emptied.Written()
		if errs := m.restore(t.Context(), decided); errors.Join(errs...) != nil || emptied.Written() != written {
			t.Errorf("errors %v, and it was written again", errs)
		}
	}
}

// Whatever the store has, and the policy says.
func TestTheDecisionInTheLogStands(t *testing.T) {
	store, bus := statetest.New(), &topic{}
	e, other := created(t, "An apple"), created(t, "An orange")
	m := by(banned("apple"), bus, store) // another policy
	m.decideAll(t.Context(), []event.Event{e})
	logged := []event.Event{moderatedBy(t, banned("orange"), e), moderatedBy(t, banned("orange"), other)}
	wantMissing(t, m, logged, true, true)
	if errs := m.restore(t.Context(), logged); errors.Join(errs...) != nil {
		t.Fatal(errs)
	}
	bus.events = nil
	m.decideAll(t.Context(), []event.Event{e, other})
	for i, want := range logged {
		got, err := event.Marshal(bus.events[i])
		if err != nil {
			t.Fatal(err)
		}
		wanted, err := event.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(wanted) {
			t.Errorf("answered\n%s, and the log has\n%s", got, wanted)
		}
	}
}

func TestOfTwoDecisionsThatAreRestoredTheFirstStands(t *testing.T) {
	store, e := statetest.New(), created(t, "An orange")
	m := newModerator(&topic{}, store)
	first, second := moderatedBy(t, banned("orange"), e), moderatedBy(t, banned("apple"), e)
	if errs := m.restore(t.Context(), []event.Event{first, second, first}); errors.Join(errs...) != nil {
		t.Fatal(errs)
	}
	wantMissing(t, m, []event.Event{first, second}, false, true)
}

func TestWhileTheStoreIsDownNoDecisionIsRestored(t *testing.T) {
	store, e := statetest.New(), created(t, "Hello")
	m := newModerator(&topic{}, store)
	decided := []event.Event{moderatedBy(t, banned("orange"), e)}
	for _, op := range []statetest.Op{statetest.Get, statetest.Swap} {
		store.Fail(statetest.ErrDown, op)
		if errs := m.restore(t.Context(), decided); len(errs) != 1 || !errors.Is(errs[0], statetest.ErrDown) {
			t.Errorf("%s fails: errors %v", op, errs)
		}
		store.Fail(nil)
	}
	store.Fail(statetest.ErrDown)
	if _, err := m.missing(t.Context(), decided); !errors.Is(err, statetest.ErrDown) {
		t.Errorf("error %v", err)
	}
	store.Fail(nil)
	store.Decide(statetest.Always(statetest.Lost))
	if errs := m.restore(t.Context(), decided); errors.Join(errs...) != nil {
		t.Errorf("the answer is lost: errors %v", errs)
	}
	wantMissing(t, m, decided, false)
}

func TestADamagedDecisionIsNotReplaced(t *testing.T) {
	store, e := statetest.New(), created(t, "Hello")
	m := newModerator(&topic{}, store)
	store.Put("decision-"+e.Comment.ID, "{")
	decided := []event.Event{moderatedBy(t, banned("orange"), e)}
	if _, err := m.missing(t.Context(), decided); err == nil {
		t.Error("it is not damaged")
	}
	if errs := m.restore(t.Context(), decided); len(errs) != 1 || errs[0] == nil || store.Value("decision-"+e.Comment.ID) != "{" {
		t.Errorf("errors %v, and it is %s", errs, store.Value("decision-"+e.Comment.ID))
	}
}

// logBus is a bus that brings decisions into the log.
type logBus struct {
	topic
	log *eventlogtest.Log
}

func (b *logBus) PublishAll(ctx context.Context, t event.Type, events []event.Event) []error {
	for _, e := range events {
		known, err := b.log.Known(ctx, []string{e.ID})
		if err == nil && !known[e.ID] {
			b.log.Append(e)
		}
	}
	return b.topic.PublishAll(ctx, t, events)
}

// Append implements eventlog.Appender. It is never needed, because the bus brings all.
func (b *logBus) Append(context.Context, event.Type, []event.Event) error {
	return errors.New("nothing is to be appended without the bus")
}

// The store is emptied and the policy is another one. All comments are delivered again.
func TestAnEmptiedStoreAndAnotherPolicyChangeNoDecision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := eventlogtest.New(), statetest.New()
		bus := &logBus{log: log}
		process := func(rules policy.Rules) *catchup.Follower {
			progress := &catchup.Progress{}
			m := New(Config{Source: "moderation", Publisher: bus, Store: store, Progress: progress, Log: log, Default: rules, Now: time.Now})
			return catchup.New(catchup.Config{
				Store: store, Log: log, Appender: bus, Consumers: m.Consumers(), Registry: members.New(store, time.Now),
				Progress: progress, Repairs: repairs.New(), Now: time.Now,
				DeadLetter: func(context.Context, event.Event, error) error { return errors.New("no dead letter is expected") },
			})
		}
		run := func(f *catchup.Follower) (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				f.Run(ctx)
			}()
			synctest.Wait()
			return func() { cancel(); <-ended }
		}
		decided, waits := []event.Event{created(t, "An apple"), created(t, "An orange")}, created(t, "An orange and an apple")
		log.Append(decided...)
		stop := run(process(banned("orange")))
		time.Sleep(25 * time.Second) // of the bubble's clock
		stop()
		if n := len(bus.events); n != 2 {
			t.Fatalf("%d decisions", n)
		}

		changed := process(banned("apple"))
		stop = run(changed)
		bus.events = nil
		store.Clear()
		log.Append(waits)
		if errs := changed.Deliver(event.CommentCreated)(t.Context(), decided); errs[0] == nil || errs[1] == nil || len(bus.events) > 0 {
			t.Errorf("the deliveries are taken before the process knows that the store was emptied: %v", errs)
		}
		time.Sleep(13 * time.Second) // of the bubble's clock
		if errs := changed.Deliver(event.CommentCreated)(t.Context(), append(slices.Clone(decided), waits)); errors.Join(errs...) != nil {
			t.Fatal(errs)
		}
		for i, want := range []event.Status{event.Approved, event.Rejected, event.Rejected} {
			if got := bus.events[i].Comment; got.Status != want {
				t.Errorf("%q is %s because it %q, want %s", got.Content, got.Status, got.Reason, want)
			}
		}
		if got := bus.events[2].Comment.Reason; !strings.Contains(got, "apple") {
			t.Errorf("what was not decided is decided by another policy: it %q", got)
		}
		time.Sleep(15 * time.Second) // of the bubble's clock
		stop()
		if items, err := state.Missing(t.Context(), store, "decision-"+decided[0].Subject, "decision-"+waits.Subject); err != nil || items[0] || items[1] {
			t.Errorf("missing are %v (error %v)", items, err)
		}
		if end := log.Position(6); log.Position(7).Event != "" || end.Event == "" {
			t.Errorf("the log ends at %s", end)
		}
	})
}
