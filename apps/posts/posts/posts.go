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

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/web"
)

// Service turns commands into events, and stores the posts of the events that are
// delivered. It is safe for concurrent use.
type Service struct {
	source   string
	commands *command.Commands
	store    state.Store
	now      func() time.Time
}

// New returns a service that publishes with the given source, its app id.
func New(source string, publisher bus.Publisher, store state.Store, now func() time.Time) *Service {
	return &Service{source: source, commands: command.New(publisher, store), store: store, now: now}
}

// Routes adds the service's API to r.
func (s *Service) Routes(r gin.IRoutes) {
	r.POST("/posts/create", func(c *gin.Context) {
		post, err := s.create(c)
		if err != nil {
			web.Fail(c, err)
			return
		}
		c.Header("Location", "/posts/"+post.ID)
		c.PureJSON(http.StatusCreated, post)
	})
}

// create publishes PostCreated and returns the post. It writes nothing itself: the store
// is written when the event comes back.
func (s *Service) create(c *gin.Context) (*event.Post, error) {
	var in struct {
		Title string `json:"title"`
		Body  string `json:"body"`
	}
	body, err := web.Decode(c, &in)
	if err != nil {
		return nil, err
	}
	now := s.now().UTC()
	post := event.Post{ID: event.NewID(), Title: in.Title, Body: in.Body, CreatedAt: now, Revision: 1}
	if err := post.ValidateText(); err != nil {
		return nil, err
	}
	post.Body = event.EmptyIfBlank(post.Body)
	ctx, cancel := context.WithTimeout(c.Request.Context(), command.Deadline)
	defer cancel()
	created, err := event.OfPost(event.PostCreated, s.source, post, now, web.TraceParent(ctx))
	if err != nil {
		return nil, err
	}
	published, err := s.commands.Publish(ctx, c.GetHeader(command.KeyHeader), body, created)
	if err != nil {
		return nil, err
	}
	isRepeat := published.Post.ID != post.ID // the first request's event was published again
	slog.InfoContext(ctx, "post created", "post", published.Post.ID, "repeat", isRepeat)
	return published.Post, nil
}

// Created stores the posts of a batch of PostCreated, one document each, "post-<id>". A
// post is written once and never changes. A redelivered event finds its post and changes
// nothing. Another post with the same id is a bus.ErrPoison.
func (s *Service) Created(ctx context.Context, events []event.Event) []error {
	items := make([]state.Item, len(events))
	for i, e := range events {
		value, err := event.Marshal(e.Post)
		if err != nil {
			return bus.All(len(events), err)
		}
		items[i] = state.Item{Key: "post-" + e.Post.ID, Value: value}
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
