// Comments takes the command that comments on a post, and keeps the comments.
package main

import (
	"os"
	"time"

	"github.com/postbus/postbus/apps/comments/comments"
	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/service"
	"github.com/postbus/postbus/apps/internal/state"
)

func main() {
	s := service.New("comments", "takes POST /posts/:id/comments and keeps the comments", 4001)
	publisher := bus.New(s.Dapr)
	query := comments.NewQuery(s.Sidecar, service.Env("QUERY_APP_ID", "query"), os.Getenv("DAPR_API_TOKEN"))
	c := comments.New(s.Name, publisher, state.New(s.Dapr, "comments-store"), query, time.Now)

	s.API(c.Routes)
	receiver := bus.NewReceiver(s.Name, publisher)
	receiver.Handle(s.Channel, event.PostCreated, c.PostCreated)
	receiver.Handle(s.Channel, event.CommentCreated, c.CommentCreated)
	receiver.Handle(s.Channel, event.CommentModerated, c.CommentModerated)

	s.Run(c.Load)
}
