package policy

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	shown "github.com/postbus/postbus/apps/moderation/words"
)

// By is whose comments count.
type By string

// The two kinds.
const (
	Anybody    By = "anybody"
	SamePerson By = "person"
)

// RepeatedRule is about a text that was written before.
type RepeatedRule struct {
	// By is whose comments count. A guest is known by nothing, so guests count as one person.
	By By `json:"by"`
	// Most is how often the text may have been written before, from 0 to 20.
	Most int `json:"most"`
	// WithinSeconds is how long ago, from 1 to a week.
	WithinSeconds int    `json:"withinSeconds"`
	Action        Action `json:"action"`
}

const week = 7 * 24 * 60 * 60

func (r *RepeatedRule) validate() error {
	if r == nil {
		return nil
	}
	var by error
	if r.By != Anybody && r.By != SamePerson {
		by = &event.FieldError{Field: "repeated.by", Detail: fmt.Sprintf("is %.40q; it is anybody or person", r.By)}
	}
	return cmp.Or(by, validNumber("repeated.most", r.Most, 0, 20), validNumber("repeated.withinSeconds", r.WithinSeconds, 1, week), validAction("repeated.action", r.Action))
}

func (r *RepeatedRule) within() time.Duration { return time.Duration(r.WithinSeconds) * time.Second }

// SameText returns the form of a text that is the same for all texts that look alike: without
// marks, case and spaces.
func SameText(content string) string {
	return strings.Join(strings.Fields(shown.Read(content).Written[0]), "")
}

func (r *RepeatedRule) decide(c *Case) Verdict {
	if r == nil {
		return Verdict{}
	}
	n := c.earlier(c.Same, r.within(), func(m Mention) bool { return r.By == Anybody || m.Person == c.Comment.AuthorID })
	if n <= r.Most {
		return Verdict{}
	}
	return Verdict{Action: r.Action, Reason: "repeats what was written before"}
}
