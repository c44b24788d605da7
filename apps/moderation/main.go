// Moderation decides which comments readers get to see.
package main

import (
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/service"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/moderation/moderation"
	"github.com/postbus/postbus/apps/moderation/policy"
)

func main() {
	s := service.New("moderation", "decides which comments readers get to see", 4003)
	publisher := bus.New(s.Dapr)
	m := moderation.New(s.Name, publisher, state.New(s.Dapr, "moderation-store"), policy.Default, time.Now)

	s.API(func(gin.IRoutes) {}) // it has none
	bus.NewReceiver(s.Name, publisher).Handle(s.Channel, event.CommentCreated, m.Created)

	s.Run()
}
