package model

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/event"
)

// This file alone says what readers see of an entity. To show one more field of a comment,
// add a line to renderComment.

// renderPost returns what readers see of a post, up to its comments.
func renderPost(p *event.Post) ([]byte, error) { return renderBeginning(p, "body") }

// renderBeginning renders a post with its text in the member of that name.
func renderBeginning(p *event.Post, text string) ([]byte, error) {
	return render("",
		member{name: "id", value: p.ID},
		member{name: "title", value: p.Title},
		member{name: text, value: p.Body},
		member{name: "author", value: p.Author, optional: true},
		member{name: "authorId", value: p.AuthorID, optional: true},
		member{name: "createdAt", value: p.CreatedAt.Format(time.RFC3339Nano)})
}

// renderComment returns what readers see of a comment: of one that is not approved the id
// and the status alone.
func renderComment(comment *event.Comment) ([]byte, error) {
	c := comment.Public()
	createdAt := ""
	if !c.CreatedAt.IsZero() {
		createdAt = c.CreatedAt.Format(time.RFC3339Nano)
	}
	return render("}",
		member{name: "id", value: c.ID},
		member{name: "content", value: c.Content, optional: true},
		member{name: "status", value: string(c.Status)},
		member{name: "author", value: c.Author, optional: true},
		member{name: "authorId", value: c.AuthorID, optional: true}, // none: a guest chose the name
		member{name: "createdAt", value: createdAt, optional: true})
}

// renderCommenting returns what readers see of whether a post's comments are open: not who
// decided that.
func renderCommenting(c *event.Commenting) ([]byte, error) {
	return render("}", member{name: "commenting", value: string(c.Comments)})
}

// member is a member of a JSON object; an optional one is left out where it is empty.
type member struct {
	name, value string
	optional    bool
}

// render returns a JSON object with the members, and what ends it. It takes a third of the
// time that the encoding of a struct does, and is most of what folding an event costs.
func render(end string, members ...member) ([]byte, error) {
	b := append(make([]byte, 0, 512), '{') // on the stack, for most
	for _, m := range members {
		if m.optional && m.value == "" {
			continue
		}
		if len(b) > len("{") {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, m.name...)
		b = append(b, `":`...)
		var err error
		if b, err = jsontext.AppendQuote(b, m.value); err != nil {
			return nil, err
		}
	}
	return bytes.Clone(append(b, end...)), nil // of just its size: it stays in memory
}

// shown returns an event with what readers see of the entry, which is of the entity that e
// is about.
func (e Entry) shown(of event.Event) (seen event.Event) {
	switch { // each as it was rendered
	case of.Comment != nil:
		seen.Comment = &event.Comment{PostID: of.Comment.PostID, Revision: e.Revision}
		_ = json.Unmarshal(e.JSON, seen.Comment)
	case of.Commenting != nil:
		var has struct{ Commenting event.Openness }
		_ = json.Unmarshal(e.JSON, &has)
		seen.Commenting = &event.Commenting{PostID: of.Commenting.PostID, Comments: has.Commenting, Revision: e.Revision}
	default:
		seen.Post = e.shownPost()
	}
	return seen
}

// shownPost returns what readers see of the entry of a post.
func (e Entry) shownPost() *event.Post {
	seen := &event.Post{Revision: e.Revision}
	_ = json.Unmarshal(slices.Concat(e.JSON, []byte("}")), seen) // as it was rendered
	return seen
}

// statusOf returns the status of a rendered comment. Only an approved comment has members
// between its id and its status.
func statusOf(comment []byte) event.Status {
	_, members, _ := bytes.Cut(comment, []byte(`",`))
	status, isNext := bytes.CutPrefix(members, []byte(`"status":"`))
	if !isNext {
		return event.Approved
	}
	status, _, _ = bytes.Cut(status, []byte(`"`))
	return event.Status(status)
}

// summary returns what readers see of the post in a list: an excerpt of its body, and how
// many comments it has.
func (p *post) summary() []byte {
	begun := p.begun.Load()
	if begun == nil {
		of := p.shownPost()
		of.Body = excerpt(of.Body)
		b, _ := renderBeginning(of, "excerpt") // of what has been rendered before
		begun = &b
		p.begun.Store(begun)
	}
	json := p.appendCommenting(bytes.Clone(*begun))
	return append(p.appendCounts(append(json, ',')), '}')
}

// appendCommenting appends whether the post's comments are open, once a moderator has
// decided that.
func (p *post) appendCommenting(json []byte) []byte {
	if members := p.Commenting.JSON; len(members) > 0 {
		json = append(json, ',')
		json = append(json, members[len("{"):len(members)-len("}")]...)
	}
	return json
}

// appendCounts appends how many comments the post has, and how many of each status.
func (p *post) appendCounts(json []byte) []byte {
	json = append(json, `"commentCount":`...)
	json = strconv.AppendInt(json, int64(len(p.Comments)), 10)
	json = append(json, `,"commentCounts":{`...)
	separator := ""
	for i, n := range p.counts {
		if n == 0 {
			continue
		}
		json = append(json, separator+`"`+string(event.Statuses[i])+`":`...)
		json = strconv.AppendInt(json, int64(n), 10)
		separator = ","
	}
	return append(json, '}')
}

// page returns the post with its comments that are older than a cursor, newest first and
// at most limit of them. Next is the id of the last of them if there are more.
func (p *post) page(before uuid.UUID, limit int) (json []byte, next string) {
	end, _ := find(p.Comments, before)
	begin := max(0, end-limit)
	json = make([]byte, 0, len(p.JSON)+64+256*(end-begin))
	json = append(json, p.JSON...)
	json = p.appendCommenting(json)
	json = append(json, `,"comments":[`...)
	for i, c := range slices.Backward(p.Comments[begin:end]) {
		json = append(json, c.JSON...)
		if i > 0 {
			json = append(json, ',')
		}
	}
	json = append(p.appendCounts(append(json, "],"...)), '}')
	if begin > 0 {
		next = p.Comments[begin].ID.String()
	}
	return json, next
}
