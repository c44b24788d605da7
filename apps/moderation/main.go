// Moderation decides which comments readers get to see.
package main

import (
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/replica"
	"github.com/postbus/postbus/apps/internal/service"
	"github.com/postbus/postbus/apps/moderation/moderation"
	"github.com/postbus/postbus/apps/moderation/policy"
)

func main() {
	s := service.New("moderation", "decides which comments readers get to see", 4003)
	r := replica.New(s, "moderation-store")
	m := moderation.New(moderation.Config{
		Source: s.Name, Publisher: r.Bus, Store: r.Store, Progress: r.Progress, Rules: policy.Default, Now: time.Now,
	})
	guard, refreshKeys := s.Identity(r.Store)
	follower := r.Follow(m.Consumers())

	s.API(func(r gin.IRoutes) { r.Use(guard.Identify) }) // it has no routes yet
	r.Receiver.Handle(s.Channel, event.CommentCreated, follower.Deliver(event.CommentCreated))

	s.Run(follower.Run, refreshKeys)
}
