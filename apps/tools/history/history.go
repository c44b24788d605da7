// Package history records the calls of a load and checks them, with Porcupine, against
// models of what clients are promised: commands with an Idempotency-Key happen once,
// readers never read backwards, and the log only grows.
package history

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/postbus/postbus/apps/internal/eventlog"
)

// History is a record of calls. It is safe for concurrent use.
type History struct {
	mu sync.Mutex
	// ticks counts the invocations and answers. Their order is known whatever the clock's
	// resolution is.
	ticks    int64
	commands map[string][]*Command // by key
	reads    map[string][]*Read    // by reader
	logReads map[string][]*LogRead // by replica
	// seen are the different observations of each event of the log, by its number.
	seen map[logNumber][]observation
	// life counts what WhileTheLogLosesItsEnd has begun and ended. What is read in one life says
	// nothing about another, and what is read in an odd one, or answered in another, nothing at all.
	life int
}

// logNumber is a number of the log in a life of it.
type logNumber struct {
	life   int
	number uint64
}

func (n logNumber) compare(other logNumber) int {
	return cmp.Or(cmp.Compare(n.life, other.life), cmp.Compare(n.number, other.number))
}

// New returns an empty history.
func New() *History {
	return &History{
		commands: map[string][]*Command{}, reads: map[string][]*Read{}, logReads: map[string][]*LogRead{},
		seen: map[logNumber][]observation{},
	}
}

// WhileTheLogLosesItsEnd records that the log loses its end while a function runs. Commands are
// still kept to what they were promised. But readers may be shown less then, and other events may
// get the numbers of lost ones. So readers begin anew afterwards.
func (h *History) WhileTheLogLosesItsEnd(during func()) {
	h.nextLife()
	defer h.nextLife()
	during()
}

func (h *History) nextLife() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.life++
}

// counts says whether an answer to what was asked in a life says anything. It must be called under
// the lock.
func (h *History) counts(life int) bool { return life == h.life && life%2 == 0 }

// inLife is a name for the same thing in this life only. It must be called under the lock.
func (h *History) inLife(name string) string {
	if h.life == 0 {
		return name
	}
	return fmt.Sprintf("%s, after %d losses", name, (h.life+1)/2)
}

// span is when a call was under way, in ticks and by the clock. A call without an answer has
// no end.
type span struct {
	call, end      int64
	sent, answered time.Time
}

// begin must be called under the lock.
func (h *History) begin() span {
	h.ticks++
	return span{call: h.ticks, sent: time.Now()}
}

// finish must be called under the lock.
func (h *History) finish(s *span) {
	h.ticks++
	s.end, s.answered = h.ticks, time.Now()
}

func (s span) String() string {
	const clock = "15:04:05.000"
	if s.end == 0 {
		return s.sent.Format(clock) + " to …"
	}
	return s.sent.Format(clock) + " to " + s.answered.Format(clock)
}

// Command is one try of a command with an Idempotency-Key.
type Command struct {
	h *History
	span
	request string
	// status is 0 while there is no answer.
	status int
	answer string
}

// Command records that a command is sent. Equal requests are the same command.
func (h *History) Command(key, request string) *Command {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &Command{h: h, span: h.begin(), request: request}
	h.commands[key] = append(h.commands[key], c)
	return c
}

// Answered records a command's answer. A status from 500 on says as little as no answer:
// the command may have happened, may yet happen, or may not.
func (c *Command) Answered(status int, answer string) {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	c.h.finish(&c.span)
	c.status, c.answer = status, answer
}

func (c *Command) isUnknown() bool {
	return c.status == 0 || c.status >= http.StatusInternalServerError
}

func (c *Command) String() string {
	if c.status == 0 {
		return fmt.Sprintf("%.100s: no answer", c.request)
	}
	return fmt.Sprintf("%.100s: %d %.100s", c.request, c.status, c.answer)
}

// View is what a page shows.
type View struct {
	// Entities are on the page, by id, each with a number that never becomes less, such as
	// its revision.
	Entities map[string]int
	// More says that entities that were on the page may have made room for others.
	More bool
	// Digest is of all that the page says. It is the same wherever the same is said, and 0 where
	// that can't be compared.
	Digest uint64
}

// Read is a read of a page of the read model. Without an answer it says nothing.
type Read struct {
	h *History
	span
	life  int
	page  string
	least uint64
	at    eventlog.Position
	view  View
	// misfit says that the position that was asked for was refused as none of the log.
	misfit bool
}

// Read records that a reader asks for a page that shows at least the log up to a position,
// its min_sequence. That has to be one that an answer gave. All reads of one reader are a
// session, which never reads backwards: least has to be at least where it stands.
func (h *History) Read(reader, page string, least eventlog.Position) *Read {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &Read{h: h, span: h.begin(), life: h.life, page: h.inLife(page), least: least.Sequence}
	reader = h.inLife(reader)
	h.reads[reader] = append(h.reads[reader], r)
	return r
}

// Answered records what a reader was shown, and where in the log that stands.
func (r *Read) Answered(at eventlog.Position, v View) {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	if !r.h.counts(r.life) {
		return
	}
	r.h.finish(&r.span)
	r.at, r.view = at, v
	r.h.observe(at.Sequence, observation{at: r.span, log: at.Log, event: at.Event})
}

// Misfit records that the position was refused as none of the log (409).
func (r *Read) Misfit() {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	if !r.h.counts(r.life) {
		return
	}
	r.h.finish(&r.span)
	r.misfit = true
}

func (r *Read) String() string {
	if r.misfit {
		return fmt.Sprintf("%s from %d: not a position of the log", r.page, r.least)
	}
	return fmt.Sprintf("%s from %d: stands at %s, shows %d, digest %x", r.page, r.least, r.at, len(r.view.Entities), r.view.Digest)
}

// Event is an event as the log serves it.
type Event struct {
	Number uint64
	ID     string
	// Digest is of all the event's bytes.
	Digest uint64
}

// LogRead is a read of the log. Without an answer it says nothing.
type LogRead struct {
	h *History
	span
	life  int
	after uint64
	// upTo is the number of the last event of the answer, or after.
	upTo uint64
	// last is where the log ends, as the answer says.
	last   eventlog.Position
	misfit bool
	// gap is the number that should have come where another one did, or 0.
	gap uint64
}

// ReadLog records that the events after a position, which has to be one that an answer
// gave, are asked for. The replica names the process that answers. If it is empty, any
// replica may answer, and they may differ in how far they know the log.
func (h *History) ReadLog(replica string, after eventlog.Position) *LogRead {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &LogRead{h: h, span: h.begin(), life: h.life, after: after.Sequence}
	if replica != "" {
		replica = h.inLife(replica)
		h.logReads[replica] = append(h.logReads[replica], r)
	}
	return r
}

// Answered records the events, and where the log ends.
func (r *LogRead) Answered(last eventlog.Position, events []Event) {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	if !r.h.counts(r.life) {
		return
	}
	r.h.finish(&r.span)
	r.last, r.upTo = last, r.after
	for _, e := range events {
		if r.upTo++; e.Number != r.upTo && r.gap == 0 {
			r.gap = r.upTo
		}
		r.h.observe(e.Number, observation{at: r.span, log: last.Log, event: e.ID, digest: e.Digest})
	}
	r.h.observe(last.Sequence, observation{at: r.span, log: last.Log, event: last.Event})
}

// Misfit records that the position was refused as none of the log (409).
func (r *LogRead) Misfit() {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	if !r.h.counts(r.life) {
		return
	}
	r.h.finish(&r.span)
	r.misfit = true
}

func (r *LogRead) String() string {
	switch {
	case r.misfit:
		return fmt.Sprintf("after %d: not a position of the log", r.after)
	case r.gap > 0:
		return fmt.Sprintf("after %d: there is no event %d before the next", r.after, r.gap)
	}
	return fmt.Sprintf("after %d: up to %d, the log ends at %s", r.after, r.upTo, r.last)
}

// observation is what an answer says about the event at a number of the log. What it does
// not say is empty.
type observation struct {
	at     span
	log    string
	event  string
	digest uint64
}

func (o observation) String() string {
	return fmt.Sprintf("log %q: event %q, digest %x", o.log, o.event, o.digest)
}

// observe keeps an observation if it says something new. It must be called under the lock.
func (h *History) observe(number uint64, o observation) {
	if number == 0 {
		return
	}
	at := logNumber{h.life, number}
	isKept := slices.ContainsFunc(h.seen[at], func(kept observation) bool {
		kept.at = o.at
		return kept == o
	})
	if !isKept {
		h.seen[at] = append(h.seen[at], o)
	}
}

// String says how many calls there are.
func (h *History) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Sprintf("%d tries of %d commands, %d reads by %d readers, %d reads of the log at %d replicas, %d events",
		count(h.commands), len(h.commands), count(h.reads), len(h.reads), count(h.logReads), len(h.logReads), len(h.seen))
}

func count[T any](calls map[string][]T) (n int) {
	for _, of := range calls {
		n += len(of)
	}
	return n
}
