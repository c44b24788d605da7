package world

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	logformat "github.com/postbus/postbus/apps/internal/eventlog"
)

// logged is an event as the log has it. It is decoded here without the services' code, so
// that the checks do not share its mistakes.
type logged struct {
	ID       string          `json:"id"`
	Type     string          `json:"type"`
	Subject  string          `json:"subject"`
	Sequence string          `json:"sequence"`
	Data     json.RawMessage `json:"data"`

	number uint64
	entity entity
}

// entity is a post or a comment as an event has it.
type entity struct {
	ID        string    `json:"id"`
	PostID    string    `json:"postId"`
	Title     string    `json:"title"`
	Body      string    `json:"body"`
	Author    string    `json:"author"`
	Content   string    `json:"content"`
	Status    string    `json:"status"`
	Reason    string    `json:"reason"`
	CreatedAt time.Time `json:"createdAt"`
	Revision  int       `json:"revision"`
}

const (
	postCreated      = "PostCreated"
	commentCreated   = "CommentCreated"
	commentModerated = "CommentModerated"
	commentUpdated   = "CommentUpdated"
)

// decodeLog decodes a batch of events. The error says that their numbers have a gap.
func decodeLog(batch []byte) ([]logged, error) {
	var events []logged
	if err := jsonv2.Unmarshal(batch, &events); err != nil {
		return nil, err
	}
	for i := range events {
		e := &events[i]
		e.number = uint64(i + 1) //nolint:gosec // never negative
		if want := fmt.Sprintf("%020d", e.number); e.Sequence != want {
			return nil, fmt.Errorf("event %d of the log has the number %s", e.number, e.Sequence)
		}
		if err := jsonv2.Unmarshal(e.Data, &e.entity); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// storedLines are the lines of the log in eventlog's store, as far as it has segments.
func (w *World) storedLines() ([][]byte, error) {
	s := w.stores[eventlog]
	var origin logformat.Origin
	if raw := s.value(logformat.OriginKey); raw == nil {
		return nil, nil
	} else if err := jsonv2.Unmarshal(raw, &origin); err != nil {
		return nil, err
	}
	var lines [][]byte
	for number := 0; ; number++ {
		segment, err := logformat.ParseSegment(number, s.value(origin.Key(number)))
		if err != nil {
			return nil, err
		}
		more, err := segment.Lines(0, segment.Last())
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
		if !segment.Full() {
			return lines, nil
		}
	}
}

// storedLog is the log in eventlog's store.
func (w *World) storedLog() ([]logged, error) {
	lines, err := w.storedLines()
	if err != nil || len(lines) == 0 {
		return nil, err
	}
	return decodeLog(logformat.Batch(lines))
}

// idsInLog are the ids of the entities whose creation the log has.
func (w *World) idsInLog() map[string]bool {
	events, _ := w.storedLog() // if it is damaged, the accounts say so
	return created(events)
}

// created are the ids of the entities whose creation is among the events.
func created(events []logged) map[string]bool {
	ids := map[string]bool{}
	for _, e := range events {
		if e.Type == postCreated || e.Type == commentCreated {
			ids[e.Subject] = true
		}
	}
	return ids
}

// folded is what readers see of events: the highest revision of each entity, and of equal
// ones the first in the log.
type folded struct {
	posts    map[string]entity
	comments map[string]entity
}

func fold(events []logged, types ...string) folded {
	f := folded{map[string]entity{}, map[string]entity{}}
	for _, e := range events {
		if !slices.Contains(types, e.Type) {
			continue
		}
		into := f.comments
		if e.Type == postCreated {
			into = f.posts
		}
		if had, exists := into[e.entity.ID]; !exists || e.entity.Revision > had.Revision {
			into[e.entity.ID] = e.entity
		}
	}
	return f
}

// readersSee is the fold of what query shows.
func readersSee(events []logged) folded {
	f := fold(events, postCreated, commentCreated, commentUpdated)
	for id, c := range f.comments {
		f.comments[id] = c.public()
	}
	return f
}

// public is a comment as its readers may see it: of one that is not approved no text, no
// name and no reason.
func (c entity) public() entity {
	if c.Status != "approved" {
		return entity{ID: c.ID, PostID: c.PostID, Status: c.Status, Revision: c.Revision}
	}
	c.Reason = ""
	return c
}

// lines has a line for each post and comment that readers see, in the order of a page: the
// youngest first.
func (f folded) lines() []string {
	var lines []string
	for _, p := range youngestFirst(f.posts) {
		var of []entity
		for _, c := range youngestFirst(f.comments) {
			if c.PostID == p.ID {
				of = append(of, c)
			}
		}
		counts := map[string]int{}
		for _, c := range of {
			counts[c.Status]++
		}
		lines = append(lines, postLine(p, len(of), counts))
		for _, c := range of {
			lines = append(lines, commentLine(c))
		}
	}
	return lines
}

func youngestFirst(of map[string]entity) []entity {
	var sorted []entity
	for _, e := range of {
		sorted = append(sorted, e)
	}
	slices.SortFunc(sorted, func(a, b entity) int { return -strings.Compare(a.ID, b.ID) })
	return sorted
}

func postLine(p entity, comments int, counts map[string]int) string {
	return fmt.Sprintf("post %s %q %q %s, %d comments: %v", p.ID, p.Title, p.Body, p.CreatedAt.UTC().Format(time.RFC3339Nano), comments, counts)
}

func commentLine(c entity) string {
	return fmt.Sprintf("  comment %s %q %q %s %q %s", c.ID, c.Content, c.Author, c.Status, c.Reason, c.CreatedAt.UTC().Format(time.RFC3339Nano))
}

// pageLines has the lines of a page of query, which has all posts and comments.
func pageLines(page []byte) ([]string, error) {
	var of map[string]struct {
		entity
		Comments      []entity       `json:"comments"`
		CommentCount  int            `json:"commentCount"`
		CommentCounts map[string]int `json:"commentCounts"`
	}
	if err := jsonv2.Unmarshal(page, &of); err != nil {
		return nil, fmt.Errorf("%w: %s", err, page)
	}
	var lines []string
	ids := make([]string, 0, len(of))
	for id := range of {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return -cmp.Compare(a, b) })
	for _, id := range ids {
		p := of[id]
		lines = append(lines, postLine(p.entity, p.CommentCount, p.CommentCounts))
		for _, c := range p.Comments {
			lines = append(lines, commentLine(c))
		}
	}
	return lines, nil
}

// differ says in which line two lists differ first, or nil.
func differ(what string, got, want []string) error {
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			return fmt.Errorf("%s has\n  %s\nand should have\n  %s", what, g, w)
		}
	}
	return nil
}
