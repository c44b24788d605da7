package world

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// The services. Each has a store with the same name.
const (
	posts      = "posts"
	comments   = "comments"
	moderation = "moderation"
	eventlog   = "eventlog"
	query      = "query"
)

var services = []string{posts, comments, moderation, eventlog, query}

// When things happen in a history, from its beginning.
const (
	// lastCommand is when users make their last command at the latest. They may repeat it
	// later.
	lastCommand = 12 * time.Second
	// lastFault is when the last fault begins at the latest.
	lastFault = 16 * time.Second
	// mended is when all faults end.
	mended = 20 * time.Second
)

// Least numbers of a history.
const (
	leastCommands = 20
	leastFaults   = 10
)

// Plan is all that a history does on purpose: who does what when, and which faults are
// possible when. It is made from a seed alone.
type Plan struct {
	Seed uint64
	// Replicas are the processes of each service: 1 to 3.
	Replicas map[string]int
	// Skews are how far each service's clock is ahead of the world's. The clocks of a
	// service's replicas differ by less than a second.
	Skews map[string]time.Duration
	// Opaque says that the stores' ETags do not count the writes of a key.
	Opaque   bool
	Commands []Command
	Faults   []Fault
}

// dice are the random choices of one part of a history. Each part has its own, so that a
// part that is taken out changes the others' choices as little as possible.
type dice struct{ *rand.Rand }

func newDice(seed uint64, part string) dice {
	h := fnv.New64a()
	_, _ = h.Write([]byte(part))
	return dice{rand.New(&source{from: rand.NewPCG(seed, h.Sum64())})} //nolint:gosec // it is to be predictable
}

// source is a source of numbers that is safe for concurrent use.
type source struct {
	mu   sync.Mutex
	from *rand.PCG
}

// Uint64 implements rand.Source.
func (s *source) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.from.Uint64()
}

// chance is true with probability p.
func (d dice) chance(p float64) bool { return d.Float64() < p }

// between is a duration in [least, most).
func (d dice) between(least, most time.Duration) time.Duration {
	return least + time.Duration(d.Int64N(int64(most-least)))
}

func pick[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

// NewPlan makes the plan of a seed.
func NewPlan(seed uint64) *Plan {
	d := newDice(seed, "plan")
	p := &Plan{Seed: seed, Replicas: map[string]int{}, Skews: map[string]time.Duration{}, Opaque: d.chance(0.25)}
	most := 3
	if d.chance(0.4) { // in the other histories some service has two or more
		most = 1
	}
	for _, name := range services {
		p.Replicas[name] = 1 + d.IntN(most)
		if d.chance(0.5) {
			p.Skews[name] = d.between(-maxSkew, maxSkew)
		}
	}
	if most > 1 {
		p.Replicas[pick(d, services...)] = 2 + d.IntN(2)
	}
	p.Commands = newCommands(d)
	for i := range leastFaults + d.IntN(8) {
		p.Faults = append(p.Faults, newFault(d, i))
	}
	slices.SortStableFunc(p.Faults, func(a, b Fault) int { return cmp.Compare(a.From, b.From) })
	return p
}

// Keep returns the plan with only the commands and faults of these names, such as
// c3 and f7.
func (p *Plan) Keep(names []string) *Plan {
	kept := *p
	kept.Commands = slices.DeleteFunc(slices.Clone(p.Commands), func(c Command) bool { return !slices.Contains(names, c.name()) })
	kept.Faults = slices.DeleteFunc(slices.Clone(p.Faults), func(f Fault) bool { return !slices.Contains(names, f.name()) })
	return &kept
}

// Names are the names of the plan's commands and faults.
func (p *Plan) Names() []string {
	var names []string
	for _, c := range p.Commands {
		names = append(names, c.name())
	}
	for _, f := range p.Faults {
		names = append(names, f.name())
	}
	return names
}

// String has a line for each command and fault.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: replicas %v, clocks ahead by %v, opaque ETags %t\n", p.Seed, p.Replicas, p.Skews, p.Opaque)
	for _, c := range p.Commands {
		fmt.Fprintf(&b, "  %s\n", c)
	}
	for _, f := range p.Faults {
		fmt.Fprintf(&b, "  %s\n", f)
	}
	return b.String()
}
