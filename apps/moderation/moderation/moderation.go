// Package moderation is the service that decides which comments readers get to see.
package moderation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/catchup"
	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/limit"
	"github.com/postbus/postbus/apps/internal/revised"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/moderation/policy"
	"github.com/postbus/postbus/apps/moderation/queue"
)

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
	Journal   command.Journal // for what moderators do
	Publisher bus.Publisher   // for the policy's decisions
	Store     state.Store
	Progress  Progress
	Log       eventlog.Reader
	// Guard finds out who sends a request.
	Guard  *identity.Guard
	Limits *limit.Limits
	// Default is the policy until moderators change it.
	Default policy.Rules
	// Scorer is nil if none is configured.
	Scorer *policy.Scorer
	Now    func() time.Time
}

// Service answers each comment with its moderation, and moderators' commands. It is safe for
// concurrent use.
type Service struct {
	Config
	commands    *command.Commands
	policies    *policies
	commentings *revised.Documents[event.Commenting]
	blockings   *revised.Documents[event.Blocking]
	queue       *queue.Index
}

// New returns a service.
func New(c Config) *Service {
	return &Service{
		Config: c, commands: command.New(c.Journal), policies: newPolicies(c), queue: queue.New(c.Log),
		commentings: &revised.Documents[event.Commenting]{
			Store: c.Store,
			Of:    func(e event.Event) (string, event.Commenting) { return commentingKey(e.Subject), *e.Commenting },
		},
		blockings: &revised.Documents[event.Blocking]{
			Store: c.Store,
			Of:    func(e event.Event) (string, event.Blocking) { return blockingKey(e.Subject), *e.Blocking },
		},
	}
}

// Run keeps the queue up with the log, until ctx is done.
func (s *Service) Run(ctx context.Context) { s.queue.Run(ctx) }

// Consumers are the events that the service handles. It reads its own decisions in the log:
// what is there stands, whatever the store has lost. A CommentUpdated has the decision, too:
// the bus may have brought it to comments, and not into the log.
func (s *Service) Consumers() []catchup.Consumer {
	return []catchup.Consumer{
		s.policies.documents.Consumer(event.PolicyChanged),
		s.commentings.Consumer(event.PostCommentingChanged),
		s.blockings.Consumer(event.PersonBlocked),
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

const (
	// decideWithin bounds the time for the decisions of one delivery. The rest of the
	// sidecar's time-out for a delivery is for storing and publishing them (5 s,
	// components/shared/resiliency.yaml). A delivery that times out is repeated as a whole.
	decideWithin = 2 * time.Second
	// askAtOnce bounds how many comments are with the scorer at the same time.
	askAtOnce = 32
)

var (
	errNotDecided = errors.New("the time for this delivery's decisions is over")
	errEmptied    = errors.New("the store was emptied, and does not have the decisions of the log yet")
)

// decideAll answers each CommentCreated with a CommentModerated. It stores the decision
// before it publishes it, and derives the event's id from the comment's. So a redelivered
// event gets the same answer. Another comment with the same id is a bus.ErrPoison. Events
// that are not decided within decideWithin have errors and are redelivered.
func (s *Service) decideAll(ctx context.Context, events []event.Event) (answers []event.Event, errs []error) {
	made, err := s.decide(ctx, events)
	if err != nil {
		return nil, bus.All(len(events), err)
	}
	standing := s.keep(ctx, made)
	if err := s.checkStore(ctx); err != nil {
		return nil, bus.All(len(events), err)
	}
	return bus.React(ctx, s.Publisher, event.CommentModerated, events, func(i int) (event.Event, error) {
		if made[i].Status == "" {
			return event.Event{}, errNotDecided
		}
		stands := standing[made[i].key]
		switch {
		case stands.err != nil:
			return event.Event{}, fmt.Errorf("%s: %w", made[i].key, stands.err)
		case stands.Comment != made[i].comment:
			return event.Event{}, fmt.Errorf("%s: %w: it is of a comment with other content", made[i].key, bus.ErrPoison)
		}
		comment := *events[i].Comment
		comment.Status, comment.Reason, comment.PolicyVersion = stands.Status, stands.Reason, stands.PolicyVersion
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

// decide returns the decisions on events, by index. Those for which there was no time have no
// status. It decides at least one, so that each delivery makes progress.
func (s *Service) decide(ctx context.Context, events []event.Event) ([]logged, error) {
	start := s.Now()
	p, err := s.policies.get(ctx)
	if err != nil {
		return nil, err
	}
	comments, made := make([]*event.Comment, len(events)), make([]logged, len(events))
	for i, e := range events {
		comments[i] = e.Comment
		if made[i].comment, err = event.Digest(e.Comment); err != nil {
			return nil, err
		}
		made[i].key, made[i].Revision = decisionKey(e.Comment.ID), e.Comment.Revision+1
	}
	all, err := s.readPasts(ctx, p, comments)
	if err != nil {
		return nil, err
	}
	asking, cancel := context.WithTimeout(ctx, decideWithin)
	defer cancel()
	var asked sync.WaitGroup
	asks := make(chan struct{}, askAtOnce)
	for i, c := range comments {
		if i > 0 && s.Now().Sub(start) >= decideWithin {
			break
		}
		verdict, mayAsk := p.Decide(all.caseOf(c))
		all.count(c)
		if !mayAsk {
			made[i].take(verdict, p)
			continue
		}
		asked.Go(func() {
			select {
			case asks <- struct{}{}:
				verdict := p.Ask(asking, *c)
				if asking.Err() == nil { // otherwise the scorer had less time than the policy gives it
					made[i].take(verdict, p)
				}
				<-asks
			case <-asking.Done(): // it was not asked, so it is redelivered
			}
		})
	}
	asked.Wait()
	for i, c := range comments {
		if made[i].Status == event.Approved {
			all.approve(c)
		}
	}
	return made, s.writePasts(ctx, all)
}

// take makes a verdict of a policy the decision.
func (l *logged) take(v policy.Verdict, p *policy.Policy) {
	status, _ := v.Action.Status()
	l.decision = decision{status, v.Reason, p.Version}
}

// kept is the document of a comment after its decision was stored.
type kept struct {
	document
	err error
}

// keep stores decisions of the policy, and returns the documents by key. Of a comment that
// has a decision of the policy already, that one stands.
func (s *Service) keep(ctx context.Context, made []logged) map[string]kept {
	items := make([]state.Item, 0, len(made))
	standing := map[string]kept{}
	for _, l := range made {
		if l.Status == "" {
			continue
		}
		value, err := event.Marshal(document{Comment: l.comment, decision: l.decision})
		if err != nil {
			standing[l.key] = kept{err: err}
			continue
		}
		items = append(items, state.Item{Key: l.key, Value: value})
	}
	for key, k := range state.Keep(ctx, s.Store, items...) {
		found := kept{err: k.Err}
		if k.Err == nil {
			found.err = jsonv2.Unmarshal(k.Value, &found.document)
		}
		standing[key] = found
	}
	for _, l := range made { // a moderator's decision, which was restored, has come before
		if found, is := standing[l.key]; is && found.err == nil && found.Status == "" && found.Comment == l.comment {
			standing[l.key] = s.keepBeside(ctx, l)
		}
	}
	return standing
}

// keepBeside stores a decision of the policy in a document that has moderators' alone.
func (s *Service) keepBeside(ctx context.Context, made logged) (stands kept) {
	stands.err = state.Update(ctx, s.Store, []string{made.key}, func(items []state.Item) ([]state.Item, error) {
		stored, err := state.Decode[document](items...)
		if err != nil {
			return nil, err
		}
		if stands.document = stored[0]; stands.Status != "" {
			return nil, nil
		}
		stands.Comment, stands.decision = made.comment, made.decision
		items[0].Value, err = event.Marshal(stands.document)
		return items, err
	})
	return stands
}
