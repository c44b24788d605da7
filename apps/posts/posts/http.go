// Package posts is the service of the posts: the command that creates one, and the store
// that keeps them.
package posts

import (
	"context"
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

// Service answers commands with events, and stores the posts of the events that come
// back. It is safe for concurrent use.
type Service struct {
	source   string
	commands *command.Commands
	store    state.Store
	now      func() time.Time
}

// New returns the service that publishes as source, the app id.
func New(source string, events bus.Publisher, store state.Store, now func() time.Time) *Service {
	return &Service{source: source, commands: command.New(events, store), store: store, now: now}
}

// Routes adds the service's API to r.
func (s *Service) Routes(r gin.IRoutes) {
	r.POST("/posts/create", s.create)
}

// create publishes PostCreated and answers with the post. It writes nothing
// itself: the store is written when the event comes back.
func (s *Service) create(c *gin.Context) {
	var in struct {
		Title string `json:"title"`
		Body  string `json:"body"`
	}
	body, err := web.Decode(c, &in)
	if err != nil {
		web.Fail(c, err)
		return
	}
	now := s.now().UTC()
	post := event.Post{ID: event.NewID(), Title: in.Title, Body: in.Body, CreatedAt: now, Revision: 1}
	if err := post.ValidateText(); err != nil {
		web.Fail(c, err)
		return
	}
	post.Body = event.Optional(post.Body)

	ctx, cancel := context.WithTimeout(c.Request.Context(), command.Deadline)
	defer cancel()
	created, err := event.OfPost(event.PostCreated, s.source, post, now, web.TraceParent(ctx))
	if err != nil {
		web.Fail(c, err)
		return
	}
	created, err = s.commands.Publish(ctx, c.GetHeader(command.KeyHeader), body, created)
	if err != nil {
		web.Fail(c, err)
		return
	}
	slog.InfoContext(ctx, "post created", "post", created.Post.ID, "repeat", created.Post.ID != post.ID)
	c.Header("Location", "/posts/"+created.Post.ID)
	c.PureJSON(http.StatusCreated, created.Post)
}
