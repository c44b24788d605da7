// Package replica puts together what each process of a service has: its store, its place
// among the service's members, its journal and its follower of the log.
package replica

import (
	"context"
	"os"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/catchup"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/journal"
	"github.com/postbus/postbus/apps/internal/members"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/service"
	"github.com/postbus/postbus/apps/internal/state"
)

// Replica is one process of a service that follows the log.
type Replica struct {
	Store    state.Store
	Bus      *bus.Bus
	Receiver *bus.Receiver
	// Progress is how far the service has followed the log.
	Progress *catchup.Progress

	service          *service.Service
	eventlog         string // the app id
	log, deadLetters *eventlog.Client
	appender         *eventlog.Client
	registry         *members.Registry
	repairs          *repairs.Counts
	journal          *journal.Journal
}

// New returns a replica of the service with that state store component. It adds GET
// /repairs to the app channel.
func New(s *service.Service, component string) *Replica {
	store, publisher := s.Store(component), bus.New(s.Dapr)
	log, token := service.Env("EVENTLOG_APP_ID", "eventlog"), os.Getenv("DAPR_API_TOKEN")
	r := &Replica{
		Store: store, Bus: publisher, Receiver: bus.NewReceiver(s.Name, publisher), Progress: &catchup.Progress{},
		service: s, eventlog: log,
		log:         eventlog.NewClient(eventlog.InvokeURL(s.Sidecar, log, eventlog.EventsPath), token),
		deadLetters: eventlog.NewClient(eventlog.InvokeURL(s.Sidecar, log, eventlog.DeadLettersPath), token),
		appender:    eventlog.NewClient(eventlog.InvokeURL(s.Sidecar, log, eventlog.AppendPath), token),
		registry:    members.New(store, time.Now), repairs: repairs.New(),
	}
	s.Channel.GET(repairs.Path, r.repairs.Serve)
	return r
}

// Log reads the event log.
func (r *Replica) Log() *eventlog.Client { return r.log }

// Journal is the journal of the service's commands. A service without commands does not
// call it.
func (r *Replica) Journal() *journal.Journal {
	if r.journal == nil {
		r.journal = journal.New(journal.Config{
			Store: r.Store, Bus: r.Bus, Log: r.log, DeadLetters: r.deadLetters, Appender: r.appender, Eventlog: r.eventlog,
			Registry: r.registry, Repairs: r.repairs, Now: time.Now,
		})
	}
	return r.journal
}

// Follow returns the follower of the log. A service with a journal calls Journal first.
func (r *Replica) Follow(consumers []catchup.Consumer) *catchup.Follower {
	return catchup.New(catchup.Config{
		Store: r.Store, Log: r.log, Appender: r.appender, Consumers: consumers, Journal: r.journal,
		Registry: r.registry, Progress: r.Progress, Repairs: r.repairs, Now: time.Now,
		DeadLetter: func(ctx context.Context, e event.Event, reason error) error {
			return r.Bus.DeadLetter(ctx, r.service.Name, e.Type, e, reason)
		},
	})
}
