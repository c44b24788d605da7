package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/eventlog/eventlogtest"
	"github.com/postbus/postbus/apps/internal/members"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

var (
	errDown = statetest.ErrDown
	errDead = errors.New("the process is dead")
)

// world is a service with its store, a bus and a log. The bus delivers nothing by itself.
type world struct {
	*testing.T
	store   *statetest.Memory
	log     *knownLog
	letters *knownLog

	mu        sync.Mutex
	published []event.Event // in the order of the bus
	calls     []int         // the sizes of the publishes
	busFails  func(event.Event) error
	busHook   func([]event.Event)
	busHangs  atomic.Bool // until the end of each publish
	// appends says that events can be put into the log without the bus. appended are those
	// that were, as often as they were.
	appends  atomic.Bool
	appended []event.Event
}

// bubble runs a test in a synctest bubble.
func bubble(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(&world{T: t, store: statetest.New(), log: newKnownLog(), letters: newKnownLog()})
	})
}

// knownLog is a log that counts what it was asked for, and may be down.
type knownLog struct {
	*eventlogtest.Log
	mu    sync.Mutex
	err   error
	asked [][]string
	known map[string]bool // besides the events
}

func newKnownLog() *knownLog { return &knownLog{Log: eventlogtest.New(), known: map[string]bool{}} }

func (l *knownLog) Known(ctx context.Context, ids []string) (map[string]bool, error) {
	l.mu.Lock()
	l.asked = append(l.asked, ids)
	err := l.err
	l.mu.Unlock()
	if len(ids) > eventlog.MaxKnown {
		return nil, fmt.Errorf("%d ids", len(ids))
	}
	if err != nil {
		return nil, err
	}
	known, err := l.Log.Known(ctx, ids)
	for _, id := range ids {
		if l.known[id] {
			known[id] = true
		}
	}
	return known, err
}

// fail has the log fail with err, until fail is called with nil.
func (l *knownLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// timesAsked counts the ids that the log was asked for.
func (l *knownLog) timesAsked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, ids := range l.asked {
		n += len(ids)
	}
	return n
}

func (w *world) PublishAll(ctx context.Context, t event.Type, events []event.Event) []error {
	w.mu.Lock()
	hook := w.busHook
	w.mu.Unlock()
	if hook != nil {
		hook(events)
	}
	if w.busHangs.Load() {
		<-ctx.Done()
	}
	if err := ctx.Err(); err != nil {
		return bus.All(len(events), err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, len(events))
	errs, failed := make([]error, len(events)), false
	for i, e := range events {
		if e.Type != t {
			w.Errorf("a %s was published as %s", e.Type, t)
		}
		if w.busFails != nil {
			if errs[i] = w.busFails(e); errs[i] != nil {
				failed = true
				continue
			}
		}
		w.published = append(w.published, e)
	}
	if !failed {
		return nil
	}
	return errs
}

// Append implements eventlog.Appender.
func (w *world) Append(ctx context.Context, t event.Type, events []event.Event) error {
	if !w.appends.Load() || ctx.Err() != nil {
		return errDown
	}
	if len(events) == 0 || len(events) > eventlog.MaxAppend {
		w.Errorf("%d events are appended at once", len(events))
	}
	for _, e := range events {
		if e.Type != t {
			w.Errorf("a %s is appended as %s", e.Type, t)
		}
		known, err := w.log.Log.Known(ctx, []string{e.ID})
		if err != nil {
			return err
		}
		if !known[e.ID] {
			w.log.Append(e)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.appended = append(w.appended, events...)
	return nil
}

// failBus decides which publishes fail, until it is called with nil.
func (w *world) failBus(fails func(event.Event) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busFails = fails
}

// onTheBus are the ids of what was published, once nothing is under way.
func (w *world) onTheBus() []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return idsOf(w.published)
}

func idsOf(events []event.Event) []string {
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	return ids
}

func (w *world) wantPublished(want ...event.Event) {
	w.Helper()
	if got := w.onTheBus(); !slices.Equal(got, idsOf(want)) {
		w.Errorf("%d events were published, want %d:\n%q\n%q", len(got), len(want), got, idsOf(want))
	}
}

// process is a process of the service, which follows the log as the test says.
type process struct {
	w        *world
	journal  *Journal
	registry *members.Registry
	repairs  *repairs.Counts
	at       eventlog.Position
	link     *link
	stop     func() // as SIGTERM does, and waits
}

// link is a process's way to its store and its bus.
type link struct {
	state.Store
	mu     sync.Mutex
	isDead bool
	paused chan struct{} // closed when the process goes on; nil if it is not paused
	// written, if set, is called after each write, before the process gets to know of it.
	written   func(items []state.Item)
	maxAnswer int // in bytes; 0 if there is no bound
}

func (l *link) pass() error {
	l.mu.Lock()
	paused := l.paused
	l.mu.Unlock()
	if paused != nil {
		<-paused
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isDead {
		return errDead
	}
	return nil
}

func (l *link) Get(ctx context.Context, keys ...string) ([]state.Item, error) {
	if err := l.pass(); err != nil {
		return nil, err
	}
	items, err := l.Store.Get(ctx, keys...)
	size := 0
	for _, item := range items {
		size += len(item.Value)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.maxAnswer > 0 && size > l.maxAnswer {
		return nil, fmt.Errorf("an answer of %d bytes", size)
	}
	return items, err
}

func (l *link) Swap(ctx context.Context, items ...state.Item) error {
	if err := l.pass(); err != nil {
		return fmt.Errorf("%w: %w", state.ErrUnknown, err)
	}
	err := l.Store.Swap(ctx, items...)
	l.mu.Lock()
	written := l.written
	l.mu.Unlock()
	if written != nil {
		written(items)
	}
	return err
}

func (l *link) Drop(ctx context.Context, keys ...string) error {
	if err := l.pass(); err != nil {
		return err
	}
	return l.Store.Drop(ctx, keys...)
}

// linkedBus is the bus of a process.
type linkedBus struct {
	bus.Publisher
	link *link
}

func (b linkedBus) PublishAll(ctx context.Context, t event.Type, events []event.Event) []error {
	if err := b.link.pass(); err != nil {
		return bus.All(len(events), err)
	}
	return b.Publisher.PublishAll(ctx, t, events)
}

// start starts a process, which runs until the test ends.
func (w *world) start() *process {
	l := &link{Store: w.store}
	registry, counts := members.New(l, time.Now), repairs.New()
	p := &process{w: w, registry: registry, repairs: counts, link: l}
	p.journal = New(Config{
		Store: l, Bus: linkedBus{w, l}, Log: w.log, DeadLetters: w.letters, Appender: w, Eventlog: "eventlog",
		Registry: registry, Repairs: counts, Now: time.Now,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.journal.Run(ctx)
	}()
	p.stop = func() {
		cancel()
		<-ended
	}
	w.Cleanup(func() {
		p.resume()
		p.stop()
	})
	synctest.Wait() // it has beaten
	return p
}

// kill ends a process as kill -9 does: it does nothing more.
func (p *process) kill() {
	p.link.mu.Lock()
	p.link.isDead = true
	p.link.mu.Unlock()
	p.resume()
}

// pause stops a process in its next call of the store or the bus, as kill -STOP does.
func (p *process) pause() {
	p.link.mu.Lock()
	defer p.link.mu.Unlock()
	p.link.paused = make(chan struct{})
}

func (p *process) resume() {
	p.link.mu.Lock()
	defer p.link.mu.Unlock()
	if p.link.paused != nil {
		close(p.link.paused)
		p.link.paused = nil
	}
}

// follow reads the log to its end, as the process's follower does in each round.
func (p *process) follow() {
	p.w.Helper()
	events, end, err := p.w.log.Read(context.Background(), p.at, 1<<20, 0)
	if err != nil {
		p.w.Fatal(err)
	}
	for _, e := range events {
		p.at = eventlog.Position{Sequence: uint64(e.Sequence), Log: end.Log, Event: e.ID}
		p.journal.Confirm(e, end.Log)
	}
	p.journal.Tick(context.Background(), end)
	p.journal.Tidy(context.Background())
	synctest.Wait()
}

// followFor follows the log every second.
func (p *process) followFor(long time.Duration) {
	p.w.Helper()
	for range long / time.Second {
		time.Sleep(time.Second) // of the bubble's clock
		p.follow()
	}
}

// commit commits an event without a claim.
func (p *process) commit(e event.Event) {
	p.w.Helper()
	if _, err := p.journal.Commit(context.Background(), e, Claim{}); err != nil {
		p.w.Errorf("%s: %v", e.Subject, err) // and not Fatal: it may run in a goroutine
	}
}

func (p *process) wantRepairs(want map[repairs.Kind]int) {
	p.w.Helper()
	for kind, n := range p.repairs.All() {
		if n != want[kind] {
			p.w.Errorf("%d repairs of kind %s, want %d", n, kind, want[kind])
		}
	}
}

// wantJournal checks how many events and pages the process takes care of.
func (p *process) wantJournal(events, pages int) {
	p.w.Helper()
	p.journal.mu.Lock()
	defer p.journal.mu.Unlock()
	if len(p.journal.entries) != events || len(p.journal.pages) != pages {
		p.w.Errorf("it has %d events and %d pages, want %d and %d", len(p.journal.entries), len(p.journal.pages), events, pages)
	}
	size := 0
	for _, e := range p.journal.entries {
		size += e.size
	}
	if size != p.journal.bytes {
		p.w.Errorf("it counts %d bytes, and has %d", p.journal.bytes, size)
	}
}

// pages are the pages in the store.
func (w *world) pages() []string { return w.store.Keys("journal-") }

func (w *world) wantPages(want int) {
	w.Helper()
	if got := w.pages(); len(got) != want {
		w.Errorf("%d pages, want %d: %q", len(got), want, got)
	}
}

// hasPageOf says whether a page in the store has the event.
func (w *world) hasPageOf(e event.Event) bool {
	raw, err := event.Marshal(e)
	if err != nil {
		w.Error(err)
	}
	return slices.ContainsFunc(w.pages(), func(key string) bool { return strings.Contains(w.store.Value(key), string(raw)) })
}

// titled is a PostCreated.
func titled(t testing.TB, title string) event.Event {
	t.Helper()
	now := time.Now().UTC()
	e, err := event.OfPost(event.PostCreated, "posts", event.Post{ID: event.NewID(), Title: title, CreatedAt: now, Revision: 1}, now, "")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// titledAll are n PostCreated.
func titledAll(t testing.TB, n int) []event.Event {
	t.Helper()
	events := make([]event.Event, n)
	for i := range events {
		events[i] = titled(t, fmt.Sprintf("post %d <b> & \u2028", i))
	}
	return events
}

// commented is a CommentCreated.
func commented(t testing.TB) event.Event {
	t.Helper()
	now := time.Now().UTC()
	c := event.Comment{ID: event.NewID(), PostID: event.NewID(), Content: "a", Status: event.Pending, CreatedAt: now, Revision: 1}
	e, err := event.OfComment(event.CommentCreated, "comments", c, now, "")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// claimOf is the claim of a key and a request.
func claimOf(key, request string) Claim { return Claim{Key: "claim-" + key, Request: request} }

// isOf says whether a claim is that of an event.
func isOf(c Claim, e event.Event) bool {
	raw, err := event.Marshal(e)
	return err == nil && bytes.Equal(c.Event, raw)
}
