// Package journal commits the commands of a service in its own store, and brings each
// event into the log, whatever the bus does.
//
// A command is committed when its event is in a page of the journal. The commands that
// arrive together share a page, and one call to the store. Then the events are published
// together. The journal keeps an event until the log has it. If the log seems to lack it, the
// journal puts it there without the bus, and publishes it again. When a process dies, another process of the service adopts its
// journal.
//
//   - No event that Commit has returned for leaves the journal before the log has it, or
//     eventlog has refused it.
//   - A page is created once and never changes. It is removed when none of its events is
//     needed any more.
//   - A new command is answered only after its page is written and while its process holds its
//     lease, which is checked after the write. So the process that adopts the journal finds
//     the page. A repeat of an event that the journal holds is answered at once.
//   - An event with a claim is published only if the claim stands for that event, or may have
//     expired since.
package journal

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/members"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// MaxEvents bounds the events of a process that the log does not have yet, and the pages.
	MaxEvents = 50_000
	// MaxBytes bounds the encoded events of a process that the log does not have yet.
	MaxBytes = 64 << 20
	// pageEvents and pageBytes bound a page, so that it fits into a sidecar's message
	// together with its claims, which have the events, too. The last event may exceed
	// pageBytes.
	pageEvents = 100
	pageBytes  = 2 << 20
	// reserved is how many page numbers a process reserves at once.
	reserved = 200
	// retryPause is the pause after a call to the store or the bus that failed.
	retryPause = 200 * time.Millisecond
	// publishFirst is how long the next page waits for the publishes of those before it. Under
	// load more commands share a page, and its events a publish, so that both cost less.
	publishFirst = 10 * time.Millisecond
	// callTimeout bounds one call.
	callTimeout = 5 * time.Second
	// DrainFor bounds how long a process that stops waits until the log has its events.
	DrainFor = 5 * time.Second
)

// ErrFull is the error of Commit at a bound of the journal.
var ErrFull = errors.New("the journal is full: the log does not take its events")

// ErrStopped is the error of Commit when the process stops. The event may be committed all
// the same.
var ErrStopped = errors.New("the service stops")

// Known answers which events a log has. It is an *eventlog.Client, or a fake.
type Known interface {
	Known(ctx context.Context, ids []string) (map[string]bool, error)
}

// Config says what a Journal works with.
type Config struct {
	Store state.Store
	Bus   bus.Publisher
	// Log and DeadLetters are those of eventlog, whose app id is Eventlog.
	Log, DeadLetters Known
	Appender         eventlog.Appender
	Eventlog         string
	Registry         *members.Registry
	Repairs          *repairs.Counts
	Now              func() time.Time
}

// Journal is the journal of one process. It is safe for concurrent use.
type Journal struct {
	Config
	commits chan *commit
	work    chan struct{} // has room for one wake-up of the publisher
	stopped chan struct{} // closed when Run takes no more commits

	// next and until are page numbers: the next page's, and where the reserved ones end.
	// Only the writer uses them.
	next, until uint64

	mu      sync.Mutex // guards the fields below
	entries map[string]*entry
	queue   []*entry // the entries to publish, oldest first
	// busy is closed when nothing is left to publish. It is nil if that is so.
	busy  chan struct{}
	bytes int
	pages map[string]*page
	order uint64 // of the last publish or adoption
	// latest is the order of the latest publish of each topic that the log has.
	latest map[event.Type]uint64
	// tickedAt is when the log was last read to its end. since is from when on that has happened
	// without a long pause, and endSince since when the log has ended where it ends now.
	tickedAt, since, endSince time.Time
	end                       eventlog.Position
	repairedAt                time.Time // when entries were last taken for absent
	adopted                   map[string]members.Member
	logged                    []logged // oldest first
	loggedBytes               int
	// used are the uses of keys whose claims stand for events of this process, by key.
	used map[string]use
	// lostClaims are those whose claims the store may have lost.
	lostClaims []use
}

// entry is an event that the log is not known to have.
type entry struct {
	event event.Event
	size  int    // of the encoded event, in bytes
	key   string // of the claim that stands for it, or empty
	pages []*page
	// published is when the last publish that succeeded began, or when the entry was adopted.
	published time.Time
	order     uint64 // of that publish or adoption
	// mayBeLogged says that the event was committed before: the log may have it where this
	// process does not read any more. So the log is asked at once.
	mayBeLogged bool
	// wasKnown says that the log had the event when it was asked. The follower may not have come to
	// it yet, and would not notice if the log lost it until then. Before the log is asked once more it
	// was read up to its end.
	wasKnown bool
	// checkAt is when the log is asked for the event.
	checkAt time.Time
	// repeats counts the publishes again.
	repeats int
	// queued says that the entry waits to be published, or is being published, and queuedAt
	// since when.
	queued   bool
	queuedAt time.Time
	// kind is the kind of repair if the log lacks the entry, and this process has not published it
	// yet: it is adopted, or was in the log already. Otherwise it is empty.
	kind repairs.Kind
	// log is the id of the log that had an entry which was given back, and which has no page. Another
	// log does not get it.
	log string
}

// page is a document of the journal, or one that is being written.
type page struct {
	key    string
	number uint64
	open   int    // how many of its events are still needed; its write counts as one
	owner  string // the member that wrote it
}

// New returns the journal of a new process. Commit works while Run runs.
func New(c Config) *Journal {
	return &Journal{
		Config: c, commits: make(chan *commit), work: make(chan struct{}, 1), stopped: make(chan struct{}),
		entries: map[string]*entry{}, pages: map[string]*page{}, latest: map[event.Type]uint64{}, adopted: map[string]members.Member{}, used: map[string]use{},
	}
}

// Run writes and publishes until ctx is done. Then it goes on publishing until the log has
// all events, for at most DrainFor, and leaves the rest to another process.
func (j *Journal) Run(ctx context.Context) {
	beating, stopBeating := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { j.Registry.Run(beating) })
	running.Go(func() { j.publish(beating) })
	j.writeAll(ctx)
	close(j.stopped)
	j.askAtOnce()
	j.drain(beating)
	stopBeating()
	running.Wait()
	if err := j.Registry.Leave(context.WithoutCancel(ctx), j.hasPages()); err != nil {
		slog.DebugContext(ctx, "could not leave the members", "error", err)
	}
}

// drain waits until the journal is empty, for at most DrainFor.
func (j *Journal) drain(ctx context.Context) {
	deadline, check := time.After(DrainFor), time.NewTicker(retryPause/4)
	defer check.Stop()
	for !j.IsEmpty() {
		select {
		case <-check.C:
		case <-deadline:
			if j.hasPages() {
				slog.WarnContext(ctx, "the log does not have all events yet, another process will see to them", "events", j.Len())
			} else {
				slog.ErrorContext(ctx, "the log does not take back what it has lost", "events", j.Len())
			}
			return
		}
	}
}

// Len is the number of events that the log is not known to have.
func (j *Journal) Len() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.entries)
}

// hasPages says that another process will find something of the journal in the store.
func (j *Journal) hasPages() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.pages) > 0
}

// IsEmpty says that the log has all events, and that nothing of the journal is left in the store.
func (j *Journal) IsEmpty() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.entries)+len(j.pages) == 0
}

func pause(ctx context.Context, long time.Duration) {
	select {
	case <-time.After(long):
	case <-ctx.Done():
	}
}
