package moderation

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/web"
	"github.com/postbus/postbus/apps/moderation/policy"
	"github.com/postbus/postbus/apps/moderation/queue"
)

const (
	// applyAtOnce bounds the comments of one request that are looked at anew, and applyWithin
	// its time. It decides at least one.
	applyAtOnce = 100
	applyWithin = time.Second
)

// application is the answer to a request that applies the policy.
type application struct {
	// Examined is how many held comments were looked at.
	Examined int `json:"examined"`
	// Decided are the comments that are no longer held, as they stand.
	Decided []event.Comment `json:"decided"`
	// Next is the cursor to go on from, or empty if there are no more.
	Next string `json:"next,omitempty"`
}

// apply has the policy that stands look anew at the held comments that are younger than an
// id, oldest first. What it decides is that moderator's decision, under the policy's version.
func (s *Service) apply(ctx context.Context, after uuid.UUID, by string) (application, error) {
	done, start := application{Decided: []event.Comment{}}, s.Now()
	p, err := s.policies.get(ctx)
	if err != nil {
		return done, storeProblem(ctx, err)
	}
	held, isMore := s.queue.After(after, event.Held, applyAtOnce)
	for i, entry := range held {
		if i > 0 && s.Now().Sub(start) >= applyWithin {
			isMore = true
			break
		}
		comment, err := s.commentOf(ctx, entry)
		if err != nil {
			return done, err
		}
		verdict, err := s.verdict(ctx, p, comment)
		if err != nil {
			return done, err
		}
		stands, isNew, err := s.moderate(ctx, comment.ID, by, applied(p, verdict))
		if problem := new(web.Problem); err != nil && (!errors.As(err, &problem) || problem.Status != http.StatusConflict) {
			return done, err // a conflict is another moderator's decision, which stands
		}
		if isNew {
			done.Decided = append(done.Decided, stands)
		}
		done.Examined++
		done.Next = comment.ID
	}
	if !isMore {
		done.Next = ""
	}
	return done, nil
}

// verdict returns what a policy says of one comment, the scorer included. It writes nothing. The
// error is a 503.
func (s *Service) verdict(ctx context.Context, p *policy.Policy, c event.Comment) (policy.Verdict, error) {
	all, err := s.readPasts(ctx, p, []*event.Comment{&c})
	if err != nil {
		return policy.Verdict{}, storeProblem(ctx, err)
	}
	verdict, mayAsk := p.Decide(all.caseOf(&c))
	if mayAsk {
		verdict = p.Ask(ctx, c)
	}
	return verdict, nil
}

// page returns the comments of entries as they stand, with their text, for moderators. It
// leaves out those whose status is another one by now.
func (s *Service) page(ctx context.Context, entries []queue.Entry, status event.Status) ([]event.Comment, error) {
	page := []event.Comment{}
	for _, entry := range entries {
		comment, err := s.commentOf(ctx, entry)
		if err != nil {
			return nil, err
		}
		d, err := s.document(ctx, comment)
		if err != nil {
			return nil, err
		}
		if stands := d.current(comment); stands.Status == status {
			page = append(page, stands)
		}
	}
	return page, nil
}
