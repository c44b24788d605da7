package moderation

import (
	"context"
	"log/slog"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/web"
)

func commentingKey(post string) string { return "commenting-" + post }

func blockingKey(subject string) string { return "blocking-" + subject }

// setCommenting opens or closes the comments of a post, and returns what stands then. What
// stands already changes nothing.
func (s *Service) setCommenting(ctx context.Context, post string, to event.Openness, by string) (event.Commenting, error) {
	had, err := s.commentings.Get(ctx, commentingKey(post))
	if err != nil {
		return event.Commenting{}, storeProblem(ctx, err)
	}
	if had == nil {
		had = &event.Commenting{PostID: post, Comments: event.Open}
	}
	if had.Comments == to {
		return *had, nil
	}
	made := event.Commenting{PostID: post, Comments: to, Revision: had.Revision + 1, DecidedBy: by, DecidedAt: s.Now().UTC()}
	if err := made.Validate(); err != nil {
		return made, err
	}
	e, err := event.OfCommenting(s.Source, made, web.TraceParent(ctx))
	if err != nil {
		return made, err
	}
	stands, err := s.commands.CommitRevision(ctx, e)
	if err != nil {
		return made, err
	}
	s.put(ctx, s.commentings.Put, stands)
	if made.DecidedAt = stands.Commenting.DecidedAt; *stands.Commenting != made { // an earlier try of this request may stand
		return made, conflict(*stands.Commenting)
	}
	slog.InfoContext(ctx, "a moderator has decided on a post", "post", post, "comments", to)
	return *stands.Commenting, nil
}

// setBlocking blocks a person, or no longer, and returns what stands then. What stands already
// changes nothing.
func (s *Service) setBlocking(ctx context.Context, subject string, to bool, by string) (event.Blocking, error) {
	had, err := s.blockings.Get(ctx, blockingKey(subject))
	if err != nil {
		return event.Blocking{}, storeProblem(ctx, err)
	}
	if had == nil {
		had = &event.Blocking{Subject: subject}
	}
	if had.Blocked == to {
		return *had, nil
	}
	made := event.Blocking{Subject: subject, Blocked: to, Revision: had.Revision + 1, DecidedBy: by, DecidedAt: s.Now().UTC()}
	if err := made.Validate(); err != nil {
		return made, err
	}
	e, err := event.OfBlocking(s.Source, made, web.TraceParent(ctx))
	if err != nil {
		return made, err
	}
	stands, err := s.commands.CommitRevision(ctx, e)
	if err != nil {
		return made, err
	}
	s.put(ctx, s.blockings.Put, stands)
	if made.DecidedAt = stands.Blocking.DecidedAt; *stands.Blocking != made { // an earlier try of this request may stand
		return made, conflict(*stands.Blocking)
	}
	slog.InfoContext(ctx, "a moderator has decided on a person", "person", subject, "blocked", to)
	return *stands.Blocking, nil
}

// put stores what was committed. If that fails, the log brings it.
func (s *Service) put(ctx context.Context, put func(context.Context, []event.Event) []error, e event.Event) {
	for _, err := range put(ctx, []event.Event{e}) {
		if err != nil {
			slog.WarnContext(ctx, "a moderator's decision is not stored yet: the log will bring it", "type", e.Type, "entity", e.Subject, "error", err)
		}
	}
}
