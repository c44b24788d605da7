package main

// seededGo are changes of Go's runtime and library, for the test binary alone: in a synctest bubble
// everything that Go leaves to chance is taken from one sequence of numbers, and no
// goroutine is interrupted because a moment has passed on the machine's clock. So a history
// that is run again, with GOMAXPROCS=1, runs in the same order.
var seededGo = []change{
	{
		"runtime/synctest.go",
		"	now     int64  // current fake time\n",
		"	now     int64  // current fake time\n	rand    uint64 // the state of next\n",
	}, {
		"runtime/synctest.go",
		"var bubbleGen atomic.Uint64",
		`// next is the next number of splitmix64, which begins anew in each bubble.
//
//go:nosplit
func (bubble *synctestBubble) next() uint64 {
	bubble.rand += 0x9e3779b97f4a7c15
	z := bubble.rand
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

var bubbleGen atomic.Uint64`,
	}, { // the order of maps, and math/rand
		"runtime/rand.go",
		"	mp := getg().m\n	c := &mp.chacha8\n",
		"	if bubble := getg().bubble; bubble != nil {\n		return bubble.next()\n	}\n	mp := getg().m\n	c := &mp.chacha8\n",
	}, { // the keys of the hashes, on which the order of maps depends, too
		"runtime/rand.go",
		"	globalRand.state.Init(*seed)\n",
		"	clear(seed[:])\n	globalRand.state.Init(*seed)\n",
	}, { // which case of a select is tried first
		"runtime/select.go",
		"		j := cheaprandn(uint32(norder + 1))\n",
		"		j := cheaprandn(uint32(norder + 1))\n		if gp.bubble != nil {\n			j = uint32(gp.bubble.next() % uint64(norder+1))\n		}\n",
	}, { // which of the timers of one instant is first
		"runtime/time.go",
		"			t.rand = cheaprand()\n",
		"			t.rand = uint32(getg().bubble.next())\n",
	}, { // the end of a goroutine's time slice
		"runtime/proc.go",
		"		} else if pd.schedwhen+forcePreemptNS <= now {\n			preemptone(pp)\n",
		"		} else if pd.schedwhen+forcePreemptNS <= now {\n			if mp := pp.m.ptr(); mp == nil || mp.curg == nil || mp.curg.bubble == nil {\n				preemptone(pp)\n			}\n",
	}, { // query has a collection after it has caught up, during which others run
		"runtime/mheap.go",
		"func runtime_debug_freeOSMemory() {\n",
		"func runtime_debug_freeOSMemory() {\n	if getg().bubble != nil {\n		return\n	}\n",
	}, { // the contexts that end with another one, which are in a map by their addresses
		"context/context.go",
		"	children map[canceler]struct{} // set",
		"	added    int\n	children map[canceler]int // set",
	}, {
		"context/context.go",
		"			p.children = make(map[canceler]struct{})\n",
		"			p.children = make(map[canceler]int)\n",
	}, {
		"context/context.go",
		"			p.children[child] = struct{}{}\n",
		"			p.added++\n			p.children[child] = p.added\n",
	}, {
		"context/context.go",
		"	for child := range c.children {\n",
		`	ordered := make([]canceler, 0, len(c.children))
	for child := range c.children {
		ordered = append(ordered, child)
	}
	for i := range ordered {
		for ; i > 0 && c.children[ordered[i]] < c.children[ordered[i-1]]; i-- {
			ordered[i], ordered[i-1] = ordered[i-1], ordered[i]
		}
	}
	for _, child := range ordered {
`,
	}, { // for speed alone: requests grow their stacks to this size
		"runtime/stack.go",
		"var startingStackSize uint32 = fixedStack",
		"var startingStackSize uint32 = 16 << 10",
	},
}

// smallSizes let a history of some dozens of events reach what else takes thousands.
var smallSizes = []change{
	{"internal/eventlog/segment.go", "const SegmentSize = 128", "const SegmentSize = 16"},
	{"internal/journal/journal.go", "	pageEvents = 100", "	pageEvents = 3"},
	{"internal/journal/journal.go", "	reserved = 200", "	reserved = 3"},
	// The log recognises its last 20 events: those of a few seconds.
	{"internal/journal/giveback.go", "	keptFor    = time.Hour", "	keptFor    = 3 * time.Second"},
	{"internal/catchup/recent.go", "const recentIDs = 10_000", "const recentIDs = 20"},
}
