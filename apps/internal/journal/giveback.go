package journal

import (
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/repairs"
)

// What a process remembers of its events that the log has: those of the last keptFor, and no more
// than keptEvents and keptBytes.
const (
	keptFor    = time.Minute
	keptEvents = 10_000
	keptBytes  = 16 << 20
)

// logged is an event of this process that the log had.
type logged struct {
	event event.Event
	size  int
	at    time.Time // when it was found there
}

// remember keeps the event of an entry that the log has. The caller holds the lock.
func (j *Journal) remember(e *entry) {
	now := j.Now()
	j.logged = append(j.logged, logged{e.event, e.size, now})
	j.loggedBytes += e.size
	for len(j.logged) > keptEvents || j.loggedBytes > keptBytes || now.Sub(j.logged[0].at) > keptFor {
		j.loggedBytes -= j.logged[0].size
		j.logged = j.logged[1:]
	}
}

// GiveBack takes the last events that the log had as entries again. The log has lost its end, and
// may lack them. Eventlog gives back what it remembers itself, so the log is asked some seconds
// later.
func (j *Journal) GiveBack() {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.Now()
	for _, l := range j.logged {
		if j.entries[l.event.ID] != nil {
			continue
		}
		j.order++
		j.entries[l.event.ID] = &entry{
			event: l.event, size: l.size, published: now, order: j.order, checkAt: now.Add(absentAfter), kind: repairs.GivenBack,
		}
		j.bytes += l.size
	}
	j.logged, j.loggedBytes = nil, 0
}
