// Eventlog keeps every event, numbered, and gives them back from any number on.
// It keeps the dead letters likewise.
package main

import (
	"errors"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/service"
	"github.com/postbus/postbus/apps/internal/state"
)

func main() {
	s := service.New("eventlog", "keeps every event, numbered, and serves GET /events", 4005)
	store := state.New(s.Dapr, "eventlog-store")
	log, dead := newEventLog(store), newEventLog(prefixed{store, "dead-letters-"}, store)
	s.API(func(r gin.IRoutes) {
		r.GET("/events", (&api{log: log, stopping: s.Stopping}).events)
		r.GET("/dead-letters", (&api{log: dead, stopping: s.Stopping}).events)
	})
	s.Ready = func() error { return errors.Join(log.ready(), log.whole(), dead.ready(), dead.whole()) }

	receiver := bus.NewReceiver(s.Name, bus.New(s.Dapr))
	for _, t := range event.Types {
		receiver.Handle(s.Channel, t, log.append)
	}
	receiver.HandleDeadLetters(s.Channel, deadLetters{dead}.keep)
	s.Run(log.run, dead.run)
}
