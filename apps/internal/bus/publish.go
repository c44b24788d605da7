// Package bus publishes events to, and receives them from, the Dapr pub/sub
// component that is the event bus.
package bus

import (
	"context"
	"fmt"
	"slices"

	dapr "github.com/dapr/go-sdk/client"

	"github.com/postbus/postbus/apps/internal/event"
)

const cloudEvents = "application/cloudevents+json"

// Topics puts messages on topics, byte for byte. A simulation has one of its own.
type Topics interface {
	// Publish puts messages of a media type on a topic. The errors are by index; nil
	// means that the broker has all of them. After any other error it is not known
	// whether the broker has that message.
	Publish(ctx context.Context, topic, contentType string, messages [][]byte) []error
}

// Bus publishes events. It is safe for concurrent use if its Topics are.
type Bus struct {
	topics Topics
}

// New returns the bus of the sidecar that client is connected to.
func New(client dapr.Client) *Bus { return On(daprTopics{client}) }

// On returns the bus that has the topics.
func On(topics Topics) *Bus { return &Bus{topics} }

// PublishAll puts events, all of type t, on their topic in one call, byte for byte
// (../README.md, "Raw payloads"). Of equal events it puts one there: a batch of a bus that repeats
// itself has them, and NATS refuses a message while it takes another one with its id ("duplicate
// message id is in process"), so that such a batch would never be published as a whole. The errors
// are by index; nil means that the broker has all events. After any other error it is not known
// whether the broker has that event.
func (b *Bus) PublishAll(ctx context.Context, t event.Type, events []event.Event) []error {
	if len(events) == 0 {
		return nil
	}
	var messages [][]byte
	known := map[string]int{}           // the messages, with their indexes
	indexes := make([]int, len(events)) // of each event's message
	for i, e := range events {
		raw, err := event.Marshal(e)
		if err != nil {
			return All(len(events), fmt.Errorf("encoding event %s: %w", e.ID, err))
		}
		at, isKnown := known[string(raw)]
		if !isKnown {
			at = len(messages)
			known[string(raw)], messages = at, append(messages, raw)
		}
		indexes[i] = at
	}
	failed := b.topics.Publish(ctx, string(t), cloudEvents, messages)
	if failed == nil {
		return nil
	}
	errs := make([]error, len(events))
	for i, e := range events {
		if err := failed[indexes[i]]; err != nil {
			errs[i] = fmt.Errorf("publishing event %s: %w", e.ID, err)
		}
	}
	return errs
}

// first is the error of a batch of one.
func first(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return errs[0]
}

// All is the result of a batch of n events that all failed with err.
func All(n int, err error) []error { return slices.Repeat([]error{err}, n) }
