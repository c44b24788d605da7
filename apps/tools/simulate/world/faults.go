package world

import (
	"fmt"
	"sync"
	"time"
)

// Kind is a kind of fault.
type Kind string

// The kinds of faults. Those of the first group strike single calls, each with the fault's
// probability. The others happen at once, or last.
const (
	PublishRefused   Kind = "publish refused"
	PublishForgotten Kind = "publish forgotten" // acknowledged, and nobody gets it
	PublishUnknown   Kind = "publish's answer lost"
	PublishLate      Kind = "publish lands late"
	PublishPart      Kind = "publish in part" // of several messages some
	DeliveryLost     Kind = "delivery lost"
	DeliveryRepeated Kind = "delivery repeated"
	DeliveryDelayed  Kind = "delivery delayed"
	DeliveryUnknown  Kind = "delivery's answer lost"
	WriteRefused     Kind = "write refused"
	WriteUnknown     Kind = "write's answer lost"
	WriteLate        Kind = "write lands late"
	WritePart        Kind = "write in part" // of several items some
	ReadFails        Kind = "read fails"
	StoreSlow        Kind = "store slow"
	CallLost         Kind = "invocation lost"
	CallUnknown      Kind = "invocation's answer lost"
	CallCut          Kind = "invocation's answer cut"
	CallSlow         Kind = "invocation slow"
	RequestLost      Kind = "user's request lost"
	AnswerLost       Kind = "user's answer lost"

	BusDown       Kind = "bus down"
	StreamDeleted Kind = "stream deleted"
	GroupAtEnd    Kind = "group at its end" // of a service, on all topics
	GroupReplays  Kind = "group replays"    // all that the streams have
	// SubscriptionHangs is the end of all deliveries of a topic to a service, for good, as with
	// the RabbitMQ component (components/README.md). Perhaps the service can't publish, too,
	// until the fault ends.
	SubscriptionHangs Kind = "subscription hangs"
	StoreDown         Kind = "store down"
	StoreEmptied      Kind = "store emptied"
	StoreSetBack      Kind = "store set back" // to what it was a moment ago, as by a failover
	Killed            Kind = "killed"
	KilledInCall      Kind = "killed in a call"
	Paused            Kind = "paused"
	Stopped           Kind = "stopped" // gracefully
	Away              Kind = "service away"
	ClockStepped      Kind = "clock stepped"
	PolicyChanged     Kind = "policy changed"

	// These two are no faults: they are what users do.
	DoubleClick Kind = "double click"
	Repeated    Kind = "repeated with its key"
)

// maxSkew is how far the clock of a service is ahead of or behind the world's, at most.
const maxSkew = 10 * time.Second

// Fault is a fault of a plan.
type Fault struct {
	ID   int
	Kind Kind
	// From and To say when the fault may strike. A fault that happens once does so at From.
	From, To time.Duration
	// At is the service that is struck, or the topic.
	At string
	// P is the probability with which it strikes a call.
	P float64
	// D is how long a delay, a pause or a death lasts at most, or by how much a clock steps.
	D time.Duration
}

func (f Fault) name() string { return fmt.Sprintf("f%d", f.ID) }

func (f Fault) String() string {
	return fmt.Sprintf("%-4s %s of %s, from %v to %v, probability %.2f, duration %v", f.name(), f.Kind, f.At, f.From, f.To, f.P, f.D)
}

// kind is how a kind of fault is planned and what it does.
type kind struct {
	name Kind
	// weight is how often it is planned, compared with others.
	weight int
	// at are what it may strike.
	at []string
	// least and most bound the duration D; both are 0 where there is none.
	least, most time.Duration
	// begin does what happens at From, and returns what undoes it at To. For a kind that
	// strikes single calls it is nil.
	begin func(w *World, f *fault) (end func())
}

var (
	emptiable = []string{posts, comments, moderation, query} // the log is the truth
	callers   = emptiable                                    // of the log
	anywhere  = []string{"anything"}
)

// kinds are all kinds of faults.
var kinds = []kind{
	{PublishRefused, 3, publishers, 0, 0, nil},
	{PublishForgotten, 3, topics, 0, 0, nil},
	{PublishUnknown, 3, publishers, 0, 0, nil},
	{PublishLate, 2, publishers, 100 * time.Millisecond, 15 * time.Second, nil},
	{PublishPart, 2, publishers, 0, 0, nil},
	{DeliveryLost, 4, services, 0, 0, nil},
	{DeliveryRepeated, 3, services, 10 * time.Millisecond, 15 * time.Second, nil},
	{DeliveryDelayed, 3, services, 10 * time.Millisecond, 10 * time.Second, nil},
	{DeliveryUnknown, 2, services, 0, 0, nil},
	{WriteRefused, 2, services, 0, 0, nil},
	{WriteUnknown, 3, services, 0, 0, nil},
	{WriteLate, 3, services, 50 * time.Millisecond, 10 * time.Second, nil},
	{WritePart, 3, services, 0, 0, nil},
	{ReadFails, 2, services, 0, 0, nil},
	{StoreSlow, 1, services, 10 * time.Millisecond, 2 * time.Second, nil},
	{CallLost, 2, callers, 0, 0, nil},
	{CallUnknown, 2, callers, 0, 0, nil},
	{CallCut, 2, callers, 0, 0, nil},
	{CallSlow, 1, callers, 10 * time.Millisecond, 3 * time.Second, nil},
	{RequestLost, 1, []string{posts, comments}, 0, 0, nil},
	{AnswerLost, 2, []string{posts, comments}, 0, 0, nil},

	{BusDown, 1, anywhere, 0, 0, (*World).busDown},
	{StreamDeleted, 2, topics, 0, 0, (*World).deleteStream},
	{GroupAtEnd, 2, services, 0, 0, (*World).groupAtEnd},
	{GroupReplays, 1, services, 0, 0, (*World).groupReplays},
	{SubscriptionHangs, 2, services, 0, 0, (*World).hangSubscription},
	{StoreDown, 1, services, 0, 0, (*World).storeDown},
	{StoreEmptied, 2, emptiable, 0, 0, (*World).emptyStore},
	{StoreSetBack, 2, emptiable, 50 * time.Millisecond, 2 * time.Second, (*World).setStoreBack},
	{Killed, 3, services, 10 * time.Millisecond, 20 * time.Second, (*World).killOne},
	{KilledInCall, 4, services, 10 * time.Millisecond, 20 * time.Second, nil},
	{Paused, 2, services, 100 * time.Millisecond, 20 * time.Second, (*World).pauseOne},
	{Stopped, 1, services, 10 * time.Millisecond, 5 * time.Second, (*World).stopOne},
	{Away, 2, services, 0, 0, (*World).away},
	{ClockStepped, 1, services, 0, 2 * maxSkew, (*World).stepClock},
	{PolicyChanged, 1, []string{moderation}, 0, 0, (*World).changePolicy},
}

func newFault(d dice, id int) Fault {
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	n, i := d.IntN(total), 0
	for ; n >= kinds[i].weight; i++ {
		n -= kinds[i].weight
	}
	k := kinds[i]
	f := Fault{ID: id, Kind: k.name, At: pick(d, k.at...), From: d.between(0, lastFault)}
	f.To = min(mended, f.From+d.between(500*time.Millisecond, 12*time.Second))
	f.P = pick(d, 0.1, 0.3, 0.6, 1)
	if k.least != k.most {
		f.D = d.between(k.least, k.most)
	}
	return f
}

// fault is a fault of a running history.
type fault struct {
	Fault
	dice dice
}

// faults are the faults of a running history. It is safe for concurrent use.
type faults struct {
	mu     sync.Mutex
	all    []*fault
	active map[Kind][]*fault
	hits   map[Kind]int
	trace  *Trace
}

// strike returns the fault of a kind that strikes a call at a service or topic now, or nil.
func (f *faults) strike(k Kind, at string) *fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.active[k] {
		if one.At == at && one.dice.chance(one.P) {
			f.hit(one)
			return one
		}
	}
	return nil
}

// delay is for how long a fault of a kind that strikes now delays something, or 0.
func (f *faults) delay(k Kind, at string) time.Duration {
	one := f.strike(k, at)
	if one == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return one.dice.between(time.Millisecond, max(one.D, 2*time.Millisecond))
}

func (f *faults) hit(one *fault) {
	f.hits[one.Kind]++
	f.trace.add("%s strikes: %s of %s", one.name(), one.Kind, one.At)
}

// began notes that a fault has happened that strikes no single calls.
func (f *faults) began(one *fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hit(one)
}

// did counts something that users did.
func (f *faults) did(k Kind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hits[k]++
}

// end ends a fault that strikes once.
func (f *faults) end(one *fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remove(one)
}

func (f *faults) remove(one *fault) {
	live := f.active[one.Kind]
	for i, other := range live {
		if other == one {
			f.active[one.Kind] = append(live[:i:i], live[i+1:]...)
			return
		}
	}
}

// run lets a fault happen at its time.
func (w *World) run(one *fault) {
	time.Sleep(one.From)
	var end func()
	if begin := kindOf(one.Kind).begin; begin != nil {
		if end = begin(w, one); end == nil {
			return
		}
	} else {
		w.faults.mu.Lock()
		w.faults.active[one.Kind] = append(w.faults.active[one.Kind], one)
		w.faults.mu.Unlock()
	}
	time.Sleep(one.To - one.From)
	if end != nil {
		end()
	} else {
		w.faults.end(one)
	}
	w.trace.add("%s ends", one.name())
}

func kindOf(name Kind) kind {
	for _, k := range kinds {
		if k.name == name {
			return k
		}
	}
	panic("there is no kind " + name)
}
