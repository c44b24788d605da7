// Package comments is the service of the comments: the command that creates one, and the
// store that keeps them. The read model says which comments a post has, and in which
// order.
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

// ErrCursor is returned for a cursor that comes from no page.
var ErrCursor = errors.New("not a cursor")

// ReadModel says which comments a post has. Query implements it with the query service.
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
	publisher bus.Publisher
	commands  *command.Commands
	store     state.Store
	readModel ReadModel
	now       func() time.Time
	posts     *knownPosts
	arrivals  *arrivals // of comments
}

// New returns the service that publishes as source, the app id.
func New(source string, publisher bus.Publisher, store state.Store, readModel ReadModel, now func() time.Time) *Service {
	return &Service{
		source: source, publisher: publisher, commands: command.New(publisher, store), store: store,
		readModel: readModel, now: now, posts: newKnownPosts(store, now), arrivals: newArrivals(),
	}
}

// Load reads how far the posts were delivered before a restart. It retries until the store
// answers or ctx is done. Until then a request for an old post that does not exist waits
// like one for a new post, instead of being refused at once.
func (s *Service) Load(ctx context.Context) { s.posts.loadYoungest(ctx) }

// PostCreated stores that posts exist.
func (s *Service) PostCreated(ctx context.Context, events []event.Event) []error {
	return s.posts.add(ctx, events)
}

// CommentCreated stores the comments.
func (s *Service) CommentCreated(ctx context.Context, events []event.Event) []error {
	return s.merge(ctx, events)
}

// CommentModerated stores the decisions and then publishes a CommentUpdated for each. After
// a crash in between the bus redelivers the events, and both steps are done again.
func (s *Service) CommentModerated(ctx context.Context, events []event.Event) []error {
	errs := s.merge(ctx, events)
	return bus.React(ctx, s.publisher, event.CommentUpdated, events, func(i int) (event.Event, error) {
		if errs[i] != nil {
			return event.Event{}, errs[i]
		}
		e := events[i]
		return event.OfComment(event.CommentUpdated, s.source, *e.Comment, e.Time, e.TraceParent)
	})
}
