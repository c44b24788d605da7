// Package comments is the service of the comments: the command that creates one, and the
// store that keeps them. The read model says which comments a post has, and in which
// order.
package comments

import (
	"context"
	"errors"
	"time"

	"github.com/postbus/postbus/apps/internal/blocked"
	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/catchup"
	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/limit"
	"github.com/postbus/postbus/apps/internal/revised"
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

// Progress is how far the service has followed the log: a *catchup.Progress.
type Progress interface {
	// Current is the latest time at which all events of the log were handled. It is zero if
	// there is none.
	Current() time.Time
	// IsOf says that the store was not emptied since, by what it has at catchup.OriginKey.
	IsOf(origin []byte) bool
}

// Service answers commands with events, and stores the posts and comments of the events
// that are delivered. It is safe for concurrent use.
type Service struct {
	source    string
	publisher bus.Publisher
	commands  *command.Commands
	store     state.Store
	readModel ReadModel
	guard     *identity.Guard
	limits    *limit.Limits
	now       func() time.Time
	posts     *knownPosts
	arrivals  *arrivals // of comments
	receipts  *receipts
	people    *blocked.People
	// commentings say which posts are closed.
	commentings *revised.Recent[event.Commenting]
}

// Config says what a Service works with.
type Config struct {
	// Source is the source of the events, the app id.
	Source    string
	Journal   command.Journal
	Publisher bus.Publisher // for the reactions
	Store     state.Store
	Progress  Progress
	ReadModel ReadModel
	Guard     *identity.Guard
	Limits    *limit.Limits
	Now       func() time.Time
}

// New returns a service.
func New(c Config) *Service {
	return &Service{
		source: c.Source, publisher: c.Publisher, commands: command.New(c.Journal), store: c.Store,
		readModel: c.ReadModel, guard: c.Guard, limits: c.Limits, now: c.Now, posts: newKnownPosts(c.Store, c.Progress, c.Now), arrivals: newArrivals(),
		receipts: &receipts{store: c.Store, now: c.Now},
		people:   blocked.New(c.Store, c.Now),
		commentings: revised.NewRecent(c.Store, c.Now, func(e event.Event) (string, event.Commenting) {
			return commentingKey(e.Subject), *e.Commenting
		}),
	}
}

// Consumers are the events that the service handles.
func (s *Service) Consumers() []catchup.Consumer {
	return []catchup.Consumer{
		{Type: event.PostCreated, Missing: s.posts.missing, Effect: s.posts.add},
		{Type: event.CommentCreated, Missing: s.missing, Effect: s.merge},
		s.commentings.Consumer(event.PostCommentingChanged),
		s.people.Consumer(),
		{
			Type: event.CommentModerated, Missing: s.missing, Effect: s.merge, Restore: s.restore, React: s.updated,
			Reaction: func(e event.Event) string { return event.IDOf(event.CommentUpdated, e.Subject, e.Comment.Revision) },
		},
	}
}

// updated publishes a CommentUpdated for each CommentModerated whose decision is stored.
func (s *Service) updated(ctx context.Context, events []event.Event) (updates []event.Event, errs []error) {
	return bus.React(ctx, s.publisher, event.CommentUpdated, events, func(i int) (event.Event, error) {
		e := events[i]
		return event.OfComment(event.CommentUpdated, s.source, *e.Comment, e.Time, e.TraceParent)
	})
}
