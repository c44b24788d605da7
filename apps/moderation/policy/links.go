package policy

import (
	"cmp"
	"fmt"
	"regexp"
)

// LinkRule is about comments with many links.
type LinkRule struct {
	// Most is how many links a comment may have, from 0 to 100.
	Most   int    `json:"most"`
	Action Action `json:"action"`
}

func (r *LinkRule) validate() error {
	if r == nil {
		return nil
	}
	return cmp.Or(validNumber("links.most", r.Most, 0, 100), validAction("links.action", r.Action))
}

// link finds what is an address to a reader: with a scheme, or with www, or a host's name with
// a path after it. Pages show comments as plain text, so other markup is none.
var link = regexp.MustCompile(`(?i)(?:^|[^\pL\pN])(?:[a-z][a-z0-9+.-]{1,20}://\S|www\.[\pL\pN]|(?:[\pL\pN-]+\.)+\pL{2,24}/)`)

func (r *LinkRule) decide(c *Case) Verdict {
	if r == nil {
		return Verdict{}
	}
	n := len(link.FindAllStringIndex(c.Comment.Content, -1)) + len(link.FindAllStringIndex(c.Comment.Author, -1))
	if n <= r.Most {
		return Verdict{}
	}
	return Verdict{Action: r.Action, Reason: fmt.Sprintf("has %d links, more than %d", n, r.Most)}
}
