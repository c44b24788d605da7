package moderation

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/eventlog/eventlogtest"
	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/identity/identitytest"
	"github.com/postbus/postbus/apps/internal/journal/journaltest"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

// Every route is for moderators alone.
func TestOnlyModeratorsPass(t *testing.T) {
	comment := *created(t, "Hello").Comment
	decided := []event.Event{moderated(t, comment, event.Held, 2), moderated(t, comment, event.Rejected, 3)}
	one := "/moderation/comments/" + comment.ID
	routes := []identitytest.Route{
		{Method: "GET", Path: "/moderation/queue", Target: "/moderation/queue"},
		{Method: "GET", Path: "/moderation/policy", Target: "/moderation/policy"},
		{Method: "PUT", Path: "/moderation/policy", Target: "/moderation/policy", Body: pears, Header: http.Header{"If-Match": {`"1"`}}},
		{Method: "POST", Path: "/moderation/policy/apply", Target: "/moderation/policy/apply", Body: "{}"},
		{Method: "POST", Path: "/moderation/policy/try", Target: "/moderation/policy/try", Body: `{"policy":{},"content":"Hello"}`},
		{Method: "GET", Path: "/moderation/comments/:id", Target: one},
		{Method: "POST", Path: "/moderation/comments/:id", Target: one, Body: `{"decision":"approve"}`},
		{Method: "POST", Path: "/moderation/comments/:id/undo", Target: one + "/undo", Body: `{"revision":3}`},
		{Method: "POST", Path: "/moderation/posts/:id", Target: "/moderation/posts/" + aPost, Body: `{"comments":"closed"}`},
		{Method: "GET", Path: "/moderation/people", Target: "/moderation/people"},
		{Method: "POST", Path: "/moderation/people/:subject", Target: "/moderation/people/ann", Body: `{"blocked":true}`},
	}
	for i := range routes {
		routes[i].Want, routes[i].Role = []string{"401 401 403 403 403 200 403"}, identity.Moderator
	}
	identitytest.Check(t, routes, func(t *testing.T, guard *identity.Guard) (*gin.Engine, func() int) {
		journal, isRead := journaltest.New(), make(chan struct{})
		m := New(Config{
			Source: "moderation", Journal: journal, Store: statetest.New(), Progress: whole{},
			Log:   endReader{eventlogtest.New(decided...), sync.OnceFunc(func() { close(isRead) })},
			Guard: guard, Default: holdsAll, Now: time.Now,
		})
		if err := errors.Join(m.restore(t.Context(), decided)...); err != nil {
			t.Fatal(err)
		}
		go m.Run(t.Context())
		<-isRead
		engine := web.NewEngine()
		m.Routes(engine)
		return engine, func() int { return len(journal.Events()) }
	})
}

// endReader reads a log, and says when somebody has read it to its end and waits for more.
type endReader struct {
	eventlog.Reader
	atEnd func()
}

// Read implements eventlog.Reader.
func (r endReader) Read(ctx context.Context, from eventlog.Position, limit int, wait time.Duration) ([]event.Event, eventlog.Position, error) {
	if wait > 0 {
		r.atEnd()
	}
	return r.Reader.Read(ctx, from, limit, wait)
}

// moderated is the CommentModerated of a comment, at a revision.
func moderated(t *testing.T, c event.Comment, status event.Status, revision int) event.Event {
	t.Helper()
	c.Status, c.Revision = status, revision
	if revision >= event.FirstByModerator {
		c.DecidedBy = theModerator
	}
	e, err := event.OfComment(event.CommentModerated, "moderation", c, noon, "")
	if err != nil {
		t.Fatal(err)
	}
	return e
}
