package signin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"

	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// lookEvery is for how long a look into the store is good: how long a session that was ended
	// elsewhere goes on here.
	lookEvery = 5 * time.Second
	// lookTimeout bounds a look, or a write.
	lookTimeout = time.Second
	// mostLooks bounds how many looks are remembered.
	mostLooks = 50_000
)

// revocations are the sessions that were ended before their time: one by one, all of one session at
// the issuer, or all of a person. They are in the store for as long as such a session could last.
type revocations struct {
	store state.Store
	keep  time.Duration
	looks *expirable.LRU[string, bool] // by the session's id
}

// revocation is the document in the store.
type revocation struct {
	// At is when the issuer said so, by its clock. Zero ends all sessions of that key.
	At time.Time `json:"at"`
}

func newRevocations(store state.Store, keep time.Duration) *revocations {
	return &revocations{store: store, keep: keep, looks: expirable.NewLRU[string, bool](mostLooks, nil, lookEvery)}
}

// The keys of the store. An issuer's session id may be anything, so its digest is the key.

func sessionKey(id string) string     { return "session-" + id }
func personKey(subject string) string { return "person-" + subject }
func issuerKey(sid string) string {
	sum := sha256.Sum256([]byte(sid))
	return "issuer-session-" + hex.EncodeToString(sum[:])
}

// revoke ends the sessions of a key that were begun by then, or all of them if the time is zero.
func (r *revocations) revoke(ctx context.Context, key string, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	defer r.looks.Purge()
	return state.Update(ctx, r.store, []string{key}, func(items []state.Item) ([]state.Item, error) {
		had, err := state.Decode[revocation](items...)
		if err == nil && items[0].Exists() && !at.IsZero() && !at.After(had[0].At) {
			return nil, nil // a token that is sent again ends nothing more
		}
		value, err := json.Marshal(revocation{at})
		items[0].Value, items[0].TTL = value, r.keep
		return items, err
	})
}

// has reports whether a session was ended. While the store does not answer, no session ends: its
// bearer token is good until its own time in any case.
func (r *revocations) has(ctx context.Context, s *session) bool {
	if isRevoked, known := r.looks.Get(s.ID); known {
		return isRevoked
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	keys := []string{sessionKey(s.ID), personKey(s.Subject)}
	if s.IssuerID != "" {
		keys = append(keys, issuerKey(s.IssuerID))
	}
	items, err := r.store.Get(ctx, keys...)
	isRevoked := false
	if err == nil {
		var found []revocation
		found, err = state.Decode[revocation](items...)
		for i, one := range found {
			isRevoked = isRevoked || items[i].Exists() && (one.At.IsZero() || !s.IssuedAt.After(one.At))
		}
	}
	if err != nil {
		slog.WarnContext(ctx, "it is not known which sessions were ended", "error", err)
	}
	r.looks.Add(s.ID, isRevoked)
	return isRevoked
}
