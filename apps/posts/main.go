// Posts takes the command that creates a post, and keeps the posts.
package main

import (
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/service"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/posts/posts"
)

func main() {
	s := service.New("posts", "takes POST /posts/create and keeps the posts", 4000)
	publisher := bus.New(s.Dapr)
	p := posts.New(s.Name, publisher, state.New(s.Dapr, "posts-store"), time.Now)

	s.API(p.Routes)
	bus.NewReceiver(s.Name, publisher).Handle(s.Channel, event.PostCreated, p.Created)

	s.Run()
}
