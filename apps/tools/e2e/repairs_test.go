package e2e

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

// repairing are the services that mend what the bus lost, and count it.
var repairing = []string{"posts", "comments", "moderation", "eventlog"}

// repairs are the numbers of repairs, by the process's app channel and by kind. Without
// the counts of every process it is nil.
type repairs map[int]map[string]int

// unknown is the number of repairs if a version does not count them, or if a test cannot
// ask for them.
const unknown = -1

// repairs asks each process of this machine at its app channel. (An invocation may go to
// any replica.)
func (s *stack) repairs() repairs {
	all := repairs{}
	for _, name := range repairing {
		for _, a := range s.all(name) {
			var counts map[string]int
			if _, err := get(fmt.Sprintf("http://127.0.0.1:%d/repairs", a.AppPort), &counts); err != nil {
				return nil
			}
			all[a.AppPort] = counts
		}
	}
	return all
}

// until is the number of repairs from r to now. A process that was restarted meanwhile
// counts from its start, and those of an ended one are missing.
func (r repairs) until(now repairs) (sum int) {
	if r == nil || now == nil {
		return unknown
	}
	for port, counts := range now {
		for kind, n := range counts {
			if had := r[port][kind]; had <= n {
				n -= had
			}
			sum += n
		}
	}
	return sum
}

// TestRepairsAreCounted is a test of the counter.
func TestRepairsAreCounted(t *testing.T) {
	had := repairs{1: {"effect": 2, "reaction": 3}, 2: {"effect": 5}}
	for name, c := range map[string]struct {
		now  repairs
		want int
	}{
		"no new one":            {had, 0},
		"new ones":              {repairs{1: {"effect": 2, "reaction": 5}, 2: {"effect": 6}}, 3},
		"a restarted process":   {repairs{1: {"effect": 2, "reaction": 3}, 2: {"effect": 4}}, 4},
		"a process that is new": {repairs{1: {"effect": 2, "reaction": 3}, 2: {"effect": 5}, 3: {"effect": 7}}, 7},
		"nobody counts":         {nil, unknown},
	} {
		if got := had.until(c.now); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// repairsSeenAfter is the time after which every repair of what was written before it is
// counted: an event is missing when 10 s have passed, and the log is read every second.
const repairsSeenAfter = 15 * time.Second

// nothing breaks nothing: on a healthy bus nothing is repaired.
func nothing(t *testing.T, s *stack, l *load) {
	written := s.write(t, 1, 4)
	eventually(t, func() error { return written.shownAt(t, s, s.App("query").Port) })
	for _, p := range written.posts {
		l.bookPost(p.ID)
		for id, status := range written.statuses[p.ID] {
			l.bookComment(id, p.ID, map[bool]string{true: l.orange}[status == "rejected"])
		}
	}
	pause(t, repairsSeenAfter)
	l.afterwards = func() {
		pause(t, repairsSeenAfter)
		for _, name := range repairing {
			if err := noRepairs(s.App(name)); err != nil {
				t.Error(err)
			}
		}
	}
}

// noRepairs asks a service by invocation, as an operator does. It returns nil if the
// service counts the repairs, and has made none since its start.
func noRepairs(a system.App) error {
	var counts map[string]int
	if _, err := get(a.Sidecar()+"/v1.0/invoke/"+a.ID+"/method/repairs", &counts); err != nil {
		return err
	}
	if len(counts) == 0 {
		return fmt.Errorf("%s counts no kind of repairs", a.Name)
	}
	var errs []error
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[kind]; n != 0 {
			errs = append(errs, fmt.Errorf("%s has made %d repairs of the kind %s on a healthy bus", a.Name, n, kind))
		}
	}
	return errors.Join(errs...)
}
