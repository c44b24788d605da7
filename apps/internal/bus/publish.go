// Package bus publishes events to, and receives them from, the Dapr pub/sub
// component that is the event bus.
package bus

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // for ids
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	dapr "github.com/dapr/go-sdk/client"
	"github.com/google/uuid"

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

// Publish puts e on its topic. A nil error means that the broker has it. After any other
// error it is not known whether the broker has it. Events travel byte for byte
// (../README.md, "Raw payloads").
func (b *Bus) Publish(ctx context.Context, e event.Event) error {
	return first(b.PublishAll(ctx, e.Type, []event.Event{e}))
}

// PublishAll puts events, all of type t, on their topic in one call. The errors are by
// index, as those of Publish; nil means that all events were published.
func (b *Bus) PublishAll(ctx context.Context, t event.Type, events []event.Event) []error {
	if len(events) == 0 {
		return nil
	}
	messages := make([][]byte, len(events))
	for i, e := range events {
		raw, err := event.Marshal(e)
		if err != nil {
			return All(len(events), fmt.Errorf("encoding event %s: %w", e.ID, err))
		}
		messages[i] = raw
	}
	errs := b.topics.Publish(ctx, string(t), cloudEvents, messages)
	if errs == nil {
		return nil
	}
	for i, e := range events {
		if errs[i] != nil {
			errs[i] = fmt.Errorf("publishing event %s: %w", e.ID, errs[i])
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

// DeadLetterTopic is the topic of messages that can never succeed.
const DeadLetterTopic = "dead-letters"

// DeadLetter is a message that can never succeed, kept for people to look at.
type DeadLetter struct {
	// ID is derived from the service, the topic and the bytes. So the same refusal has
	// the same id.
	ID string `json:"id"`
	// Service is the app id of the consumer that refused it.
	Service string `json:"service"`
	Topic   string `json:"topic"`
	// Reason has little more than firstKept bytes.
	Reason string `json:"reason"`
	// Payload is the message byte for byte. Of a message with more than mostKept bytes it
	// is the first firstKept bytes, and the reason says so.
	Payload []byte `json:"payload"`
}

// A message of more than mostKept bytes is none of our events, whose bodies have at most
// 64 KiB as JSON. Only its first firstKept bytes are kept. So every dead letter fits into
// what a sidecar publishes, and a segment of them into one write.
const (
	mostKept  = 64 << 10
	firstKept = 1 << 10
)

func newDeadLetter(service, topic string, raw []byte, reason error) DeadLetter {
	d := DeadLetter{ID: deadLetterID(service, topic, raw), Service: service, Topic: topic, Reason: reason.Error(), Payload: raw}
	if len(d.Reason) > firstKept { // it may quote the message
		d.Reason = strings.ToValidUTF8(d.Reason[:firstKept], "") + "…"
	}
	if n := len(raw); n > mostKept {
		d.Reason += fmt.Sprintf(" (of its %d bytes the first %d are kept)", n, firstKept)
		d.Payload = bytes.Clone(raw[:firstKept]) // so that the rest can go
	}
	return d
}

// deadLetterID is a UUID of version 5. It does not copy the message, which may have 16
// MiB.
func deadLetterID(service, topic string, raw []byte) string {
	h := sha1.New() //nolint:gosec // UUIDs of version 5 are made of SHA-1
	for _, part := range [][]byte{uuid.NameSpaceOID[:], []byte(service + "\x00" + topic + "\x00"), raw} {
		_, _ = h.Write(part) // it can't fail
	}
	id := uuid.UUID(h.Sum(nil)[:16])
	id[6], id[8] = id[6]&0x0f|0x50, id[8]&0x3f|0x80 // version and variant
	return id.String()
}

// DeadLetter publishes the dead letter of an event that the service has read from the log
// and can never take. It is the one that a delivery of the event on topic t would have.
func (b *Bus) DeadLetter(ctx context.Context, service string, t event.Type, e event.Event, reason error) error {
	e.Sequence = 0 // as the bus has it
	raw, err := event.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding event %s: %w", e.ID, err)
	}
	return b.publishDeadLetter(ctx, newDeadLetter(service, string(t), raw, reason))
}

func (b *Bus) publishDeadLetter(ctx context.Context, d DeadLetter) error {
	raw, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encoding dead letter: %w", err)
	}
	if err := first(b.topics.Publish(ctx, DeadLetterTopic, "application/json", [][]byte{raw})); err != nil {
		return err
	}
	slog.WarnContext(ctx, "dead letter", "topic", d.Topic, "id", d.ID, "reason", d.Reason)
	return nil
}
