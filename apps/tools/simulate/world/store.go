package world

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postbus/postbus/apps/internal/state"
)

// store is the state store of a service. It survives the service's processes. Of several
// items in one Swap each is written or not for itself. A key that does not exist takes a
// write with any ETag, unless ETags are opaque. The ETag of a call from before the store was emptied is not that of a
// document that was made after it: ETags that count begin again, and documents have so few
// writes in a history that they would often be equal by chance.
type store struct {
	world *World
	name  string
	dice  dice

	mu   sync.Mutex
	docs map[string]doc
	// undo has what each change has replaced, in the order of the changes.
	undo []change
	// removed are the keys that Drop has removed once.
	removed map[string]bool
	// members are the processes that are among the service's members, as they have written
	// since the store was emptied.
	members map[*process]bool
	// dead are the service's dead processes. Of the forgotten ones the store has no member: it
	// was emptied after their last beat.
	dead, forgotten []*process
	// made counts the ETags that were made, if they are opaque.
	made    int
	emptied int // how many times it was emptied
	down    int // the faults that keep it down
}

// change is that of a document, which is what it was before.
type change struct {
	at     time.Time
	key    string
	was    doc
	exists bool // whether it was there
}

type doc struct {
	value   []byte
	etag    string
	expires time.Time // zero is never
	// isBack says that the key had been removed before.
	isBack bool
}

// client is a store as a process sees it.
type client struct {
	*store
	of *process
}

var _ state.Store = client{}

func (c client) call(what string, refused, unknown, late Kind, effect func() error) call {
	return call{
		to: "store", what: what, at: c.name, refused: string(refused), unknown: string(unknown), late: string(late), slow: string(StoreSlow),
		down: c.isDown, effect: effect,
	}
}

// Get implements state.Store.
func (c client) Get(ctx context.Context, keys ...string) ([]state.Item, error) {
	var items []state.Item
	err := c.of.do(ctx, c.call("get "+strings.Join(keys, " "), ReadFails, "", "", func() error {
		items = c.read(keys)
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("reading %v: %w", keys, err)
	}
	return items, nil
}

// Swap implements state.Store.
func (c client) Swap(ctx context.Context, items ...state.Item) error {
	items = slices.Clone(items)
	var names []string
	for i := range items {
		items[i].Value = slices.Clone(items[i].Value)
		names = append(names, items[i].Key+"@"+items[i].ETag)
	}
	emptied := c.timesEmptied()
	err := c.of.do(ctx, c.call("swap "+strings.Join(names, " "), WriteRefused, WriteUnknown, WriteLate, func() error {
		return c.write(items, c.of, emptied)
	}))
	if err != nil {
		return fmt.Errorf("%w: %w", state.ErrUnknown, err)
	}
	return nil
}

// ETagAfter implements state.Store.
func (c client) ETagAfter(etag string) (after string, isKnown bool) {
	if c.world.plan.Opaque {
		return "", false
	}
	n, _ := strconv.Atoi(etag)
	return strconv.Itoa(n + 1), true
}

// Delete implements state.Store.
func (c client) Delete(ctx context.Context, item state.Item) error {
	emptied := c.timesEmptied()
	err := c.of.do(ctx, c.call("delete "+item.Key+"@"+item.ETag, WriteRefused, WriteUnknown, WriteLate, func() error {
		return c.remove(item, emptied)
	}))
	if err != nil {
		return fmt.Errorf("deleting %s: %w", item.Key, err)
	}
	return nil
}

// Drop implements state.Store.
func (c client) Drop(ctx context.Context, keys ...string) error {
	keys = slices.Clone(keys)
	err := c.of.do(ctx, c.call("drop "+strings.Join(keys, " "), WriteRefused, WriteUnknown, WriteLate, func() error {
		return c.drop(keys)
	}))
	if err != nil {
		return fmt.Errorf("removing %v: %w", keys, err)
	}
	return nil
}

func (s *store) drop(keys []string) (failed error) {
	isPart := len(keys) > 1 && s.world.faults.strike(WritePart, s.name) != nil
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		if isPart && s.dice.chance(0.5) {
			failed = errRefused
		} else {
			s.change(key)
			delete(s.docs, key)
			s.removed[key] = true
		}
	}
	return failed
}

func (s *store) read(keys []string) []state.Item {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := make([]state.Item, len(keys))
	for i, key := range keys {
		items[i].Key = key
		if d, exists := s.doc(key); exists {
			items[i].Value, items[i].ETag = slices.Clone(d.value), d.etag
		}
	}
	return items
}

// write writes items for a process that called when the store was emptied so many times.
func (s *store) write(items []state.Item, by *process, emptied int) (failed error) {
	isPart := len(items) > 1 && s.world.faults.strike(WritePart, s.name) != nil
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, item := range items {
		d, err := s.at(item, emptied)
		switch {
		case isPart && s.dice.chance(0.5):
			failed = errRefused
		case err != nil:
			failed = err
		default:
			s.put(item, d)
			s.members[by] = s.members[by] || item.Key == "members"
		}
	}
	return failed
}

func (s *store) put(item state.Item, was doc) {
	is := doc{value: item.Value, expires: was.expires, isBack: was.isBack || s.removed[item.Key]}
	if s.world.plan.Opaque {
		s.made++
		is.etag = "v" + strconv.Itoa(s.made)
	} else {
		is.etag, _ = client{store: s}.ETagAfter(was.etag)
	}
	if item.TTL > 0 {
		is.expires = time.Now().Add(item.TTL)
	}
	s.change(item.Key)
	s.docs[item.Key] = is
}

// change notes that the document of a key changes now.
func (s *store) change(key string) {
	was, exists := s.docs[key]
	s.undo = append(s.undo, change{time.Now(), key, was, exists})
}

func (s *store) remove(item state.Item, emptied int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.at(item, emptied); err != nil {
		return err
	}
	s.change(item.Key)
	delete(s.docs, item.Key)
	return nil
}

// at returns the document of an item's key, or why a call from when the store was emptied so
// many times may not write it.
func (s *store) at(item state.Item, emptied int) (doc, error) {
	d, exists := s.doc(item.Key)
	switch {
	case exists && (item.ETag != d.etag || emptied != s.emptied):
		return d, fmt.Errorf("%s is at %s, not %q", item.Key, d.etag, item.ETag)
	case !exists && item.ETag != "" && s.world.plan.Opaque:
		return d, fmt.Errorf("%s does not exist, and so is not at %q", item.Key, item.ETag)
	default:
		return d, nil
	}
}

func (s *store) doc(key string) (doc, bool) {
	d, exists := s.docs[key]
	if exists && !d.expires.IsZero() && !time.Now().Before(d.expires) {
		delete(s.docs, key)
		return doc{}, false
	}
	return d, exists
}

// keys are the keys with the prefix, sorted.
func (s *store) keys(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for key := range s.docs {
		if _, exists := s.doc(key); exists && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// pages are the pages of the service's journal. Unless it is still to be adopted, one that is
// back, by a write that landed after the page was removed, is not counted: it does no harm
// but takes place. So does one of a process that died before it was a member again in its
// emptied store, or before the store was emptied.
func (s *store) pages() []string {
	isOf := func(key string) func(*process) bool {
		return func(p *process) bool { return strings.HasPrefix(key, "journal-"+p.member+"-") }
	}
	living, members := s.world.services[s.name].all(), string(s.value("members"))
	return slices.DeleteFunc(s.keys("journal-"), func(key string) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		owner := key[len("journal-"):strings.LastIndex(key, "-")]
		isLeft := strings.Contains(members, owner) && !slices.ContainsFunc(living, isOf(key))
		return !isLeft && (s.docs[key].isBack || slices.ContainsFunc(s.forgotten, isOf(key)))
	})
}

// forget notes that a process dies, and says whether nobody knows of its journal: the store
// was emptied, and the process has not beaten since.
func (s *store) forget(p *process) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = append(s.dead, p)
	if s.members[p] {
		return false
	}
	s.forgotten = append(s.forgotten, p)
	return true
}

func (s *store) value(key string) []byte { return s.read([]string{key})[0].Value }

func (s *store) timesEmptied() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.emptied
}

func (s *store) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down > 0
}

func (s *store) setDown(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down += by
}

func (w *World) storeDown(f *fault) (end func()) {
	w.faults.began(f)
	s := w.stores[f.At]
	s.setDown(1)
	return func() { s.setDown(-1) }
}

func (w *World) emptyStore(f *fault) (end func()) {
	w.faults.began(f)
	s := w.stores[f.At]
	w.users.storeEmptied(f.At)
	if f.At == moderation {
		w.users.decisionsLost(s.keys("decision-"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.docs)
	clear(s.members)
	s.undo = nil
	s.emptied++
	s.forgotten = append(s.forgotten, s.dead...)
	return nil
}

// setStoreBack takes back the last changes of a store. For some seconds the service does not
// notice: a decision may be made again, and a process may write pages that no member is known to
// have.
func (w *World) setStoreBack(f *fault) (end func()) {
	w.faults.began(f)
	s := w.stores[f.At]
	w.users.storeEmptied(f.At)
	var undone []string
	s.mu.Lock()
	for since := time.Now().Add(-f.D); len(s.undo) > 0 && s.undo[len(s.undo)-1].at.After(since); s.undo = s.undo[:len(s.undo)-1] {
		last := s.undo[len(s.undo)-1]
		undone = append(undone, last.key)
		_, exists := s.docs[last.key]
		last.was.isBack = last.was.isBack || !exists
		if delete(s.docs, last.key); last.exists {
			s.docs[last.key] = last.was
		}
	}
	s.emptied++
	if slices.Contains(undone, "members") { // those who are there may have had other pages
		clear(s.members)
		s.forgotten = append(s.forgotten, s.dead...)
	}
	s.mu.Unlock()
	if f.At == moderation {
		w.users.mayBeDecidedAgain(undone)
	}
	return nil
}
