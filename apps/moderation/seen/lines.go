package seen

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A browser breaks a paragraph into lines and then orders each for itself, so what stands
// beside each other depends on the breaks, and they on the reader's window. How two
// characters stand to each other depends on the levels between them alone (rule L2):
// hence any line stands as the whole paragraph does, less what is on other lines. (Rule
// L1 moves the white space before a break to the line's end, as if it were not there. So
// a phrase, and no single word, may be found where only its white space is moved away.)
// So a word is on some line if its letters follow each other in the paragraph's order
// over nothing but characters that come before the first or after the last of them in
// the text. That makes all lines of all widths a search in one row.

// row is a paragraph in the order in which it stands, by one way to read it.
type row []glyph

// glyph is what is read in a character, and the character's index in the paragraph. Where
// nothing is read, it may still stand between two runs that are cut.
type glyph struct {
	form string
	at   int
}

// rows returns each paragraph by each way.
func rows(s string, paragraphs [][]character) []row {
	var all []row
	ways := waysOf(s)
	forms := make([]map[rune]string, len(ways))
	for i := range forms {
		forms[i] = map[rune]string{}
	}
	for _, paragraph := range paragraphs {
		first := len(all) // of this paragraph
		for i, way := range ways {
			var r row
			for _, c := range paragraph {
				form, ok := forms[i][c.rune]
				if !ok {
					form = way.of(string(c.rune))
					forms[i][c.rune] = form
				}
				r = append(r, glyph{form, c.at})
			}
			if !slices.ContainsFunc(all[first:], func(other row) bool { return slices.Equal(other, r) }) {
				all = append(all, r)
			}
		}
	}
	return all
}

// Lines returns the shortest lines with the form, of all that a browser may break the
// text into. If whole is set, no line begins or ends within a word. For texts that take
// a search of more than mostSteps, which nobody writes by chance, it is the form itself.
func (t Text) Lines(form string, whole bool) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, r := range t.rows {
			s := &search{row: r, steps: mostSteps}
			s.found = func(w window) bool {
				if s.steps < 0 {
					return !yield(form)
				}
				return !yield(s.line(w, whole))
			}
			if s.all(form) {
				return
			}
		}
	}
}

// mostSteps bounds the search of a row. The glyphs that may follow one are, for all of
// 10,000 glyphs together, at most 40,000. It takes more only if the form's beginning is
// repeated at the edges of long runs.
const mostSteps = 1 << 18

type search struct {
	row              row
	smaller, greater []int // the next glyph that comes earlier, or later, in the text
	written          []int // those that are read, in the text's order
	steps            int
	found            func(window) bool // reports whether to stop
}

// window says which characters are on the line, by their indexes in the text.
type window struct {
	first, last  int // of those that are
	below, above int // the nearest that are not
}

// all calls found for each way to find the form, and reports whether it said to stop.
func (s *search) all(form string) bool {
	start, _ := utf8.DecodeRuneInString(form)
	for n, g := range s.row {
		for i, r := range g.form {
			if r != start {
				continue
			}
			if s.smaller == nil {
				s.smaller = s.next(func(a, b int) bool { return a < b })
				s.greater = s.next(func(a, b int) bool { return a > b })
			}
			if s.take(n, g.form[i:], form, window{math.MaxInt, -1, -1, math.MaxInt}) {
				return true
			}
		}
	}
	return false
}

// next returns for each glyph the next one whose index is so to its own, or the row's
// length.
func (s *search) next(so func(a, b int) bool) []int {
	next := make([]int, len(s.row))
	var waiting []int
	for n, g := range s.row {
		for len(waiting) > 0 && so(g.at, s.row[waiting[len(waiting)-1]].at) {
			next[waiting[len(waiting)-1]] = n
			waiting = waiting[:len(waiting)-1]
		}
		waiting = append(waiting, n)
	}
	for _, n := range waiting {
		next[n] = len(s.row)
	}
	return next
}

// take goes on with the nth glyph as the one that the rest of the form begins with.
func (s *search) take(n int, form, rest string, w window) bool {
	s.steps--
	at := s.row[n].at
	if s.steps < 0 {
		return s.found(w)
	}
	if at <= w.below || at >= w.above {
		return false
	}
	w.first, w.last = min(w.first, at), max(w.last, at)
	if strings.HasPrefix(form, rest) {
		return s.found(w)
	}
	return strings.HasPrefix(rest, form) && s.follow(n, rest[len(form):], w)
}

// follow takes each glyph that may stand after the nth on some line. What stands between
// the two is on other lines: on later ones or on earlier ones, and not on both, for then
// two runs would be cut, and what separates them would stand between.
func (s *search) follow(n int, rest string, w window) bool {
	n++
	if n == len(s.row) {
		return false
	}
	later := s.row[n].at > w.last
	for n < len(s.row) {
		if s.take(n, s.row[n].form, rest, w) {
			return true
		}
		switch at := s.row[n].at; {
		case later && at > w.last:
			w.above = min(w.above, at)
			n = s.smaller[n]
		case !later && at < w.first:
			w.below = max(w.below, at)
			n = s.greater[n]
		default:
			return false
		}
	}
	return false
}

// line returns what stands on the line.
func (s *search) line(w window, whole bool) string {
	if s.written == nil {
		s.written = make([]int, 0, len(s.row))
		for n, g := range s.row {
			if g.form != "" {
				s.written = append(s.written, n)
			}
		}
		slices.SortFunc(s.written, func(a, b int) int { return cmp.Compare(s.row[a].at, s.row[b].at) })
	}
	from, to := s.index(w.first), s.index(w.last+1)-1
	if whole {
		for from > 0 && s.inWord(from-1) && s.inWord(from) {
			from--
		}
		for to+1 < len(s.written) && s.inWord(to) && s.inWord(to+1) {
			to++
		}
	}
	s.steps -= to - from
	var b strings.Builder
	for _, n := range slices.Sorted(slices.Values(s.written[from : to+1])) {
		b.WriteString(s.row[n].form)
	}
	return b.String()
}

// index returns where in s.written the character is, or the next one.
func (s *search) index(at int) int {
	i, _ := slices.BinarySearchFunc(s.written, at, func(n, at int) int { return cmp.Compare(s.row[n].at, at) })
	return i
}

func (s *search) inWord(i int) bool {
	r, _ := utf8.DecodeRuneInString(s.row[s.written[i]].form)
	return unicode.In(r, unicode.L, unicode.M, unicode.N)
}
