package journal

import (
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/repairs"
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
	log   string    // its id
	at    time.Time // when it was found there
}

// remember keeps the event of an entry that the log has. The caller holds the lock.
func (j *Journal) remember(e *entry, log string) {
	now := j.Now()
	if len(j.logged) > 0 && j.logged[0].log != log { // another log has a past of its own
		j.logged, j.loggedBytes = nil, 0
	}
	j.logged = append(j.logged, logged{e.event, e.size, log, now})
	j.loggedBytes += e.size
	for len(j.logged) > keptEvents || j.loggedBytes > keptBytes || now.Sub(j.logged[0].at) > keptFor {
		j.loggedBytes -= j.logged[0].size
		j.logged = j.logged[1:]
	}
}

// GiveBack takes the last events that the log had as entries again, without pages. The log may have
// lost its end, and lack them. Eventlog gives back what it remembers itself, so the log is asked
// some seconds later.
func (j *Journal) GiveBack() {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.Now()
	for _, l := range j.logged {
		if j.entries[l.event.ID] != nil || now.Sub(l.at) > keptFor {
			continue
		}
		j.entries[l.event.ID] = &entry{
			event: l.event, size: l.size, published: now, checkAt: now.Add(absentAfter), kind: repairs.GivenBack, log: l.log,
		}
		j.bytes += l.size
	}
	j.logged, j.loggedBytes = nil, 0
}

// forgetOther forgets the entries that were given back to another log than this one. The caller
// holds the lock.
func (j *Journal) forgetOther(log string) {
	for _, e := range j.entries {
		if e.log != "" && e.log != log {
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
