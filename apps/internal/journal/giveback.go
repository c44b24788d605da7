package journal

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/state"
)

// What a process remembers of its events that the log has: the last ones, none longer than keptFor,
// and no more than keptEvents and keptBytes. Eventlog recognises what was in the log an hour ago,
// up to 277 events a second.
const (
	keptFor    = time.Hour
	keptEvents = 10_000
	keptBytes  = 16 << 20
)

// logged is an event of this process that the log had.
type logged struct {
	event event.Event
	size  int
	key   string    // of the claim that stands for it, or empty
	log   string    // its id
	at    time.Time // when it was found there
}

// remember keeps the event of an entry that the log has. The caller holds the lock.
func (j *Journal) remember(e *entry, log string) {
	now := j.Now()
	for len(j.logged) > 0 && j.logged[0].log != log { // another log has a past of its own
		j.forgetFirst()
	}
	j.logged = append(j.logged, logged{e.event, e.size, e.key, log, now})
	j.loggedBytes += e.size
	for len(j.logged) > keptEvents || j.loggedBytes > keptBytes || now.Sub(j.logged[0].at) > keptFor {
		j.forgetFirst()
	}
}

// forgetFirst forgets the oldest event that is remembered, and its claim. The caller holds the lock.
func (j *Journal) forgetFirst() {
	j.loggedBytes -= j.logged[0].size
	delete(j.used, j.logged[0].key)
	j.logged = j.logged[1:]
}

// GiveBack takes the last events that the log had as entries again, without pages. The log may have
// lost its end, and lack them. Eventlog gives back what it remembers itself, so the log is asked
// some seconds later. The store may have lost claims, which it gets back.
func (j *Journal) GiveBack() {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.Now()
	for _, l := range j.logged {
		if j.entries[l.event.ID] != nil || now.Sub(l.at) > keptFor {
			continue
		}
		j.entries[l.event.ID] = &entry{
			event: l.event, size: l.size, key: l.key, published: now, checkAt: now.Add(absentAfter), kind: repairs.GivenBack, log: l.log,
		}
		j.bytes += l.size
	}
	j.logged, j.loggedBytes = nil, 0
	j.lostClaims = slices.Collect(maps.Values(j.used))
}

// use is what an Idempotency-Key was used for. (Its claim would have the event once more.)
type use struct {
	key, request string
	event        event.Event
}

func (u use) claim() (Claim, error) {
	raw, err := event.Marshal(u.event)
	return Claim{Key: u.key, Request: u.request, Event: raw}, err
}

// firstUse is what a key was used for, as far as this process knows, whatever the store has lost.
func (j *Journal) firstUse(key string) (use, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	first, ok := j.used[key]
	return first, ok
}

// keepLostClaims has the store keep the claims again that it may have lost.
func (j *Journal) keepLostClaims(ctx context.Context) error {
	j.mu.Lock()
	lost := j.lostClaims
	j.mu.Unlock()
	for some := range slices.Chunk(lost, pageEvents) {
		var items []state.Item
		for _, lost := range some {
			claim, err := lost.claim()
			if err != nil {
				return err
			}
			item, err := claim.item()
			if err != nil {
				return err
			}
			items = append(items, item)
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		_, err := j.keepClaims(call, items)
		cancel()
		if err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lostClaims = j.lostClaims[len(lost):]
	return nil
}

// forgetOther forgets the entries that were given back to another log than this one. The caller
// holds the lock.
func (j *Journal) forgetOther(log string) {
	for _, e := range j.entries {
		if e.log != "" && e.log != log {
			delete(j.used, e.key)
			j.remove(e)
		}
	}
}

// askAtOnce has the log asked for the entries without pages: this process is about to stop, and
// another one finds pages alone.
func (j *Journal) askAtOnce() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.entries {
		if len(e.pages) == 0 {
			e.checkAt = j.Now()
		}
	}
}
