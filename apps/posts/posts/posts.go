// Package posts is the service of the posts: the command that creates one, and the store
// that keeps them.
package posts

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/blocked"
	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/catchup"
	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/limit"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/web"
)

// Service turns commands into events, and stores the posts of the events that are
// delivered. It is safe for concurrent use.
type Service struct {
	source   string
	commands *command.Commands
	store    state.Store
	guard    *identity.Guard
	limits   *limit.Limits
	people   *blocked.People
	now      func() time.Time
}

// New returns a service whose events have the given source, its app id.
func New(source string, journal command.Journal, store state.Store, guard *identity.Guard, limits *limit.Limits, now func() time.Time) *Service {
	return &Service{source: source, commands: command.New(journal), store: store, guard: guard, limits: limits, people: blocked.New(store, now), now: now}
}

// Consumers are the events that the service handles.
func (s *Service) Consumers() []catchup.Consumer {
	return []catchup.Consumer{{Type: event.PostCreated, Missing: s.missing, Effect: s.keep}, s.people.Consumer()}
}

// Routes adds the service's API to r.
func (s *Service) Routes(r gin.IRoutes) {
	r.Use(s.guard.Identify)
	r.POST("/posts/create", s.guard.Allow(identity.Post), s.limits.Of(limit.Post), func(c *gin.Context) {
		post, err := s.create(c)
		if err != nil {
			web.Fail(c, err)
			return
		}
		c.Header("Location", "/posts/"+post.ID)
		c.PureJSON(http.StatusCreated, post)
	})
}

// create commits PostCreated and returns the post. It does not store the post: that happens
// when the event comes back.
func (s *Service) create(c *gin.Context) (*event.Post, error) {
	var in struct {
		Title string `json:"title"`
		Body  string `json:"body"`
	}
	body, err := web.Decode(c, &in)
	if err != nil {
		return nil, err
	}
	now, author := s.now().UTC(), identity.Of(c)
	post := event.Post{
		ID: event.NewID(), Title: in.Title, Body: in.Body, Author: author.Name, AuthorID: author.Subject, CreatedAt: now, Revision: 1,
	}
	if err := post.ValidateText(); err != nil {
		return nil, err
	}
	post.Body = event.EmptyIfBlank(post.Body)
	ctx, cancel := context.WithTimeout(c.Request.Context(), command.Deadline)
	defer cancel()
	if err := s.people.Check(ctx, author.Subject); err != nil {
		return nil, err
	}
	created, err := event.OfPost(event.PostCreated, s.source, post, now, web.TraceParent(ctx))
	if err != nil {
		return nil, err
	}
	committed, err := s.commands.Commit(ctx, command.KeyOf(c), body, created)
	if err != nil {
		return nil, err
	}
	isRepeat := committed.Post.ID != post.ID // the first request's event was committed again
	slog.InfoContext(ctx, "post created", "post", committed.Post.ID, "repeat", isRepeat)
	return committed.Post, nil
}

func postKey(id string) string { return "post-" + id }

// missing says, by index, which events' posts are not in the store.
func (s *Service) missing(ctx context.Context, events []event.Event) ([]bool, error) {
	keys := make([]string, len(events))
	for i, e := range events {
		keys[i] = postKey(e.Post.ID)
	}
	return state.Missing(ctx, s.store, keys...)
}

// keep stores the posts of a batch of PostCreated, one document each, "post-<id>". A
// post is written once and never changes. A redelivered event finds its post and changes
// nothing. Another post with the same id is a bus.ErrPoison.
func (s *Service) keep(ctx context.Context, events []event.Event) []error {
	items := make([]state.Item, len(events))
	for i, e := range events {
		value, err := event.Marshal(e.Post)
		if err != nil {
			return bus.All(len(events), err)
		}
		items[i] = state.Item{Key: postKey(e.Post.ID), Value: value}
	}
	kept := state.Keep(ctx, s.store, items...)
	errs := make([]error, len(events))
	for i, e := range events {
		var stored event.Post
		switch k := kept[items[i].Key]; {
		case k.Err != nil:
			errs[i] = k.Err
		case json.Unmarshal(k.Value, &stored) != nil || stored.Contradicts(*e.Post):
			errs[i] = fmt.Errorf("%w: post %s exists with other content", bus.ErrPoison, e.Post.ID)
		}
	}
	return errs
}
