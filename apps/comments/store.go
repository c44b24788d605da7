package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// swapTries is how often a batch is merged again when another writer was first.
const swapTries = 4

// recentCached is how many documents are remembered as they were last written: a
// comment's second event comes some milliseconds after its first.
const recentCached = 16_384

// recentBytes bounds a document that is remembered: all of them take at most 64 MiB.
const recentBytes = 4 << 10

// comments keeps one document a comment, "comment-<id>", and the lists.
type comments struct {
	store state.Swapper
	lists *lists
	// recent are documents as this replica wrote them. One that another replica has
	// written since makes the next swap fail, and is read then.
	recent   *lru.Cache[string, state.Item]
	arrivals *arrivals
}

func newComments(store state.Swapper) *comments {
	recent, err := lru.New[string, state.Item](recentCached)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &comments{store: store, lists: newLists(store), recent: recent, arrivals: newArrivals()}
}

// forget drops what is remembered of the store.
func (s *comments) forget() {
	s.recent.Purge()
	s.lists.hints.Purge()
	s.lists.recent.Purge()
}

// document is a comment as it is stored.
type document struct {
	event.Comment
	// Unlisted says that the comment is in no list yet: its moderation came first.
	Unlisted bool `json:"unlisted,omitzero"`
}

// merge stores what the events say of their comments; of each the highest
// revision wins. With list it also lists the comments that aren't listed yet.
//
// Who lists a comment has written its document before, so that it exists and is not
// Unlisted. A comment without document, or with one that is, was in no list when the
// document was read. Any other is looked for in the whole list: an event delivered
// again.
func (s *comments) merge(ctx context.Context, events []event.Event, list bool) []error {
	errs := make([]error, len(events))
	var tails map[string]*chunk
	if list {
		var err error
		if tails, err = s.lists.likelyTails(ctx, postsOf(events)); err != nil {
			return bus.All(len(events), err)
		}
	}
	unlisted, err := s.write(ctx, events, errs, list)
	if err != nil {
		for i := range errs {
			if errs[i] == nil {
				errs[i] = err
			}
		}
		return errs
	}
	for i, e := range events {
		if errs[i] == nil {
			s.arrivals.wake(e.Comment.ID)
		}
	}
	if !list {
		return errs
	}
	byPost := map[string]*addition{}
	for i, e := range events {
		if errs[i] != nil {
			continue
		}
		a := byPost[e.Comment.PostID]
		if a == nil {
			a = &addition{tail: tails[e.Comment.PostID]}
			byPost[e.Comment.PostID] = a
		}
		a.ids = append(a.ids, e.Comment.ID)
		a.search = a.search || !unlisted[e.Comment.ID]
	}
	s.lists.add(ctx, slices.Collect(maps.Values(byPost))...)
	for i, e := range events {
		if errs[i] == nil {
			errs[i] = byPost[e.Comment.PostID].err
		}
	}
	return errs
}

// write brings the documents up to the events, and returns which comments were in no
// list when it began. It sets errs of the events that contradict a document. With
// list, the events' comments are listed next.
//
// The first try guesses: without list, that a document is as this replica wrote it
// just now; with list, that a comment which comes alone has none. (In a batch, as they
// come under load, most are overtaken, and one wrong guess has all of it merged again.)
// The swap tells whether a guess was right; so one that would change nothing, and is
// not put to that test, does not count.
func (s *comments) write(ctx context.Context, events []event.Event, errs []error, list bool) (unlisted map[string]bool, err error) {
	keys, position := make([]string, 0, len(events)), make(map[string]int, len(events))
	for _, e := range events {
		if _, seen := position[e.Comment.ID]; !seen {
			position[e.Comment.ID] = len(keys)
			keys = append(keys, "comment-"+e.Comment.ID)
		}
	}
	unlisted = make(map[string]bool, len(keys))
	for try := range swapTries {
		var docs []state.Item
		var guessed map[string]bool
		if docs, guessed, err = s.documents(ctx, keys, try == 0, list); err != nil {
			return nil, err
		}
		var merged []*document
		if merged, err = decodeAll(docs); err != nil {
			return nil, err
		}
		inNone := map[string]bool{}
		for id, i := range position {
			if merged[i] == nil || merged[i].Unlisted {
				inNone[id] = true
			}
		}
		if len(guessed) == 0 { // also where the swap fails: the tails were read before
			maps.Copy(unlisted, inNone)
		}
		var writes []state.Item
		verdicts := make([]error, len(events)) // of this try alone
		if writes, err = mergeInto(docs, merged, position, events, verdicts, list); err != nil {
			return nil, err
		}
		for _, item := range writes {
			delete(guessed, item.Key)
		}
		if len(guessed) > 0 {
			continue
		}
		if len(writes) > 0 {
			if err = s.store.Swap(ctx, writes...); err != nil {
				continue
			}
			for _, item := range writes {
				item.ETag = state.ETagAfter(item.ETag)
				if len(item.Value) > recentBytes {
					s.recent.Remove(item.Key)
					continue
				}
				s.recent.Add(item.Key, item)
			}
		}
		copy(errs, verdicts)
		maps.Copy(unlisted, inNone)
		return unlisted, nil
	}
	return nil, err
}

// documents returns the documents of keys: some of them guessed, if that may be,
// and the others read. With list, the keys' comments are listed next.
func (s *comments) documents(ctx context.Context, keys []string, guess, list bool) (docs []state.Item, guessed map[string]bool, err error) {
	docs, guessed = make([]state.Item, len(keys)), map[string]bool{}
	var unknown []string
	var at []int // of the unknown among the keys
	for i, key := range keys {
		recent, found := s.recent.Get(key)
		switch {
		case guess && found && !list:
			docs[i], guessed[key] = recent, true
		case guess && !found && list && len(keys) == 1:
			docs[i], guessed[key] = state.Item{Key: key}, true
		default:
			unknown, at = append(unknown, key), append(at, i)
		}
	}
	if len(unknown) == 0 {
		return docs, guessed, nil
	}
	read, err := s.store.Get(ctx, unknown...)
	if err != nil {
		return nil, nil, err
	}
	for i, doc := range read {
		docs[at[i]] = doc
	}
	return docs, guessed, nil
}

// decodeAll decodes the documents; nil is one that does not exist.
func decodeAll(docs []state.Item) ([]*document, error) {
	decoded := make([]*document, len(docs))
	for i, doc := range docs {
		if !doc.Exists() {
			continue
		}
		decoded[i] = new(document)
		if err := json.Unmarshal(doc.Value, decoded[i]); err != nil {
			return nil, fmt.Errorf("decoding %s: %w", doc.Key, err)
		}
	}
	return decoded, nil
}

// mergeInto merges events into the documents, decoded, and returns those that change.
func mergeInto(docs []state.Item, merged []*document, position map[string]int, events []event.Event, errs []error, list bool) ([]state.Item, error) {
	changed := make([]bool, len(docs))
	for i, e := range events {
		at := position[e.Comment.ID]
		have := merged[at]
		if have == nil {
			merged[at], changed[at] = &document{*e.Comment, !list}, true
			continue
		}
		if contradict(&have.Comment, e.Comment) {
			errs[i] = fmt.Errorf("%w: comment %s exists with other content", bus.ErrPoison, e.Comment.ID)
			continue
		}
		if e.Comment.Revision > have.Revision {
			have.Comment, changed[at] = *e.Comment, true
		}
		if list && have.Unlisted {
			have.Unlisted, changed[at] = false, true
		}
	}
	var writes []state.Item
	for i, doc := range docs {
		if !changed[i] {
			continue
		}
		value, err := event.Marshal(merged[i])
		if err != nil {
			return nil, err
		}
		writes = append(writes, state.Item{Key: doc.Key, Value: value, ETag: doc.ETag})
	}
	return writes, nil
}

// contradict says whether a and b can't both be versions of one comment.
func contradict(a, b *event.Comment) bool {
	return a.PostID != b.PostID || a.Content != b.Content || a.Author != b.Author || !a.CreatedAt.Equal(b.CreatedAt) ||
		a.Revision == b.Revision && (a.Status != b.Status || a.Reason != b.Reason)
}

func postsOf(events []event.Event) []string {
	seen := map[string]bool{}
	var posts []string
	for _, e := range events {
		if !seen[e.Comment.PostID] {
			seen[e.Comment.PostID] = true
			posts = append(posts, e.Comment.PostID)
		}
	}
	return posts
}

// commentDelay is how old a comment may be and yet be on its way to the store.
const commentDelay = 10 * time.Second

// await returns the comment, or nil when there is none. One that was made less than
// commentDelay ago may be on its way: it waits for it, for at most arrivalWait. The error
// is errTooManyWait, the store's or that of ctx.
func (s *comments) await(ctx context.Context, id string) (found *event.Comment, err error) {
	made, ok := event.IDTime(id)
	if !ok {
		return nil, nil
	}
	look := func() (bool, error) {
		comments, err := s.load(ctx, []string{id})
		if len(comments) > 0 {
			found = comments[0]
		}
		return found != nil, err
	}
	if time.Since(made).Abs() >= commentDelay {
		_, err = look()
	} else if err = s.arrivals.await(ctx, id, look); errors.Is(err, errNotArrived) {
		err = nil
	}
	return found, err
}

// page returns at most limit comments of the post, newest first, from before the
// position before, and the position to go on before, or 0 at the end.
func (s *comments) page(ctx context.Context, post string, before, limit int) ([]*event.Comment, int, error) {
	ids, next, err := s.lists.page(ctx, post, before, limit)
	if err != nil {
		return nil, 0, err
	}
	found, err := s.load(ctx, ids)
	return found, next, err
}

// load returns the comments of ids that exist, in that order.
func (s *comments) load(ctx context.Context, ids []string) ([]*event.Comment, error) {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = "comment-" + id
	}
	docs, err := s.store.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	found := make([]*event.Comment, 0, len(docs))
	for _, doc := range docs {
		if !doc.Exists() {
			continue
		}
		c := new(event.Comment)
		if err := json.Unmarshal(doc.Value, c); err != nil {
			return nil, fmt.Errorf("decoding %s: %w", doc.Key, err)
		}
		found = append(found, c)
	}
	return found, nil
}
