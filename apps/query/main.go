// Query answers readers: posts with their comments, from a read model in memory
// that is folded from the event log.
package main

import (
	"errors"
	"os"
	"runtime/debug"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/service"
	"github.com/postbus/postbus/apps/internal/state"
)

func main() {
	s := service.New("query", "serves GET /posts from a read model of the event log", 4002)
	if os.Getenv("GOGC") == "" {
		// Nearly all of the heap is the model, which lives on: half of it in garbage is
		// room enough, and keeps the process below three times the comments' JSON.
		debug.SetGCPercent(50)
	}
	model := newModel()
	log := eventlog.NewClient(eventlog.InvokeURL(s.Sidecar, service.Env("EVENTLOG_APP_ID", "eventlog"), eventlog.EventsPath), os.Getenv("DAPR_API_TOKEN"))
	follower := newFollower(model, log, newSnapshots(state.New(s.Dapr, "query-store")))

	api := newAPI(s.Stopping, model, log, follower.look, s.Streams)
	s.API(api.routes)
	s.Ready = func() error {
		if !model.isReady() {
			return errors.New("query has not caught up with the event log yet")
		}
		return nil
	}

	receiver := bus.NewReceiver(s.Name, bus.New(s.Dapr))
	for _, t := range []event.Type{event.PostCreated, event.CommentCreated, event.CommentUpdated} {
		receiver.Handle(s.Channel, t, follower.hear)
	}
	s.Run(follower.run, follower.saveSnapshots)
}
