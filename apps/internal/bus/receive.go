package bus

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/gin-gonic/gin"
	jsonv2 "github.com/go-json-experiment/json"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/web"
)

// ErrPoison marks an event that its handler can never take, however often it is
// delivered. Such an event goes to the dead letters.
var ErrPoison = errors.New("poison event")

// Handler takes a batch of events of one type. It returns one error an event,
// or nil when it took them all. A nil error acknowledges the event, an ErrPoison
// makes it a dead letter, and any other has it delivered again: that one is for
// a dependency that is down, and for nothing else, since it holds up the topic.
// A panic counts as such an error for the whole batch.
type Handler func(ctx context.Context, events []event.Event) []error

// deadLetters is where the receiver puts what can never succeed.
type deadLetters interface {
	publishDeadLetter(ctx context.Context, d DeadLetter) error
}

// Receiver takes the sidecar's bulk deliveries.
type Receiver struct {
	service     string
	deadLetters deadLetters
}

// NewReceiver returns the receiver of service, which names itself in the dead letters.
func NewReceiver(service string, b *Bus) *Receiver { return &Receiver{service, b} }

// Path is the route on which the sidecar delivers events of type t; the
// subscriptions in components/ name the same.
func Path(t event.Type) string { return "/deliver/" + string(t) }

// Handle routes deliveries of type t, on the app channel, to handle.
func (r *Receiver) Handle(channel gin.IRoutes, t event.Type, handle Handler) {
	route(channel, t, func(ctx context.Context, in envelope) reply { return r.receive(ctx, t, in, handle) })
}

// HandleDeadLetters routes the dead letters, on the app channel, to keep, which
// returns an error as a Handler does; one that is no dead letter comes as one.
func (r *Receiver) HandleDeadLetters(channel gin.IRoutes, keep func(context.Context, []DeadLetter) []error) {
	route(channel, DeadLetterTopic, func(ctx context.Context, in envelope) reply {
		letters := make([]DeadLetter, len(in.Entries))
		out := reply{Statuses: make([]status, len(in.Entries))}
		for i, entry := range in.Entries {
			out.Statuses[i] = status{entry.ID, success}
			err := json.Unmarshal(entry.Event, &letters[i])
			if err == nil && letters[i].ID == "" {
				err = errors.New("a dead letter without id")
			}
			if err != nil {
				letters[i] = newDeadLetter(r.service, DeadLetterTopic, entry.Event, err)
			}
		}
		for i, err := range keep(ctx, letters) {
			if err != nil {
				out.Statuses[i].Status = retry
			}
		}
		return out
	})
}

func route(channel gin.IRoutes, t event.Type, receive func(context.Context, envelope) reply) {
	channel.POST(Path(t), refuseCallers, func(c *gin.Context) {
		var in envelope
		// No limit on the body: only the sidecar gets here, and a delivery that
		// is refused for its size would be tried again for ever.
		if err := jsonv2.UnmarshalRead(c.Request.Body, &in); err != nil {
			slog.ErrorContext(c.Request.Context(), "delivery is not a bulk envelope", "topic", t, "error", err)
			c.Status(http.StatusBadRequest)
			return
		}
		c.JSON(http.StatusOK, receive(c.Request.Context(), in))
	})
}

// refuseCallers refuses service invocation: it arrives on the same listener as
// deliveries, and could otherwise forge one. Deliveries carry no caller. The header
// is refused whatever it says: a caller that sends it empty has two.
func refuseCallers(c *gin.Context) {
	if _, called := c.Request.Header["Dapr-Caller-App-Id"]; called {
		c.AbortWithStatus(http.StatusForbidden)
	}
}

// envelope is a bulk delivery with raw payloads
// (https://docs.dapr.io/reference/api/pubsub_api/#receiving-bulk-messages).
type envelope struct {
	Entries []entry `json:"entries"`
}

type entry struct {
	ID    string  `json:"entryId"`
	Event payload `json:"event"`
}

// payload is the message itself: base64 in the envelope. Whatever else stands
// there is taken as the message, so that it is refused for what it is.
type payload []byte

func (p *payload) UnmarshalJSON(data []byte) error {
	if len(data) >= 2 && data[0] == '"' { // base64 has nothing that JSON escapes
		decoded := make([]byte, base64.StdEncoding.DecodedLen(len(data)-2))
		if n, err := base64.StdEncoding.Decode(decoded, data[1:len(data)-1]); err == nil {
			*p = decoded[:n]
			return nil
		}
	}
	*p = append([]byte(nil), data...)
	return nil
}

type reply struct {
	Statuses []status `json:"statuses"`
}

type status struct {
	EntryID string `json:"entryId"`
	Status  string `json:"status"`
}

// The answers to a delivery. DROP is never used: the runtime's own dead-lettering
// acknowledges the message even when it could not publish it.
const (
	success = "SUCCESS"
	retry   = "RETRY"
)

func (r *Receiver) receive(ctx context.Context, t event.Type, in envelope, handle Handler) reply {
	out := reply{Statuses: make([]status, len(in.Entries))}
	events := make([]event.Event, 0, len(in.Entries))
	index := make([]int, 0, len(in.Entries)) // of the event in the envelope
	for i, entry := range in.Entries {
		out.Statuses[i] = status{entry.ID, success}
		e, err := event.Parse(t, entry.Event)
		if err != nil {
			out.Statuses[i].Status = r.bury(ctx, t, entry.Event, err)
			continue
		}
		events, index = append(events, e), append(index, i)
	}
	if len(events) == 0 {
		return out
	}
	for _, e := range events {
		defer web.Follow(ctx, e.TraceParent, "handle "+string(t))()
	}
	refused := 0
	var first error
	for i, err := range safely(ctx, handle, events) {
		switch {
		case err == nil:
		case errors.Is(err, ErrPoison):
			out.Statuses[index[i]].Status = r.bury(ctx, t, in.Entries[index[i]].Event, err)
		default:
			out.Statuses[index[i]].Status = retry
			if refused++; first == nil {
				first = err
			}
		}
	}
	if refused > 0 {
		slog.WarnContext(ctx, "asking for events again", "topic", t, "events", refused, "of", len(events), "error", first)
	}
	return out
}

// safely calls handle and makes an error of a panic, and of a result of the wrong length.
func safely(ctx context.Context, handle Handler, events []event.Event) (errs []error) {
	defer func() {
		if p := recover(); p != nil {
			slog.ErrorContext(ctx, "handler panicked", "panic", p, "stack", string(debug.Stack()))
			errs = All(len(events), fmt.Errorf("panic: %v", p))
		}
	}()
	errs = handle(ctx, events)
	if errs != nil && len(errs) != len(events) {
		return All(len(events), fmt.Errorf("handler returned %d results for %d events", len(errs), len(events)))
	}
	return errs
}

// bury publishes a dead letter and says how to answer its delivery.
func (r *Receiver) bury(ctx context.Context, t event.Type, raw []byte, reason error) string {
	d := newDeadLetter(r.service, string(t), raw, reason)
	if err := r.deadLetters.publishDeadLetter(ctx, d); err != nil {
		slog.WarnContext(ctx, "could not publish a dead letter, asking for it again", "topic", t, "error", err)
		return retry
	}
	slog.WarnContext(ctx, "dead letter", "topic", t, "id", d.ID, "reason", reason)
	return success
}
