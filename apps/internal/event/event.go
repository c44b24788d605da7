// Package event is the contract between the services: the event types, what each event
// carries, and its encoded form (CloudEvents 1.0, JSON).
package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	// encoding/json/v2 for Go before 1.27: faster and stricter (../README.md).
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// Type is the type of an event. The bus has one topic a type, with the same name.
type Type string

// The events.
const (
	PostCreated           Type = "PostCreated"
	CommentCreated        Type = "CommentCreated"
	CommentModerated      Type = "CommentModerated"
	CommentUpdated        Type = "CommentUpdated"
	PolicyChanged         Type = "PolicyChanged"
	PostCommentingChanged Type = "PostCommentingChanged"
	PersonBlocked         Type = "PersonBlocked"
)

// Types lists every event type: those of a post and its comments in the order in which they
// happen, then what moderators do.
var Types = []Type{PostCreated, CommentCreated, CommentModerated, CommentUpdated, PolicyChanged, PostCommentingChanged, PersonBlocked}

// IsKnown reports whether this version knows the type. A newer version may put others into
// the log.
func (t Type) IsKnown() bool { return slices.Contains(Types, t) }

// MaxBytes bounds an encoded event. A command's body has at most 64 KiB, and encoding
// cannot double it. So no service publishes a larger event.
const MaxBytes = 128 << 10

// MaxIDLength bounds an event's id, in bytes.
const MaxIDLength = 255

// ErrMalformed is the error of Parse for bytes that can never become a valid event,
// however often they are delivered.
var ErrMalformed = errors.New("malformed event")

// Event is a CloudEvent (https://github.com/cloudevents/spec, version 1.0) in
// the JSON format. It carries the whole entity, not a difference.
type Event struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            Type      `json:"type"`
	Subject         string    `json:"subject"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Sequence        Sequence  `json:"sequence,omitzero"`
	// TraceParent is the trace of the command that caused the event (CloudEvents'
	// extension for W3C Trace Context).
	TraceParent string `json:"traceparent,omitempty"`
	// Data is the entity, its members sorted.
	Data json.RawMessage `json:"data"`

	// Post is the decoded data of PostCreated, otherwise nil. All of these are nil for a type
	// that is not known.
	Post *Post `json:"-"`
	// Comment is the decoded data of the three comment events, otherwise nil.
	Comment *Comment `json:"-"`
	// Policy is the decoded data of PolicyChanged, otherwise nil.
	Policy *Policy `json:"-"`
	// Commenting is the decoded data of PostCommentingChanged, otherwise nil.
	Commenting *Commenting `json:"-"`
	// Blocking is the decoded data of PersonBlocked, otherwise nil.
	Blocking *Blocking `json:"-"`
}

// entity makes the empty entity of the event's type, which is known, and returns it.
func (e *Event) entity() any {
	switch e.Type {
	case PostCreated:
		e.Post = new(Post)
		return e.Post
	case PolicyChanged:
		e.Policy = new(Policy)
		return e.Policy
	case PostCommentingChanged:
		e.Commenting = new(Commenting)
		return e.Commenting
	case PersonBlocked:
		e.Blocking = new(Blocking)
		return e.Blocking
	default:
		e.Comment = new(Comment)
		return e.Comment
	}
}

// Sequence is an event's number in the log, from 1. 0 means no number. On the wire it is
// the extension `sequence` of CloudEvents, a string that must sort as the numbers do: 20
// digits.
type Sequence uint64

// MarshalJSON encodes the number as its 20 digits in quotes.
func (s Sequence) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `"%020d"`, uint64(s)), nil
}

// UnmarshalJSON takes a quoted decimal number.
func (s *Sequence) UnmarshalJSON(data []byte) error {
	if len(data) < 2 || data[0] != '"' || data[len(data)-1] != '"' {
		return fmt.Errorf("sequence %.40s is not a string", data)
	}
	n, err := strconv.ParseUint(string(data[1:len(data)-1]), 10, 64)
	if err != nil {
		return fmt.Errorf("sequence: %w", err)
	}
	*s = Sequence(n)
	return nil
}

// ids is the namespace (RFC 9562, version 5) of derived event ids.
var ids = uuid.MustParse("6f1cbf0c-52a1-4f6e-9d0e-1f2f5d0a7c11")

// IDOf derives an event's id from the entity, its revision and the type. So one entity at
// one revision has one event of a type, whichever service publishes it and however often.
func IDOf(t Type, entityID string, revision int) string {
	return uuid.NewSHA1(ids, fmt.Appendf(nil, "%s/%s/%d", t, entityID, revision)).String()
}

// OfPost makes the event of type t that carries post p. Source is the publishing
// service's app id; at is when it happened.
func OfPost(t Type, source string, p Post, at time.Time, traceParent string) (Event, error) {
	e, err := envelope(t, source, p.ID, p.Revision, at, traceParent, &p)
	e.Post = &p
	return e, err
}

// OfComment makes the event of type t that carries comment c, as OfPost does.
func OfComment(t Type, source string, c Comment, at time.Time, traceParent string) (Event, error) {
	e, err := envelope(t, source, c.ID, c.Revision, at, traceParent, &c)
	e.Comment = &c
	return e, err
}

// OfPolicy makes the PolicyChanged that carries policy p, as OfPost does.
func OfPolicy(source string, p Policy, traceParent string) (Event, error) {
	e, err := envelope(PolicyChanged, source, PolicyID, p.Revision, p.ChangedAt, traceParent, &p)
	e.Policy = &p
	return e, err
}

// OfCommenting makes the PostCommentingChanged that carries c, as OfPost does.
func OfCommenting(source string, c Commenting, traceParent string) (Event, error) {
	e, err := envelope(PostCommentingChanged, source, c.PostID, c.Revision, c.DecidedAt, traceParent, &c)
	e.Commenting = &c
	return e, err
}

// OfBlocking makes the PersonBlocked that carries b, as OfPost does.
func OfBlocking(source string, b Blocking, traceParent string) (Event, error) {
	e, err := envelope(PersonBlocked, source, b.Subject, b.Revision, b.DecidedAt, traceParent, &b)
	e.Blocking = &b
	return e, err
}

func envelope(t Type, source, entityID string, revision int, at time.Time, traceParent string, entity any) (Event, error) {
	data, err := Marshal(entity)
	if err == nil { // in the canonical form
		err = (*jsontext.Value)(&data).Format(jsontext.ReorderRawObjects(true))
	}
	if err != nil {
		return Event{}, fmt.Errorf("encoding %s %s: %w", t, entityID, err)
	}
	return Event{
		SpecVersion: "1.0", ID: IDOf(t, entityID, revision), Source: "/" + source, Type: t, Subject: entityID,
		Time: at, DataContentType: "application/json", TraceParent: traceParent, Data: data,
	}, nil
}

// Marshal encodes a value without the escapes for HTML. Those would turn one byte into
// six and mean nothing here.
func Marshal(v any) ([]byte, error) {
	b, err := jsonv2.Marshal(v)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Parse decodes and checks one event of a topic. The error for an event that it refuses
// is an ErrMalformed with the reason. The event's Data may be a part of raw.
func Parse(topic Type, raw []byte) (Event, error) {
	e, err := parse(raw, MaxBytes)
	switch {
	case err != nil:
	case !e.Type.IsKnown():
		err = fmt.Errorf("unknown type %.40q", e.Type)
	case e.Type != topic:
		err = fmt.Errorf("type %q on topic %s", e.Type, topic)
	}
	if err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return e, nil
}

// ParseEnvelope decodes a CloudEvent of any type and checks its attributes, but not its
// data. Post, Comment and the like are nil, and Data is as it is in raw. The error is an ErrMalformed
// with the reason.
func ParseEnvelope(raw []byte) (e Event, err error) {
	if err = validateSize(raw, MaxBytes); err == nil {
		e, err = decodeEnvelope(raw)
	}
	if err == nil {
		err = e.validateAttributes()
	}
	if err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return e, nil
}

// ParseStored decodes and checks an event that this service has encoded. The error is an
// ErrMalformed.
func ParseStored(raw []byte) (Event, error) {
	e, err := parse(raw, MaxBytes)
	if err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return e, nil
}

// ParseBatch decodes a JSON array of events, as the event log serves it.
// The log may have events of types that this version does not know, because a newer version
// ran before it or runs beside it. Readers count them and skip them. The error is an
// ErrMalformed.
func ParseBatch(raw []byte) ([]Event, error) {
	if lines, ok := canonicalLines(raw); ok {
		if events, err := parseAll(lines); err == nil {
			return events, nil
		}
	}
	var values []jsontext.Value
	if err := jsonv2.Unmarshal(raw, &values); err != nil {
		return nil, fmt.Errorf("%w: not a batch: %w", ErrMalformed, err)
	}
	return parseAll(values)
}

func parseAll[T ~[]byte](values []T) ([]Event, error) {
	events := make([]Event, len(values))
	for i, value := range values {
		var err error
		// An event in the log may be larger than on the bus: it has a number, and
		// needless escapes.
		if events[i], err = parse(value, 2*MaxBytes); err != nil {
			return nil, fmt.Errorf("%w: event %d of the batch: %w", ErrMalformed, i, err)
		}
	}
	return events, nil
}

func parse(raw []byte, limit int) (Event, error) {
	if err := validateSize(raw, limit); err != nil {
		return Event{}, err
	}
	e, ok := parseCanonical(raw)
	if !ok {
		var err error
		if e, err = parseJSON(raw); err != nil {
			return Event{}, err
		}
	}
	if err := e.validateAttributes(); err != nil {
		return Event{}, err
	}
	if e.Type.IsKnown() {
		if err := e.validateData(); err != nil {
			return Event{}, fmt.Errorf("data: %w", err)
		}
	}
	return e, nil
}

func validateSize(raw []byte, limit int) error {
	if len(raw) > limit {
		return fmt.Errorf("%d bytes, more than %d", len(raw), limit)
	}
	return nil
}

// parseJSON decodes an event and its entity, without checking them.
func parseJSON(raw []byte) (Event, error) {
	e, err := decodeEnvelope(raw)
	if err == nil {
		err = e.decodeData()
	}
	return e, err
}

// decodeEnvelope decodes an event without its entity.
func decodeEnvelope(raw []byte) (e Event, err error) {
	if !utf8.Valid(raw) {
		return e, errors.New("not valid UTF-8")
	}
	if err = jsonv2.Unmarshal(raw, &e); err != nil {
		return e, fmt.Errorf("not a CloudEvent: %w", err)
	}
	return e, nil
}

// decodeData decodes the entity of an event, without checking it. An event of an unknown
// type has none.
func (e *Event) decodeData() error {
	if !e.Type.IsKnown() {
		return nil
	}
	err := jsonv2.Unmarshal(e.Data, e.entity())
	if err == nil {
		// Formats the data as the log has it, so that the two can be compared. The
		// sidecar escapes what HTML would need escaped.
		err = (*jsontext.Value)(&e.Data).Format()
	}
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	return nil
}

// validateAttributes checks what an event of any type has beside its data.
func (e *Event) validateAttributes() error {
	switch {
	case e.SpecVersion != "1.0":
		return fmt.Errorf("specversion %q, not 1.0", e.SpecVersion)
	case e.ID == "" || len(e.ID) > MaxIDLength:
		return fmt.Errorf("an id of %d bytes", len(e.ID))
	case e.Source == "":
		return errors.New("no source")
	case e.Type == "":
		return errors.New("no type")
	case e.Time.IsZero():
		return errors.New("no time")
	}
	return nil
}

func (e *Event) validateData() error {
	var id string
	var err error
	switch {
	case e.Post != nil:
		id, err = e.Post.ID, e.Post.Validate()
	case e.Policy != nil:
		id, err = PolicyID, e.Policy.Validate()
	case e.Commenting != nil:
		id, err = e.Commenting.PostID, e.Commenting.Validate()
	case e.Blocking != nil:
		id, err = e.Blocking.Subject, e.Blocking.Validate()
	case (e.Type == CommentCreated) != (e.Comment.Status == Pending):
		err = fmt.Errorf("status %q in a %s", e.Comment.Status, e.Type)
	default:
		id, err = e.Comment.ID, e.Comment.Validate()
	}
	if err == nil && e.Subject != id {
		err = fmt.Errorf("subject %q, but entity %q", e.Subject, id)
	}
	return err
}
