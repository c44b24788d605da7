// Package policy decides on comments, by a policy that moderators write.
//
// A policy has up to six phases, in this order: words, links, repeated, tooMany, newcomers and
// scorer. Each has a file of its own here. A phase approves, rejects or holds a comment, or
// says nothing; the first one that says something decides. A comment of which no phase says
// anything is approved.
package policy

import (
	"context"
	"fmt"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
)

// Action is what a phase does with a comment.
type Action string

// The actions.
const (
	Approve Action = "approve"
	Reject  Action = "reject"
	Hold    Action = "hold"
)

// Status is the status that a comment gets by the action. ok is false for no action.
func (a Action) Status() (status event.Status, ok bool) {
	switch a {
	case Approve:
		return event.Approved, true
	case Reject:
		return event.Rejected, true
	case Hold:
		return event.Held, true
	}
	return "", false
}

// Verdict is what a phase says of a comment. Without an action it says nothing.
type Verdict struct {
	Action Action
	Reason string
	// Phase is the phase that said it, by its name in Rules. It is empty if none said anything.
	Phase string
}

func (v Verdict) isSaid() bool { return v.Action != "" }

// Rules are a policy as moderators write it, and as the log has it. A phase that is absent
// is off.
type Rules struct {
	Words     []WordRule     `json:"words,omitempty"`
	Links     *LinkRule      `json:"links,omitempty"`
	Repeated  *RepeatedRule  `json:"repeated,omitempty"`
	TooMany   *TooManyRule   `json:"tooMany,omitempty"`
	Newcomers *NewcomersRule `json:"newcomers,omitempty"`
	Scorer    *ScorerRule    `json:"scorer,omitempty"`
}

// Default is the policy of a blog whose moderators have written none. Like the NodeJS example
// it looks for "orange" anywhere, so it also rejects "oranges", "orangery" and
// "vorangegangen".
var Default = Rules{Words: []WordRule{{Text: "orange", Match: Part, Action: Reject}}}

// ValidateWith is Validate, and refuses the phase scorer if the scorer is nil: none is configured.
func (r *Rules) ValidateWith(scorer *Scorer) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if r.Scorer != nil && scorer == nil {
		return &event.FieldError{Field: "scorer", Detail: "can't be used: no SCORER_URL is configured"}
	}
	return nil
}

// Validate returns an *event.FieldError for the first place that is out of bounds, such as
// words[3].text.
func (r *Rules) Validate() error {
	if len(r.Words) > maxWords {
		return &event.FieldError{Field: "words", Detail: fmt.Sprintf("has %d rules; at most %d are allowed", len(r.Words), maxWords)}
	}
	for i, w := range r.Words {
		if err := w.validate(fmt.Sprintf("words[%d]", i)); err != nil {
			return err
		}
	}
	for _, phase := range []interface{ validate() error }{r.Links, r.Repeated, r.TooMany, r.Newcomers, r.Scorer} {
		if err := phase.validate(); err != nil {
			return err
		}
	}
	return nil
}

// Case is a comment that is to be decided, and what is known of the past.
type Case struct {
	Comment event.Comment
	// Same are earlier comments with the same text, and OfPerson those of the same person. The
	// comment itself may be among them. They are known only if the policy asks for them.
	Same, OfPerson []Mention
	// Approved are the ids of comments of the person that were approved.
	Approved []string
}

// Mention is an earlier comment.
type Mention struct {
	Comment string `json:"comment"`
	// Person is the subject of its author, or empty for a guest.
	Person string    `json:"person,omitempty"`
	At     time.Time `json:"at"`
}

// earlier counts the mentions within a time before the comment that match. The times are
// those at which the comments were written, so a delivery that comes late, or again, counts
// alike.
func (c *Case) earlier(mentions []Mention, within time.Duration, matches func(Mention) bool) int {
	n, from := 0, c.Comment.CreatedAt.Add(-within)
	for _, m := range mentions {
		isBefore := m.At.Before(c.Comment.CreatedAt) || m.At.Equal(c.Comment.CreatedAt) && m.Comment < c.Comment.ID
		if m.Comment != c.Comment.ID && isBefore && !m.At.Before(from) && matches(m) {
			n++
		}
	}
	return n
}

// Policy is Rules, ready to decide. It is safe for concurrent use.
type Policy struct {
	// Version is the revision of the policy.
	Version int
	rules   Rules
	words   words
	scorer  *Scorer
}

// New returns the policy of valid rules. The scorer is nil if none is configured.
func New(rules Rules, version int, scorer *Scorer) *Policy {
	return &Policy{Version: version, rules: rules, words: newWords(rules.Words), scorer: scorer}
}

// AsksForText says that decisions depend on earlier comments with the same text, within that
// time.
func (p *Policy) AsksForText() (within time.Duration, does bool) {
	if p.rules.Repeated == nil {
		return 0, false
	}
	return p.rules.Repeated.within(), true
}

// AsksForPerson says that decisions depend on earlier comments of the same person.
func (p *Policy) AsksForPerson() bool { return p.rules.TooMany != nil || p.rules.Newcomers != nil }

// Decide returns what the phases but the scorer say of a comment. It depends on the case
// alone. mayAsk says that the scorer is to be asked, because none of them says anything.
func (p *Policy) Decide(c *Case) (verdict Verdict, mayAsk bool) {
	for _, phase := range []struct {
		name   string
		decide func(*Case) Verdict
	}{
		{"words", p.words.decide},
		{"links", p.rules.Links.decide},
		{"repeated", p.rules.Repeated.decide},
		{"tooMany", p.rules.TooMany.decide},
		{"newcomers", p.rules.Newcomers.decide},
	} {
		if v := phase.decide(c); v.isSaid() {
			v.Phase = phase.name
			return v, false
		}
	}
	return Verdict{Action: Approve}, p.rules.Scorer != nil
}

// Ask returns what the scorer says of a comment. Without an answer in time the comment is
// held.
func (p *Policy) Ask(ctx context.Context, c event.Comment) Verdict {
	if v := p.rules.Scorer.decide(ctx, p.scorer, c); v.isSaid() {
		v.Phase = "scorer"
		return v
	}
	return Verdict{Action: Approve}
}

func validAction(place string, a Action) error {
	if _, ok := a.Status(); !ok {
		return &event.FieldError{Field: place, Detail: fmt.Sprintf("is %.40q; it is approve, reject or hold", a)}
	}
	return nil
}

// validNumber checks a number from least to most.
func validNumber(place string, n, least, most int) error {
	if n < least || n > most {
		return &event.FieldError{Field: place, Detail: fmt.Sprintf("is %d; a number from %d to %d is expected", n, least, most)}
	}
	return nil
}
