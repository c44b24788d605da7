package moderation

import (
	"context"
	"errors"
	"log/slog"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/revised"
	"github.com/postbus/postbus/apps/internal/web"
)

func commentingKey(post string) string { return "commenting-" + post }

func blockingKey(subject string) string { return "blocking-" + subject }

// setCommenting opens or closes the comments of a post, and returns what stands then. What
// stands already changes nothing.
func (s *Service) setCommenting(ctx context.Context, post string, to event.Openness, by string) (event.Commenting, error) {
	had, err := standing(ctx, s.commentings, commentingKey(post), event.Commenting{PostID: post, Comments: event.Open})
	if err != nil || had.Comments == to {
		return had, err
	}
	made := event.Commenting{PostID: post, Comments: to, Revision: had.Revision + 1, DecidedBy: by, DecidedAt: s.Now().UTC()}
	e, err := event.OfCommenting(s.Source, made, web.TraceParent(ctx))
	if err != nil {
		return made, err
	}
	committed, err := s.commit(ctx, e, s.commentings.Put)
	if err != nil {
		return made, err
	}
	stands := *committed.Commenting
	if made.DecidedAt = stands.DecidedAt; stands != made { // an earlier try of this request may stand
		return made, conflict(stands)
	}
	slog.InfoContext(ctx, "a moderator has decided on a post", "post", post, "comments", to)
	return stands, nil
}

// setBlocking blocks a person, or no longer, and returns what stands then. What stands already
// changes nothing.
func (s *Service) setBlocking(ctx context.Context, subject string, to bool, by string) (event.Blocking, error) {
	had, err := standing(ctx, s.blockings, blockingKey(subject), event.Blocking{Subject: subject})
	if err != nil || had.Blocked == to {
		return had, err
	}
	made := event.Blocking{Subject: subject, Blocked: to, Revision: had.Revision + 1, DecidedBy: by, DecidedAt: s.Now().UTC()}
	e, err := event.OfBlocking(s.Source, made, web.TraceParent(ctx))
	if err != nil {
		return made, err
	}
	committed, err := s.commit(ctx, e, s.blockings.Put)
	if err != nil {
		return made, err
	}
	stands := *committed.Blocking
	if made.DecidedAt = stands.DecidedAt; stands != made { // an earlier try of this request may stand
		return made, conflict(stands)
	}
	slog.InfoContext(ctx, "a moderator has decided on a person", "person", subject, "blocked", to)
	return stands, nil
}

// standing returns the entity of a key, or otherwise if the store has none. The error is a 503.
func standing[T revised.Entity[T]](ctx context.Context, documents *revised.Documents[T], key string, otherwise T) (T, error) {
	stored, err := documents.Get(ctx, key)
	switch {
	case err != nil:
		return otherwise, storeProblem(ctx, err)
	case stored == nil:
		return otherwise, nil
	}
	return *stored, nil
}

// commit commits a moderator's decision, or the policy, and returns the event that stands for its
// revision, and which the store has then.
func (s *Service) commit(ctx context.Context, e event.Event, put func(context.Context, []event.Event) []error) (event.Event, error) {
	stands, err := s.commands.CommitRevision(ctx, e)
	if err != nil {
		return e, err
	}
	if err := errors.Join(put(ctx, []event.Event{stands})...); err != nil {
		return e, notStored(ctx, err)
	}
	return stands, nil
}
