// Posts takes the command that creates a post, and keeps the posts.
package main

import (
	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/service"
	"github.com/postbus/postbus/apps/internal/state"
)

func main() {
	s := service.New("posts", "takes POST /posts/create and keeps the posts", 4000)
	events := bus.New(s.Dapr)
	store := state.New(s.Dapr, "posts-store")

	api := &api{source: s.Name, commands: command.New(events, store)}
	s.API(api.routes)

	posts := &posts{store: store}
	bus.NewReceiver(s.Name, events).Handle(s.Channel, event.PostCreated, posts.created)

	s.Run()
}
