package journal

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/members"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/state"
)

// readAtOnce is how many pages one call reads.
const readAtOnce = 20

// adopt makes the entries of a dead member's journal this process's own. Once they are
// settled and their pages removed, it removes the member.
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
	for from := dead.From; from < dead.Until; from += readAtOnce {
		if err := j.adoptPages(ctx, dead, from, min(from+readAtOnce, dead.Until)); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.adopted[dead.ID] = dead
	return nil
}

// adoptPages adopts those pages of a dead member that exist, from a number up to, and
// without, another one.
func (j *Journal) adoptPages(ctx context.Context, dead members.Member, from, until uint64) error {
	var keys []string
	for number := from; number < until; number++ {
		keys = append(keys, pageKey(dead.ID, number))
	}
	items, err := j.Store.Get(ctx, keys...)
	if err != nil {
		return err
	}
	for i, item := range items {
		if !item.Exists() {
			continue
		}
		p := &page{key: item.Key, number: from + uint64(i), owner: dead.ID} //nolint:gosec // never negative
		if err := j.adoptPage(ctx, p, item); err != nil {
			return err
		}
	}
	return nil
}

// adoptPage makes the events of a page entries, except those whose claim stands for another
// event. A claim that is missing is made: the dead process may have written its page alone.
func (j *Journal) adoptPage(ctx context.Context, p *page, item state.Item) error {
	j.mu.Lock()
	_, isMine := j.pages[p.key]
	j.mu.Unlock()
	if isMine {
		return nil
	}
	var read stored
	if err := jsonv2.Unmarshal(item.Value, &read); err != nil {
		return fmt.Errorf("decoding %s: %w", item.Key, err)
	}
	var claims []state.Item
	for _, e := range read.Entries {
		if e.Key == "" {
			continue
		}
		claim, err := e.claim().item()
		if err != nil {
			return err
		}
		claims = append(claims, claim)
	}
	kept := state.Keep(ctx, j.Store, claims...)
	var events []event.Event
	var sizes []int
	for _, stored := range read.Entries {
		e, err := event.ParseStored(stored.Event)
		if err != nil {
			return fmt.Errorf("decoding %s: %w", item.Key, err)
		}
		if stored.Key != "" {
			if kept[stored.Key].Err != nil {
				return kept[stored.Key].Err
			}
			claim, err := stored.claim().item()
			if err != nil {
				return err
			}
			if !bytes.Equal(kept[stored.Key].Value, claim.Value) {
				continue
			}
		}
		events, sizes = append(events, e), append(sizes, len(stored.Event))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pages[p.key] = p
	for i, e := range events {
		j.take(p, e, sizes[i])
	}
	slog.WarnContext(ctx, "adopted a page of a dead process's journal", "page", p.key, "events", len(events))
	return nil
}

// take makes an event of an adopted page an entry. It may be in the log, so the log is
// asked first. The caller holds the lock.
func (j *Journal) take(p *page, e event.Event, size int) {
	p.open++
	known := j.entries[e.ID]
	if known == nil {
		known = &entry{event: e, size: size, published: j.Now(), checkAt: j.Now()}
		j.entries[e.ID] = known
		j.bytes += size
		j.Repairs.Add(repairs.Adopted, 1)
	}
	known.pages = append(known.pages, p)
}
