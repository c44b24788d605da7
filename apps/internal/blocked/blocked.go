// Package blocked knows which people moderators have blocked, for the services that take
// commands. They learn it from the events PersonBlocked.
package blocked

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/postbus/postbus/apps/internal/catchup"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/revised"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/web"
)

// People knows who is blocked. It is safe for concurrent use.
type People struct {
	recent *revised.Recent[event.Blocking]
}

// New returns what a service's store says of people, one document each, "person-<subject>".
func New(store state.Store, now func() time.Time) *People {
	return &People{revised.NewRecent(store, now, func(e event.Event) (string, event.Blocking) { return key(e.Subject), *e.Blocking })}
}

func key(subject string) string { return "person-" + subject }

// Consumer consumes PersonBlocked.
func (p *People) Consumer() catchup.Consumer { return p.recent.Consumer(event.PersonBlocked) }

// Check returns a *web.Problem for a person who may not post or comment: 403 if a moderator
// has blocked them, 503 if that is not known now. A guest, who has no subject, may.
func (p *People) Check(ctx context.Context, subject string) error {
	if subject == "" {
		return nil
	}
	stands, err := p.recent.Get(ctx, key(subject))
	switch {
	case err != nil:
		slog.WarnContext(ctx, "it is not known whether a person is blocked", "error", err)
		return web.Unavailable("The service's store did not answer in time. Try again.")
	case stands != nil && stands.Blocked:
		return web.NewProblem(http.StatusForbidden, "A moderator has blocked you: you may read, and not write.")
	}
	return nil
}
