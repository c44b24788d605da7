package event

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxSubject bounds the pseudonymous subject of a person, in characters (identity.Person's has 64
// digits), and MaxReason the reason of a decision.
const (
	MaxSubject = 100
	MaxReason  = 500
)

// FirstByModerator is the lowest revision of a comment that a moderator's decision has. So
// it beats the machine's, which is revision 2, whichever comes first.
const FirstByModerator = 3

// PolicyID is the id of the one policy: the subject of its events.
const PolicyID = "policy"

// Policy is moderation's policy as it stands. Only moderation knows what its rules mean.
type Policy struct {
	// Rules is a JSON object.
	Rules json.RawMessage `json:"rules"`
	// Revision is the policy's version. The default, which no event has, is 1.
	Revision  int       `json:"revision"`
	ChangedBy string    `json:"changedBy"`
	ChangedAt time.Time `json:"changedAt"`
}

// Version is the revision.
func (p Policy) Version() int { return p.Revision }

// Contradicts reports whether p and q cannot both be versions of the policy.
func (p Policy) Contradicts(q Policy) bool {
	return p.Revision == q.Revision &&
		(!bytes.Equal(p.Rules, q.Rules) || p.ChangedBy != q.ChangedBy || !p.ChangedAt.Equal(q.ChangedAt))
}

// Validate returns a *FieldError for the first field that is out of bounds. It does not
// look into the rules: those of a newer version may have more.
func (p *Policy) Validate() error {
	if trimmed := bytes.TrimSpace(p.Rules); len(trimmed) == 0 || trimmed[0] != '{' {
		return &FieldError{"rules", "is no JSON object"}
	}
	return cmp.Or(validSubject("changedBy", p.ChangedBy), validVersion("changedAt", p.ChangedAt, p.Revision))
}

// Openness says whether comments on a post are taken.
type Openness string

// The two kinds.
const (
	Open   Openness = "open"
	Closed Openness = "closed"
)

// Commenting says whether comments on a post are taken, as it stands. A post of which there
// is none is open.
type Commenting struct {
	PostID   string   `json:"postId"`
	Comments Openness `json:"comments"`
	// Revision counts a post's decisions from 1. The highest wins.
	Revision  int       `json:"revision"`
	DecidedBy string    `json:"decidedBy"`
	DecidedAt time.Time `json:"decidedAt"`
}

// Version is the revision.
func (c Commenting) Version() int { return c.Revision }

// Contradicts reports whether c and d cannot both be decisions on one post.
func (c Commenting) Contradicts(d Commenting) bool {
	c.DecidedAt, d.DecidedAt = c.DecidedAt.UTC(), d.DecidedAt.UTC()
	return c.PostID == d.PostID && c.Revision == d.Revision && c != d
}

// Validate returns a *FieldError for the first field that is out of bounds.
func (c *Commenting) Validate() error {
	if c.Comments != Open && c.Comments != Closed {
		return &FieldError{"comments", fmt.Sprintf("is %.40q; it is open or closed", c.Comments)}
	}
	return cmp.Or(validID("postId", c.PostID), validSubject("decidedBy", c.DecidedBy), validVersion("decidedAt", c.DecidedAt, c.Revision))
}

// Blocking says whether a person may post and comment, as it stands. A person of whom there
// is none may.
type Blocking struct {
	Subject string `json:"subject"`
	Blocked bool   `json:"blocked"`
	// Revision counts a person's decisions from 1. The highest wins.
	Revision  int       `json:"revision"`
	DecidedBy string    `json:"decidedBy"`
	DecidedAt time.Time `json:"decidedAt"`
}

// Version is the revision.
func (b Blocking) Version() int { return b.Revision }

// Contradicts reports whether b and c cannot both be decisions on one person.
func (b Blocking) Contradicts(c Blocking) bool {
	b.DecidedAt, c.DecidedAt = b.DecidedAt.UTC(), c.DecidedAt.UTC()
	return b.Subject == c.Subject && b.Revision == c.Revision && b != c
}

// Validate returns a *FieldError for the first field that is out of bounds.
func (b *Blocking) Validate() error {
	return cmp.Or(validSubject("subject", b.Subject), validSubject("decidedBy", b.DecidedBy), validVersion("decidedAt", b.DecidedAt, b.Revision))
}

// ValidateReason checks the reason of a moderator's decision, which may be empty. The error
// is a *FieldError.
func ValidateReason(reason string) error { return validText("reason", reason, 0, MaxReason) }

// ValidateSubject checks the pseudonymous subject of a person. The error is a *FieldError.
func ValidateSubject(subject string) error { return validSubject("subject", subject) }

// validSubject checks a pseudonymous subject. It is a part of keys in stores.
func validSubject(field, subject string) error {
	isOther := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.:", r)
	}
	if subject == "" || utf8.RuneCountInString(subject) > MaxSubject || strings.ContainsFunc(subject, isOther) {
		return &FieldError{field, fmt.Sprintf("%.60q is no subject of 1 to %d letters, digits, hyphens, underscores, stops and colons", subject, MaxSubject)}
	}
	return nil
}
