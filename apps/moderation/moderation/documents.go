package moderation

import (
	"slices"

	"github.com/postbus/postbus/apps/internal/event"
)

// decision is a decision on a comment.
type decision struct {
	Status        event.Status `json:"status,omitempty"`
	Reason        string       `json:"reason,omitempty"`
	PolicyVersion int          `json:"policyVersion,omitzero"`
}

// later is a decision of a moderator.
type later struct {
	decision
	Revision  int    `json:"revision"`
	DecidedBy string `json:"decidedBy"`
}

// document is what was decided on a comment. It is one document a comment, "decision-<id>".
// The policy's decision is written once, and changed by the log alone. So an event that is
// redelivered after a change of the policy, or after a moderator's decision, gets the same
// answer.
type document struct {
	// Comment is the event.Digest of the comment as it was created.
	Comment string `json:"comment"`
	// The policy's decision, revision 2. Without a status it has not come yet.
	decision
	// Later are the decisions of moderators with the two highest revisions, in their order:
	// the one that stands, and the one that an undo gives back.
	Later []later `json:"later,omitempty"`
}

func decisionKey(comment string) string { return "decision-" + comment }

// keptLater is how many decisions of moderators a document has at most.
const keptLater = 2

// revision is the highest revision of the comment that the document knows.
func (d *document) revision() int {
	if n := len(d.Later); n > 0 {
		return d.Later[n-1].Revision
	}
	return event.FirstByModerator - 1
}

// stands returns the decision that stands. It has no status if there is none.
func (d *document) stands() later {
	if n := len(d.Later); n > 0 {
		return d.Later[n-1]
	}
	return later{decision: d.decision, Revision: d.revision()}
}

// current is a comment, which was created so, as it stands.
func (d *document) current(c event.Comment) event.Comment {
	if stands := d.stands(); stands.Status != "" {
		return stands.decided(c)
	}
	return c
}

// before returns the decision before the one that stands. It has no status if there is none.
func (d *document) before() decision {
	switch n := len(d.Later); n {
	case 0:
		return decision{}
	case 1:
		return d.decision
	default:
		return d.Later[n-2].decision
	}
}

// put puts a decision of the log, or one that was just committed, into the document.
func (d *document) put(l later) {
	if l.Revision < event.FirstByModerator {
		d.decision = l.decision
		return
	}
	at, found := slices.BinarySearchFunc(d.Later, l.Revision, func(have later, revision int) int { return have.Revision - revision })
	if found {
		d.Later[at] = l
	} else {
		d.Later = slices.Insert(d.Later, at, l)
	}
	d.Later = d.Later[max(0, len(d.Later)-keptLater):]
}

// has says that put would change nothing.
func (d *document) has(l later) bool {
	if l.Revision < event.FirstByModerator {
		return d.decision == l.decision
	}
	for _, have := range d.Later {
		if have.Revision == l.Revision {
			return have == l
		}
	}
	return len(d.Later) == keptLater && l.Revision < d.Later[0].Revision
}

// decisionIn returns the decision that a CommentModerated or a CommentUpdated carries, and
// the digest of its comment.
func decisionIn(c event.Comment) (l later, digest string, err error) {
	created := c.Created()
	digest, err = event.Digest(&created)
	return later{decision{c.Status, c.Reason, c.PolicyVersion}, c.Revision, c.DecidedBy}, digest, err
}

// decided is the comment with a decision.
func (l later) decided(c event.Comment) event.Comment {
	c.Status, c.Reason, c.PolicyVersion, c.Revision, c.DecidedBy = l.Status, l.Reason, l.PolicyVersion, l.Revision, l.DecidedBy
	return c
}
