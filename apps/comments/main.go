// Comments takes the command that comments on a post, and keeps the comments.
package main

import (
	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/service"
	"github.com/postbus/postbus/apps/internal/state"
)

func main() {
	s := service.New("comments", "takes POST /posts/:id/comments and keeps the comments", 4001)
	events := bus.New(s.Dapr)
	store := state.New(s.Dapr, "comments-store")

	posts := newKnownPosts(store)
	comments := newComments(store)
	api := &api{source: s.Name, commands: command.New(events, store), posts: posts, comments: comments}
	s.API(api.routes)

	h := &handlers{source: s.Name, bus: events, posts: posts, comments: comments}
	receiver := bus.NewReceiver(s.Name, events)
	receiver.Handle(s.Channel, event.PostCreated, h.postCreated)
	receiver.Handle(s.Channel, event.CommentCreated, h.commentCreated)
	receiver.Handle(s.Channel, event.CommentModerated, h.commentModerated)

	s.Run(posts.loadYoungest, newOrigin(store, posts, comments).watch)
}
