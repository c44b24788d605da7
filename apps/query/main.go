// Query answers readers: posts with their comments, from a read model in memory
// that is folded from the event log.
package main

import (
	"errors"
	"os"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/limit"
	"github.com/postbus/postbus/apps/internal/service"
	"github.com/postbus/postbus/apps/query/api"
	"github.com/postbus/postbus/apps/query/follow"
	"github.com/postbus/postbus/apps/query/model"
	"github.com/postbus/postbus/apps/query/snapshot"
)

func main() {
	s := service.New("query", "serves GET /posts from a read model of the event log", 4002)
	if os.Getenv("GOGC") == "" {
		// Nearly all of the heap is the model, which lives on: half of it in garbage is
		// room enough, and keeps the process below three times the comments' JSON.
		debug.SetGCPercent(50)
	}
	m := model.New()
	log := eventlog.NewClient(eventlog.InvokeURL(s.Sidecar, service.Env("EVENTLOG_APP_ID", "eventlog"), eventlog.EventsPath), os.Getenv("DAPR_API_TOKEN"))
	snapshots := snapshot.New(m, s.Store("query-store"), snapshotEvery(os.Getenv("SNAPSHOT_EVERY")), time.Now)
	follower := follow.New(m, log, snapshots, time.Now)

	limits, answers := s.Limits(), api.New(s.Stopping, m, log, follower.Wake, s.Streams, time.Now)
	s.API(func(r gin.IRoutes) {
		r.Use(limits.Of(limit.Read))
		answers.Routes(r)
	})
	s.Ready = func() error {
		if !m.Status().Ready {
			return errors.New("query has not caught up with the event log yet")
		}
		return nil
	}

	receiver := bus.NewReceiver(s.Name, bus.New(s.Dapr))
	for _, t := range []event.Type{event.PostCreated, event.CommentCreated, event.CommentUpdated, event.PostCommentingChanged} {
		receiver.Handle(s.Channel, t, follower.Deliver)
	}
	s.Run(follower.Run, snapshots.Run)
}

// snapshotEvery is the interval in a text, or 10 s where that is none of use.
func snapshotEvery(text string) time.Duration {
	every, err := time.ParseDuration(text)
	if err != nil || every <= 0 {
		return 10 * time.Second
	}
	return every
}
