package moderation

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/catchup"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/web"
	"github.com/postbus/postbus/apps/moderation/policy"
	"github.com/postbus/postbus/apps/moderation/queue"
)

// choice says what is to be decided on a comment, given what was decided on it before. The
// error is a *web.Problem. isDone says that it stands already.
type choice func(c event.Comment, d *document) (made decision, isDone bool, err error)

// moderate commits a moderator's decision on a comment, and returns the comment as it stands
// then, and whether that is new. The decision is claimed for its revision, and journaled, by
// one write. Of two that are made at once one wins, and the other gets a 409 with the comment
// as it stands.
func (s *Service) moderate(ctx context.Context, id, by string, choose choice) (stands event.Comment, isNew bool, err error) {
	comment, entry, err := s.find(ctx, id)
	if err != nil {
		return comment, false, err
	}
	d, err := s.document(ctx, comment)
	if err != nil {
		return comment, false, err
	}
	if entry.Revision > d.revision() {
		return comment, false, web.Unavailable("The service's store lacks a decision on this comment that the event log has, and gets it within some seconds. Try again.")
	}
	made, isDone, err := choose(comment, d)
	if isDone || err != nil {
		return d.current(comment), false, err
	}
	mine := later{made, d.revision() + 1, by}
	e, err := event.OfComment(event.CommentModerated, s.Source, mine.decided(comment), s.Now().UTC(), web.TraceParent(ctx))
	if err != nil {
		return comment, false, err
	}
	committed, err := s.commands.CommitRevision(ctx, e)
	if err != nil {
		return comment, false, err
	}
	stands = *committed.Comment
	stood, digest, err := decisionIn(stands)
	if err != nil {
		return comment, false, err
	}
	if err := s.store(ctx, stands, stood, digest); err != nil {
		return comment, false, notStored(ctx, err)
	}
	if stood != mine {
		return comment, false, conflict(stands)
	}
	slog.InfoContext(ctx, "a moderator has decided", "comment", id, "status", made.Status, "revision", mine.Revision)
	return stands, true, nil
}

// conflict is a 409 with what stands.
func conflict(stands any) error {
	p := web.NewProblem(http.StatusConflict, "Another moderator was first. See what stands, and decide again if need be.")
	p.Stands = stands
	return p
}

// store stores a decision that was committed, and notes the approval, which is a hint to the policy.
func (s *Service) store(ctx context.Context, c event.Comment, l later, digest string) error {
	key := decisionKey(c.ID)
	if err := s.putAll(ctx, []logged{{l, key, digest}}, []string{key}); err != nil || c.AuthorID == "" {
		return err
	}
	if err := s.noteApproval(ctx, c); err != nil {
		slog.WarnContext(ctx, "the policy takes the author for newer than they are", "comment", c.ID, "error", err)
	}
	return nil
}

// noteApproval adds a comment to those of its author that were approved, or takes it away.
func (s *Service) noteApproval(ctx context.Context, c event.Comment) error {
	return state.Update(ctx, s.Store, []string{personKey(c.AuthorID)}, func(items []state.Item) ([]state.Item, error) {
		stored, err := state.Decode[past](items...)
		if err != nil {
			return nil, err
		}
		if c.Status == event.Approved {
			stored[0].add(past{Approved: []string{c.ID}})
		} else {
			stored[0].take(c.ID)
		}
		items[0].TTL = personTTL
		items[0].Value, err = event.Marshal(stored[0])
		return items, err
	})
}

// find returns a comment as it was created, which the log has, and how it stands there. The
// error is a 404, or a 503 if the log can't be read now.
func (s *Service) find(ctx context.Context, id string) (event.Comment, queue.Entry, error) {
	if !s.queue.IsReady() {
		return event.Comment{}, queue.Entry{}, errNotReady()
	}
	key, err := uuid.Parse(id)
	entry, found := s.queue.Find(key)
	if _, isID := event.IDTime(id); err != nil || !isID || !found {
		return event.Comment{}, entry, web.NewProblem(http.StatusNotFound, "There is no comment with this id. If it was just created, it is on its way; try again.")
	}
	comment, err := s.commentOf(ctx, entry)
	return comment, entry, err
}

// commentOf reads the comment of an entry in the log.
func (s *Service) commentOf(ctx context.Context, entry queue.Entry) (event.Comment, error) {
	e, err := eventlog.EventAt(ctx, s.Log, entry.Sequence)
	if err == nil && (e.Comment == nil || e.Comment.ID != entry.ID.String()) {
		err = errors.New("the log has another event there")
	}
	if err != nil {
		slog.WarnContext(ctx, "a comment can't be read in the log", "comment", entry.ID, "at", entry.Sequence, "error", err)
		return event.Comment{}, web.Unavailable("The event log, which has the comment, does not answer now. Try again.")
	}
	return e.Comment.Created(), nil
}

func errNotReady() error {
	return web.Unavailable("The service has not read the whole event log yet. Try again.")
}

// document returns what was decided on a comment. The error is a 503 while the store does not
// have what the log says.
func (s *Service) document(ctx context.Context, c event.Comment) (*document, error) {
	items, err := s.Store.Get(ctx, decisionKey(c.ID), catchup.OriginKey)
	if err != nil {
		return nil, storeProblem(ctx, err)
	}
	if !s.Progress.IsRestored() || !s.Progress.IsOf(items[1].Value) {
		return nil, web.Unavailable("The service's store is being filled from the event log. Try again.")
	}
	stored, err := state.Decode[document](items[0])
	if err != nil {
		return nil, err
	}
	return &stored[0], nil
}

func storeProblem(ctx context.Context, err error) error {
	slog.WarnContext(ctx, "store failed", "error", err)
	return web.Unavailable("The service's store did not answer in time. Try again.")
}

// notStored is the 503 for a decision that was committed. The log brings it to the store. Until then
// what stood before would answer the next request, so the moderator must not take it for made.
func notStored(ctx context.Context, err error) error {
	slog.WarnContext(ctx, "a moderator's decision is not stored yet: the log will bring it", "error", err)
	return web.Unavailable("The service's store did not answer in time. What you decided may take effect in some seconds. Send it again, or see then what stands.")
}

// choose is the choice of a moderator who approves, rejects or holds. If revision is not 0,
// it is the one that the moderator has seen. The same decision of the same moderator, made
// again, changes nothing.
func choose(action policy.Action, reason, by string, revision int) choice {
	return func(c event.Comment, d *document) (decision, bool, error) {
		status, _ := action.Status()
		made, stands := decision{Status: status, Reason: reason}, d.stands()
		if stands.decision == made && stands.DecidedBy == by {
			return made, true, nil
		}
		if seen := max(1, d.seen()); revision != 0 && revision != seen {
			return made, false, conflict(d.current(c))
		}
		return made, false, nil
	}
}

// seen is the revision of the comment as a moderator sees it: 1 before any decision.
func (d *document) seen() int {
	if d.stands().Status == "" {
		return 1
	}
	return d.revision()
}

// undo gives back the decision before the one with that revision, which must stand. So an undo that
// is sent twice does not take itself back.
func undo(revision int) choice {
	return func(c event.Comment, d *document) (decision, bool, error) {
		before := d.before()
		switch {
		case before.Status == "":
			return before, false, web.NewProblem(http.StatusConflict, "There is no decision of a moderator to undo.")
		case revision != d.seen():
			return before, false, conflict(d.current(c))
		}
		before.PolicyVersion = 0 // it is the moderator's now
		return before, false, nil
	}
}

// applied is how a policy decides on a comment that is held, looked at anew.
func applied(p *policy.Policy, verdict policy.Verdict) choice {
	return func(_ event.Comment, d *document) (decision, bool, error) {
		status, _ := verdict.Action.Status()
		stands := d.stands()
		return decision{status, verdict.Reason, p.Version}, stands.Status != event.Held || status == event.Held, nil
	}
}
