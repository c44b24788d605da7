package comments

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// chunkSize is how many ids a full chunk holds. Every addition writes the whole tail,
	// 2.5 KB on average. A page spans at most two chunks.
	chunkSize = 128
	// searchChunks is how many chunks a search reads at once, half a megabyte. It bounds
	// the sidecar's answer, which may have 16 MiB, however many comments a post has.
	searchChunks = 100
	// fromNewest is the position after every comment.
	fromNewest = math.MaxInt32
)

// lists keeps which comments a post has, in the order in which they came: chunks of ids,
// "list-<post>-<number>". All chunks are full but the last, the tail, and a full chunk
// never changes. A position counts a post's comments from 1.
type lists struct {
	store state.Store
	// tails are, by post, the numbers of the last chunks that were seen. By now the tail may
	// be a later one.
	tails memory[int]
	// adding serialises this replica's additions: two of them would only conflict.
	adding sync.Mutex
}

func newLists(store state.Store, now func() time.Time) *lists {
	return &lists{store: store, tails: memory[int]{now: now}}
}

func chunkKey(post string, number int) string { return fmt.Sprintf("list-%s-%d", post, number) }

// read returns the ids of the chunks from..to-1.
func (l *lists) read(ctx context.Context, post string, from, to int) ([][]string, error) {
	keys := make([]string, to-from)
	for i := range keys {
		keys[i] = chunkKey(post, from+i)
	}
	items, err := l.store.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	return state.Decode[[]string](items...)
}

// tail returns the number and the ids of the tail.
func (l *lists) tail(ctx context.Context, post string) (number int, ids []string, err error) {
	known, _ := l.tails.get(post)
	probed := map[int][]string{}
	number, err = state.Tail(known-1, func(n int) (bool, error) {
		chunks, err := l.read(ctx, post, n, n+1)
		if err != nil {
			return false, err
		}
		probed[n] = chunks[0]
		return len(chunks[0]) == chunkSize, nil
	})
	if err != nil {
		return 0, nil, err
	}
	seen := number
	if ids = probed[number]; len(ids) == 0 {
		seen = max(number-1, 0)
	}
	l.tails.put(post, seen)
	return number, ids, nil
}

// addition is what a batch adds to the list of one post.
type addition struct {
	post string
	// number is that of the chunk to add to: the tail, or one before it. It starts at begin,
	// which is 0 or a chunk that existed.
	number, begin int
	// ids were in no list when begin was looked up: if they are listed by now, then in that
	// chunk or after it. The doubtful may be anywhere in the list.
	ids, doubtful []string
	// missing are the ids that were not in the chunk when it was last read. Those that do
	// not fit into it are left.
	missing, left []string
}

// begin returns an addition to the post's list, still without ids.
func (l *lists) begin(ctx context.Context, post string) (*addition, error) {
	if _, found := l.tails.get(post); !found {
		if _, _, err := l.tail(ctx, post); err != nil {
			return nil, err
		}
	}
	number, _ := l.tails.get(post)
	return &addition{post: post, number: number, begin: number}, nil
}

// add lists the ids of all additions, each once, with the same reads and writes. The
// errors are by post; nil says that all its ids are listed.
func (l *lists) add(ctx context.Context, additions []*addition) map[string]error {
	l.adding.Lock()
	defer l.adding.Unlock()
	failed := map[string]error{}
	for _, a := range additions {
		var unlisted []string
		unlisted, failed[a.post] = l.search(ctx, a.post, a.begin, a.doubtful)
		a.ids = slices.Compact(slices.Sorted(slices.Values(append(a.ids, unlisted...))))
	}
	isDone := func(a *addition) bool { return len(a.ids) == 0 || failed[a.post] != nil }
	for additions = slices.DeleteFunc(additions, isDone); len(additions) > 0; additions = slices.DeleteFunc(additions, isDone) {
		keys := make([]string, len(additions))
		for i, a := range additions {
			keys[i], a.missing = chunkKey(a.post, a.number), a.ids
		}
		err := state.Update(ctx, l.store, keys, func(chunks []state.Item) (writes []state.Item, _ error) {
			for i, a := range additions {
				grown, err := a.addTo(chunks[i])
				if err != nil {
					failed[a.post] = err
				}
				writes = append(writes, grown...)
			}
			return writes, nil
		})
		for _, a := range additions {
			if err != nil && len(a.missing) > 0 {
				failed[a.post] = err
			}
			if failed[a.post] == nil { // what is left goes to the next chunk
				l.tails.put(a.post, a.number)
				a.ids, a.number = a.left, a.number+1
			}
		}
	}
	return failed
}

// addTo returns the chunk with as many ids as fit into it, or nothing if none are to be
// added.
func (a *addition) addTo(chunk state.Item) (grown []state.Item, err error) {
	decoded, err := state.Decode[[]string](chunk)
	if err != nil {
		return nil, err
	}
	ids := decoded[0]
	if len(ids) == 0 && a.number > 0 && a.number == a.begin {
		return nil, fmt.Errorf("the store has lost %s", chunk.Key)
	}
	a.missing = without(a.ids, ids)
	room := min(len(a.missing), chunkSize-len(ids))
	if a.left = a.missing[room:]; room == 0 {
		return nil, nil
	}
	if chunk.Value, err = event.Marshal(append(ids, a.missing[:room]...)); err != nil {
		return nil, err
	}
	return []state.Item{chunk}, nil
}

// search returns the ids that are not in the post's list up to the chunk last. It goes
// backwards: what is delivered again mostly came a moment ago. (That an id is young bounds
// nothing: it says when the comment was made, and not when it was delivered.)
func (l *lists) search(ctx context.Context, post string, last int, ids []string) ([]string, error) {
	for end := last + 1; end > 0 && len(ids) > 0; end -= searchChunks {
		chunks, err := l.read(ctx, post, max(end-searchChunks, 0), end)
		if err != nil {
			return nil, err
		}
		ids = without(ids, slices.Concat(chunks...))
	}
	return ids, nil
}

// without returns the ids that are not among others.
func without(ids, others []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(others, id) })
}

// page returns the ids at positions below before, newest first, at most limit of
// them, and the position to go on before, or 0 at the end.
func (l *lists) page(ctx context.Context, post string, before, limit int) (ids []string, next int, err error) {
	number, tail, err := l.tail(ctx, post)
	if err != nil {
		return nil, 0, err
	}
	last := min(before-1, number*chunkSize+len(tail))
	first := max(last-limit+1, 1)
	if last < first {
		return nil, 0, nil
	}
	oldest := (first - 1) / chunkSize
	chunks, err := l.read(ctx, post, oldest, (last-1)/chunkSize+1)
	if err != nil {
		return nil, 0, err
	}
	for position := last; position >= first; position-- {
		chunk, at := (position-1)/chunkSize-oldest, (position-1)%chunkSize
		if at >= len(chunks[chunk]) {
			return nil, 0, fmt.Errorf("%s has %d ids, and is not the last", chunkKey(post, oldest+chunk), len(chunks[chunk]))
		}
		ids = append(ids, chunks[chunk][at])
	}
	if first > 1 {
		next = first
	}
	return ids, next, nil
}
