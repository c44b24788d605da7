package moderation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	internalbus "github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog/eventlogtest"
	"github.com/postbus/postbus/apps/internal/identity/identitytest"
	"github.com/postbus/postbus/apps/internal/journal/journaltest"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/moderation/policy"
)

// topic is a bus that keeps what was published and answers with errs.
type topic struct {
	internalbus.Publisher
	types  []event.Type
	events []event.Event
	errs   []error
}

func (p *topic) PublishAll(_ context.Context, t event.Type, events []event.Event) []error {
	p.types = append(p.types, t)
	p.events = append(p.events, events...)
	return p.errs
}

// banned is a policy that rejects a word.
func banned(word string) policy.Rules {
	return policy.Rules{Words: []policy.WordRule{{Text: word, Match: policy.Part, Action: policy.Reject}}}
}

func newModerator(bus internalbus.Publisher, store state.Store) *Service {
	return by(banned("orange"), bus, store)
}

// by is a service with a policy, whose store has what the log says.
func by(rules policy.Rules, bus internalbus.Publisher, store state.Store) *Service {
	return New(Config{
		Source: "moderation", Journal: journaltest.New(), Publisher: bus, Store: store, Progress: whole{}, Log: eventlogtest.New(),
		Guard: identitytest.Guard(), Default: rules, Now: func() time.Time { return noon },
	})
}

// errorsOf are the errors of decideAll.
func errorsOf(_ []event.Event, errs []error) []error { return errs }

// whole is the progress of a service whose store was never emptied.
type whole struct{}

func (whole) IsRestored() bool { return true }
func (whole) IsOf([]byte) bool { return true }

var noon = time.Date(2024, 11, 27, 12, 0, 0, 123456789, time.UTC)

// created is a CommentCreated as the bus delivers it.
func created(t *testing.T, content string) event.Event {
	t.Helper()
	c := event.Comment{
		ID: event.NewID(), PostID: event.NewID(), Author: "Ann", Content: content,
		Status: event.Pending, CreatedAt: noon, Revision: 1,
	}
	e, err := event.OfComment(event.CommentCreated, "comments", c, noon, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := event.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = event.Parse(event.CommentCreated, raw); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEachCommentIsAnsweredByItsDecision(t *testing.T) {
	bus := &topic{}
	in := []event.Event{created(t, "Hello"), created(t, "An orange"), created(t, "Bye")}
	if err := errors.Join(errorsOf(newModerator(bus, statetest.New()).decideAll(context.Background(), in))...); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(bus.types, []event.Type{event.CommentModerated}) || len(bus.events) != len(in) {
		t.Fatalf("published %d events in calls of %v", len(bus.events), bus.types)
	}
	for i, want := range []event.Status{event.Approved, event.Rejected, event.Approved} {
		e := bus.events[i]
		raw, err := event.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := event.Parse(event.CommentModerated, raw); err != nil {
			t.Errorf("the answer to %q is no event: %v", in[i].Comment.Content, err)
		}
		if e.Comment.Status != want || (e.Comment.Reason != "") != (want == event.Rejected) {
			t.Errorf("%q is %s because it %q, want %s", in[i].Comment.Content, e.Comment.Status, e.Comment.Reason, want)
		}
		// Only the status, the reason, the revision and the version may differ from the comment.
		rest := *e.Comment
		if rest.PolicyVersion != 1 || rest.DecidedBy != "" {
			t.Errorf("%q is decided by %q under version %d", in[i].Comment.Content, rest.DecidedBy, rest.PolicyVersion)
		}
		rest.Status, rest.Reason, rest.Revision, rest.PolicyVersion = event.Pending, "", 1, 0
		if rest != *in[i].Comment || e.Comment.Revision != 2 {
			t.Errorf("the comment is %+v, and was %+v", e.Comment, in[i].Comment)
		}
		if e.Source != "/moderation" || !e.Time.Equal(noon) || e.TraceParent != in[i].TraceParent {
			t.Errorf("the event is %+v", e)
		}
	}
}

func TestTheEventThatIsDeliveredIsNotChanged(t *testing.T) {
	in := created(t, "orange")
	before := *in.Comment
	newModerator(&topic{}, statetest.New()).decideAll(context.Background(), []event.Event{in})
	if *in.Comment != before {
		t.Errorf("the comment that came is now %+v", in.Comment)
	}
}

// Every replica answers a redelivered event with the same bytes, in any batch.
func TestARedeliveryIsAnsweredByTheSameBytes(t *testing.T) {
	a, b := created(t, "Hello"), created(t, "orange")
	first, second, store := &topic{}, &topic{}, statetest.New()
	newModerator(first, store).decideAll(context.Background(), []event.Event{a, b})
	other := newModerator(second, store)
	other.decideAll(context.Background(), []event.Event{b})
	other.decideAll(context.Background(), []event.Event{a})
	for i, j := range []int{1, 0} {
		x, err := event.Marshal(first.events[i])
		if err != nil {
			t.Fatal(err)
		}
		y, err := event.Marshal(second.events[j])
		if err != nil {
			t.Fatal(err)
		}
		if string(x) != string(y) {
			t.Errorf("first\n%s, then\n%s", x, y)
		}
	}
}

func TestTheAnswersIDIsDerivedFromTheComment(t *testing.T) {
	bus := &topic{}
	in := created(t, "Hello")
	newModerator(bus, statetest.New()).decideAll(context.Background(), []event.Event{in})
	if got, want := bus.events[0].ID, event.IDOf(event.CommentModerated, in.Comment.ID, 2); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if bus.events[0].ID == in.ID {
		t.Error("the answer has the id of what it answers")
	}
}

// The event is acknowledged only if its answer was published.
func TestWhatIsNotPublishedIsNotAcknowledged(t *testing.T) {
	down := errors.New("bus is down")
	bus := &topic{errs: []error{nil, down, nil}}
	errs := errorsOf(newModerator(bus, statetest.New()).decideAll(context.Background(), []event.Event{created(t, "a"), created(t, "b"), created(t, "c")}))
	if !reflect.DeepEqual(errs, bus.errs) {
		t.Errorf("errors %v, want %v", errs, bus.errs)
	}
}

func TestAnAnswerThatCannotBeEncodedAcknowledgesNothing(t *testing.T) {
	bad := created(t, "b")
	bad.Comment.CreatedAt = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	bus := &topic{}
	errs := errorsOf(newModerator(bus, statetest.New()).decideAll(context.Background(), []event.Event{created(t, "a"), bad}))
	if len(errs) != 2 || errs[0] == nil || errs[1] == nil || len(bus.events) > 0 {
		t.Errorf("errors %v and %d events published", errs, len(bus.events))
	}
}

// A later policy does not change a decision.
func TestTheFirstDecisionStands(t *testing.T) {
	store, in := statetest.New(), created(t, "Hello")
	newModerator(&topic{}, store).decideAll(context.Background(), []event.Event{in})
	key := "decision-" + in.Comment.ID
	store.Put(key, strings.Replace(store.Value(key), `"approved"`, `"rejected","reason":"an older policy"`, 1))
	bus := &topic{}
	if err := errors.Join(errorsOf(newModerator(bus, store).decideAll(context.Background(), []event.Event{in}))...); err != nil {
		t.Fatal(err)
	}
	if c := bus.events[0].Comment; c.Status != event.Rejected || c.Reason != "an older policy" {
		t.Errorf("decided anew: %s because it %q", c.Status, c.Reason)
	}
}

func TestAnotherCommentOfTheSameIDIsPoison(t *testing.T) {
	first := created(t, "Hello")
	forged := first
	other := *first.Comment
	other.Content = "Bye"
	forged.Comment = &other
	for name, batches := range map[string][][]event.Event{
		"later":             {{first}, {forged, created(t, "a")}},
		"in the same batch": {{first, forged, created(t, "a")}},
	} {
		bus, store := &topic{}, statetest.New()
		var errs []error
		for _, batch := range batches {
			errs = append(errs, errorsOf(newModerator(bus, store).decideAll(context.Background(), batch))...)
		}
		if len(errs) != 3 || errs[0] != nil || !errors.Is(errs[1], internalbus.ErrPoison) || errs[2] != nil {
			t.Errorf("%s: errors %v", name, errs)
		}
		if len(bus.events) != 2 || bus.events[0].Comment.Content != "Hello" || bus.events[1].Comment.Content != "a" {
			t.Errorf("%s: published %+v", name, bus.events)
		}
	}
}

// A decision that may not be stored is not published: another replica might store another
// one.
func TestWhileTheStoreIsDownModerationsEventsAreRedelivered(t *testing.T) {
	in, store, bus := created(t, "Hello"), statetest.New(), &topic{}
	store.Decide(statetest.Always(statetest.Lost))
	store.Fail(statetest.ErrDown, statetest.Get)
	errs := errorsOf(newModerator(bus, store).decideAll(context.Background(), []event.Event{in}))
	if len(errs) != 1 || !errors.Is(errs[0], statetest.ErrDown) || len(bus.events) > 0 {
		t.Errorf("errors %v and %d events", errs, len(bus.events))
	}
	store.Decide(nil)
	store.Fail(nil)
	if errs := errorsOf(newModerator(bus, store).decideAll(context.Background(), []event.Event{in})); errs[0] != nil || len(bus.events) != 1 || store.Written() != 1 {
		t.Errorf("errors %v, %d events, %d writes", errs, len(bus.events), store.Written())
	}
}

func TestADamagedDecisionIsAnError(t *testing.T) {
	in, store, bus := created(t, "Hello"), statetest.New(), &topic{}
	store.Put("decision-"+in.Comment.ID, "{")
	errs := errorsOf(newModerator(bus, store).decideAll(context.Background(), []event.Event{in}))
	if errs[0] == nil || errors.Is(errs[0], internalbus.ErrPoison) || len(bus.events) > 0 {
		t.Errorf("errors %v and %d events", errs, len(bus.events))
	}
}

// slow is a clock that each reading advances.
type slow struct {
	at    time.Time
	takes time.Duration
}

func (s *slow) now() time.Time {
	s.at = s.at.Add(s.takes)
	return s.at
}

// Otherwise comments that take long would let each delivery time out, and every
// redelivery would start over.
func TestEachDeliveryOfSlowCommentsMakesProgress(t *testing.T) {
	for takes, most := range map[time.Duration]int{
		10 * time.Millisecond:  100,
		300 * time.Millisecond: 7,
		time.Minute:            1,
	} {
		bus, store, clock := &topic{}, statetest.New(), &slow{noon, takes}
		m := by(banned("orange"), bus, store)
		m.Now = clock.now
		var left []event.Event
		for i := range 100 {
			left = append(left, created(t, fmt.Sprint(i)))
		}
		for answered := 0; len(left) > 0; {
			bus.errs = make([]error, min(most, len(left)))
			errs := errorsOf(m.decideAll(context.Background(), left))
			if len(errs) != len(left) {
				t.Fatalf("%s: %d errors for %d events", takes, len(errs), len(left))
			}
			var failed []event.Event
			for i, err := range errs {
				if errors.Is(err, internalbus.ErrPoison) {
					t.Fatalf("%s: poison: %v", takes, err)
				}
				if err != nil {
					failed = append(failed, left[i])
				}
			}
			answered += min(most, len(left))
			if len(failed) != 100-answered || len(bus.events) != answered || len(store.Keys("decision-")) != answered {
				t.Fatalf("%s: %d events failed, %d are answered and %d decisions stored; want %d answered",
					takes, len(failed), len(bus.events), len(store.Keys("decision-")), answered)
			}
			left = failed
		}
		for i, e := range bus.events {
			if e.Comment.Content != fmt.Sprint(i) {
				t.Fatalf("%s: answer %d is to comment %s", takes, i, e.Comment.Content)
			}
		}
	}
}

// scorerTaking is a scorer that gives every comment that score, after so long.
func scorerTaking(takes time.Duration, score float64) *policy.Scorer {
	scorer := policy.NewScorer("http://scorer.test/", "a secret", time.Now)
	scorer.HTTP = &http.Client{Transport: answering(func(r *http.Request) (*http.Response, error) {
		select {
		case <-time.After(takes):
			body := io.NopCloser(strings.NewReader(fmt.Sprintf(`{"score":%g}`, score)))
			return &http.Response{StatusCode: http.StatusOK, Body: body, Request: r}, nil
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	})}
	return scorer
}

type answering func(*http.Request) (*http.Response, error)

func (f answering) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The scorer answers within the time that the policy gives it. Comments of one delivery that
// had less of it are not held: they are decided when they are redelivered.
func TestAScorerWithoutItsWholeTimeDoesNotHold(t *testing.T) {
	rules := policy.Rules{Scorer: &policy.ScorerRule{HoldFrom: 0.5, RejectFrom: 0.9, TimeoutMS: 1500}}
	inOffice(t, policy.Default, func(t *testing.T, o *office) {
		o.scorer = scorerTaking(1200*time.Millisecond, 0)
		o.replica = o.start(rules)
		var batch []event.Event
		for i := range askAtOnce + 8 { // the last 8 are asked after 1.2 s, and have 0.8 s
			batch = append(batch, created(t, fmt.Sprint(i)))
		}
		for delivery := 0; len(batch) > 0 && delivery < 3; delivery++ {
			errs := errorsOf(o.decideAll(t.Context(), batch))
			var again []event.Event
			for i, err := range errs {
				switch {
				case errors.Is(err, errNotDecided):
					again = append(again, batch[i])
				case err != nil:
					t.Fatal(err)
				}
			}
			batch = again
			if delivery == 0 && len(batch) != 8 {
				t.Errorf("after the first delivery %d are not decided", len(batch))
			}
		}
		if len(batch) > 0 || len(o.bus.events) != askAtOnce+8 {
			t.Errorf("%d are left, %d are answered", len(batch), len(o.bus.events))
		}
		for _, e := range o.bus.events {
			if e.Comment.Status != event.Approved {
				t.Errorf("a comment is %s because it %q", e.Comment.Status, e.Comment.Reason)
			}
		}
	})
}
