package policy

import (
	"cmp"
	"slices"
)

// NewcomersRule is about the first comments of somebody new. A guest is always new.
type NewcomersRule struct {
	// Comments is how many comments of a person must have been approved, from 1 to 10.
	Comments int    `json:"comments"`
	Action   Action `json:"action"`
}

func (r *NewcomersRule) validate() error {
	if r == nil {
		return nil
	}
	return cmp.Or(validNumber("newcomers.comments", r.Comments, 1, maxNewcomer), validAction("newcomers.action", r.Action))
}

// maxNewcomer bounds how many approved comments of a person are counted.
const maxNewcomer = 10

func (r *NewcomersRule) decide(c *Case) Verdict {
	if r == nil {
		return Verdict{}
	}
	approved := len(c.Approved)
	if slices.Contains(c.Approved, c.Comment.ID) { // it is looked at anew
		approved--
	}
	if c.Comment.AuthorID != "" && approved >= r.Comments {
		return Verdict{}
	}
	return Verdict{Action: r.Action, Reason: "is by somebody new"}
}
