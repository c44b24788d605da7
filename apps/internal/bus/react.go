package bus

import (
	"context"
	"log/slog"

	"github.com/postbus/postbus/apps/internal/event"
)

// Publisher is the part of a Bus that puts events on it.
type Publisher interface {
	PublishAll(ctx context.Context, t event.Type, events []event.Event) []error
}

// React answers each event with an event of type t, and publishes all answers in one
// call. answer makes the answer to event i, or returns why there is none. It returns the
// answers and the errors by index. A nil error means that the answer was published.
func React(ctx context.Context, to Publisher, t event.Type, events []event.Event, answer func(i int) (event.Event, error)) (made []event.Event, errs []error) {
	made, errs = make([]event.Event, len(events)), make([]error, len(events))
	var answers []event.Event
	var outcomes []*error // of the answers, among errs
	for i := range events {
		a, err := answer(i)
		if err != nil {
			errs[i] = err
			continue
		}
		made[i] = a
		answers, outcomes = append(answers, a), append(outcomes, &errs[i])
	}
	for i, err := range to.PublishAll(ctx, t, answers) {
		*outcomes[i] = err
	}
	slog.DebugContext(ctx, "reacted", "type", t, "events", len(answers), "of", len(events))
	return made, errs
}
