package catchup

import (
	"crypto/sha256"
	"sync"
)

// recentIDs is how many of the last ids are remembered: at least this many, at most twice
// as many.
const recentIDs = 10_000

// identity is an event's id with a digest of its data: another event with the same id, such
// as another decision on a comment, has another effect.
func identity(id string, data []byte) string {
	digest := sha256.Sum256(data)
	return id + string(digest[:16])
}

// recent remembers the last ids that were added. It is safe for concurrent use.
type recent struct {
	mu         sync.Mutex
	young, old map[string]struct{}
	// cleared counts the calls of clear.
	cleared int
}

func newRecent() *recent {
	return &recent{young: map[string]struct{}{}, old: map[string]struct{}{}}
}

// begin returns what add takes: so an id that was learnt before a clear is not added after
// it.
func (r *recent) begin() (cleared int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cleared
}

// add remembers an id, unless clear was called since begin. When the young half is full, the
// old half is forgotten.
func (r *recent) add(cleared int, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cleared != r.cleared {
		return
	}
	if len(r.young) >= recentIDs {
		r.old, r.young = r.young, map[string]struct{}{}
	}
	r.young[id] = struct{}{}
}

// clear forgets all ids.
func (r *recent) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleared++
	clear(r.young)
	clear(r.old)
}

// remove forgets an id, and says whether it was remembered.
func (r *recent) remove(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, isYoung := r.young[id]
	_, isOld := r.old[id]
	delete(r.young, id)
	delete(r.old, id)
	return isYoung || isOld
}
