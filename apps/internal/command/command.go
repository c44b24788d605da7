// Package command turns a request into one event. The command is committed when the event
// is in the service's journal.
package command

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/journal"
	"github.com/postbus/postbus/apps/internal/web"
)

const (
	// KeyHeader is the header that makes a command safe to repeat.
	KeyHeader = "Idempotency-Key"
	// Deadline covers all the sidecar calls of one request.
	Deadline = 2 * time.Second

	// maxKeyLength bounds an Idempotency-Key, in bytes.
	maxKeyLength = 255
)

// Journal commits an event: a *journal.Journal.
type Journal interface {
	Commit(ctx context.Context, e event.Event, claim journal.Claim) (standing journal.Claim, err error)
}

// Commands commits the events of a service's commands, once for each Idempotency-Key.
type Commands struct{ journal Journal }

// New returns the commands of a service with that journal.
func New(j Journal) *Commands { return &Commands{j} }

// Key is the Idempotency-Key of a request.
type Key struct {
	// Text is the header. It is empty without one, and then the request has no key.
	Text string
	// Owner is the Subject of the person who uses the key, or the guest's browser. It is empty for
	// a program's guest. The same text of another owner is another key.
	Owner string
}

// KeyOf is the key of a request. It comes after identity.Guard.Identify.
func KeyOf(c *gin.Context) Key {
	return Key{Text: c.GetHeader(KeyHeader), Owner: cmp.Or(identity.Of(c).Subject, web.Guest(c))}
}

// claim is the key of the store under which the key is claimed.
func (k Key) claim() string {
	text := k.Text
	if k.Owner != "" {
		text = k.Owner + "\n" + text // no header has a line feed, so no guest's key is the same
	}
	return "claim-" + digest([]byte(text))
}

// Commit commits e and returns it. If there is a key and it was used before, it commits the
// first event again and returns that one. Request is the bytes that identify the request:
// its body, after the parameters of its path if it has any. The same bytes are the same
// request; other bytes are the same request if event.SameRequest says so. The error is a
// *web.Problem: 400 for a key out of bounds, 422 for a key of another request, 503 if it is
// not known whether the event was committed, or if the journal is full. An event that
// cannot be encoded, or a damaged claim, is another error.
func (c *Commands) Commit(ctx context.Context, key Key, request []byte, e event.Event) (event.Event, error) {
	if len(key.Text) > maxKeyLength {
		return e, web.NewProblem(http.StatusBadRequest, fmt.Sprintf("The Idempotency-Key is longer than %d bytes.", maxKeyLength))
	}
	var mine journal.Claim
	if key.Text != "" {
		mine = journal.Claim{Key: key.claim(), Request: digest(request)}
	}
	standing, err := c.journal.Commit(ctx, e, mine)
	if err != nil {
		return e, c.problem(ctx, e, err)
	}
	if key.Text == "" {
		return e, nil
	}
	first, err := event.Parse(e.Type, standing.Event)
	switch {
	case err != nil:
		return e, fmt.Errorf("decoding claim: %w", err)
	case first.ID == e.ID:
		return e, nil
	// An earlier try of this request, or another request, has the key. An equal digest also
	// counts: an earlier version may have read the same bytes in another way.
	case standing.Request != mine.Request && !event.SameRequest(first, e):
		return e, web.NewProblem(http.StatusUnprocessableEntity, "This Idempotency-Key was used for another request.")
	}
	// The earlier try may have written its claim alone, so its event is committed again.
	_, err = c.journal.Commit(ctx, first, journal.Claim{IsRepeat: true})
	switch {
	case errors.Is(err, journal.ErrFull): // the earlier try may have been answered 201
		return e, web.Unavailable("The event log does not take events now, and no more of them can wait. An earlier request with this Idempotency-Key may have happened. Repeat it later with the same Idempotency-Key.")
	case err != nil:
		return e, c.problem(ctx, e, err)
	}
	return first, nil
}

// CommitRevision commits an event that makes one revision of an entity, and returns the event
// that stands for that revision: of two that are committed at once, or one after the other,
// the first. Its id must be an event.IDOf. The claim is kept for a day: by then the
// service's store has the revision, and nobody commits it again. The error is a *web.Problem
// as that of Commit.
func (c *Commands) CommitRevision(ctx context.Context, e event.Event) (stands event.Event, err error) {
	raw, err := event.Marshal(e)
	if err != nil {
		return e, fmt.Errorf("encoding event %s: %w", e.ID, err)
	}
	mine := journal.Claim{Key: "revision-" + e.ID, Request: digest(raw)}
	standing, err := c.journal.Commit(ctx, e, mine)
	if err != nil {
		return e, c.problem(ctx, e, err)
	}
	if standing.Request == mine.Request {
		return e, nil
	}
	first, err := event.Parse(e.Type, standing.Event)
	if err != nil {
		return e, fmt.Errorf("decoding claim: %w", err)
	}
	// The one who was first may have written the claim alone, so its event is committed again.
	if _, err = c.journal.Commit(ctx, first, journal.Claim{IsRepeat: true}); err != nil {
		return e, c.problem(ctx, e, err)
	}
	return first, nil
}

// problem is what a client gets to know of an error of the journal. An error that is no
// matter of time is returned as it is.
func (c *Commands) problem(ctx context.Context, e event.Event, err error) error {
	slog.WarnContext(ctx, "commit failed", "type", e.Type, "id", e.Subject, "error", err)
	switch {
	case errors.Is(err, journal.ErrFull):
		return web.Unavailable("The event log does not take events now, and no more of them can wait. This request has changed nothing. Repeat it later, with its Idempotency-Key if it has one.")
	case errors.Is(err, journal.ErrStopped), ctx.Err() != nil:
		return web.Unavailable("The service's store did not answer in time, so it is not known whether this happened. Repeat the request with the same Idempotency-Key.")
	}
	return err
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
