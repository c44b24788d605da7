// Package comments is the service of the comments: the command that creates one, and the
// store that keeps them. Which comments a post has, and in which order, the read model
// says.
package comments

import (
	"context"
	"errors"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// ErrCursor is returned for a cursor that no page gave.
var ErrCursor = errors.New("not a cursor")

// ReadModel knows which comments a post has. Query is the one of query's service.
type ReadModel interface {
	// Comments returns the ids of at most limit (1 to 100) of a post's comments, newest
	// first, and the cursor of the next page, which is empty at the end. An empty cursor is
	// for the first page. It returns no ids for a post that the read model does not know.
	// The error is an ErrCursor, or says that the read model can't be asked now.
	Comments(ctx context.Context, post, cursor string, limit int) (ids []string, next string, err error)
}

// Service answers commands with events, and stores the posts and comments of the events
// that are delivered. It is safe for concurrent use.
type Service struct {
	source    string
	events    bus.Publisher
	commands  *command.Commands
	store     state.Store
	readModel ReadModel
	now       func() time.Time
	posts     *knownPosts
	arrivals  *arrivals // of comments
}

// New returns the service that publishes as source, the app id.
func New(source string, events bus.Publisher, store state.Store, readModel ReadModel, now func() time.Time) *Service {
	return &Service{
		source: source, events: events, commands: command.New(events, store), store: store,
		readModel: readModel, now: now, posts: newKnownPosts(store, now), arrivals: newArrivals(),
	}
}

// Load reads what the service knew before a restart. It retries until the store answers or
// ctx is done; until then the service waits for posts that it could know not to exist.
func (s *Service) Load(ctx context.Context) { s.posts.loadYoungest(ctx) }

// PostCreated stores that posts exist.
func (s *Service) PostCreated(ctx context.Context, events []event.Event) []error {
	return s.posts.add(ctx, events)
}

// CommentCreated stores the comments.
func (s *Service) CommentCreated(ctx context.Context, events []event.Event) []error {
	return s.merge(ctx, events)
}

// CommentModerated stores the decisions and then publishes a CommentUpdated for each: a
// crash in between has the events delivered, and both done, again.
func (s *Service) CommentModerated(ctx context.Context, events []event.Event) []error {
	errs := s.merge(ctx, events)
	return bus.React(ctx, s.events, event.CommentUpdated, events, func(i int) (event.Event, error) {
		if errs[i] != nil {
			return event.Event{}, errs[i]
		}
		e := events[i]
		return event.OfComment(event.CommentUpdated, s.source, *e.Comment, e.Time, e.TraceParent)
	})
}
