// Package comments is the service of the comments: the command that creates one, and the
// store that keeps them and lists them by post.
package comments

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// Service answers commands with events, and stores the posts and comments of the events
// that are delivered. It is safe for concurrent use.
type Service struct {
	source   string
	events   bus.Publisher
	commands *command.Commands
	store    state.Store
	now      func() time.Time
	posts    *knownPosts
	lists    *lists
	arrivals *arrivals // of comments
}

// New returns the service that publishes as source, the app id.
func New(source string, events bus.Publisher, store state.Store, now func() time.Time) *Service {
	return &Service{
		source: source, events: events, commands: command.New(events, store), store: store, now: now,
		posts: newKnownPosts(store, now), lists: newLists(store, now), arrivals: newArrivals(),
	}
}

// PostCreated stores that posts exist.
func (s *Service) PostCreated(ctx context.Context, events []event.Event) []error {
	return s.posts.add(ctx, events)
}

// CommentCreated stores the comments, and then lists them: a crash in between has the
// events delivered, and both done, again.
func (s *Service) CommentCreated(ctx context.Context, events []event.Event) []error {
	additions := map[string]*addition{} // by post; made before the documents are read
	for _, e := range events {
		if post := e.Comment.PostID; additions[post] == nil {
			var err error
			if additions[post], err = s.lists.begin(ctx, post); err != nil {
				return bus.All(len(events), err)
			}
		}
	}
	m, err := s.merge(ctx, events)
	if err != nil {
		return bus.All(len(events), err)
	}
	errs := make([]error, len(events))
	for i, e := range events {
		a := additions[e.Comment.PostID]
		switch errs[i] = m.check(e); {
		case errs[i] != nil:
		case m.listed[documentKey(e.Comment.ID)]:
			a.doubtful = append(a.doubtful, e.Comment.ID)
		default:
			a.ids = append(a.ids, e.Comment.ID)
		}
	}
	failed := s.lists.add(ctx, slices.Collect(maps.Values(additions)))
	for i, e := range events {
		if errs[i] == nil {
			errs[i] = failed[e.Comment.PostID]
		}
	}
	return errs
}

// CommentModerated stores the decisions and then publishes a CommentUpdated for each: a
// crash in between has the events delivered, and both done, again.
func (s *Service) CommentModerated(ctx context.Context, events []event.Event) []error {
	m, err := s.merge(ctx, events)
	if err != nil {
		return bus.All(len(events), err)
	}
	return bus.React(ctx, s.events, event.CommentUpdated, events, func(i int) (event.Event, error) {
		e := events[i]
		if err := m.check(e); err != nil {
			return event.Event{}, err
		}
		return event.OfComment(event.CommentUpdated, s.source, *e.Comment, e.Time, e.TraceParent)
	})
}

// merge brings the documents up to events, and wakes up the requests that wait for them.
func (s *Service) merge(ctx context.Context, events []event.Event) (merged, error) {
	m, err := merge(ctx, s.store, events)
	if err == nil {
		for _, e := range events {
			s.arrivals.wake(e.Comment.ID)
		}
	}
	return m, err
}
