package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// chunkSize is how many ids a chunk holds. Every addition writes the whole tail,
	// 2.5 KB on average. A page spans at most two.
	chunkSize = 128
	// searchChunks is how many chunks a search reads at once, half a megabyte. It bounds
	// the sidecar's answer, which may have 16 MiB, however many comments a post has.
	searchChunks = 100
	// fromNewest is the position after every comment.
	fromNewest = math.MaxInt32

	tailHintsCached = 100_000
	tailsCached     = 8_192
)

// lists keeps which comments a post has, in the order in which they came: chunks
// of ids, "list-<post>-<number>". Only the last chunk, the tail, ever changes.
// A position counts a post's comments from 1.
type lists struct {
	store state.Swapper
	// hints are the numbers of tails, or of chunks that were: the tail is there or later.
	hints *lru.Cache[string, int]
	// recent are tails as this replica wrote them. Where another has gone on since,
	// the next write fails, and the tail is read then.
	recent *lru.Cache[string, *chunk]
	// adding serialises this replica's writes: two of them would only conflict.
	adding sync.Mutex
}

// chunk is one chunk as it was read.
type chunk struct {
	post   string
	number int
	item   state.Item
	ids    []string
	// guessed says that it was not read, but is as this replica wrote it.
	guessed bool
}

func newLists(store state.Swapper) *lists {
	hints, err := lru.New[string, int](tailHintsCached)
	if err != nil {
		panic(err) // only for a size below 1
	}
	recent, err := lru.New[string, *chunk](tailsCached)
	if err != nil {
		panic(err) // as above
	}
	return &lists{store: store, hints: hints, recent: recent}
}

func (c *chunk) full() bool { return len(c.ids) >= chunkSize }

func chunkKey(post string, number int) string { return fmt.Sprintf("list-%s-%d", post, number) }

func decodeChunk(post string, number int, item state.Item) (*chunk, error) {
	c := &chunk{post: post, number: number, item: item}
	if !item.Exists() {
		return c, nil
	}
	if err := json.Unmarshal(item.Value, &c.ids); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", item.Key, err)
	}
	return c, nil
}

func (l *lists) read(ctx context.Context, post string, numbers ...int) ([]*chunk, error) {
	keys := make([]string, len(numbers))
	for i, n := range numbers {
		keys[i] = chunkKey(post, n)
	}
	items, err := l.store.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	chunks := make([]*chunk, len(items))
	for i, number := range numbers {
		if chunks[i], err = decodeChunk(post, number, items[i]); err != nil {
			return nil, err
		}
	}
	return chunks, nil
}

// likelyTails is tails without reading those that this replica has written: each
// is the tail, or was it.
func (l *lists) likelyTails(ctx context.Context, posts []string) (map[string]*chunk, error) {
	likely, unknown := make(map[string]*chunk, len(posts)), []string{}
	for _, post := range posts {
		c, found := l.recent.Get(post)
		switch {
		case !found || c.full(): // a new chunk is begun only after one that is full in the store
			unknown = append(unknown, post)
		default:
			guess := *c
			guess.guessed = true
			likely[post] = &guess
		}
	}
	if len(unknown) == 0 {
		return likely, nil
	}
	read, err := l.tails(ctx, unknown)
	maps.Copy(likely, read)
	return likely, err
}

// tails reads the tails of the posts: the first chunk that isn't full.
func (l *lists) tails(ctx context.Context, posts []string) (map[string]*chunk, error) {
	keys, numbers := make([]string, len(posts)), make([]int, len(posts))
	for i, post := range posts {
		numbers[i], _ = l.hints.Get(post)
		keys[i] = chunkKey(post, numbers[i])
	}
	items, err := l.store.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	tails := make(map[string]*chunk, len(posts))
	for i, post := range posts {
		c, err := decodeChunk(post, numbers[i], items[i])
		switch {
		case err != nil:
		case c.full():
			c, err = l.tailAfter(ctx, c.number, post)
		case len(c.ids) == 0 && c.number > 0: // there was one after it, in a store that has lost writes
			c, err = l.tailAfter(ctx, -1, post)
		}
		if err != nil {
			return nil, err
		}
		l.hint(c)
		tails[post] = c
	}
	return tails, nil
}

// hint notes the last chunk that exists: the tail, or the full one before it.
func (l *lists) hint(tail *chunk) {
	number := tail.number
	if len(tail.ids) == 0 && number > 0 {
		number--
	}
	l.hints.Add(tail.post, number)
}

// tailAfter finds the tail of a post after a full chunk, or from the first one (-1).
func (l *lists) tailAfter(ctx context.Context, full int, post string) (tail *chunk, err error) {
	probed := map[int]*chunk{}
	number, err := state.Tail(full, func(n int) (bool, error) {
		read, err := l.read(ctx, post, n)
		if err != nil {
			return false, err
		}
		probed[n] = read[0]
		return read[0].full(), nil
	})
	return probed[number], err
}

// addition is what a batch adds to the list of one post.
type addition struct {
	// tail is the post's tail, read before the documents of the ids were written.
	tail *chunk
	ids  []string
	// search says that some ids may be listed already: they are looked for in the
	// whole list, otherwise only in what was added since tail was read.
	search bool
	// err is why the ids, or some of them, are not known to be listed.
	err error
}

// add lists the ids of each addition once, all posts in one write.
func (l *lists) add(ctx context.Context, additions ...*addition) {
	l.adding.Lock()
	defer l.adding.Unlock()
	var guessed []*addition
	for _, a := range additions {
		a.ids = slices.Compact(slices.Sorted(slices.Values(a.ids)))
		if a.search && a.tail.guessed {
			guessed = append(guessed, a)
		}
	}
	if len(guessed) > 0 { // what is in the tail need not be looked for
		l.readTails(ctx, guessed, 0)
	}
	for _, a := range additions {
		if a.search && a.err == nil {
			a.ids, a.err = l.unlisted(ctx, a.tail, a.ids)
		}
	}
	var swapErr error
	for tries := 0; ; {
		var full, growing, unsure []*addition
		for _, a := range additions {
			left := without(a.ids, a.tail.ids)
			if a.tail.guessed && a.err == nil && len(left) < len(a.ids) {
				unsure = append(unsure, a) // no write would tell whether they are listed
				continue
			}
			switch a.ids = left; {
			case a.err != nil || len(a.ids) == 0:
			case a.tail.full():
				full = append(full, a)
			default:
				growing = append(growing, a)
			}
		}
		switch {
		case len(unsure) > 0:
			l.readTails(ctx, unsure, 0)
		case len(full) > 0:
			l.readTails(ctx, full, 1)
		case len(growing) == 0:
			return
		case tries == swapTries:
			for _, a := range growing {
				a.err = swapErr
			}
			return
		default:
			if swapErr = l.grow(ctx, growing); swapErr != nil {
				tries++
				l.readTails(ctx, growing, 0)
			}
		}
	}
}

// unlisted returns the ids that are neither in tail nor in a chunk before it. It goes
// backwards and ends when it has found all of them: what comes again mostly came a
// moment ago. (That an id is young bounds nothing: it says when the comment was made,
// and a chunk's ids may all be older and yet have been heard of later.)
func (l *lists) unlisted(ctx context.Context, tail *chunk, ids []string) ([]string, error) {
	ids = without(ids, tail.ids)
	for end := tail.number; end > 0 && len(ids) > 0; end -= searchChunks {
		var numbers []int
		for n := max(end-searchChunks, 0); n < end; n++ {
			numbers = append(numbers, n)
		}
		chunks, err := l.read(ctx, tail.post, numbers...)
		if err != nil {
			return nil, err
		}
		for _, c := range chunks {
			ids = without(ids, c.ids)
		}
	}
	return ids, nil
}

// grow writes as many ids into the tails as fit.
func (l *lists) grow(ctx context.Context, additions []*addition) error {
	grown, writes := make([][]string, len(additions)), make([]state.Item, len(additions))
	for i, a := range additions {
		take := min(len(a.ids), chunkSize-len(a.tail.ids))
		grown[i] = append(slices.Clone(a.tail.ids), a.ids[:take]...)
		value, err := event.Marshal(grown[i])
		if err != nil {
			return err
		}
		writes[i] = state.Item{Key: chunkKey(a.tail.post, a.tail.number), Value: value, ETag: a.tail.item.ETag}
	}
	if err := l.store.Swap(ctx, writes...); err != nil {
		return err
	}
	for i, a := range additions {
		item := state.Item{Key: writes[i].Key, ETag: state.ETagAfter(writes[i].ETag)}
		a.tail = &chunk{post: a.tail.post, number: a.tail.number, item: item, ids: grown[i]}
		l.recent.Add(a.tail.post, a.tail)
	}
	return nil
}

// readTails reads the additions' tails again, or the chunks that come step later.
func (l *lists) readTails(ctx context.Context, additions []*addition, step int) {
	keys := make([]string, len(additions))
	for i, a := range additions {
		keys[i] = chunkKey(a.tail.post, a.tail.number+step)
	}
	items, err := l.store.Get(ctx, keys...)
	for i, a := range additions {
		if a.err = err; err != nil {
			continue
		}
		var c *chunk
		if c, a.err = decodeChunk(a.tail.post, a.tail.number+step, items[i]); a.err == nil {
			a.tail = c
			l.hint(c)
		}
	}
}

// without returns the ids that aren't in others.
func without(ids, others []string) []string {
	if len(others) == 0 {
		return ids
	}
	known := make(map[string]struct{}, len(others))
	for _, id := range others {
		known[id] = struct{}{}
	}
	left := make([]string, 0, len(ids))
	for _, id := range ids {
		if _, ok := known[id]; !ok {
			left = append(left, id)
		}
	}
	return left
}

// page returns the ids at positions below before, newest first, at most limit of
// them, and the position to go on before, or 0 at the end.
func (l *lists) page(ctx context.Context, post string, before, limit int) (ids []string, next int, err error) {
	tails, err := l.tails(ctx, []string{post})
	if err != nil {
		return nil, 0, err
	}
	tail := tails[post]
	last := min(before-1, tail.number*chunkSize+len(tail.ids))
	first := max(last-limit+1, 1)
	if last < first {
		return nil, 0, nil
	}
	var numbers []int
	for n := (first - 1) / chunkSize; n <= (last-1)/chunkSize; n++ {
		numbers = append(numbers, n)
	}
	chunks, err := l.read(ctx, post, numbers...)
	if err != nil {
		return nil, 0, err
	}
	for position := last; position >= first; position-- {
		c, at := chunks[(position-1)/chunkSize-numbers[0]], (position-1)%chunkSize
		if at >= len(c.ids) {
			return nil, 0, fmt.Errorf("%s has %d ids, and is not the last", chunkKey(post, c.number), len(c.ids))
		}
		ids = append(ids, c.ids[at])
	}
	if first > 1 {
		next = first
	}
	return ids, next, nil
}
