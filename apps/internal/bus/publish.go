// Package bus publishes events to, and receives them from, the Dapr pub/sub
// component that is the event bus.
package bus

import (
	"context"
	"crypto/sha1" //nolint:gosec // for ids
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	pb "github.com/dapr/dapr/pkg/proto/runtime/v1"
	dapr "github.com/dapr/go-sdk/client"
	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/event"
)

// Component is the name of the pub/sub component.
const Component = "bus"

const cloudEvents = "application/cloudevents+json"

// Bus publishes events. It is safe for concurrent use.
type Bus struct {
	client dapr.Client
}

// New returns the bus of the sidecar that client is connected to.
func New(client dapr.Client) *Bus { return &Bus{client} }

// Publish puts e on its topic. A nil error means that the broker has it. After any other
// error it is not known whether the broker has it. Events travel byte for byte
// (../README.md, "Raw payloads").
func (b *Bus) Publish(ctx context.Context, e event.Event) error {
	raw, err := event.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding event %s: %w", e.ID, err)
	}
	return b.client.PublishEvent(ctx, Component, string(e.Type), raw, dapr.PublishEventWithContentType(cloudEvents), dapr.PublishEventWithRawPayload())
}

// PublishAll puts events, all of type t, on their topic in one call. The errors are by
// index; nil means that all events were published. (../README.md says why the SDK's
// PublishEvents does not do.)
func (b *Bus) PublishAll(ctx context.Context, t event.Type, events []event.Event) []error {
	if len(events) == 0 {
		return nil
	}
	req := &pb.BulkPublishRequest{PubsubName: Component, Topic: string(t), Metadata: map[string]string{"rawPayload": "true"}}
	for i, e := range events {
		raw, err := event.Marshal(e)
		if err != nil {
			return All(len(events), fmt.Errorf("encoding event %s: %w", e.ID, err))
		}
		req.Entries = append(req.Entries, &pb.BulkPublishRequestEntry{
			EntryId: strconv.Itoa(i), Event: raw, ContentType: cloudEvents,
		})
	}
	res, err := b.client.GrpcClient().BulkPublishEvent(ctx, req)
	if err != nil {
		return All(len(events), fmt.Errorf("publishing %d events to %s: %w", len(events), t, err))
	}
	if len(res.GetFailedEntries()) == 0 {
		return nil
	}
	errs := make([]error, len(events))
	for _, failed := range res.GetFailedEntries() {
		i, err := strconv.Atoi(failed.GetEntryId())
		if err != nil || i < 0 || i >= len(events) {
			return All(len(events), fmt.Errorf("publishing to %s: unknown entry %q failed: %s", t, failed.GetEntryId(), failed.GetError()))
		}
		errs[i] = fmt.Errorf("publishing event %s: %s", events[i].ID, failed.GetError())
	}
	return errs
}

// All is the result of a batch of n events that all failed with err.
func All(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

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
		d.Payload = raw[:firstKept]
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

func (b *Bus) publishDeadLetter(ctx context.Context, d DeadLetter) error {
	raw, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encoding dead letter: %w", err)
	}
	return b.client.PublishEvent(ctx, Component, DeadLetterTopic, raw,
		dapr.PublishEventWithContentType("application/json"), dapr.PublishEventWithRawPayload())
}
