// Package members knows the processes of one service, without a coordinator. They are in
// one document of the service's store, which each process updates at every beat.
package members

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// BeatEvery is the pause between two beats.
	BeatEvery = 5 * time.Second
	// Lease is how long a process may be without a beat before the others take it for
	// dead.
	Lease = 15 * time.Second
	// HeldFor is how long after the start of its last beat a process may be sure that no other
	// one takes it for dead.
	HeldFor = 10 * time.Second

	key = "members"
	// beatTimeout bounds one beat.
	beatTimeout = 4 * time.Second
	// beatAgain is how soon after a beat that failed there is another one, at the earliest. It
	// comes up to as much later by chance, so that processes which beat at the same time do not
	// meet again.
	beatAgain = 500 * time.Millisecond
)

// Member is a process as the document has it.
type Member struct {
	// ID is a UUIDv7.
	ID string `json:"id"`
	// Beat grows with each beat. Only its change counts, because clocks differ.
	Beat uint64 `json:"beat"`
	// HasLeft says that the process has ended and left something in its journal.
	HasLeft bool `json:"left,omitempty"`
	// The pages of the process's journal have numbers from From up to, and without,
	// Until.
	From  uint64 `json:"from,omitempty"`
	Until uint64 `json:"until,omitempty"`
}

type document struct {
	Members []Member `json:"members"`
}

// sighting is a beat, and when this process first saw it.
type sighting struct {
	beat uint64
	at   time.Time
	// isLive says that the beat has changed since this process first saw the member.
	isLive bool
}

// Registry is one process's view of the members of its service. It is safe for concurrent
// use.
type Registry struct {
	store state.Store
	now   func() time.Time
	id    string

	beating *semaphore.Weighted // held during a beat
	beats   uint64

	mu      sync.Mutex // guards the fields below
	from    uint64
	until   uint64
	beatAt  time.Time // when the last successful beat began
	members []Member  // as of the last beat
	seen    map[string]sighting
}

// New returns the view of a new process.
func New(store state.Store, now func() time.Time) *Registry {
	return &Registry{store: store, now: now, id: event.NewID(), beating: semaphore.NewWeighted(1), seen: map[string]sighting{}}
}

// ID is the id of this process, a UUIDv7.
func (r *Registry) ID() string { return r.id }

// SetPages says which pages of this process's journal may exist, from the next beat on.
func (r *Registry) SetPages(from, until uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.from, r.until = from, until
}

// Run beats until ctx is done.
func (r *Registry) Run(ctx context.Context) {
	next := time.NewTicker(BeatEvery)
	defer next.Stop()
	for {
		var again <-chan time.Time
		if err := r.Beat(ctx); err != nil && ctx.Err() == nil {
			slog.DebugContext(ctx, "could not beat", "error", err)
			again = time.After(beatAgain + rand.N(beatAgain)) //nolint:gosec // no secret
		}
		select {
		case <-next.C:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// Beat says in the document that this process lives, and reads who else does.
func (r *Registry) Beat(ctx context.Context) error {
	if err := r.beating.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.beating.Release(1)
	r.beats++
	r.mu.Lock()
	me := Member{ID: r.id, Beat: r.beats, From: r.from, Until: r.until}
	r.mu.Unlock()
	return r.write(ctx, &me)
}

// Leave removes this process from the document. If its journal has pages left, it stays
// there, for another process to adopt them at once.
func (r *Registry) Leave(ctx context.Context, pagesLeft bool) error {
	if err := r.beating.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.beating.Release(1)
	if !pagesLeft {
		return r.write(ctx, nil)
	}
	r.mu.Lock()
	r.beats++
	me := Member{ID: r.id, Beat: r.beats, From: r.from, Until: r.until, HasLeft: true}
	r.mu.Unlock()
	return r.write(ctx, &me)
}

// write replaces this process's entry by me, or removes it if me is nil. The lease begins
// with the call and not with its end: the others may see the beat at any time between.
func (r *Registry) write(ctx context.Context, me *Member) error {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	began := r.now()
	var members []Member
	err := r.update(ctx, func(all []Member) []Member {
		members = slices.DeleteFunc(all, func(m Member) bool { return m.ID == r.id })
		if me != nil {
			members = append(members, *me)
		}
		return members
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	wasAway := began.Sub(r.beatAt) >= HeldFor
	r.beatAt, r.members = began, members
	r.look(wasAway)
	return nil
}

// update changes the document by an optimistic write.
func (r *Registry) update(ctx context.Context, change func([]Member) []Member) error {
	return state.Update(ctx, r.store, []string{key}, func(items []state.Item) ([]state.Item, error) {
		read, err := state.Decode[document](items...)
		if err != nil {
			slog.ErrorContext(ctx, "the document of the members is damaged, and is written anew", "error", err)
			read = []document{{}}
		}
		value, err := json.Marshal(document{change(read[0].Members)})
		if err != nil {
			return nil, err
		}
		items[0].Value = value
		return items, nil
	})
}

// look notes which beats have changed. If this process was away, it could not see the others
// beat, or they could not beat either: then the others have a new lease. The caller holds
// r.mu.
func (r *Registry) look(wasAway bool) {
	now := r.now()
	was := r.seen
	r.seen = make(map[string]sighting, len(r.members))
	for _, m := range r.members {
		before, known := was[m.ID]
		switch {
		case !known:
			before = sighting{beat: m.Beat, at: now}
		case before.beat != m.Beat:
			before = sighting{beat: m.Beat, at: now, isLive: true}
		case wasAway:
			before.at = now
		}
		r.seen[m.ID] = before
	}
}

// HasLease says that no other process can have taken this one for dead.
func (r *Registry) HasLease() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.beatAt.IsZero() && r.now().Sub(r.beatAt) < HeldFor
}

// IsWorker says that this process does the work that one process of the service is enough
// for: it is the oldest of those that this process has seen beat. For some seconds two
// processes may be the worker, so that work must be harmless to do twice.
func (r *Registry) IsWorker() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	return !slices.ContainsFunc(r.members, func(m Member) bool {
		s := r.seen[m.ID]
		return m.ID < r.id && !m.HasLeft && s.isLive && now.Sub(s.at) < Lease
	})
}

// Dead returns the members that have left, or have not beaten for Lease. A process that has
// not looked for HeldFor takes nobody for dead.
func (r *Registry) Dead() []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if now.Sub(r.beatAt) >= HeldFor {
		return nil
	}
	var dead []Member
	for _, m := range r.members {
		if m.ID != r.id && (m.HasLeft || now.Sub(r.seen[m.ID].at) >= Lease) {
			dead = append(dead, m)
		}
	}
	return dead
}

// errIsBack is returned for a member that has beaten since.
var errIsBack = errors.New("the member has beaten again")

// Remove removes a dead member, unless it has beaten since.
func (r *Registry) Remove(ctx context.Context, dead Member) error {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	isBack := false
	err := r.update(ctx, func(all []Member) []Member {
		isBack = false
		return slices.DeleteFunc(all, func(m Member) bool {
			isBack = isBack || m.ID == dead.ID && m.Beat != dead.Beat
			return m.ID == dead.ID && m.Beat == dead.Beat
		})
	})
	if err != nil {
		return err
	}
	if isBack {
		return errIsBack
	}
	// The next beat may be some seconds away.
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members = slices.DeleteFunc(r.members, func(m Member) bool { return m.ID == dead.ID && m.Beat == dead.Beat })
	return nil
}
