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
// All lines of all windows can be found in one row: the paragraph in visual order. The
// relative order of two characters depends only on the levels between them (rule L2). So
// each line is the row without the characters of other lines. A form is on some line if
// its characters follow each other in the row after characters of other lines are
// skipped. Skipped characters come, in the text, before the first or after the last
// character of the line.
//
// Rule L1 also moves the white space before a break to the end of the line. The search
// ignores that. So it may find a phrase, never a word, where only white space was moved.

// row is a paragraph in visual order, for one reading.
type row struct {
	forms []string // of each character of the paragraph
	order []int    // the indexes of those that are shown, from left to right
}

// rowsOf returns a row for each paragraph of a text, and everything that the rows show as
// one form.
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
	steps  int // taken so far

	// For each place in the row, the next one with an earlier or a later character.
	earlier, later []int
	places         []int // of each character of the paragraph, -1 for those not in the row
}

// window says which characters are on a line, by their indexes in the text.
type window struct {
	first, last   int // the outermost ones that are on the line
	before, after int // the nearest ones that are on an earlier and on a later line
}

// anyLine reports whether accept returns true for a line with the form. It calls accept
// with the first and last character of the shortest such lines. After mostSteps steps it
// returns true.
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

// next returns, for each place in the row, the next place whose character compares so to
// its own, by index in the text. Without one it is the row's length.
func (s *search) next(compares func(at, own int) bool) []int {
	next := make([]int, len(s.order))
	var open []int // places whose next place is not found yet
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

// place puts the character at place n of the row on the line; rest is still to be found.
// The form is a parameter because the search may leave out the beginning of the first
// character's form.
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

// follow places each character that may come after place n on some line. All characters
// of the row between the two are on later lines, or all on earlier lines. They cannot be
// on both: that would take two runs that are cut, and what separates the runs would stand
// between.
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
			return false // a character within the line cannot be skipped
		}
	}
	return false
}

// wholeWords extends a line to whole words at both ends.
func (s *search) wholeWords(first, last int) (int, int) {
	for first > 0 && s.isOfWord(first-1) && s.isOfWord(first) {
		first--
	}
	for last+1 < len(s.forms) && s.isOfWord(last) && s.isOfWord(last+1) {
		last++
	}
	return first, last
}

// isOfWord reports whether the character is part of a word or hidden: no word ends there.
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
