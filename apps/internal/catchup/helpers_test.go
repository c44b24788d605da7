package catchup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/eventlog/eventlogtest"
	"github.com/postbus/postbus/apps/internal/journal"
	"github.com/postbus/postbus/apps/internal/members"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

var errDown = statetest.ErrDown

// world is a service with its store and the log. An event's effect is the document
// "effect-<id>", and its reaction the event with the id "reaction-<id>".
//
//   - A PostCreated has an effect.
//   - A CommentCreated has a reaction.
//   - A CommentModerated has both.
//   - No other event means anything to the service.
type world struct {
	*testing.T
	store *statetest.Memory
	log   *fakeLog

	mu        sync.Mutex
	effects   []string // the ids of the events whose effect was written, as often as it was
	reactions []string // the ids of the events that were reacted to
	letters   []string // the ids of the events that were dead-lettered
	fails     func(step, id string) error
	// decides says that the consumer of CommentCreated FollowsLog.
	decides bool
	// appends says that reactions can be put into the log without the bus.
	appends bool
	// hangs says that the bus does not answer.
	hangs bool
}

func bubble(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newWorld(t)) })
}

func newWorld(t *testing.T) *world {
	return &world{T: t, store: statetest.New(), log: &fakeLog{Log: eventlogtest.New()}, fails: func(string, string) error { return nil }}
}

// fakeLog is a log that may be down, and counts what it is asked for.
type fakeLog struct {
	*eventlogtest.Log
	mu    sync.Mutex
	err   error
	reads int
	asked []string // the ids
}

func (l *fakeLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// timesRead counts the reads so far.
func (l *fakeLog) timesRead() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reads
}

func (l *fakeLog) Read(ctx context.Context, from eventlog.Position, limit int, wait time.Duration) ([]event.Event, eventlog.Position, error) {
	l.mu.Lock()
	l.reads++
	err := l.err
	l.mu.Unlock()
	if err != nil {
		return nil, eventlog.Position{}, err
	}
	return l.Log.Read(ctx, from, limit, wait)
}

func (l *fakeLog) Known(ctx context.Context, ids []string) (map[string]bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, ids...)
	if l.err != nil {
		return nil, l.err
	}
	if len(ids) > eventlog.MaxKnown {
		return nil, fmt.Errorf("%d ids", len(ids))
	}
	return l.Log.Known(ctx, ids)
}

func (w *world) failing(fails func(step, id string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fails = fails
}

// do does a step of the service with each event.
func (w *world) do(step string, events []event.Event, one func(event.Event) error) []error {
	w.mu.Lock()
	fails := w.fails
	w.mu.Unlock()
	errs := make([]error, len(events))
	for i, e := range events {
		if errs[i] = fails(step, e.ID); errs[i] == nil {
			errs[i] = one(e)
		}
	}
	return errs
}

func effectKey(id string) string { return "effect-" + id }

func (w *world) effect(ctx context.Context, events []event.Event) []error {
	return w.do("effect", events, func(e event.Event) error {
		kept := state.Keep(ctx, w.store, state.Item{Key: effectKey(e.ID), Value: []byte("done")})
		if err := kept[effectKey(e.ID)].Err; err != nil {
			return err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.effects = append(w.effects, e.ID)
		return nil
	})
}

func (w *world) missing(ctx context.Context, events []event.Event) ([]bool, error) {
	keys := make([]string, len(events))
	for i, e := range events {
		keys[i] = effectKey(e.ID)
	}
	return state.Missing(ctx, w.store, keys...)
}

func (w *world) react(ctx context.Context, events []event.Event) (reactions []event.Event, errs []error) {
	for _, e := range events {
		reactions = append(reactions, w.reactionOf(e))
	}
	if w.hangs {
		<-ctx.Done()
		return reactions, bus.All(len(events), ctx.Err())
	}
	return reactions, w.do("react", events, func(e event.Event) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.reactions = append(w.reactions, e.ID)
		return nil
	})
}

// Append implements eventlog.Appender.
func (w *world) Append(ctx context.Context, t event.Type, events []event.Event) error {
	if !w.appends || ctx.Err() != nil {
		return errDown
	}
	if len(events) > eventlog.MaxAppend || slices.ContainsFunc(events, func(e event.Event) bool { return e.Type != t }) {
		w.Errorf("%d events are appended as %s", len(events), t)
	}
	w.log.Append(events...)
	return nil
}

func reactionTo(e event.Event) string { return "reaction-" + e.ID }

func (w *world) consumers() []Consumer {
	return []Consumer{
		{Type: event.PostCreated, Missing: w.missing, Effect: w.effect},
		{Type: event.CommentModerated, Missing: w.missing, Effect: w.effect, React: w.react, Reaction: reactionTo},
		{Type: event.CommentCreated, React: w.react, Reaction: reactionTo, FollowsLog: w.decides},
	}
}

// replica is a process of the service.
type replica struct {
	*Follower
	w    *world
	stop func()
}

// replica returns a new process. It follows the log when the test says so.
func (w *world) replica() *replica { return w.replicaOn(w.store) }

func (w *world) replicaOn(store state.Store) *replica {
	return &replica{w: w, Follower: New(Config{
		Store: store, Log: w.log, Appender: w, Consumers: w.consumers(), Registry: members.New(store, time.Now),
		Progress: &Progress{}, Repairs: repairs.New(), Now: time.Now,
		DeadLetter: func(_ context.Context, e event.Event, _ error) error {
			return errors.Join(w.do("letter", []event.Event{e}, func(e event.Event) error {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.letters = append(w.letters, e.ID)
				return nil
			})...)
		},
	})}
}

// start starts a process, which runs until stop or the end of the test.
func (w *world) start() *replica { return w.startOn(w.store) }

func (w *world) startOn(store state.Store) *replica {
	r := w.replicaOn(store)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	r.stop = func() {
		cancel()
		<-ended
	}
	w.Cleanup(r.stop)
	synctest.Wait()
	return r
}

// follow has a process follow the log once.
func (r *replica) follow() {
	r.w.Helper()
	r.round(context.Background())
}

// followFor has a process follow the log every second.
func (r *replica) followFor(long time.Duration) {
	r.w.Helper()
	for range long / time.Second {
		time.Sleep(time.Second) // of the bubble's clock
		r.follow()
	}
}

// deliver delivers events of one type to a process. Each has to be taken.
func (r *replica) deliver(events ...event.Event) {
	r.w.Helper()
	if err := errors.Join(r.Deliver(events[0].Type)(context.Background(), events)...); err != nil {
		r.w.Errorf("a delivery failed: %v", err)
	}
}

// made is an event of a type.
func (w *world) made(t event.Type) event.Event {
	w.Helper()
	now := time.Now().UTC()
	var e event.Event
	var err error
	if t == event.PostCreated {
		e, err = event.OfPost(t, "posts", event.Post{ID: event.NewID(), Title: "a", CreatedAt: now, Revision: 1}, now, "")
	} else {
		e, err = event.OfComment(t, "comments", event.Comment{ID: event.NewID(), PostID: event.NewID(), Content: "a", Status: event.Pending, CreatedAt: now, Revision: 1}, now, "")
	}
	if err != nil {
		w.Fatal(err)
	}
	return e
}

func (w *world) post() event.Event      { return w.made(event.PostCreated) }
func (w *world) comment() event.Event   { return w.made(event.CommentCreated) }
func (w *world) moderated() event.Event { return w.made(event.CommentModerated) }

// many are n events of a type, which differ in their ids alone.
func (w *world) many(t event.Type, n int) []event.Event {
	w.Helper()
	events := slices.Repeat([]event.Event{w.made(t)}, n)
	for i := range events {
		events[i].ID = fmt.Sprintf("%s %d", t, i)
	}
	return events
}

// reactionOf is the reaction to e, as the log has it.
func (w *world) reactionOf(e event.Event) event.Event {
	r := e
	r.Type, r.ID = event.CommentUpdated, reactionTo(e)
	return r
}

func (w *world) wantDone(effects, reactions []event.Event) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, pair := range map[string][2][]string{"effects": {w.effects, idsOf(effects)}, "reactions": {w.reactions, idsOf(reactions)}} {
		if !slices.Equal(pair[0], pair[1]) {
			w.Errorf("the %s are of %q, want %q", name, pair[0], pair[1])
		}
	}
}

func idsOf(events []event.Event) []string {
	ids := []string{}
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return ids
}

func (r *replica) wantRepairs(want map[repairs.Kind]int) {
	r.w.Helper()
	for kind, n := range r.Repairs.All() {
		if n != want[kind] {
			r.w.Errorf("%d repairs of kind %s, want %d", n, kind, want[kind])
		}
	}
}

// stored is the cursor in the store.
func (w *world) stored() (at eventlog.Position, isRestored bool) {
	w.Helper()
	items, err := w.store.Get(context.Background(), cursorKey, OriginKey)
	if err != nil {
		w.Fatal(err)
	}
	documents, err := state.Decode[document](items[0])
	if err != nil {
		w.Fatal(err)
	}
	if documents[0].Origin != string(items[1].Value) || documents[0].Origin == "" {
		return eventlog.Position{}, false
	}
	if at, err = eventlog.ParsePosition(documents[0].At); err != nil {
		w.Fatal(err)
	}
	return at, documents[0].Restored
}

func (w *world) wantCursor(want uint64) {
	w.Helper()
	if at, _ := w.stored(); at != w.log.Position(want) && (want > 0 || at.Sequence > 0) {
		w.Errorf("the cursor is at %s, want %d", at, want)
	}
}

// reads counts the documents of effects that were read.
func (w *world) reads() int { return w.store.Named(statetest.Get, "effect-") }

// settled is a process that has followed the log, whose store has what the log says.
func (w *world) settled() *replica {
	w.Helper()
	r := w.replica()
	r.follow()
	if _, isRestored := w.stored(); !isRestored || !r.Progress.IsRestored() {
		w.Fatal("the store is not restored")
	}
	return r
}

// journalOf is a journal whose bus is the log, unless loses says otherwise.
func (w *world) journalOf(r *replica, loses func(event.Event) bool) *journal.Journal {
	return journal.New(journal.Config{
		Store: w.store, Bus: logBus{w.log, loses}, Log: w.log, DeadLetters: &fakeLog{Log: eventlogtest.New()},
		Eventlog: "eventlog", Appender: w, Registry: r.Registry, Repairs: r.Repairs, Now: time.Now,
	})
}

// logBus is a bus that brings events into the log at once, or loses them.
type logBus struct {
	log   *fakeLog
	loses func(event.Event) bool
}

func (b logBus) PublishAll(_ context.Context, _ event.Type, events []event.Event) []error {
	for _, e := range events {
		if !b.loses(e) {
			b.log.Append(e)
		}
	}
	return nil
}

// hasEffect says whether the store has the effect of an event.
func (w *world) hasEffect(id string) bool { return w.store.Value(effectKey(id)) != "" }

// isHandled says whether an event of the log is handled, by what the world shows.
func (w *world) isHandled(e event.Event) bool {
	known, err := w.log.Log.Known(context.Background(), []string{reactionTo(e)})
	if err != nil {
		w.Error(err)
	}
	needsEffect := e.Type == event.PostCreated || e.Type == event.CommentModerated
	needsReaction := (e.Type == event.CommentCreated || e.Type == event.CommentModerated) && !strings.HasPrefix(e.ID, "reaction-")
	return (!needsEffect || w.hasEffect(e.ID)) && (!needsReaction || known[reactionTo(e)])
}

func failOn(step, failing string) error {
	if step == failing {
		return errDown
	}
	return nil
}

// wantEnd checks how many events the log has.
func (w *world) wantEnd(want uint64) {
	w.Helper()
	if _, end, err := w.log.Read(context.Background(), w.log.Position(0), 0, 0); err != nil || end.Sequence != want {
		w.Errorf("the log ends at %s, error %v, want %d", end, err, want)
	}
}
