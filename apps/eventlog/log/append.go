package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/semaphore"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/web"
)

const (
	// appendsRead is how many bodies are read at once. Further ones wait.
	appendsRead = 4
	// appendTimeout bounds one append. It is shorter than a client waits for an answer.
	appendTimeout = 1500 * time.Millisecond
)

// appender takes the events that a service puts into the log without the bus.
type appender struct {
	service string // this one, for the dead letters
	log     *Log
	letters DeadLetters
	readers readers
}

// ServeAppend answers POST of eventlog.AppendPath/:type. The body is a JSON array of at most
// eventlog.MaxAppend CloudEvents of that type, as on the bus. The answer is 204 once each of
// them is in the log or, if it can never be, among the dead letters; otherwise 503, and the
// request is to be repeated. Service is eventlog's app id, which the dead letters name.
func ServeAppend(service string, log *Log, letters DeadLetters) gin.HandlerFunc {
	return appender{service, log, letters, newReaders()}.serve
}

func (a appender) serve(c *gin.Context) {
	t := event.Type(c.Param("type"))
	if !t.IsKnown() {
		web.Fail(c, web.NewProblem(http.StatusNotFound, fmt.Sprintf("There is no event type %.40q.", t)))
		return
	}
	values, err := a.readers.read(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), appendTimeout)
	defer cancel()
	if err := a.take(ctx, t, values); err != nil {
		slog.WarnContext(ctx, "can't append the events of a service", "type", t, "events", len(values), "error", err)
		web.Fail(c, web.Unavailable("The events can't be appended: "+err.Error()+"."))
		return
	}
	c.Status(http.StatusNoContent)
}

// readers bound how many bodies are read at once.
type readers struct{ *semaphore.Weighted }

func newReaders() readers { return readers{semaphore.NewWeighted(appendsRead)} }

// read returns the elements of a body, a batch of at most eventlog.MaxAppend events. The error
// is a *web.Problem.
func (r readers) read(c *gin.Context) ([]jsontext.Value, error) {
	// A form of a web page cannot send this media type.
	if !web.HasMediaType(c.Request.Header, eventlog.ContentType) {
		return nil, web.NewProblem(http.StatusUnsupportedMediaType, "Events are sent as "+eventlog.ContentType+".")
	}
	if err := r.Acquire(c.Request.Context(), 1); err != nil {
		return nil, web.Unavailable("Too many others append events now.")
	}
	defer r.Release(1)
	var values []jsontext.Value
	err := jsonv2.UnmarshalRead(http.MaxBytesReader(c.Writer, c.Request.Body, eventlog.MaxAppendBytes), &values)
	switch tooLarge := new(http.MaxBytesError); {
	case errors.As(err, &tooLarge):
		return nil, web.NewProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("The body is larger than %d bytes.", eventlog.MaxAppendBytes))
	case err != nil:
		return nil, web.NewProblem(http.StatusBadRequest, "The body is no JSON array of events.")
	case len(values) > eventlog.MaxAppend:
		return nil, web.NewProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("The body has %d events, more than %d.", len(values), eventlog.MaxAppend))
	}
	return values, nil
}

// take appends events of a type. Those that can never be in the log become dead letters, as
// after a delivery.
func (a appender) take(ctx context.Context, t event.Type, values []jsontext.Value) error {
	var events []event.Event
	var raw [][]byte // of each event
	var refused []bus.DeadLetter
	for _, value := range values {
		message := bytes.Clone(value) // an event keeps parts of its message
		e, err := event.Parse(t, message)
		if err != nil {
			refused = append(refused, bus.NewDeadLetter(a.service, string(t), message, err))
			continue
		}
		events, raw = append(events, e), append(raw, message)
	}
	if len(events) > 0 {
		for i, err := range a.log.Append(ctx, events) {
			if errors.Is(err, bus.ErrPoison) {
				refused = append(refused, bus.NewDeadLetter(a.service, string(t), raw[i], err))
			} else if err != nil {
				return err
			}
		}
	}
	if len(refused) == 0 {
		return nil
	}
	return errors.Join(a.letters.Keep(ctx, refused)...)
}
