package catchup

import (
	"sync"
	"time"

	"github.com/postbus/postbus/apps/internal/eventlog"
)

// Progress is how far a service has followed the log, as far as one process knows. It is
// safe for concurrent use.
type Progress struct {
	mu         sync.Mutex
	isRestored bool
	// sampled is an end of the log that was reached at sampledAt. The cursor has not passed
	// it yet. sampledAt is zero if there is none.
	sampled   eventlog.Position
	sampledAt time.Time
	current   time.Time
	origin    string // of the cursor
}

// IsRestored says that the store has the effects of the log. It is false after the store
// was emptied, until the log was read to its end.
func (p *Progress) IsRestored() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.isRestored
}

// Current is the latest time at which all events of the log were handled, as far as this
// process knows. It is zero if there is none, and while the store is being restored.
func (p *Progress) Current() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

// IsOf says that the store is the one whose progress this is, by what it has at OriginKey:
// it was not emptied since.
func (p *Progress) IsOf(origin []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.origin != "" && p.origin == string(origin)
}

func (p *Progress) setRestored(origin string, is bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.origin = origin
	if p.isRestored = is; !is {
		p.current, p.sampledAt = time.Time{}, time.Time{}
	}
}

// sample notes that the log was read up to its end, and that all events up to the cursor
// are handled. The cursor may still be of the log before this one: then it says nothing.
func (p *Progress) sample(end, cursor eventlog.Position, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isRestored {
		return
	}
	isSame := p.sampled.Log == end.Log && (cursor.Log == end.Log || end.Sequence == 0)
	if !p.sampledAt.IsZero() && isSame && cursor.Sequence >= p.sampled.Sequence {
		p.current, p.sampledAt = p.sampledAt, time.Time{}
	}
	if p.sampledAt.IsZero() || p.sampled.Log != end.Log {
		p.sampled, p.sampledAt = end, now
	}
}
