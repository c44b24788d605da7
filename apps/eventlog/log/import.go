package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/web"
)

// importer takes the events of another log.
type importer struct {
	log     *Log
	readers readers
}

// ServeImport answers POST of eventlog.ImportPath?after=N. The body is a JSON array of at most
// eventlog.MaxAppend events of another log, with their numbers from N+1 on. The answer is 204
// once the log has them under these numbers, 409 if it does not end at N, 422 for events that
// are none, and 503 if it is not known.
func ServeImport(log *Log) gin.HandlerFunc { return importer{log, newReaders()}.serve }

func (i importer) serve(c *gin.Context) {
	after, err := web.Number(c, "after", uint64(0), 0, 1<<62)
	if err != nil {
		web.Fail(c, err)
		return
	}
	values, err := i.readers.read(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	events, err := numbered(after, values)
	if err != nil {
		web.Fail(c, err)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), appendTimeout)
	defer cancel()
	if err := i.take(ctx, after, events); err != nil {
		slog.WarnContext(ctx, "can't import events", "after", after, "events", len(events), "error", err)
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

// numbered decodes events that have the numbers from after+1 on. The error is a *web.Problem.
func numbered(after uint64, values []jsontext.Value) ([]event.Event, error) {
	events := make([]event.Event, len(values))
	for i, value := range values {
		number := after + uint64(i) + 1 //nolint:gosec // never negative
		batch, err := event.ParseBatch([]byte("[" + string(value) + "]"))
		if err == nil && uint64(batch[0].Sequence) != number {
			err = fmt.Errorf("it has number %d", batch[0].Sequence)
		}
		if err != nil {
			return nil, web.NewProblem(http.StatusUnprocessableEntity, fmt.Sprintf("Event %d can't be imported: %.300s.", number, err))
		}
		events[i] = batch[0]
	}
	return events, nil
}

// take appends events after the log's end. The error is a *web.Problem.
func (i importer) take(ctx context.Context, after uint64, events []event.Event) error {
	if err := i.endsAt(ctx, after); err != nil {
		return err
	}
	for at, err := range i.log.Append(ctx, events) {
		if err != nil {
			return web.Unavailable(fmt.Sprintf("Event %d can't be imported: %s.", events[at].Sequence, err))
		}
	}
	// What others appended meanwhile, or an event that the log has already, leaves a gap or a
	// surplus.
	return i.endsAt(ctx, after+uint64(len(events)))
}

// endsAt returns a *web.Problem unless the log ends at the number.
func (i importer) endsAt(ctx context.Context, number uint64) error {
	err := i.log.Refresh(ctx, 0)
	end, endErr := i.log.End()
	switch {
	case errors.Join(err, endErr) != nil:
		return web.Unavailable("The log can't be read: " + errors.Join(err, endErr).Error() + ".")
	case end.Sequence != number:
		return web.NewProblem(http.StatusConflict, fmt.Sprintf("The log ends at event %d and not at %d.", end.Sequence, number))
	}
	return nil
}
