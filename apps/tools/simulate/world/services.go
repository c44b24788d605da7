package world

import (
	"context"
	"net/http"

	commentsservice "github.com/postbus/postbus/apps/comments/comments"
	"github.com/postbus/postbus/apps/eventlog/log"
	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/catchup"
	"github.com/postbus/postbus/apps/internal/event"
	logclient "github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/identity/identitytest"
	"github.com/postbus/postbus/apps/internal/journal"
	"github.com/postbus/postbus/apps/internal/members"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/web"
	moderationservice "github.com/postbus/postbus/apps/moderation/moderation"
	"github.com/postbus/postbus/apps/moderation/policy"
	postsservice "github.com/postbus/postbus/apps/posts/posts"
	"github.com/postbus/postbus/apps/query/api"
	"github.com/postbus/postbus/apps/query/follow"
	"github.com/postbus/postbus/apps/query/model"
	"github.com/postbus/postbus/apps/query/snapshot"
)

// build makes what a process runs. It does what the main function of the service does.
func build(p *process) {
	p.engine = web.NewEngine()
	p.api = p.engine.Group("/", web.WellFormedQuery)
	switch p.service.name {
	case posts:
		buildPosts(p)
	case comments:
		buildComments(p)
	case moderation:
		buildModeration(p)
	case eventlog:
		buildEventlog(p)
	case query:
		buildQuery(p)
	}
}

// newBus, newStore and newLog are what a process reaches through its sidecar.
func (p *process) newBus() *bus.Bus { return bus.On(publisher{p.world.bus, p}) }

func (p *process) newStore() client { return client{p.world.stores[p.service.name], p} }

func (p *process) newLog(path string) *logclient.Client {
	c := logclient.NewClient(logclient.InvokeURL(sidecar, eventlog, path), "")
	c.HTTP = &http.Client{Transport: invocations{p}}
	return c
}

// follower is what a process has that follows the log, as package replica puts it together.
type follower struct {
	store            client
	bus              *bus.Bus
	log, deadLetters *logclient.Client
	appender         *logclient.Client
	registry         *members.Registry
	repairs          *repairs.Counts
	progress         *catchup.Progress
	journal          *journal.Journal
}

func newFollower(p *process) *follower {
	f := &follower{
		store: p.newStore(), bus: p.newBus(), log: p.newLog(logclient.EventsPath), deadLetters: p.newLog(logclient.DeadLettersPath),
		appender: p.newLog(logclient.AppendPath), repairs: repairs.New(), progress: &catchup.Progress{},
	}
	f.registry = members.New(f.store, p.now)
	p.member = f.registry.ID()
	p.engine.GET(repairs.Path, f.repairs.Serve)
	return f
}

func (f *follower) withJournal(p *process) {
	f.journal = journal.New(journal.Config{
		Store: f.store, Bus: f.bus, Log: f.log, DeadLetters: f.deadLetters, Appender: f.appender, Eventlog: eventlog,
		Registry: f.registry, Repairs: f.repairs, Now: p.now,
	})
	p.journal = f.journal
	p.tasks = append(p.tasks, f.journal.Run)
}

// handle has the consumers' events delivered, and follows the log.
func (f *follower) handle(p *process, consumers []catchup.Consumer) {
	c := catchup.New(catchup.Config{
		Store: f.store, Log: f.log, Appender: f.appender, Consumers: consumers, Journal: f.journal,
		Registry: f.registry, Progress: f.progress, Repairs: f.repairs, Now: p.now,
		DeadLetter: func(ctx context.Context, e event.Event, reason error) error {
			return f.bus.DeadLetter(ctx, p.service.name, e.Type, e, reason)
		},
	})
	p.tasks = append(p.tasks, c.Run)
	r := bus.NewReceiver(p.service.name, f.bus)
	for _, t := range subscriptions[p.service.name] {
		r.Handle(p.engine, t, c.Deliver(t))
	}
}

// subscriptions are what the main functions of those services have delivered.
var subscriptions = map[string][]event.Type{
	posts:      {event.PostCreated, event.PersonBlocked},
	comments:   {event.PostCreated, event.CommentCreated, event.CommentModerated, event.PostCommentingChanged, event.PersonBlocked},
	moderation: {event.CommentCreated},
}

// everybody is the guard of the services: guests do everything.
var everybody = identity.New(nil, identity.Post, identity.Comment)

func buildPosts(p *process) {
	f := newFollower(p)
	f.withJournal(p)
	s := postsservice.New(posts, f.journal, f.store, everybody, nil, p.now)
	s.Routes(p.api)
	f.handle(p, s.Consumers())
}

func buildComments(p *process) {
	f := newFollower(p)
	f.withJournal(p)
	model := commentsservice.NewQuery(sidecar, query, "")
	model.HTTP = &http.Client{Transport: invocations{p}}
	s := commentsservice.New(commentsservice.Config{
		Source: comments, Journal: f.journal, Publisher: f.bus, Store: f.store, Progress: f.progress, ReadModel: model, Guard: everybody, Now: p.now,
	})
	s.Routes(p.api)
	f.handle(p, s.Consumers())
}

func buildModeration(p *process) {
	f := newFollower(p)
	f.withJournal(p)
	s := moderationservice.New(moderationservice.Config{
		Source: moderation, Journal: f.journal, Publisher: f.bus, Store: f.store, Progress: f.progress, Log: f.log,
		Guard: identitytest.Guard(), Default: p.world.currentPolicy(), Now: p.now,
	})
	s.Routes(p.api)
	f.handle(p, s.Consumers())
	p.tasks = append(p.tasks, s.Run)
}

func buildEventlog(p *process) {
	store := p.newStore()
	mayWait := func(e event.Event) bool { return e.Type == event.CommentCreated || e.Type == event.CommentModerated }
	events := log.New(log.Config{Store: store, Now: p.now, MayWait: mayWait, Window: Window})
	letters := log.New(log.Config{Store: store, Now: p.now, Prefix: "dead-letters-", Window: Window})
	p.api.GET(logclient.EventsPath, log.Serve(p.serving, events))
	p.api.GET(logclient.EventsPath+logclient.KnownPath, log.ServeKnown(events))
	p.api.GET(logclient.DeadLettersPath, log.Serve(p.serving, letters))
	p.api.GET(logclient.DeadLettersPath+logclient.KnownPath, log.ServeKnown(letters))
	kept := log.DeadLetters{Log: letters, Now: p.now}
	p.engine.POST(logclient.AppendPath+"/:type", log.ServeAppend(eventlog, events, kept))
	r := bus.NewReceiver(eventlog, p.newBus())
	for _, t := range event.Types {
		r.Handle(p.engine, t, events.Append)
	}
	r.HandleDeadLetters(p.engine, kept.Keep)
	p.tasks = []func(context.Context){events.Run, letters.Run}
}

func buildQuery(p *process) {
	m := model.New()
	client := p.newLog(logclient.EventsPath)
	snapshots := snapshot.New(m, p.newStore(), snapshotEvery, p.now)
	follower := follow.New(m, client, snapshots, p.now)
	api.New(p.serving, m, client, follower.Wake, make(web.Streams, 10), p.now).Routes(p.api)
	r := bus.NewReceiver(query, p.newBus())
	for _, t := range []event.Type{event.PostCreated, event.CommentCreated, event.CommentUpdated} {
		r.Handle(p.engine, t, follower.Deliver)
	}
	p.tasks = []func(context.Context){follower.Run, snapshots.Run}
}

// policies are what moderation may decide by: the blog's own, and one that decides nearly
// the opposite.
var policies = []policy.Rules{policy.Default, {Words: []policy.WordRule{{Text: "apple", Match: policy.Part, Action: policy.Reject}}}}

func (w *World) currentPolicy() policy.Rules {
	w.mu.Lock()
	defer w.mu.Unlock()
	return policies[w.policy]
}

// changePolicy has moderation decide by another policy: its processes are replaced.
func (w *World) changePolicy(f *fault) (end func()) {
	w.faults.began(f)
	w.mu.Lock()
	w.policy = (w.policy + 1) % len(policies)
	w.mu.Unlock()
	for _, p := range w.services[moderation].all() {
		p.end()
		w.restart(p, 0)
	}
	return nil
}
