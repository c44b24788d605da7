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
// add its member to renderComment.

// renderPost returns what readers see of a post, up to its comments.
func renderPost(p *event.Post) ([]byte, error) {
	o := newObject()
	o.text("id", p.ID)
	o.text("title", p.Title)
	o.text("body", p.Body)
	o.time("createdAt", p.CreatedAt)
	return o.end("")
}

// renderComment returns what readers see of a comment.
func renderComment(c *event.Comment) ([]byte, error) {
	o := newObject()
	o.text("id", c.ID)
	o.text("content", c.Content)
	o.text("status", string(c.Status))
	o.optional("reason", c.Reason)
	o.optional("author", c.Author)
	o.time("createdAt", c.CreatedAt)
	return o.end("}")
}

// shown returns an event with what readers see of the entry, which is of the entity that e
// is about.
func (e Entry) shown(of event.Event) (seen event.Event) {
	if of.Comment == nil {
		seen.Post = &event.Post{Revision: e.Revision}
		_ = json.Unmarshal(slices.Concat(e.JSON, []byte("}")), seen.Post) // as it was rendered
	} else {
		seen.Comment = &event.Comment{PostID: of.Comment.PostID, Revision: e.Revision}
		_ = json.Unmarshal(e.JSON, seen.Comment)
	}
	return seen
}

// object is a JSON object that is being written. It takes a third of the time that the
// encoding of a struct does, and is most of what folding an event costs.
type object struct {
	json []byte
	err  error
}

func newObject() object { return object{json: append(make([]byte, 0, 512), '{')} }

func (o *object) text(name, value string) {
	o.name(name)
	var err error
	if o.json, err = jsontext.AppendQuote(o.json, value); err != nil && o.err == nil {
		o.err = err
	}
}

func (o *object) optional(name, value string) {
	if value != "" {
		o.text(name, value)
	}
}

func (o *object) time(name string, value time.Time) {
	o.name(name)
	o.json = append(o.json, '"')
	o.json = value.AppendFormat(o.json, time.RFC3339Nano)
	o.json = append(o.json, '"')
}

func (o *object) name(name string) {
	if len(o.json) > len("{") {
		o.json = append(o.json, ',')
	}
	o.json = append(o.json, '"')
	o.json = append(o.json, name...)
	o.json = append(o.json, `":`...)
}

// end returns the JSON and what ends it, in a slice of just that size: it stays in memory.
func (o *object) end(end string) ([]byte, error) {
	return bytes.Clone(append(o.json, end...)), o.err
}

// page returns the post with its comments that are older than a cursor, newest first and
// at most limit of them. Next is the id of the last of them if there are more.
func (p *Post) page(before uuid.UUID, limit int) (json []byte, next string) {
	end, _ := find(p.Comments, before)
	begin := max(0, end-limit)
	json = make([]byte, 0, len(p.JSON)+64+256*(end-begin))
	json = append(json, p.JSON...)
	json = append(json, `,"comments":[`...)
	for i, c := range slices.Backward(p.Comments[begin:end]) {
		json = append(json, c.JSON...)
		if i > 0 {
			json = append(json, ',')
		}
	}
	json = append(json, `],"commentCount":`...)
	json = strconv.AppendInt(json, int64(len(p.Comments)), 10)
	json = append(json, '}')
	if begin > 0 {
		next = p.Comments[begin].ID.String()
	}
	return json, next
}
