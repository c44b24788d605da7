// Package queue knows which comments there are and how each stands, and who is blocked, from the
// event log. It is kept in memory, 48 bytes a comment, by every replica of moderation.
package queue

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// retryPause is the pause after a read that failed.
const retryPause = time.Second

// Entry is a comment.
type Entry struct {
	ID uuid.UUID
	// Sequence is the number of an event of the log that carries the comment.
	Sequence uint64
	// Status is that of the highest revision, of which the first in the log counts.
	Status   event.Status
	Revision int
}

// Index is a fold of the log. It is safe for concurrent use.
type Index struct {
	log eventlog.Reader

	mu      sync.RWMutex
	at      eventlog.Position
	isReady bool
	entries []Entry // by id, and so by age
	// people are all that were ever blocked, by subject. Of each the highest revision is there, and
	// of equal ones the first in the log.
	people map[string]event.Blocking
}

// New returns an empty index of a log.
func New(log eventlog.Reader) *Index {
	return &Index{log: log, people: map[string]event.Blocking{}}
}

// IsReady says that the index has read the log to its end once.
func (x *Index) IsReady() bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.isReady
}

// Run reads the log, from its start on, until ctx is done.
func (x *Index) Run(ctx context.Context) {
	for failing := false; ctx.Err() == nil; {
		err := x.read(ctx)
		switch {
		case err == nil:
			failing = false
			continue
		case errors.Is(err, eventlog.ErrMisfit):
			slog.WarnContext(ctx, "the event log is another one, or has lost its end: reading it from its start", "error", err)
			x.reset()
		case ctx.Err() == nil && !failing:
			slog.DebugContext(ctx, "the queue can't read the event log, retrying", "error", err)
			failing = true
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
		}
	}
}

func (x *Index) reset() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.at, x.isReady, x.entries, x.people = eventlog.Position{}, false, nil, map[string]event.Blocking{}
}

// read reads what comes next. At the log's end it waits for an event.
func (x *Index) read(ctx context.Context) error {
	x.mu.RLock()
	from, wait := x.at, eventlog.ReadWait
	if !x.isReady {
		wait = 0
	}
	x.mu.RUnlock()
	events, end, err := x.log.Read(ctx, from, eventlog.ReadLimit, wait)
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range events {
		switch {
		case e.Comment != nil:
			x.put(e)
		case e.Blocking != nil && e.Blocking.Revision > x.people[e.Blocking.Subject].Revision:
			x.people[e.Blocking.Subject] = *e.Blocking
		}
		x.at = eventlog.Position{Sequence: uint64(e.Sequence), Log: end.Log, Event: e.ID}
	}
	x.isReady = x.isReady || x.at.Sequence >= end.Sequence
	return nil
}

// put takes what an event says of its comment. The caller holds the lock.
func (x *Index) put(e event.Event) {
	id := uuid.MustParse(e.Comment.ID) // a valid event's
	entry := Entry{id, uint64(e.Sequence), e.Comment.Status, e.Comment.Revision}
	at, found := x.find(id)
	switch {
	case !found:
		x.entries = slices.Insert(x.entries, at, entry)
	case entry.Revision > x.entries[at].Revision:
		x.entries[at] = entry
	}
}

func (x *Index) find(id uuid.UUID) (at int, found bool) {
	compare := func(e Entry, id uuid.UUID) int { return bytes.Compare(e.ID[:], id[:]) }
	if n := len(x.entries); n == 0 || compare(x.entries[n-1], id) < 0 {
		return n, false // the usual case: younger than all
	}
	return slices.BinarySearchFunc(x.entries, id, compare)
}

// Find returns the entry of a comment.
func (x *Index) Find(id uuid.UUID) (entry Entry, found bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	at, found := x.find(id)
	if !found {
		return Entry{}, false
	}
	return x.entries[at], true
}

// After returns the comments with that status that are younger than an id, oldest first and
// at most limit of them, and says whether there are more.
func (x *Index) After(id uuid.UUID, status event.Status, limit int) (page []Entry, isMore bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	at, found := x.find(id)
	if found {
		at++
	}
	for _, e := range x.entries[at:] {
		if e.Status != status {
			continue
		}
		if len(page) == limit {
			return page, true
		}
		page = append(page, e)
	}
	return page, false
}

// Blocked returns the people who are blocked, newest decision first, and at most limit of them.
func (x *Index) Blocked(limit int) []event.Blocking {
	x.mu.RLock()
	defer x.mu.RUnlock()
	blocked := []event.Blocking{}
	for _, p := range x.people {
		if p.Blocked {
			blocked = append(blocked, p)
		}
	}
	slices.SortFunc(blocked, func(a, b event.Blocking) int {
		return cmp.Or(b.DecidedAt.Compare(a.DecidedAt), strings.Compare(a.Subject, b.Subject))
	})
	return blocked[:min(len(blocked), limit)]
}
