package event

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/text"
)

// Bounds of the fields, in characters (Unicode code points).
const (
	MaxTitle   = 200
	MaxBody    = 10_000
	MaxContent = 10_000
	MaxAuthor  = 100
	MaxStatus  = 40
)

// Status is the state of a comment in moderation: a word of lower-case letters, digits and
// hyphens.
type Status string

// The statuses.
const (
	Pending  Status = "pending" // not decided
	Approved Status = "approved"
	Rejected Status = "rejected"
	Held     Status = "held" // a moderator is to decide
)

// Statuses lists every status.
var Statuses = []Status{Pending, Approved, Rejected, Held}

// IsKnown reports whether this version knows the status. A newer version may give comments
// others. This one counts them as not approved.
func (s Status) IsKnown() bool { return slices.Contains(Statuses, s) }

// Post is a post. Its id is a UUIDv7, so ids sort by the time at which they were made.
type Post struct {
	ID        string    `json:"id"`
	Title     string    `json:"title"`
	Body      string    `json:"body"`
	CreatedAt time.Time `json:"createdAt"`
	// Author is the name that the issuer gave its author, and AuthorID the author's pseudonym,
	// an identity.Person's Subject. A guest's post has neither.
	Author   string `json:"author,omitempty"`
	AuthorID string `json:"authorId,omitempty"`
	// Revision counts the entity's versions from 1. The highest wins.
	Revision int `json:"revision"`
}

// unrevised is the post without what a later revision may change.
func (p Post) unrevised() Post {
	p.Revision = 0
	p.CreatedAt = p.CreatedAt.UTC() // the same instant in another zone is the same
	return p
}

// chosen is the post with only what the client chose. Who the client is counts, too; the name
// is the issuer's.
func (p Post) chosen() Post {
	p.ID, p.Author, p.CreatedAt, p.Revision = "", "", time.Time{}, 0
	return p
}

// Contradicts reports whether p and q cannot both be versions of one post.
func (p Post) Contradicts(q Post) bool {
	return p.ID == q.ID && p.unrevised() != q.unrevised()
}

// Comment is a comment on a post. Its id is a UUIDv7.
type Comment struct {
	ID     string `json:"id"`
	PostID string `json:"postId"`
	// Author is the name that the issuer gave the author, if there is an AuthorID: the
	// pseudonym, an identity.Person's Subject. Otherwise a guest chose the name.
	Author    string    `json:"author,omitempty"`
	AuthorID  string    `json:"authorId,omitempty"`
	Content   string    `json:"content"`
	Status    Status    `json:"status"`
	Reason    string    `json:"reason,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
	// Revision is 1 while the comment is pending and 2 once the policy has decided. The
	// decisions of moderators count on from FirstByModerator.
	Revision int `json:"revision"`
	// DecidedBy is the pseudonymous subject of the moderator who decided. It is empty if the
	// policy did, and before that.
	DecidedBy string `json:"decidedBy,omitempty"`
	// PolicyVersion is the revision of the policy under which the comment was decided. It is 0
	// before that, and for decisions of versions without such revisions.
	PolicyVersion int `json:"policyVersion,omitzero"`
}

// unrevised is the comment without what a later revision may change: the moderation.
func (c Comment) unrevised() Comment {
	c.Status, c.Reason, c.Revision = "", "", 0
	c.DecidedBy, c.PolicyVersion = "", 0
	c.CreatedAt = c.CreatedAt.UTC() // the same instant in another zone is the same
	return c
}

// chosen is the comment with only what the client chose. Who the client is counts, too, and
// then the name is the issuer's.
func (c Comment) chosen() Comment {
	if c.AuthorID != "" {
		c.Author = ""
	}
	c.ID, c.Status, c.Reason, c.CreatedAt, c.Revision = "", "", "", time.Time{}, 0
	c.DecidedBy, c.PolicyVersion = "", 0
	return c
}

// Created is the comment as its CommentCreated has it: pending, before any decision.
func (c Comment) Created() Comment {
	c.Status, c.Reason, c.Revision, c.DecidedBy, c.PolicyVersion = Pending, "", 1, "", 0
	return c
}

// IsVersionOf reports whether c and d are one comment, whatever was decided on it.
func (c Comment) IsVersionOf(d Comment) bool { return c.unrevised() == d.unrevised() }

// Contradicts reports whether c and d cannot both be versions of one comment.
func (c Comment) Contradicts(d Comment) bool {
	if c.ID != d.ID {
		return false
	}
	c.CreatedAt, d.CreatedAt = c.CreatedAt.UTC(), d.CreatedAt.UTC()
	return c.unrevised() != d.unrevised() || c.Revision == d.Revision && c != d
}

// FieldError names a field that is out of bounds, and how.
type FieldError struct {
	Field, Detail string
}

// Error names the field.
func (e *FieldError) Error() string { return e.Field + " " + e.Detail }

// Validate returns a *FieldError for the first field that is out of bounds. It takes all
// that any version has published, so also a title that ValidateText refuses.
func (p *Post) Validate() error {
	return cmp.Or(validID("id", p.ID), p.validTexts(), validText("author", p.Author, 0, MaxAuthor),
		validAuthorID(p.AuthorID), validVersion("createdAt", p.CreatedAt, p.Revision))
}

// ValidateText checks what the writer of the post chose: the title must be visible. The
// error is a *FieldError.
func (p *Post) ValidateText() error {
	return cmp.Or(p.validTexts(), visible("title", p.Title))
}

func (p *Post) validTexts() error {
	return cmp.Or(validText("title", p.Title, 1, MaxTitle), validText("body", p.Body, 0, MaxBody))
}

// Validate returns a *FieldError for the first field that is out of bounds. It takes all
// that any version has published, so also content that ValidateText refuses, and a status
// that is not known.
func (c *Comment) Validate() error {
	return cmp.Or(validID("id", c.ID), validID("postId", c.PostID), c.validTexts(), validAuthorID(c.AuthorID),
		validStatus(c.Status), validVersion("createdAt", c.CreatedAt, c.Revision), c.validDecision())
}

// validDecision checks who decided, and by what.
func (c *Comment) validDecision() error {
	if c.PolicyVersion < 0 {
		return &FieldError{"policyVersion", fmt.Sprintf("is %d; it starts at 1", c.PolicyVersion)}
	}
	if c.DecidedBy == "" {
		return nil
	}
	return validSubject("decidedBy", c.DecidedBy)
}

// ValidateText checks what the writer of the comment chose: the content must be visible.
// The error is a *FieldError.
func (c *Comment) ValidateText() error {
	return cmp.Or(c.validTexts(), visible("content", c.Content))
}

func (c *Comment) validTexts() error {
	return cmp.Or(validText("content", c.Content, 1, MaxContent), validText("author", c.Author, 0, MaxAuthor))
}

// EmptyIfBlank returns s, or "" if s is blank: a reader sees nothing of it. It is for
// optional texts, a name or a body: a blank one counts as absent.
func EmptyIfBlank(s string) string {
	if text.IsBlank(s) {
		return ""
	}
	return s
}

// isEmpty is the detail of a FieldError for a missing text.
const isEmpty = "must not be empty"

func visible(field, s string) error {
	if text.IsBlank(s) {
		return &FieldError{field, isEmpty}
	}
	return nil
}

// validText checks a text of least to most characters. No character has less than a byte.
func validText(field, s string, least, most int) error {
	switch {
	case !utf8.ValidString(s):
		return &FieldError{field, "is not valid UTF-8"}
	case len(s) > most && utf8.RuneCountInString(s) > most:
		return &FieldError{field, fmt.Sprintf("has %d characters; at most %d are allowed", utf8.RuneCountInString(s), most)}
	case least > 0 && strings.TrimSpace(s) == "":
		return &FieldError{field, isEmpty}
	}
	return nil
}

// validAuthorID checks a pseudonymous subject, which is empty for a guest.
func validAuthorID(id string) error {
	if id == "" {
		return nil
	}
	return validSubject("authorId", id)
}

func validStatus(s Status) error {
	isOther := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }
	if s == "" || len(s) > MaxStatus || strings.ContainsFunc(string(s), isOther) {
		return &FieldError{"status", fmt.Sprintf("%.60q is no word of 1 to %d lower-case letters, digits and hyphens", s, MaxStatus)}
	}
	return nil
}

func validVersion(field string, at time.Time, revision int) error {
	switch {
	case at.IsZero():
		return &FieldError{field, "is missing"}
	case revision < 1:
		return &FieldError{"revision", fmt.Sprintf("is %d; it starts at 1", revision)}
	}
	return nil
}

func validID(field, id string) error {
	if _, ok := IDTime(id); !ok {
		return &FieldError{field, fmt.Sprintf("%.40q is not a UUIDv7", id)}
	}
	return nil
}

// NewID makes an entity's id: a UUIDv7 (RFC 9562), larger than every id that this process
// made before.
func NewID() string {
	return uuid.Must(uuid.NewV7()).String()
}

// IDTime is the time in a UUIDv7, to the millisecond. ok is false when id is no UUIDv7 in
// its canonical lower-case form.
func IDTime(id string) (at time.Time, ok bool) {
	u, err := uuid.Parse(id) // Parse accepts other forms too, which String does not return
	if err != nil || u.String() != id || u.Version() != 7 || u.Variant() != uuid.RFC4122 {
		return time.Time{}, false
	}
	return time.Unix(u.Time().UnixTime()).UTC(), true
}
