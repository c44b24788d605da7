package world

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	first  = flag.Uint64("first", 1, "the first `seed`")
	step   = flag.Uint64("step", 1, "the difference between two seeds")
	count  = flag.Int("count", 10, "how many seeds to run")
	keep   = flag.String("keep", "", "the `names` of the commands and faults to keep, separated by commas; all if empty")
	traces = flag.Bool("traces", false, "hash the trace of each history")
	show   = flag.Bool("show", false, "print the plan and the trace of each history")
	out    = flag.String("out", "", "a `file` for a line of JSON a history")
)

// line is what the file of results has of a history.
type line struct {
	Seed uint64
	Outcome
	Error string
	Trace string `json:",omitempty"`
	Names []string
}

// TestHistories runs the histories of the flags.
func TestHistories(t *testing.T) {
	lines := json.NewEncoder(discard{})
	if *out != "" {
		file, err := os.Create(*out)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		lines = json.NewEncoder(file)
	}
	takeCollectorAway()
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

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func runSeed(t *testing.T, seed uint64) line {
	plan := NewPlan(seed)
	if *keep != "" {
		plan = plan.Keep(strings.Split(*keep, ","))
	}
	var trace *Trace
	if *traces || *show {
		trace = new(Trace)
	}
	if *show {
		fmt.Print(plan)
		trace.Lines = os.Stdout
	}
	l := line{Seed: seed, Names: plan.Names()}
	synctest.Test(t, func(*testing.T) {
		for range seed % 4096 {
			rand.Uint64()
		}
		l.Outcome = Run(plan, trace)
	})
	if l.Err != nil {
		l.Error = l.Err.Error()
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

var _ = time.Now
