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

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/event"
)

// DeadLetterTopic is the topic of messages that can never succeed.
const DeadLetterTopic = "dead-letters"

// DeadLetter is a message that can never succeed, kept for people to look at.
type DeadLetter struct {
	// ID is derived from the service, the topic and the event, as DeadLetterID says. Of a
	// message that is no CloudEvent it is derived from the bytes. So the same refusal has
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

// NewDeadLetter makes the dead letter of a message that the service refuses on a topic.
func NewDeadLetter(service, topic string, raw []byte, reason error) DeadLetter {
	id := ""
	if e, err := event.ParseEnvelope(raw); err == nil {
		id = DeadLetterID(service, event.Type(topic), e)
	} else {
		id = versionFive(messageIDs, service, topic, raw)
	}
	return newDeadLetterWithID(id, service, topic, raw, reason)
}

func newDeadLetterWithID(id, service, topic string, raw []byte, reason error) DeadLetter {
	d := DeadLetter{ID: id, Service: service, Topic: topic, Reason: reason.Error(), Payload: raw}
	if len(d.Reason) > firstKept { // it may quote the message
		d.Reason = strings.ToValidUTF8(d.Reason[:firstKept], "") + "…"
	}
	if n := len(raw); n > mostKept {
		d.Reason += fmt.Sprintf(" (of its %d bytes the first %d are kept)", n, firstKept)
		d.Payload = bytes.Clone(raw[:firstKept]) // so that the rest can go
	}
	return d
}

// The namespaces (RFC 9562, version 5) of dead letters' ids: those of messages that are no
// CloudEvents, and those of events.
var (
	messageIDs = uuid.NameSpaceOID
	eventIDs   = uuid.MustParse("b2a3d7f1-08c6-4a5e-9d43-7c1f0e6b5a92")
)

// DeadLetterID is the id of the dead letter that the service makes if it refuses e on topic
// t. It is derived from both, and from the event's id, type, subject and data. How the data
// is spaced, escaped and ordered does not matter. So an event off the bus and its copy in
// the log, which has a number, have the same one.
func DeadLetterID(service string, t event.Type, e event.Event) string {
	data := slices.Clone(jsontext.Value(e.Data))
	if data.Format(jsontext.ReorderRawObjects(true)) != nil {
		data = jsontext.Value("null") // an event without data
	}
	content := struct {
		ID      string         `json:"id"`
		Type    event.Type     `json:"type"`
		Subject string         `json:"subject"`
		Data    jsontext.Value `json:"data"`
	}{e.ID, e.Type, e.Subject, data}
	encoded, err := event.Marshal(content)
	if err != nil { // not valid UTF-8, which no event from bus or log is
		encoded = []byte(e.ID)
	}
	return versionFive(eventIDs, service, string(t), encoded)
}

// versionFive is a UUID of version 5. It does not copy the content, which may have 16 MiB.
func versionFive(namespace uuid.UUID, service, topic string, content []byte) string {
	h := sha1.New() //nolint:gosec // UUIDs of version 5 are made of SHA-1
	for _, part := range [][]byte{namespace[:], []byte(service + "\x00" + topic + "\x00"), content} {
		_, _ = h.Write(part) // it can't fail
	}
	id := uuid.UUID(h.Sum(nil)[:16])
	id[6], id[8] = id[6]&0x0f|0x50, id[8]&0x3f|0x80 // version and variant
	return id.String()
}

// DeadLetter publishes the dead letter of an event that the service has read from the log
// and can never take. It has the id that a delivery of the event on topic t would have.
func (b *Bus) DeadLetter(ctx context.Context, service string, t event.Type, e event.Event, reason error) error {
	e.Sequence = 0 // as the bus has it
	raw, err := event.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding event %s: %w", e.ID, err)
	}
	return b.publishDeadLetter(ctx, newDeadLetterWithID(DeadLetterID(service, t, e), service, string(t), raw, reason))
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
