// Posts takes the command that creates a post, and keeps the posts.
package main

import (
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/replica"
	"github.com/postbus/postbus/apps/internal/service"
	"github.com/postbus/postbus/apps/posts/posts"
)

func main() {
	s := service.New("posts", "takes POST /posts/create and keeps the posts", 4000)
	r := replica.New(s, "posts-store")
	journal := r.Journal()
	guard, refreshKeys := s.Identity(r.Store)
	p := posts.New(s.Name, journal, r.Store, guard, s.Limits(), time.Now)
	follower := r.Follow(p.Consumers())

	s.API(p.Routes)
	for _, t := range []event.Type{event.PostCreated, event.PersonBlocked} {
		r.Receiver.Handle(s.Channel, t, follower.Deliver(t))
	}

	s.Run(journal.Run, follower.Run, refreshKeys)
}
