package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/members"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/state"
)

// readAtOnce is how many pages one call reads. Together they stay below the 16 MiB that the
// sidecar answers with at most: a call for more would fail each time, and the journal would
// never be adopted.
const readAtOnce = (14 << 20) / (pageBytes + event.MaxBytes)

// adopt makes the entries of a dead member's journal this process's own. Once they are
// settled and their pages removed, it removes the member. While the journal is half full it
// adopts no more: each of several dead processes may have left a full one.
func (j *Journal) adopt(ctx context.Context, dead members.Member) error {
	j.mu.Lock()
	mine, isMine := j.adopted[dead.ID]
	open := 0
	for _, p := range j.pages {
		if p.owner == dead.ID {
			open++
		}
	}
	j.mu.Unlock()
	switch {
	case isMine && mine.Beat == dead.Beat && open > 0:
		return nil
	case isMine && mine.Beat == dead.Beat:
		if err := j.Registry.Remove(ctx, dead); err != nil {
			return err
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.adopted, dead.ID)
		return nil
	}
	var errs []error
	for from := dead.From; from < dead.Until; from += readAtOnce {
		if j.isFull(MaxEvents/2, MaxBytes/2) { // the rest of the room is for new commands
			errs = append(errs, ErrFull)
			break
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := j.adoptPages(call, dead, from, min(from+readAtOnce, dead.Until))
		isOver := call.Err() != nil
		cancel()
		if errs = append(errs, err); err != nil && isOver { // the store does not answer
			break
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.adopted[dead.ID] = dead
	return nil
}

// forgetAdopted forgets the processes that are dead no more: they have come back, or another
// process has removed them.
func (j *Journal) forgetAdopted(dead []members.Member) {
	j.mu.Lock()
	defer j.mu.Unlock()
	maps.DeleteFunc(j.adopted, func(id string, _ members.Member) bool {
		return !slices.ContainsFunc(dead, func(m members.Member) bool { return m.ID == id })
	})
}

// adoptPages adopts those pages of a dead member that exist, from a number up to, and
// without, another one. A page that cannot be decoded does not keep it from the others.
func (j *Journal) adoptPages(ctx context.Context, dead members.Member, from, until uint64) error {
	var keys []string
	for number := from; number < until; number++ {
		keys = append(keys, pageKey(dead.ID, number))
	}
	items, err := j.Store.Get(ctx, keys...)
	if err != nil {
		return err
	}
	var errs []error
	var found []*orphan
	for i, item := range items {
		if !item.Exists() || j.hasPage(item.Key) {
			continue
		}
		o, err := decodeOrphan(item)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		o.page = &page{key: item.Key, number: from + uint64(i), owner: dead.ID} //nolint:gosec // never negative
		found = append(found, o)
	}
	if len(found) > 0 {
		errs = append(errs, j.adoptOrphans(ctx, found, dead.HasLeft))
	}
	return errors.Join(errs...)
}

func (j *Journal) hasPage(key string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.pages[key] != nil
}

// orphan is a page of a dead process, with its events and their claims by index. The claim of
// an event without one has no key.
type orphan struct {
	page   *page
	events []event.Event
	sizes  []int
	claims []state.Item
}

func decodeOrphan(item state.Item) (*orphan, error) {
	var read stored
	if err := jsonv2.Unmarshal(item.Value, &read); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", item.Key, err)
	}
	o := &orphan{}
	for _, entry := range read.Entries {
		e, err := event.ParseStored(entry.Event)
		if err != nil {
			return nil, fmt.Errorf("decoding %s: %w", item.Key, err)
		}
		var claim state.Item
		if entry.Key != "" {
			if claim, err = entry.claim().item(); err != nil {
				return nil, fmt.Errorf("claims of %s: %w", item.Key, err)
			}
		}
		o.events, o.sizes, o.claims = append(o.events, e), append(o.sizes, len(entry.Event)), append(o.claims, claim)
	}
	return o, nil
}

// adoptOrphans makes the events of pages entries, except those whose claim stands for another
// event. The log may have them, so it is asked first. A process that has left may have
// published them just now; one that is dead has not for as long as its lease.
func (j *Journal) adoptOrphans(ctx context.Context, all []*orphan, hasLeft bool) error {
	var claims []state.Item
	for _, o := range all {
		claims = append(claims, slices.DeleteFunc(slices.Clone(o.claims), func(c state.Item) bool { return c.Key == "" })...)
	}
	standing, err := j.keepClaims(ctx, claims)
	if err != nil {
		return fmt.Errorf("claims: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	checkAt := j.Now()
	if hasLeft {
		checkAt = checkAt.Add(absentAfter)
	}
	for _, o := range all {
		j.pages[o.page.key] = o.page
		for i, e := range o.events {
			claim := o.claims[i]
			if claim.Key == "" || bytes.Equal(standing[claim.Key], claim.Value) || hasExpired(e, standing[claim.Key]) {
				j.take(o.page, e, o.sizes[i], checkAt)
			}
		}
		slog.WarnContext(ctx, "adopted a page of a dead process's journal", "page", o.page.key, "events", len(o.events))
	}
	return nil
}

// keepClaims returns the claim that stands for each key. A claim that is missing is made: the
// dead process may have written its page alone. It reads before it writes, because nearly all
// claims are there.
func (j *Journal) keepClaims(ctx context.Context, claims []state.Item) (map[string][]byte, error) {
	keys, standing := make([]string, len(claims)), map[string][]byte{}
	for i, claim := range claims {
		keys[i] = claim.Key
	}
	found, err := j.Store.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	var missing []state.Item
	for i, item := range found {
		if standing[item.Key] = item.Value; !item.Exists() {
			missing = append(missing, claims[i])
		}
	}
	for key, kept := range state.Keep(ctx, j.Store, missing...) {
		if kept.Err != nil {
			return nil, kept.Err
		}
		standing[key] = kept.Value
	}
	return standing, nil
}

// hasExpired says that the claim of an event may have ended before another one was made for
// its key: that one is nearly claimTTL younger. Then the event may be that of a command that
// was answered, and is kept.
func hasExpired(e event.Event, standing []byte) bool {
	const clocksDiffer = time.Hour
	var other Claim
	if jsonv2.Unmarshal(standing, &other) != nil {
		return false
	}
	first, err := event.ParseStored(other.Event)
	return err == nil && first.Time.Sub(e.Time) >= claimTTL-clocksDiffer
}

// take makes an event of an adopted page an entry. The caller holds the lock.
func (j *Journal) take(p *page, e event.Event, size int, checkAt time.Time) {
	held, isNew := j.hold(p, e, size)
	if isNew {
		j.order++
		held.published, held.order, held.checkAt, held.kind = j.Now(), j.order, checkAt, repairs.Adopted
	}
}
