package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// totals are what happened in all histories.
type totals struct {
	histories, replicated      int
	commands, accepted, events int
	strikes                    map[string]int
	// in counts the histories with a kind of fault, and both those with two kinds.
	in   map[string]int
	both map[[2]string]int
	took []time.Duration // from the end of the faults until all was whole
}

func (t *totals) add(o outcome) {
	if t.in == nil {
		t.strikes, t.in, t.both = map[string]int{}, map[string]int{}, map[[2]string]int{}
	}
	t.histories++
	if o.Replicas > 1 {
		t.replicated++
	}
	t.commands, t.accepted, t.events = t.commands+o.Commands, t.accepted+o.Accepted, t.events+o.Events
	t.took = append(t.took, o.Whole)
	kinds := slices.Sorted(maps.Keys(o.Hits))
	for i, a := range kinds {
		t.strikes[a] += o.Hits[a]
		t.in[a]++
		for _, b := range kinds[:i] {
			t.both[[2]string{a, b}]++
		}
	}
}

// report says how often each fault happened, and together with which other.
func (t *totals) report(took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d histories in %v, %.1f a second; %d of them with two or more replicas of a service\n",
		t.histories, took.Round(time.Second), float64(t.histories)/took.Seconds(), t.replicated)
	fmt.Fprintf(&b, "%d commands, %d answers 201, %d events in the logs\n", t.commands, t.accepted, t.events)
	if len(t.took) > 0 {
		slices.Sort(t.took)
		fmt.Fprintf(&b, "whole after the end of all faults: half of them within %v, 99%% within %v, all within %v\n",
			t.took[len(t.took)/2], t.took[len(t.took)*99/100], t.took[len(t.took)-1])
	}
	kinds := slices.Sorted(maps.Keys(t.in))
	fmt.Fprintf(&b, "\n| | fault | strikes | histories |")
	for i := range kinds {
		fmt.Fprintf(&b, " with %d |", i+1)
	}
	fmt.Fprintf(&b, "\n|%s\n", strings.Repeat("---|", 4+len(kinds)))
	for i, a := range kinds {
		fmt.Fprintf(&b, "| %d | %s | %d | %d |", i+1, a, t.strikes[a], t.in[a])
		for _, other := range kinds[:i] {
			fmt.Fprintf(&b, " %d |", t.both[[2]string{a, other}])
		}
		b.WriteString("\n")
	}
	return b.String()
}
