// Comments takes the command that comments on a post, and keeps the comments.
package main

import (
	"os"
	"time"

	"github.com/postbus/postbus/apps/comments/comments"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/replica"
	"github.com/postbus/postbus/apps/internal/service"
)

func main() {
	s := service.New("comments", "takes POST /posts/:id/comments and keeps the comments", 4001)
	r := replica.New(s, "comments-store")
	journal := r.Journal()
	guard, refreshKeys := s.Identity(r.Store)
	c := comments.New(comments.Config{
		Source: s.Name, Journal: journal, Publisher: r.Bus, Store: r.Store, Progress: r.Progress, Guard: guard, Limits: s.Limits(),
		ReadModel: comments.NewQuery(s.Sidecar, service.Env("QUERY_APP_ID", "query"), os.Getenv("DAPR_API_TOKEN")), Now: time.Now,
	})
	follower := r.Follow(c.Consumers())

	s.API(c.Routes)
	for _, t := range []event.Type{event.PostCreated, event.CommentCreated, event.CommentModerated, event.PostCommentingChanged, event.PersonBlocked} {
		r.Receiver.Handle(s.Channel, t, follower.Deliver(t))
	}

	s.Run(journal.Run, follower.Run, refreshKeys)
}
