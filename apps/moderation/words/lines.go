package words

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// A browser breaks a paragraph into lines and then puts each line in visual order by
// itself. So what stands side by side depends on the breaks, and these on the window.
//
// All lines of all windows can be found in one row, the paragraph in visual order. How two
// characters stand to each other depends on the levels between them alone (rule L2). Hence
// each line stands as the row does, without what is on other lines. A form is on some line
// if its characters follow each other in the row, when one skips characters on other lines.
// Those come before the first or after the last of the line's characters in the text.
//
// Rule L1 also moves the white space before a break to the line's end. The search does not
// follow that, and so may find a phrase, and no word, where only its white space is moved.

// row is a paragraph in visual order, by one reading.
type row struct {
	forms []string // of each character of the paragraph
	order []int    // the indexes of those that are shown, from left to right
}

// rowsOf returns a row for each paragraph of a text, and the form of all that they show.
func rowsOf(forms []string, paragraphs []paragraph) (rows []row, shown string) {
	var b strings.Builder
	for _, p := range paragraphs {
		r := row{forms[p.start:p.end], p.order}
		for _, at := range r.order {
			b.WriteString(r.forms[at])
		}
		rows = append(rows, r)
	}
	return rows, b.String()
}

// mostSteps bounds a search. A row of 10,000 characters takes at most 40,000 steps, unless
// the form's beginning is repeated at the edges of long runs.
const mostSteps = 1 << 18

// search looks for a form on all lines that a row may be broken into.
type search struct {
	row
	form   string
	accept func(first, last int) bool
	steps  int // that were taken

	// For each place in the row, the next one with an earlier or a later character.
	earlier, later []int
	places         []int // of each character of the paragraph, -1 for those not in the row
}

// window says which characters are on a line, by their indexes in the text.
type window struct {
	first, last   int // the outermost ones that are on the line
	before, after int // the nearest ones that are on an earlier and on a later line
}

// anyLine reports whether accept is true of a line with the form. It calls accept with
// the first and last character of the shortest such lines. A search that takes more than
// mostSteps ends with true.
func (s *search) anyLine(accept func(first, last int) bool) bool {
	s.accept = accept
	start, _ := utf8.DecodeRuneInString(s.form)
	for n, at := range s.order {
		for i, r := range s.forms[at] {
			if r != start {
				continue
			}
			if s.earlier == nil {
				s.earlier = s.next(func(at, own int) bool { return at < own })
				s.later = s.next(func(at, own int) bool { return at > own })
			}
			if s.place(n, s.forms[at][i:], s.form, window{first: math.MaxInt, last: -1, before: -1, after: math.MaxInt}) {
				return true
			}
		}
	}
	return false
}

// next returns for each place in the row the next one whose character compares so to its
// own, by their indexes in the text, or the row's length if there is none.
func (s *search) next(compares func(at, own int) bool) []int {
	next := make([]int, len(s.order))
	var open []int // places whose next one has not come yet
	for n, at := range s.order {
		for len(open) > 0 && compares(at, s.order[open[len(open)-1]]) {
			next[open[len(open)-1]] = n
			open = open[:len(open)-1]
		}
		open = append(open, n)
	}
	for _, n := range open {
		next[n] = len(s.order)
	}
	return next
}

// place puts the character at place n of the row on the line, where rest is still to be
// found. Its form is given, for of the first one the search may leave out the beginning.
func (s *search) place(n int, form, rest string, w window) bool {
	if s.steps++; s.steps > mostSteps {
		return true
	}
	at := s.order[n]
	if at <= w.before || w.after <= at {
		return false
	}
	w.first, w.last = min(w.first, at), max(w.last, at)
	if strings.HasPrefix(form, rest) {
		return s.accept(w.first, w.last)
	}
	return strings.HasPrefix(rest, form) && s.follow(n, rest[len(form):], w)
}

// follow places each character that may stand after place n on some line. What the row has
// between the two is all on later lines, or all on earlier ones. It can't be on both: that
// would take two runs which are cut, and what separates the runs would stand between.
func (s *search) follow(n int, rest string, w window) bool {
	n++
	if n == len(s.order) {
		return false
	}
	skipsLater := s.order[n] > w.last
	for n < len(s.order) {
		at := s.order[n]
		if s.place(n, s.forms[at], rest, w) {
			return true
		}
		switch {
		case skipsLater && at > w.last:
			w.after = min(w.after, at)
			n = s.earlier[n]
		case !skipsLater && at < w.first:
			w.before = max(w.before, at)
			n = s.later[n]
		default:
			return false // it is within the line, so it can't be skipped
		}
	}
	return false
}

// wholeWords extends a line to where the words at its ends begin and end.
func (s *search) wholeWords(first, last int) (int, int) {
	for first > 0 && s.isOfWord(first-1) && s.isOfWord(first) {
		first--
	}
	for last+1 < len(s.forms) && s.isOfWord(last) && s.isOfWord(last+1) {
		last++
	}
	return first, last
}

// isOfWord reports whether no word ends at the character: it is a part of one, or hidden.
func (s *search) isOfWord(at int) bool {
	r, _ := utf8.DecodeRuneInString(s.forms[at])
	return s.forms[at] == "" || isOfWord(r)
}

// text returns the line from the first to the last character in visual order.
func (s *search) text(first, last int) string {
	s.steps += last - first
	if s.places == nil {
		s.places = slices.Repeat([]int{-1}, len(s.forms))
		for n, at := range s.order {
			s.places[at] = n
		}
	}
	var b strings.Builder
	for _, n := range slices.Sorted(slices.Values(s.places[first : last+1])) {
		if n >= 0 {
			b.WriteString(s.forms[s.order[n]])
		}
	}
	return b.String()
}
