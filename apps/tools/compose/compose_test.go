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
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
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

// start runs a system until the test ends, and returns the address of its API.
func start(t *testing.T) string {
	ctx := t.Context()
	events := &memoryBus{ctx, map[event.Type][]bus.Handler{}}
	engine := web.NewEngine()
	server := httptest.NewUnstartedServer(engine) // it is started once it has all routes
	t.Cleanup(server.Close)
	address := "http://" + server.Listener.Addr().String()

	kept := log.New(log.Config{Store: statetest.New(), Now: time.Now})
	engine.GET(eventlog.EventsPath, log.Serve(ctx, kept))
	events.subscribe(kept.Append, event.Types...)

	p := posts.New("posts", events, statetest.New(), time.Now)
	p.Routes(engine)
	events.subscribe(p.Created, event.PostCreated)

	m := moderation.New("moderation", events, statetest.New(), policy.Default, time.Now)
	events.subscribe(m.Created, event.CommentCreated)

	shown := model.New()
	client := eventlog.NewClient(address+eventlog.EventsPath, "")
	snapshots := snapshot.New(shown, statetest.New(), time.Minute, time.Now)
	follower := follow.New(shown, client, snapshots, time.Now)
	api.New(ctx, shown, client, follower.Wake, make(web.Streams, 1), time.Now).Routes(engine)
	events.subscribe(follower.Deliver, event.PostCreated, event.CommentCreated, event.CommentUpdated)

	c := comments.New("comments", events, statetest.New(), nil, time.Now) // nobody asks for its lists here
	c.Routes(engine)
	events.subscribe(c.PostCreated, event.PostCreated)
	events.subscribe(c.CommentCreated, event.CommentCreated)
	events.subscribe(c.CommentModerated, event.CommentModerated)

	server.Start()
	go kept.Run(ctx)
	go follower.Run(ctx)
	go c.Load(ctx)
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
