package world

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

var (
	first       = flag.Uint64("first", 1, "the first `seed`")
	step        = flag.Uint64("step", 1, "the difference between two seeds")
	count       = flag.Int("count", 10, "how many seeds to run")
	keep        = flag.String("keep", "", "the `names` of the commands and faults to keep, separated by commas; all if empty")
	traces      = flag.Bool("traces", false, "hash the trace of each history")
	show        = flag.Bool("show", false, "print the plan and the trace of each history")
	results     = flag.Int("results", 0, "the `number` of an open file that gets a line of JSON for each history")
	isShrinking = flag.Bool("shrink", false, "shorten the history of the first seed")
)

// line is what the file of results has of a history.
type line struct {
	Seed uint64
	Outcome
	Error            string
	Trace            string `json:",omitempty"`
	Faults, Replicas int
}

// TestHistories runs the histories of the flags.
func TestHistories(t *testing.T) {
	lines := json.NewEncoder(io.Discard)
	if *results > 0 {
		file := os.NewFile(uintptr(*results), "results")
		defer func() { _ = file.Close() }()
		lines = json.NewEncoder(file)
		takeCollectorAway()
		warmUp(t)
	}
	for i := range *count {
		seed := *first + uint64(i)*(*step)
		l := runSeed(t, seed)
		if err := lines.Encode(l); err != nil {
			t.Fatal(err)
		}
		if l.Error != "" {
			t.Errorf("seed %d: %s", seed, l.Error)
		}
		collect()
	}
}

// TestWithoutFaultsNothingIsRepaired runs the commands of histories without their faults, and
// without late repeats: an event that the window of the log has forgotten is published again.
func TestWithoutFaultsNothingIsRepaired(t *testing.T) {
	for seed := range uint64(3) {
		plan := NewPlan(seed)
		plan.Faults = nil
		for i := range plan.Commands {
			plan.Commands[i].Again = nil
		}
		if l := runPlan(t, plan); l.Error != "" || l.Accepted == 0 {
			t.Errorf("seed %d: %d accepted, error %q", seed, l.Accepted, l.Error)
		}
	}
}

// warmUp runs a history that counts for nothing. The first one fills what the process keeps
// for all that follow: caches of types, and pools.
func warmUp(t *testing.T) {
	synctest.Test(t, func(*testing.T) { Run(NewPlan(0), nil) })
}

// TestShrink shortens the history of the first seed.
func TestShrink(t *testing.T) {
	if !*isShrinking {
		plan := NewPlan(1)
		want := []string{"c3", "f2"}
		got := Shrink(plan.Names(), 1000, func(names []string) bool {
			return slices.Contains(names, "c3") && slices.Contains(names, "f2")
		})
		if !slices.Equal(got, want) {
			t.Errorf("%v is left of a history that fails with %v", got, want)
		}
		return
	}
	takeCollectorAway()
	warmUp(t)
	plan := NewPlan(*first)
	fails := func(names []string) bool {
		collect()
		return runPlan(t, plan.Keep(names)).Error != ""
	}
	if fails(plan.Names()) {
		fmt.Printf("keep: %s\n", strings.Join(Shrink(plan.Names(), 300, fails), ","))
	}
}

func runSeed(t *testing.T, seed uint64) line {
	plan := NewPlan(seed)
	if *keep != "" {
		plan = plan.Keep(strings.Split(*keep, ","))
	}
	return runPlan(t, plan)
}

func runPlan(t *testing.T, plan *Plan) line {
	var trace *Trace
	if *traces || *show {
		trace = new(Trace)
	}
	if *show {
		fmt.Print(plan)
		trace.Lines = new(bytes.Buffer) // printed afterwards: a system call lets other goroutines run
	}
	l := line{Seed: plan.Seed, Faults: len(plan.Faults), Replicas: slices.Max(slices.Collect(maps.Values(plan.Replicas)))}
	synctest.Test(t, func(*testing.T) {
		for range plan.Seed % 4096 { // so that not all histories have the same chance
			rand.Uint64()
		}
		l.Outcome = Run(plan, trace)
	})
	if l.Err != nil {
		l.Error = l.Err.Error()
	}
	if *show {
		_, _ = trace.Lines.WriteTo(os.Stdout)
	}
	if trace != nil {
		l.Trace = fmt.Sprintf("%016x", trace.Sum())
	}
	return l
}

// mostHeap is how many bytes histories may leave as garbage.
const mostHeap = 256 << 20

// takeCollectorAway has the garbage of a history collected after it: a collection in the
// middle would change the order in which goroutines run.
func takeCollectorAway() {
	debug.SetGCPercent(-1)
	runtime.MemProfileRate = 0
}

func collect() {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	if heap[0].Value.Uint64() > mostHeap {
		runtime.GC()
	}
}
