package history

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	// checkWithin bounds the check of one part of the history. The parts are small, so that
	// one takes far less than a millisecond.
	checkWithin = 10 * time.Second
	// maxShown bounds how many of the parts that fail are drawn.
	maxShown = 5
	// maxQuoted bounds how many calls before the fault and after it are in the error.
	maxQuoted = 6
)

// part is a part of the history that is checked by itself.
type part struct {
	// promise says what fails, if the calls do not fit the model.
	promise, of string
	model       porcupine.Model
	calls       []porcupine.Operation
}

// Check returns an error unless the history fits the models. For each of the first parts
// that do not, it draws the calls and what Porcupine found in an HTML file in the folder,
// which it makes, and names the file. If the folder is empty, nothing is drawn.
func (h *History) Check(folder string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	errs := h.sharedAnswers()
	failed := 0
	for _, p := range h.parts() {
		switch result := porcupine.CheckOperationsTimeout(p.model, p.calls, checkWithin); result {
		case porcupine.Ok:
		case porcupine.Illegal:
			if failed++; failed <= maxShown {
				errs = append(errs, p.explain(folder))
			}
		default:
			errs = append(errs, fmt.Errorf("%s, %s: not decided within %s", p.promise, p.of, checkWithin))
		}
	}
	if failed > maxShown {
		errs = append(errs, fmt.Errorf("and %d more parts of the history", failed-maxShown))
	}
	return errors.Join(errs...)
}

// sharedAnswers are the answers that two keys have in common.
func (h *History) sharedAnswers() (errs []error) {
	keyOf := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(h.commands)) {
		for _, c := range h.commands[key] {
			if c.isUnknown() || c.status >= 300 {
				continue
			}
			if other, isThere := keyOf[c.answer]; isThere && other != key {
				errs = append(errs, fmt.Errorf("the keys %q and %q have one answer: %s", other, key, c))
			}
			keyOf[c.answer] = key
		}
	}
	return errs
}

// parts returns the parts in an order that depends on the calls alone.
func (h *History) parts() (all []part) {
	for _, key := range slices.Sorted(maps.Keys(h.commands)) {
		all = append(all, part{"a command with a key happens once", "key " + key, keys, tries(h.commands[key])})
	}
	byPage := map[string][]*Read{}
	for _, reader := range slices.Sorted(maps.Keys(h.reads)) {
		answered := slices.DeleteFunc(slices.Clone(h.reads[reader]), func(r *Read) bool { return r.end == 0 })
		all = append(all, part{"a reader never reads backwards", "reader " + reader, sessions, operations(answered, func(r *Read) span { return r.span })})
		for _, r := range answered {
			byPage[r.page] = append(byPage[r.page], r)
		}
	}
	for _, page := range slices.Sorted(maps.Keys(byPage)) {
		all = append(all, part{"a page shows what it showed before", "page " + page, pages, inTheOrderOfTheLog(byPage[page])})
	}
	for _, replica := range slices.Sorted(maps.Keys(h.logReads)) {
		answered := slices.DeleteFunc(slices.Clone(h.logReads[replica]), func(r *LogRead) bool { return r.end == 0 })
		all = append(all, part{"the log only grows", "replica " + replica, ends, operations(answered, func(r *LogRead) span { return r.span })})
	}
	for _, at := range slices.SortedFunc(maps.Keys(h.seen), logNumber.compare) {
		if len(h.seen[at]) > 1 { // one observation contradicts nothing
			all = append(all, part{"an event of the log never changes", fmt.Sprintf("event %d", at.number), numbers, operations(h.seen[at], func(o observation) span { return o.at })})
		}
	}
	return all
}

// operations are calls as Porcupine takes them.
func operations[C any](calls []C, when func(C) span) []porcupine.Operation {
	all := make([]porcupine.Operation, len(calls))
	for i, c := range calls {
		s := when(c)
		all[i] = porcupine.Operation{Input: c, Call: s.call, Return: s.end, Metadata: s.String()}
	}
	return all
}

// tries are the tries of a command. One without an answer may happen until the end. Of
// those of one request the first stands for all, because a later one can do nothing that
// it can't. That keeps the number of orders small.
func tries(commands []*Command) []porcupine.Operation {
	isThere := map[string]bool{}
	kept := slices.DeleteFunc(slices.Clone(commands), func(c *Command) bool {
		isRepeat := c.isUnknown() && isThere[c.request]
		isThere[c.request] = isThere[c.request] || c.isUnknown()
		return isRepeat
	})
	all := operations(kept, func(c *Command) span { return c.span })
	for i, c := range kept {
		if c.isUnknown() {
			all[i].Return = math.MaxInt64
		}
	}
	return all
}

// inTheOrderOfTheLog are reads of one page. Their time is the number at which they stand,
// and equal ones count once.
func inTheOrderOfTheLog(reads []*Read) (all []porcupine.Operation) {
	type answer struct {
		place
		digest uint64
	}
	isThere := map[answer]bool{}
	for _, r := range reads {
		at := int64(r.at.Sequence) //nolint:gosec // the log is smaller than that
		if a := (answer{placeOf(r.at), r.view.Digest}); !r.misfit && !isThere[a] {
			isThere[a] = true
			all = append(all, porcupine.Operation{Input: r, Call: at, Return: at, Metadata: r.span.String()})
		}
	}
	return all
}

var notInFiles = regexp.MustCompile(`[^A-Za-z0-9]+`)

// explain says what fails, and quotes the calls around it. It draws the part in the folder,
// if that is not empty.
func (p part) explain(folder string) error {
	inLanes(p.calls)
	_, info := porcupine.CheckOperationsVerbose(p.model, p.calls, checkWithin)
	said := fmt.Sprintf("false: %s (%s, %d calls)", p.promise, p.of, len(p.calls))
	fit, rest := longest(p.calls, info)
	for _, c := range fit[max(0, len(fit)-maxQuoted):] {
		said += fmt.Sprintf("\n  %s %v", c.Metadata, c.Input)
	}
	said += "\n  and then none of:"
	for _, c := range rest[:min(len(rest), maxQuoted)] {
		said += fmt.Sprintf("\n  %s %v", c.Metadata, c.Input)
	}
	if folder == "" {
		return errors.New(said)
	}
	file := filepath.Join(folder, strings.Trim(notInFiles.ReplaceAllString(p.of, "-"), "-")+".html")
	err := os.MkdirAll(folder, 0o750)
	if err == nil {
		err = porcupine.VisualizePath(p.model, info, file)
	}
	if err != nil {
		return fmt.Errorf("%s\n  it can't be drawn: %w", said, err)
	}
	return fmt.Errorf("%s\n  drawn in %s", said, file)
}

// longest returns the longest order that the model takes, and the calls that are left.
func longest(calls []porcupine.Operation, info porcupine.LinearizationInfo) (fit, rest []porcupine.Operation) {
	for _, orders := range info.PartialLinearizationsOperations() {
		for _, order := range orders {
			if len(order) > len(fit) {
				fit = order
			}
		}
	}
	isFit := map[any]bool{}
	for _, c := range fit {
		isFit[c.Input] = true
	}
	for _, c := range calls {
		if !isFit[c.Input] {
			rest = append(rest, c)
		}
	}
	return fit, rest
}

// inLanes sorts the calls, and gives each a lane of the drawing that no call at the same
// time has.
func inLanes(calls []porcupine.Operation) {
	slices.SortStableFunc(calls, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var ends []int64 // by lane
	for i, c := range calls {
		lane := slices.IndexFunc(ends, func(end int64) bool { return end < c.Call })
		if lane < 0 {
			lane, ends = len(ends), append(ends, 0)
		}
		ends[lane], calls[i].ClientId = c.Return, lane
	}
}
