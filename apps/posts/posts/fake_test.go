package posts

import (
	"context"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
)

// topic is a bus that keeps what was published.
type topic struct {
	bus.Publisher
	events []event.Event
	err    error
}

func (p *topic) Publish(_ context.Context, e event.Event) error {
	if p.err != nil {
		return p.err
	}
	p.events = append(p.events, e)
	return nil
}
