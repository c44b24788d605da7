// Package moderation is the service that decides which comments readers get to see.
package moderation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/catchup"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// Policy decides on comments. It must depend on the comment's text alone: otherwise a
// redelivered event could get another decision.
type Policy interface {
	// Decide returns the comment's status and, for a rejection, the reason.
	Decide(c event.Comment) (status event.Status, reason string)
}

// Progress is how far the service has followed the log: a *catchup.Progress.
type Progress interface {
	// IsRestored says that the store has the decisions of the log.
	IsRestored() bool
	// IsOf says that the store was not emptied since, by what it has at catchup.OriginKey.
	IsOf(origin []byte) bool
}

// Config says what a Service works with.
type Config struct {
	// Source is the source of the events, the app id.
	Source    string
	Publisher bus.Publisher
	Store     state.Store
	Progress  Progress
	Rules     Policy
	Now       func() time.Time
}

// Service answers each comment with its moderation. It is safe for concurrent use.
type Service struct{ Config }

// New returns a service.
func New(c Config) *Service { return &Service{c} }

// Consumers are the events that the service handles. It reads its own decisions in the log:
// what is there stands, whatever the store has lost. A CommentUpdated has the decision, too:
// the bus may have brought it to comments, and not into the log.
func (s *Service) Consumers() []catchup.Consumer {
	return []catchup.Consumer{
		{Type: event.CommentModerated, Missing: s.missing, Effect: s.restore},
		{Type: event.CommentUpdated, Missing: s.missing, Effect: s.restore},
		{
			Type: event.CommentCreated, React: s.decideAll, FollowsLog: true,
			Reaction: func(e event.Event) string {
				return event.IDOf(event.CommentModerated, e.Subject, e.Comment.Revision+1)
			},
			OwnEffects: func(answer event.Event) []string {
				return []string{answer.ID, event.IDOf(event.CommentUpdated, answer.Subject, answer.Comment.Revision)}
			},
		},
	}
}

// decideWithin bounds the time for the decisions of one delivery. The rest of the
// sidecar's time-out for a delivery is for storing and publishing them (5 s,
// components/shared/resiliency.yaml). A delivery that times out is repeated as a whole.
const decideWithin = 2 * time.Second

var (
	errNotDecided = errors.New("the time for this delivery's decisions is over")
	errEmptied    = errors.New("the store was emptied, and does not have the decisions of the log yet")
)

// decision is the decision on a comment. It is one document a comment, "decision-<id>",
// written once and never changed. So an event that is redelivered after a change of the
// policy gets the same answer.
type decision struct {
	// Comment is the event.Digest of the comment as it was created.
	Comment string       `json:"comment"`
	Status  event.Status `json:"status"`
	Reason  string       `json:"reason,omitempty"`
}

// decideAll answers each CommentCreated with a CommentModerated. It stores the decision
// before it publishes it, and derives the event's id from the comment's. So a redelivered
// event gets the same answer. Another comment with the same id is a bus.ErrPoison. Events
// that are not decided within decideWithin have errors and are redelivered.
func (s *Service) decideAll(ctx context.Context, events []event.Event) (answers []event.Event, errs []error) {
	decisions, items, err := s.decide(events)
	if err != nil {
		return nil, bus.All(len(events), err)
	}
	kept := state.Keep(ctx, s.Store, items...)
	if err := s.checkStore(ctx); err != nil {
		return nil, bus.All(len(events), err)
	}
	return bus.React(ctx, s.Publisher, event.CommentModerated, events, func(i int) (event.Event, error) {
		if i >= len(decisions) {
			return event.Event{}, errNotDecided
		}
		stands, err := standing(decisions[i], kept[items[i].Key])
		if err != nil {
			return event.Event{}, fmt.Errorf("%s: %w", items[i].Key, err)
		}
		comment := *events[i].Comment
		comment.Status, comment.Reason = stands.Status, stands.Reason
		comment.Revision++
		// The time is that of the CommentCreated, so that the answer is the same to the
		// byte.
		return event.OfComment(event.CommentModerated, s.Source, comment, events[i].Time, events[i].TraceParent)
	})
}

// checkStore says whether decisions that were stored before the call count: not if the store
// was emptied before, because the log may have others.
func (s *Service) checkStore(ctx context.Context) error {
	items, err := s.Store.Get(ctx, catchup.OriginKey)
	if err != nil {
		return err
	}
	if s.Progress.IsRestored() && s.Progress.IsOf(items[0].Value) {
		return nil
	}
	return errEmptied
}

func decisionKey(comment string) string { return "decision-" + comment }

// decide returns the decisions on the first of the events, and the documents that store
// them. It stops after decideWithin, but decides at least one, so that each delivery
// makes progress.
func (s *Service) decide(events []event.Event) (decisions []decision, items []state.Item, err error) {
	start := s.Now()
	for i, e := range events {
		if i > 0 && s.Now().Sub(start) >= decideWithin {
			break
		}
		digest, err := event.Digest(e.Comment)
		if err != nil {
			return nil, nil, err
		}
		status, reason := s.Rules.Decide(*e.Comment)
		made := decision{Comment: digest, Status: status, Reason: reason}
		value, err := event.Marshal(made)
		if err != nil {
			return nil, nil, err
		}
		decisions = append(decisions, made)
		items = append(items, state.Item{Key: decisionKey(e.Comment.ID), Value: value})
	}
	return decisions, items, nil
}

// standing returns the decision that counts: the one that was stored first, which may not
// be the one made now.
func standing(made decision, kept state.Kept) (stands decision, err error) {
	if kept.Err != nil {
		return stands, kept.Err
	}
	if err := json.Unmarshal(kept.Value, &stands); err != nil {
		return stands, err
	}
	if stands.Comment != made.Comment {
		return stands, fmt.Errorf("%w: it is of a comment with other content", bus.ErrPoison)
	}
	return stands, nil
}
