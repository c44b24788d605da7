package comments

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/catchup"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/journal/journaltest"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

var errDown = statetest.ErrDown

// newService is one replica, on a store and a bus that it may share with others.
func newService(store state.Store, bus bus.Publisher) *Service {
	return New(Config{
		Source: "comments", Journal: journaltest.New(), Publisher: bus, Store: store,
		Progress: &followed{}, ReadModel: &index{}, Now: time.Now,
	})
}

// deliver is the handler of the deliveries of type t.
func (s *Service) deliver(t event.Type) bus.Handler {
	return catchup.New(catchup.Config{Consumers: s.Consumers(), Progress: &catchup.Progress{}, Now: time.Now}).Deliver(t)
}

// followed is how far a service has followed the log.
type followed struct {
	mu sync.Mutex
	at time.Time
	// isOther says that the store was emptied since.
	isOther bool
}

// IsOf says that the store is the one that was followed, unless a test says otherwise.
func (f *followed) IsOf([]byte) bool { return !f.isOther }

func (f *followed) Current() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at
}

func (f *followed) upTo(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = at
}

// replicaOn is a replica on a store, with a bus of its own.
func replicaOn(store state.Store) *Service { return newService(store, &topic{}) }

// topic is a bus that keeps what was published.
type topic struct {
	bus.Publisher
	mu     sync.Mutex
	events []event.Event
	errs   []error
}

func (p *topic) PublishAll(_ context.Context, _ event.Type, events []event.Event) []error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, events...)
	return p.errs
}

// index is a read model in memory: the ids of each post's comments, oldest first. Its
// cursors are the ids that the next page goes on before.
type index struct {
	ids map[string][]string
	err error
}

func (x *index) Comments(_ context.Context, post, cursor string, limit int) (ids []string, next string, err error) {
	if x.err != nil {
		return nil, "", x.err
	}
	end := len(x.ids[post])
	if cursor != "" {
		if end = slices.Index(x.ids[post], cursor); end < 0 {
			return nil, "", ErrCursor
		}
	}
	begin := max(0, end-limit)
	if begin > 0 {
		next = x.ids[post][begin]
	}
	ids = slices.Clone(x.ids[post][begin:end])
	slices.Reverse(ids)
	return ids, next, nil
}

var aPost = idAt(noon, 1)

// idAt is the UUIDv7 number n of the millisecond of at.
func idAt(at time.Time, n int) string {
	ms := at.UnixMilli()
	return fmt.Sprintf("%08x-%04x-7000-8000-%012x", ms>>16, ms&0xffff, n)
}

var noon = time.Date(2024, 11, 27, 12, 0, 0, 123456789, time.UTC)

// onTheBus is e as it comes off the bus.
func onTheBus(t testing.TB, e event.Event, err error) event.Event {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := event.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = event.Parse(e.Type, raw); err != nil {
		t.Fatal(err)
	}
	return e
}

func postCreated(t testing.TB, id, title string) event.Event {
	t.Helper()
	made, _ := event.IDTime(id)
	e, err := event.OfPost(event.PostCreated, "posts", event.Post{ID: id, Title: title, CreatedAt: made, Revision: 1}, made, "")
	return onTheBus(t, e, err)
}

// aComment is comment number n, pending.
func aComment(post string, n int) event.Comment {
	return event.Comment{
		ID: idAt(noon, 1_000_000+n), PostID: post, Author: "Ann", Content: fmt.Sprint("comment ", n),
		Status: event.Pending, CreatedAt: noon, Revision: 1,
	}
}

// moderated is c after moderation.
func moderated(c event.Comment) event.Comment {
	c.Status, c.Reason, c.Revision = event.Rejected, "so", 2
	return c
}

// about is the event about c: CommentCreated or CommentModerated.
func about(t testing.TB, c event.Comment) event.Event {
	t.Helper()
	typ := event.CommentModerated
	if c.Status == event.Pending {
		typ = event.CommentCreated
	}
	e, err := event.OfComment(typ, "x", c, noon, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	return onTheBus(t, e, err)
}

// wantErrors checks errs against want, nil for none. An error that isn't wanted
// to be poison must not be: it would make a dead letter of what could yet succeed.
func wantErrors(t *testing.T, errs []error, want ...error) {
	t.Helper()
	if len(errs) != len(want) {
		t.Fatalf("%d errors, want %d: %v", len(errs), len(want), errs)
	}
	for i := range want {
		if !errors.Is(errs[i], want[i]) {
			t.Errorf("event %d: error %v, want %v", i, errs[i], want[i])
		}
	}
}
