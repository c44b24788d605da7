package policy

import (
	"cmp"
	"fmt"
	"time"
)

// TooManyRule is about people who write many comments in a short time. It says nothing of
// guests, who are known by nothing: the limits of the API are for them.
type TooManyRule struct {
	// Most is how many comments a person may write, from 1 to 50.
	Most int `json:"most"`
	// WithinSeconds is in which time, from 1 to a week.
	WithinSeconds int    `json:"withinSeconds"`
	Action        Action `json:"action"`
}

func (r *TooManyRule) validate() error {
	if r == nil {
		return nil
	}
	return cmp.Or(validNumber("tooMany.most", r.Most, 1, 50), validNumber("tooMany.withinSeconds", r.WithinSeconds, 1, week), validAction("tooMany.action", r.Action))
}

func (r *TooManyRule) decide(c *Case) Verdict {
	if r == nil || c.Comment.AuthorID == "" {
		return Verdict{}
	}
	within := time.Duration(r.WithinSeconds) * time.Second
	if c.earlier(c.OfPerson, within, func(Mention) bool { return true }) < r.Most {
		return Verdict{}
	}
	return Verdict{Action: r.Action, Reason: fmt.Sprintf("is one of more than %d within %s", r.Most, within)}
}
