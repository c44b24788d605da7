// Package journaltest has a journal that commits at once, and starts real ones, for the
// tests of commands.
package journaltest

import (
	"context"
	"encoding/json"
	"slices"
	"sync"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/journal"
)

// Fake is a journal in memory that commits and publishes at once. It is safe for concurrent
// use.
type Fake struct {
	mu     sync.Mutex
	claims map[string]journal.Claim
	events []event.Event
	err    error
}

// New returns a journal without claims.
func New() *Fake { return &Fake{claims: map[string]journal.Claim{}} }

// Fail has every Commit fail with err and do nothing, until Fail is called with nil.
func (f *Fake) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// Commit does what that of journal.Journal does, without a store.
func (f *Fake) Commit(_ context.Context, e event.Event, claim journal.Claim) (journal.Claim, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return claim, f.err
	}
	raw, err := event.Marshal(e)
	if err != nil {
		return claim, err
	}
	claim.Event = json.RawMessage(raw)
	if claim.Key != "" {
		if standing, exists := f.claims[claim.Key]; exists {
			return standing, nil
		}
		f.claims[claim.Key] = claim
	}
	f.events = append(f.events, e)
	return claim, nil
}

// Claimed does what that of journal.Journal does, without a store.
func (f *Fake) Claimed(_ context.Context, key string) (journal.Claim, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	standing, isClaimed := f.claims[key]
	return standing, isClaimed, f.err
}

// Events are the events that were published, in that order.
func (f *Fake) Events() []event.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events)
}

// Claims counts the claims.
func (f *Fake) Claims() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.claims)
}
