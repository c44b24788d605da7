package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// claimTTL is how long a claim is kept.
const claimTTL = 24 * time.Hour

// Claim is what the store keeps of an Idempotency-Key: the first command that used it.
type Claim struct {
	// Key names the document. Without it a command has no claim.
	Key string `json:"-"`
	// Request is the digest of the command's request.
	Request string `json:"request"`
	// Event is the command's encoded event. Commit sets it.
	Event json.RawMessage `json:"event"`
	// IsRepeat says that the event was committed before, perhaps. It has no key then.
	IsRepeat bool `json:"-"`
}

func (c Claim) item() (state.Item, error) {
	value, err := event.Marshal(c)
	if err != nil {
		return state.Item{}, fmt.Errorf("encoding claim %s: %w", c.Key, err)
	}
	return state.Item{Key: c.Key, Value: value, TTL: claimTTL}, nil
}

// commit is a command that waits for its page.
type commit struct {
	event event.Event
	size  int // of the encoded event, in bytes
	entry storedEntry
	claim state.Item // without a key if there is none
	// isRepeat says that the event was committed before, perhaps.
	isRepeat bool
	done     chan result
}

type result struct {
	standing []byte
	err      error
}

// stored is a page as the store has it.
type stored struct {
	Entries []storedEntry `json:"entries"`
}

type storedEntry struct {
	Event json.RawMessage `json:"event"`
	// Key and Request are those of the event's claim, if it has one.
	Key     string `json:"key,omitempty"`
	Request string `json:"request,omitempty"`
}

func (e storedEntry) claim() Claim { return Claim{Key: e.Key, Request: e.Request, Event: e.Event} }

// Commit writes an event, and its claim if that has a key, to the service's store. It
// returns when both are there. If another claim stands for the key, Commit returns that
// one, and the event is not committed. Otherwise standing is the claim itself. The error is
// ErrFull, ErrStopped or that of ctx. After these last two the event may be committed all the
// same. An event that cannot be encoded, a damaged claim, or a page whose number is taken, is
// another error.
func (j *Journal) Commit(ctx context.Context, e event.Event, claim Claim) (standing Claim, err error) {
	raw, err := event.Marshal(e)
	if err != nil {
		return claim, fmt.Errorf("encoding event %s: %w", e.ID, err)
	}
	claim.Event = raw
	c := &commit{event: e, size: len(raw), entry: storedEntry{raw, claim.Key, claim.Request}, isRepeat: claim.IsRepeat, done: make(chan result, 1)}
	if claim.Key == "" {
		if !j.repeat(e) {
			_, err = j.wait(ctx, c)
		}
		return claim, err
	}
	if c.claim, err = claim.item(); err != nil {
		return claim, err
	}
	if first, ok := j.firstUse(claim.Key); ok {
		return first.claim()
	}
	value, err := j.wait(ctx, c)
	if err != nil || bytes.Equal(value, c.claim.Value) {
		return claim, err
	}
	return decodeClaim(claim.Key, value)
}

// Claimed returns the claim that stands for a key, if there is one. It does not know of commits
// that are under way. The error is the store's, or a damaged claim.
func (j *Journal) Claimed(ctx context.Context, key string) (standing Claim, isClaimed bool, err error) {
	if first, ok := j.firstUse(key); ok {
		standing, err = first.claim()
		return standing, err == nil, err
	}
	items, err := j.Store.Get(ctx, key)
	if err != nil || !items[0].Exists() {
		return Claim{}, false, err
	}
	standing, err = decodeClaim(key, items[0].Value)
	return standing, err == nil, err
}

func decodeClaim(key string, value []byte) (Claim, error) {
	claim := Claim{Key: key}
	if err := json.Unmarshal(value, &claim); err != nil {
		return claim, fmt.Errorf("decoding claim %s: %w", key, err)
	}
	return claim, nil
}

// repeat has an event that is committed already published again. It says whether the event is
// in a page of the journal: then it needs no other one.
func (j *Journal) repeat(e event.Event) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	known := j.entries[e.ID]
	if known == nil || len(known.pages) == 0 {
		return false
	}
	j.enqueue(known)
	j.wakePublisher()
	return true
}

// wait hands a commit to the writer, and returns the claim that stands.
func (j *Journal) wait(ctx context.Context, c *commit) (standing []byte, err error) {
	select {
	case j.commits <- c:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-j.stopped:
		return nil, ErrStopped
	}
	select {
	case r := <-c.done:
		return r.standing, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// writeAll writes pages until ctx is done.
func (j *Journal) writeAll(ctx context.Context) {
	for {
		select {
		case first := <-j.commits:
			j.awaitPublisher(ctx)
			j.write(ctx, j.gather(first))
		case <-ctx.Done():
			return
		}
	}
}

// awaitPublisher returns when all committed events are published, and after publishFirst at
// the latest.
func (j *Journal) awaitPublisher(ctx context.Context) {
	j.mu.Lock()
	busy := j.busy
	j.mu.Unlock()
	if busy == nil {
		return
	}
	select {
	case <-busy:
	case <-time.After(publishFirst):
	case <-ctx.Done():
	}
}

// gather returns first and the commits that wait now and fit into the same page and into
// the journal. Of commits with the same key the claim of the first stands.
func (j *Journal) gather(first *commit) []*commit {
	var group []*commit
	size := 0
	for next := first; next != nil; {
		if j.isFull(len(group), size) {
			next.done <- result{err: ErrFull}
		} else {
			group, size = append(group, next), size+next.size
		}
		next = nil
		if len(group) < pageEvents && size < pageBytes {
			select {
			case next = <-j.commits:
			default:
			}
		}
	}
	return group
}

// isFull says that the journal has no room beside the events of a page that is not written
// yet. The pages are bounded, too: those of which no event is needed may not be removed yet.
func (j *Journal) isFull(events, size int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.entries)+events >= MaxEvents || j.bytes+size >= MaxBytes || len(j.pages) >= MaxEvents
}

// write writes a page for the group, and answers the commits. While the store does not
// answer it tries again: a page that was perhaps written must not be forgotten.
func (j *Journal) write(ctx context.Context, group []*commit) {
	if len(group) == 0 {
		return
	}
	number, err := j.reserve(ctx)
	if err != nil {
		answerAll(group, result{err: err})
		return
	}
	p := &page{key: pageKey(j.Registry.ID(), number), number: number, open: 1, owner: j.Registry.ID()}
	items, err := encode(p.key, group)
	if err != nil {
		answerAll(group, result{err: err})
		return
	}
	// From now on the page may be in the store. If the process stops before it knows that,
	// another one looks for the page.
	j.mu.Lock()
	j.pages[p.key] = p
	j.mu.Unlock()
	kept, err := j.keep(ctx, items)
	if err == nil && !bytes.Equal(kept[p.key].Value, items[0].Value) {
		err = fmt.Errorf("page %s is there already", p.key)
	}
	if err == nil {
		err = j.holdLease(ctx)
	}
	if err != nil {
		answerAll(group, result{err: err})
		return
	}
	j.add(p, group, kept)
}

// encode returns the items of a page: the page itself, and the claims of its commits.
func encode(key string, group []*commit) ([]state.Item, error) {
	var p stored
	items := make([]state.Item, 1, len(group)+1)
	for _, c := range group {
		if c.claim.Key != "" {
			items = append(items, c.claim)
		}
		p.Entries = append(p.Entries, c.entry)
	}
	value, err := jsonv2.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding page %s: %w", key, err)
	}
	items[0] = state.Item{Key: key, Value: value}
	return items, nil
}

// keep has the store keep all items, and tries until it does.
func (j *Journal) keep(ctx context.Context, items []state.Item) (map[string]state.Kept, error) {
	for failing := false; ; {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		kept := state.Keep(call, j.Store, items...)
		cancel()
		var failed error
		for _, k := range kept {
			if k.Err != nil {
				failed = k.Err
			}
		}
		if failed == nil {
			return kept, nil
		}
		if !failing {
			slog.WarnContext(ctx, "can't write to the journal, retrying", "error", failed)
			failing = true
		}
		if pause(ctx, retryPause); ctx.Err() != nil {
			return nil, ErrStopped
		}
	}
}

// add makes the commits of a page entries, publishes them, and answers them.
func (j *Journal) add(p *page, group []*commit, kept map[string]state.Kept) {
	j.mu.Lock()
	for _, c := range group {
		if c.claim.Key == "" || bytes.Equal(kept[c.claim.Key].Value, c.claim.Value) {
			j.include(p, c)
		}
	}
	p.open-- // it is written
	j.mu.Unlock()
	j.wakePublisher()
	for _, c := range group {
		c.done <- result{standing: kept[c.claim.Key].Value}
	}
}

// include makes the event of a page's commit an entry that is to be published. The caller
// holds the lock.
func (j *Journal) include(p *page, c *commit) {
	known, isNew := j.hold(p, c.event, c.size)
	if isNew {
		known.mayBeLogged = c.isRepeat
	}
	if c.claim.Key != "" {
		known.key = c.claim.Key
		j.used[known.key] = use{known.key, c.entry.Request, c.event}
	}
	j.enqueue(known)
}

// hold returns the entry of an event that a page has, and says whether it is new. The page
// stays until the entry is removed. The caller holds the lock.
func (j *Journal) hold(p *page, e event.Event, size int) (held *entry, isNew bool) {
	p.open++
	held = j.entries[e.ID]
	if isNew = held == nil; isNew {
		held = &entry{event: e, size: size}
		j.entries[e.ID] = held
		j.bytes += size
	}
	held.pages, held.log = append(held.pages, p), ""
	return held, isNew
}

// enqueue has an entry published. The caller holds the lock.
func (j *Journal) enqueue(e *entry) {
	if !e.queued {
		e.queued, e.queuedAt = true, j.Now()
		j.queue = append(j.queue, e)
		if j.busy == nil {
			j.busy = make(chan struct{})
		}
	}
}

// reserve returns the number of the next page. The members know which numbers may be used,
// so that the process that adopts the journal finds all pages.
func (j *Journal) reserve(ctx context.Context) (uint64, error) {
	if j.next == j.until {
		from := j.next
		j.mu.Lock()
		for _, p := range j.pages {
			if p.owner == j.Registry.ID() {
				from = min(from, p.number)
			}
		}
		j.mu.Unlock()
		j.Registry.SetPages(from, j.until+reserved)
		if err := j.beat(ctx); err != nil {
			return 0, err
		}
		j.until += reserved
	}
	j.next++
	return j.next - 1, nil
}

// holdLease returns once this process holds its lease.
func (j *Journal) holdLease(ctx context.Context) error {
	for !j.Registry.HasLease() {
		if err := j.beat(ctx); err != nil {
			return err
		}
	}
	return nil
}

// beat beats, and tries until that succeeds.
func (j *Journal) beat(ctx context.Context) error {
	for j.Registry.Beat(ctx) != nil {
		if pause(ctx, retryPause); ctx.Err() != nil {
			return ErrStopped
		}
	}
	return nil
}

func answerAll(group []*commit, r result) {
	for _, c := range group {
		c.done <- r
	}
}

func pageKey(member string, number uint64) string {
	return fmt.Sprintf("journal-%s-%d", member, number)
}
