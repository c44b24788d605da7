// Package compose tests that the services are libraries: a program can run the whole
// system in one process, and more than once.
package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/comments/comments"
	"github.com/postbus/postbus/apps/eventlog/log"
	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/catchup"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/journal"
	"github.com/postbus/postbus/apps/internal/members"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
	"github.com/postbus/postbus/apps/moderation/moderation"
	"github.com/postbus/postbus/apps/moderation/policy"
	"github.com/postbus/postbus/apps/posts/posts"
	"github.com/postbus/postbus/apps/query/api"
	"github.com/postbus/postbus/apps/query/follow"
	"github.com/postbus/postbus/apps/query/model"
	"github.com/postbus/postbus/apps/query/snapshot"
	"github.com/postbus/postbus/apps/tools/system"
)

// memoryBus delivers events to the handlers of their topic, one event at a time, until a
// handler takes them.
type memoryBus struct {
	ctx      context.Context
	handlers map[event.Type][]bus.Handler
}

func (b *memoryBus) Publish(_ context.Context, e event.Event) error {
	for _, handle := range b.handlers[e.Type] {
		go func() {
			for b.ctx.Err() == nil {
				if errs := handle(b.ctx, []event.Event{e}); errs == nil || errs[0] == nil {
					return
				}
			}
		}()
	}
	return nil
}

func (b *memoryBus) PublishAll(ctx context.Context, _ event.Type, events []event.Event) []error {
	for _, e := range events {
		_ = b.Publish(ctx, e)
	}
	return nil
}

func (b *memoryBus) subscribe(handle bus.Handler, types ...event.Type) {
	for _, t := range types {
		b.handlers[t] = append(b.handlers[t], handle)
	}
}

// process is what each service has beside its handlers: a store, a journal and a follower of
// the log.
type process struct {
	store    *statetest.Memory
	progress *catchup.Progress
	config   catchup.Config
}

// newProcess returns the process of a service.
func newProcess(events *memoryBus, logged, refused *eventlog.Client) *process {
	store, counts := statetest.New(), repairs.New()
	registry, progress := members.New(store, time.Now), &catchup.Progress{}
	return &process{store, progress, catchup.Config{
		Store: store, Log: logged, Registry: registry, Progress: progress, Repairs: counts, Now: time.Now,
		Journal: journal.New(journal.Config{
			Store: store, Bus: events, Log: logged, DeadLetters: refused, Eventlog: "eventlog",
			Registry: registry, Repairs: counts, Now: time.Now,
		}),
		DeadLetter: func(_ context.Context, e event.Event, reason error) error {
			return fmt.Errorf("%s is refused: %w", e.ID, reason)
		},
	}}
}

// follow has the service follow the log and subscribe to what it consumes from the bus.
func (p *process) follow(events *memoryBus, consumers []catchup.Consumer, types ...event.Type) {
	p.config.Consumers = consumers
	follower := catchup.New(p.config)
	for _, t := range types {
		events.subscribe(follower.Deliver(t), t)
	}
	go p.config.Journal.Run(events.ctx)
	go follower.Run(events.ctx)
}

// start runs a system until the test ends, and returns the address of its API.
func start(t *testing.T) string {
	ctx := t.Context()
	events := &memoryBus{ctx, map[event.Type][]bus.Handler{}}
	engine := web.NewEngine()
	server := httptest.NewUnstartedServer(engine) // it is started once it has all routes
	t.Cleanup(server.Close)
	address := "http://" + server.Listener.Addr().String()

	store := statetest.New()
	kept, letters := log.New(log.Config{Store: store, Now: time.Now}), log.New(log.Config{Store: store, Now: time.Now, Prefix: "dead-letters-"})
	engine.GET(eventlog.EventsPath, log.Serve(ctx, kept))
	engine.GET(eventlog.EventsPath+eventlog.KnownPath, log.ServeKnown(kept))
	engine.GET(eventlog.DeadLettersPath+eventlog.KnownPath, log.ServeKnown(letters))
	events.subscribe(kept.Append, event.Types...)
	client, refused := eventlog.NewClient(address+eventlog.EventsPath, ""), eventlog.NewClient(address+eventlog.DeadLettersPath, "")

	shown := model.New()
	follower := follow.New(shown, client, snapshot.New(shown, statetest.New(), time.Minute, time.Now), time.Now)
	api.New(ctx, shown, client, follower.Wake, make(web.Streams, 1), time.Now).Routes(engine)
	events.subscribe(follower.Deliver, event.PostCreated, event.CommentCreated, event.CommentUpdated)

	postsProcess, commentsProcess, moderationProcess := newProcess(events, client, refused), newProcess(events, client, refused), newProcess(events, client, refused)
	p := posts.New("posts", postsProcess.config.Journal, postsProcess.store, time.Now)
	p.Routes(engine)
	c := comments.New(comments.Config{ // nobody asks for its lists here
		Source: "comments", Journal: commentsProcess.config.Journal, Publisher: events, Store: commentsProcess.store,
		Progress: commentsProcess.progress, Now: time.Now,
	})
	c.Routes(engine)
	m := moderation.New("moderation", events, moderationProcess.store, policy.Default, time.Now)

	server.Start()
	go kept.Run(ctx)
	go letters.Run(ctx)
	go follower.Run(ctx)
	postsProcess.follow(events, p.Consumers(), event.PostCreated)
	commentsProcess.follow(events, c.Consumers(), event.PostCreated, event.CommentCreated, event.CommentModerated)
	moderationProcess.follow(events, m.Consumers(), event.CommentCreated)
	return address
}

// It is run twice in one process, and neither system sees anything of the other.
func TestSeveralSystemsRunInOneProcess(t *testing.T) {
	fruits, addresses := []string{"oranges", "apples"}, []string{start(t), start(t)}
	for i, address := range addresses {
		var post event.Post
		create(t, address+"/posts/create", `{"title":"About `+fruits[i]+`"}`, &post)
		create(t, address+"/posts/"+post.ID+"/comments", `{"content":"I like `+fruits[i]+`"}`, nil)
	}
	for i, want := range []event.Status{event.Rejected, event.Approved} {
		if err := system.Until(t.Context(), time.Minute, func() error { return shows(addresses[i], fruits[i], want) }); err != nil {
			t.Error(err)
		}
	}
}

func create(t *testing.T, url, body string, created any) {
	t.Helper()
	res, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("%s: %s", url, res.Status)
	}
	if created != nil {
		if err := json.NewDecoder(res.Body).Decode(created); err != nil {
			t.Fatal(err)
		}
	}
}

// shows returns why readers do not see one post and its comment as moderated, or nil.
func shows(address, fruit string, want event.Status) error {
	res, err := http.Get(address + "/posts")
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	var posts map[string]struct {
		Title    string
		Comments []struct {
			Content string
			Status  event.Status
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&posts); err != nil {
		return err
	}
	for _, p := range posts {
		if len(posts) == 1 && p.Title == "About "+fruit && len(p.Comments) == 1 && p.Comments[0].Content == "I like "+fruit && p.Comments[0].Status == want {
			return nil
		}
	}
	return fmt.Errorf("readers see %+v", posts)
}
