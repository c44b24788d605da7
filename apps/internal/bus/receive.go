package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/semaphore"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/web"
)

// ErrPoison marks an event that its handler can never accept, however often it is
// delivered. Such an event is dead-lettered.
var ErrPoison = errors.New("poison event")

// Handler takes a batch of events of one type. It returns one error an event, or nil if
// it took them all. A nil error acknowledges the event, and an ErrPoison dead-letters it.
// Any other error has the event redelivered. That is for a dependency that is down, or
// for events that did not fit into the delivery's time, and for nothing else, because it
// holds up the topic. A panic counts as such an error for the whole batch.
type Handler func(ctx context.Context, events []event.Event) []error

// Receiver takes the sidecar's bulk deliveries.
type Receiver struct {
	service string
	bus     *Bus // for the dead letters
	// reading counts the bytes of the deliveries that are being read.
	reading *semaphore.Weighted
}

// NewReceiver returns the receiver of a service. The dead letters name the service.
func NewReceiver(service string, b *Bus) *Receiver {
	return &Receiver{service, b, semaphore.NewWeighted(maxReading)}
}

// Path is the route to which the sidecar delivers events of type t. The subscriptions in
// components/ name the same route.
func Path(t event.Type) string { return "/deliver/" + string(t) }

// Handle passes deliveries of type t on the app channel to handle.
func (r *Receiver) Handle(channel gin.IRoutes, t event.Type, handle Handler) {
	r.route(channel, t, func(ctx context.Context, entries []entry) { r.receive(ctx, t, entries, handle) })
}

// HandleDeadLetters passes dead letters on the app channel to keep, which returns errors
// as a Handler does. A message that is no dead letter becomes one.
func (r *Receiver) HandleDeadLetters(channel gin.IRoutes, keep func(context.Context, []DeadLetter) []error) {
	r.route(channel, DeadLetterTopic, func(ctx context.Context, entries []entry) {
		letters := make([]DeadLetter, len(entries))
		for i, entry := range entries {
			if entry.refused != nil {
				letters[i] = *entry.refused
				continue
			}
			err := json.Unmarshal(entry.Event, &letters[i])
			if err == nil && letters[i].ID == "" {
				err = errors.New("a dead letter without id")
			}
			if err != nil {
				letters[i] = NewDeadLetter(r.service, DeadLetterTopic, entry.Event, err)
			}
		}
		for i, err := range keep(ctx, letters) {
			if err != nil {
				entries[i].status = retry
			}
		}
	})
}

// route calls take, which sets the statuses of a delivery's entries.
func (r *Receiver) route(channel gin.IRoutes, t event.Type, take func(context.Context, []entry)) {
	channel.POST(Path(t), refuseCallers, func(c *gin.Context) {
		ctx := c.Request.Context()
		// A form of a web page cannot send this media type.
		if !web.HasMediaType(c.Request.Header, "application/json") {
			web.Fail(c, web.NewProblem(http.StatusUnsupportedMediaType, "A delivery is application/json."))
			return
		}
		in, err := r.read(c.Request, t)
		switch {
		case errors.Is(err, errTooLarge):
			slog.ErrorContext(ctx, "delivery is too large", "topic", t, "error", err)
			web.Fail(c, web.NewProblem(http.StatusRequestEntityTooLarge, "The delivery "+errTooLarge.Error()+"."))
		case err != nil:
			slog.ErrorContext(ctx, "delivery is not a bulk envelope", "topic", t, "error", err)
			web.Fail(c, web.NewProblem(http.StatusBadRequest, "The delivery is not a bulk envelope."))
		default:
			take(ctx, in.Entries)
			c.JSON(http.StatusOK, in.reply())
		}
	})
}

// read reads the envelope of a delivery of type t.
func (r *Receiver) read(req *http.Request, t event.Type) (envelope, error) {
	size := req.ContentLength
	if size < 0 || size > maxReading { // the size is too large or unknown
		size = maxReading
	}
	if err := r.reading.Acquire(req.Context(), size); err != nil {
		return envelope{}, err
	}
	defer r.reading.Release(size)
	return readEnvelope(req.Body, func(raw []byte) DeadLetter {
		_, err := event.Parse(t, raw)
		return NewDeadLetter(r.service, string(t), raw, err)
	})
}

// refuseCallers refuses service invocation. It arrives on the same listener as
// deliveries, and could otherwise forge one. A delivery has no caller. The header is
// refused even if it is empty, because a caller that sends an empty one gets a second one
// added.
func refuseCallers(c *gin.Context) {
	if _, called := c.Request.Header["Dapr-Caller-App-Id"]; called {
		web.Fail(c, web.NewProblem(http.StatusForbidden, "Deliveries are for the sidecar alone to make."))
	}
}

type reply struct {
	Statuses []status `json:"statuses"`
}

type status struct {
	EntryID string `json:"entryId"`
	Status  string `json:"status"`
}

// The answers to an entry. DROP is never used: the runtime acknowledges a dropped message
// even if it could not publish the dead letter (../README.md).
const (
	success = "SUCCESS"
	retry   = "RETRY"
)

func (in envelope) reply() reply {
	out := reply{Statuses: make([]status, len(in.Entries))}
	for i, entry := range in.Entries {
		out.Statuses[i] = status{entry.ID, cmp.Or(entry.status, success)}
	}
	return out
}

func (r *Receiver) receive(ctx context.Context, t event.Type, entries []entry, handle Handler) {
	var events []event.Event
	var delivered []*entry // of each event
	for i := range entries {
		entry := &entries[i]
		if entry.refused != nil {
			entry.status = r.deadLetter(ctx, *entry.refused)
			continue
		}
		e, err := event.Parse(t, entry.Event)
		if err != nil {
			entry.status = r.deadLetter(ctx, NewDeadLetter(r.service, string(t), entry.Event, err))
			continue
		}
		events, delivered = append(events, e), append(delivered, entry)
	}
	if len(events) == 0 {
		return
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
			delivered[i].status = r.deadLetter(ctx, NewDeadLetter(r.service, string(t), delivered[i].Event, err))
		default:
			delivered[i].status = retry
			refused++
			first = cmp.Or(first, err)
		}
	}
	if refused > 0 {
		slog.WarnContext(ctx, "events will be redelivered", "topic", t, "events", refused, "of", len(events), "error", first)
	}
}

// safely calls handle. It turns a panic, or a result of the wrong length, into an error.
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

// deadLetter publishes a dead letter and returns the status of the message's delivery.
func (r *Receiver) deadLetter(ctx context.Context, d DeadLetter) string {
	if err := r.bus.publishDeadLetter(ctx, d); err != nil {
		slog.WarnContext(ctx, "could not publish a dead letter, its message will be redelivered", "topic", d.Topic, "error", err)
		return retry
	}
	return success
}
