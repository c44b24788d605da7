package log

import (
	"context"
	"errors"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
)

// DeadLetters keeps the dead letters as the events are kept: in a log, numbered, each
// once.
type DeadLetters struct {
	Log *Log
	Now func() time.Time
}

// Keep returns when the letters are in the log, with the errors by index.
func (d DeadLetters) Keep(ctx context.Context, letters []bus.DeadLetter) []error {
	events := make([]event.Event, len(letters))
	for i, letter := range letters {
		data, err := event.Marshal(letter)
		if err != nil {
			return bus.All(len(letters), err)
		}
		events[i] = event.Event{
			SpecVersion: "1.0", ID: letter.ID, Source: "/" + letter.Service, Type: "DeadLetter", Subject: letter.Topic,
			Time: d.Now().UTC(), DataContentType: "application/json", Data: data,
		}
	}
	errs := d.Log.Append(ctx, events)
	for i, err := range errs {
		if errors.Is(err, bus.ErrPoison) {
			// The log has the same refusal with another wording of the reason, or another
			// spelling of the message. It keeps that one.
			errs[i] = nil
		}
	}
	return errs
}
