// Package world runs the services' real code in one process against a world that is made
// up: its bus, stores, invocations and clocks fail by a seed. After each history it checks
// the accounts by exact id (../README.md).
//
// A history is a synctest bubble: every pause here is of the bubble's clock.
package world

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// snapshotEvery is how often query saves its model.
	snapshotEvery = 5 * time.Second
	// wholeWithin is how long after the end of all faults the system is whole.
	wholeWithin = 4 * time.Minute
	// settled is for how long the world goes on after that, to show that nothing more happens.
	settled = 5 * time.Second
	// ended is how long the goroutines of dead processes may take to end.
	ended = 2 * time.Minute
	// Window is how many of the log's last events are recognised when they come again, at
	// least.
	Window = 20
)

// World is the system of one history, and all around it.
type World struct {
	plan     *Plan
	trace    *Trace
	faults   faults
	bus      *broker
	stores   map[string]*store
	services map[string]*service
	users    *users
	// faulty ends when the faults end.
	faulty  context.Context //nolint:containedctx // it is the history's
	mend    context.CancelFunc
	mu      sync.Mutex
	policy  int
	landing int // the effects that happen later
}

// Outcome is how a history ended.
type Outcome struct {
	// Err is what is wrong, or nil.
	Err error `json:"-"`
	// Hits are how often each kind of fault struck.
	Hits map[Kind]int
	// Commands counts the commands, and Accepted those that were answered 201.
	Commands, Accepted int
	// Events are how many the log has.
	Events int
	// Whole is how long it took from the end of the faults until the system was whole.
	Whole time.Duration
}

// Run runs a plan in the synctest bubble of its caller. The trace may be nil.
func Run(plan *Plan, trace *Trace) Outcome {
	w := newWorld(plan, trace)
	for _, name := range services {
		for replica := range plan.Replicas[name] {
			w.services[name].start(replica)
		}
		for _, topic := range w.services[name].running[0].subscribed() {
			w.bus.subscribe(name, topic)
		}
	}
	outcome := w.outcome()
	for _, name := range services {
		for _, p := range w.services[name].all() {
			p.end()
		}
	}
	time.Sleep(ended)
	return outcome
}

func newWorld(plan *Plan, trace *Trace) *World {
	seedIDs(plan.Seed)
	w := &World{plan: plan, trace: trace, stores: map[string]*store{}, services: map[string]*service{}}
	if trace != nil {
		trace.began = time.Now()
	}
	slog.SetDefault(slog.New(traceLog{slog.DiscardHandler, trace}))
	w.faulty, w.mend = context.WithCancel(context.Background())
	w.bus = newBroker(w)
	w.users = newUsers(w)
	w.faults = faults{active: map[Kind][]*fault{}, hits: map[Kind]int{}, trace: trace}
	for _, name := range services {
		w.stores[name] = &store{world: w, name: name, dice: newDice(plan.Seed, "store "+name), docs: map[string]doc{}, members: map[*process]bool{}, removed: map[string]bool{}}
		w.services[name] = &service{world: w, name: name, dice: newDice(plan.Seed, "service "+name), running: make([]*process, plan.Replicas[name])}
	}
	for _, f := range plan.Faults {
		w.faults.all = append(w.faults.all, &fault{Fault: f, dice: newDice(plan.Seed, f.name())})
	}
	return w
}

// later lets the effect of a call happen after a while.
func (w *World) later(after time.Duration, effect func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.landing++
	time.AfterFunc(after, func() {
		effect()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.landing--
	})
}

// endFaults ends all faults: what is paused goes on, and what is dead is started again.
func (w *World) endFaults() {
	w.faults.mu.Lock()
	w.faults.active = map[Kind][]*fault{}
	w.faults.mu.Unlock()
	w.trace.add("all faults end")
	w.mend()
}

// isSettled says whether no effect of a call is still to happen.
func (w *World) isSettled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.landing == 0
}
