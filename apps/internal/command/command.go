// Package command turns a request into one event. The command is committed when the event
// is published.
package command

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/web"
)

const (
	// KeyHeader is the header that makes a command safe to repeat.
	KeyHeader = "Idempotency-Key"
	// Deadline covers all the sidecar calls of one request.
	Deadline = 2 * time.Second

	// claimTTL is how long an Idempotency-Key is remembered.
	claimTTL = 24 * time.Hour
	// maxKeyLength bounds an Idempotency-Key, in bytes.
	maxKeyLength = 255
)

type publisher interface {
	Publish(ctx context.Context, e event.Event) error
}

// Commands publishes the events of a service's commands, once for each Idempotency-Key.
type Commands struct {
	bus   publisher
	store state.Store
}

// New returns the commands of a service. Its store keeps the claims.
func New(bus publisher, store state.Store) *Commands { return &Commands{bus, store} }

// claim is the stored document of a key.
type claim struct {
	// Request is the digest of the request's bytes. Replicas of versions up to 3b4f435
	// compare nothing but this digest. It is written until no upgrade starts from one of
	// them.
	Request string `json:"request"`
	// Event is the command's event, whichever replica publishes it and however often. It
	// carries what the client asked for.
	Event json.RawMessage `json:"event"`
}

// Publish publishes e and returns it. If key is not empty and was used before, it
// publishes the first event again and returns that one. Request is the bytes that identify
// the request: its body, after the parameters of its path if it has any. The same bytes
// are the same request; other bytes are the same request if event.SameRequest says so. The
// error is a *web.Problem: 400 for a key out of bounds, 422 for a key of another request,
// 503 if it is not known whether the event was published. An event that cannot be encoded,
// or a damaged claim, is another error.
func (c *Commands) Publish(ctx context.Context, key string, request []byte, e event.Event) (event.Event, error) {
	if len(key) > maxKeyLength {
		return e, web.NewProblem(http.StatusBadRequest, fmt.Sprintf("The Idempotency-Key is longer than %d bytes.", maxKeyLength))
	}
	if key != "" {
		claimed, err := c.claim(ctx, key, request, e)
		if err != nil {
			return e, err
		}
		e = claimed
	}
	if err := c.bus.Publish(ctx, e); err != nil {
		slog.WarnContext(ctx, "publish failed", "type", e.Type, "id", e.Subject, "error", err)
		return e, web.Unavailable("The event bus did not answer in time, so it is not known whether this happened. Repeat the request with the same Idempotency-Key.")
	}
	return e, nil
}

func (c *Commands) claim(ctx context.Context, key string, request []byte, e event.Event) (event.Event, error) {
	raw, err := event.Marshal(e)
	if err != nil {
		return e, fmt.Errorf("encoding event: %w", err)
	}
	mine := claim{Request: digest(request), Event: raw}
	value, err := event.Marshal(mine)
	if err != nil {
		return e, fmt.Errorf("encoding claim: %w", err)
	}
	item := state.Item{Key: "claim-" + digest([]byte(key)), Value: value, TTL: claimTTL}
	kept := state.Keep(ctx, c.store, item)[item.Key]
	if kept.Err != nil {
		slog.WarnContext(ctx, "claim failed", "id", e.Subject, "error", kept.Err)
		return e, web.Unavailable("The service's store did not answer in time, so it is not known whether this happened. Repeat the request with the same Idempotency-Key.")
	}
	if bytes.Equal(kept.Value, value) {
		return e, nil
	}
	// An earlier try of this request, or another request, has the key.
	var theirs claim
	if err := json.Unmarshal(kept.Value, &theirs); err != nil {
		return e, fmt.Errorf("decoding claim: %w", err)
	}
	claimed, err := event.Parse(e.Type, theirs.Event)
	if err != nil {
		return e, fmt.Errorf("decoding claim: %w", err)
	}
	// An equal digest also counts: an earlier version may have read the same bytes in
	// another way.
	if theirs.Request != mine.Request && !event.SameRequest(claimed, e) {
		return e, web.NewProblem(http.StatusUnprocessableEntity, "This Idempotency-Key was used for another request.")
	}
	return claimed, nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
