// Eventlog keeps every event, numbered, and gives them back from any number on.
// It keeps the dead letters likewise.
package main

import (
	"errors"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/eventlog/log"
	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/service"
)

func main() {
	s := service.New("eventlog", "keeps every event, numbered, and serves GET /events", 4005)
	store, counts := s.Store("eventlog-store"), repairs.New()
	events := log.New(log.Config{Store: store, Now: time.Now, MayWait: hasFollower, Repairs: counts})
	deadLetters := log.New(log.Config{Store: store, Now: time.Now, Prefix: "dead-letters-"})
	s.API(func(r gin.IRoutes) {
		r.GET(eventlog.EventsPath, log.Serve(s.Stopping, events))
		r.GET(eventlog.EventsPath+eventlog.KnownPath, log.ServeKnown(events))
		r.GET(eventlog.DeadLettersPath, log.Serve(s.Stopping, deadLetters))
		r.GET(eventlog.DeadLettersPath+eventlog.KnownPath, log.ServeKnown(deadLetters))
	})
	s.Ready = func() error { return errors.Join(events.Ready(), deadLetters.Ready()) }

	s.Channel.GET(repairs.Path, counts.Serve)
	letters := log.DeadLetters{Log: deadLetters, Now: time.Now}
	s.Channel.POST(eventlog.AppendPath+"/:type", log.ServeAppend(s.Name, events, letters))
	s.Channel.POST(eventlog.ImportPath, log.ServeImport(events))

	receiver := bus.NewReceiver(s.Name, bus.New(s.Dapr))
	for _, t := range event.Types {
		receiver.Handle(s.Channel, t, events.Append)
	}
	receiver.HandleDeadLetters(s.Channel, letters.Keep)
	s.Run(events.Run, deadLetters.Run)
}

// hasFollower says that some milliseconds after the event comes another one of its
// comment: of the three only CommentUpdated is the last.
func hasFollower(e event.Event) bool {
	return e.Type == event.CommentCreated || e.Type == event.CommentModerated
}
