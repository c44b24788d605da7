package seen

import (
	"slices"

	"golang.org/x/text/unicode/bidi"
)

// sequence is an isolating run sequence (BD13): what stands at one level, over the
// isolates in it.
type sequence struct {
	*paragraph
	at       []int // indexes into the paragraph
	level    int
	sos, eos bidi.Class
}

// sequences cuts the paragraph into its isolating run sequences (X10).
func (p *paragraph) sequences() []*sequence {
	var runs [][]int
	var kept []int
	runFrom := map[int]int{} // the run that begins with an index
	for i, level := range p.levels {
		if level == removed {
			continue
		}
		if len(kept) == 0 || p.levels[kept[len(kept)-1]] != level {
			runFrom[i] = len(runs)
			runs = append(runs, nil)
		}
		kept = append(kept, i)
		runs[len(runs)-1] = append(runs[len(runs)-1], i)
	}
	var all []*sequence
	for _, run := range runs {
		if p.classes[run[0]] == bidi.PDI && p.match[run[0]] >= 0 {
			continue // goes on the sequence of what it closes
		}
		at := slices.Clone(run)
		for {
			end := p.match[at[len(at)-1]]
			next, begins := runFrom[end]
			if !isInitiator(p.classes[at[len(at)-1]]) || end < 0 || !begins {
				break
			}
			at = append(at, runs[next]...)
		}
		all = append(all, p.sequence(at, kept))
	}
	return all
}

func (p *paragraph) sequence(at, kept []int) *sequence {
	s := &sequence{paragraph: p, at: at, level: p.levels[at[0]]}
	before, after := 0, 0
	if i, _ := slices.BinarySearch(kept, at[0]); i > 0 {
		before = p.levels[kept[i-1]]
	}
	last := at[len(at)-1]
	if i, _ := slices.BinarySearch(kept, last); i+1 < len(kept) && !isInitiator(p.classes[last]) {
		after = p.levels[kept[i+1]]
	}
	s.sos, s.eos = direction(max(before, s.level)), direction(max(after, s.level))
	return s
}

func direction(level int) bidi.Class {
	if level%2 == 0 {
		return bidi.L
	}
	return bidi.R
}

// weak resolves numbers and what belongs to them (W1 to W7).
func (s *sequence) weak() {
	previous := s.sos
	for _, i := range s.at { // W1
		if s.types[i] == bidi.NSM {
			s.types[i] = previous
		}
		previous = s.types[i]
		if isInitiator(previous) || previous == bidi.PDI {
			previous = bidi.ON
		}
	}
	strong := s.sos
	for _, i := range s.at { // W2, W3
		switch s.types[i] {
		case bidi.L, bidi.R:
			strong = s.types[i]
		case bidi.AL:
			strong, s.types[i] = bidi.AL, bidi.R
		case bidi.EN:
			if strong == bidi.AL {
				s.types[i] = bidi.AN
			}
		}
	}
	s.separators()
	strong = s.sos
	for _, i := range s.at { // W7
		switch s.types[i] {
		case bidi.L, bidi.R:
			strong = s.types[i]
		case bidi.EN:
			if strong == bidi.L {
				s.types[i] = bidi.L
			}
		}
	}
}

// separators resolves what separates or ends numbers (W4 to W6).
func (s *sequence) separators() {
	for n := 1; n+1 < len(s.at); n++ {
		before, after := s.types[s.at[n-1]], s.types[s.at[n+1]]
		c := s.types[s.at[n]]
		if before == after && (c == bidi.CS && (before == bidi.EN || before == bidi.AN) || c == bidi.ES && before == bidi.EN) {
			s.types[s.at[n]] = before
		}
	}
	for from := 0; from < len(s.at); from++ {
		to := from
		for to < len(s.at) && s.types[s.at[to]] == bidi.ET {
			to++
		}
		if from < to && (from > 0 && s.types[s.at[from-1]] == bidi.EN || to < len(s.at) && s.types[s.at[to]] == bidi.EN) {
			s.set(from, to, bidi.EN)
		}
		from = to
	}
	for _, i := range s.at {
		if c := s.types[i]; c == bidi.ES || c == bidi.ET || c == bidi.CS {
			s.types[i] = bidi.ON
		}
	}
}

func (s *sequence) set(from, to int, c bidi.Class) {
	for _, i := range s.at[from:to] {
		s.types[i] = c
	}
}

// strong is the direction of the sequence's nth character, as its neighbours take it;
// ON for none. Before the first and after the last are the sequence's own ends.
func (s *sequence) strong(n int) bidi.Class {
	switch {
	case n < 0:
		return s.sos
	case n >= len(s.at):
		return s.eos
	}
	switch s.types[s.at[n]] {
	case bidi.L:
		return bidi.L
	case bidi.R, bidi.EN, bidi.AN:
		return bidi.R
	}
	return bidi.ON
}

// brackets gives both of a pair the direction of what they hold or follow (N0).
func (s *sequence) brackets() {
	own := direction(s.level)
	for _, pair := range s.pairs() {
		inside := bidi.Class(bidi.ON)
		for n := pair[0] + 1; n < pair[1] && inside != own; n++ {
			if c := s.strong(n); c != bidi.ON {
				inside = c
			}
		}
		if inside == bidi.ON {
			continue
		}
		if inside != own {
			n := pair[0] - 1
			for s.strong(n) == bidi.ON {
				n--
			}
			if s.strong(n) == own {
				inside = own
			}
		}
		for _, n := range pair {
			s.types[s.at[n]] = inside
			for m := n + 1; m < len(s.at) && s.classes[s.at[m]] == bidi.NSM; m++ {
				s.types[s.at[m]] = inside
			}
		}
	}
}

// pairs finds the pairs of brackets (BD16), by their openings.
func (s *sequence) pairs() [][2]int {
	const most = 63
	type opening struct {
		closing rune
		at      int
	}
	var open []opening
	var pairs [][2]int
	for n, i := range s.at {
		properties, _ := bidi.LookupRune(s.runes[i])
		if !properties.IsBracket() || s.types[i] != bidi.ON {
			continue
		}
		if properties.IsOpeningBracket() {
			if len(open) == most {
				return nil
			}
			open = append(open, opening{canonical(mirrored(s.runes[i])), n})
			continue
		}
		for o := len(open) - 1; o >= 0; o-- {
			if open[o].closing == canonical(s.runes[i]) {
				pairs = append(pairs, [2]int{open[o].at, n})
				open = open[:o]
				break
			}
		}
	}
	slices.SortFunc(pairs, func(a, b [2]int) int { return a[0] - b[0] })
	return pairs
}

// mirrored is the other bracket of a pair.
func mirrored(bracket rune) rune { return []rune(bidi.ReverseString(string(bracket)))[0] }

// canonical is the one of two canonically equivalent brackets that both are taken for.
func canonical(closing rune) rune {
	if closing == '\u232a' {
		return '\u3009'
	}
	return closing
}

// neutral gives what has no direction the one of what it stands between (N1, N2).
func (s *sequence) neutral() {
	for from := 0; from < len(s.at); from++ {
		to := from
		for to < len(s.at) && s.strong(to) == bidi.ON {
			to++
		}
		c := s.strong(from - 1)
		if c != s.strong(to) {
			c = direction(s.level)
		}
		s.set(from, to, c)
		from = to
	}
}

// implicit raises what runs against its level (I1, I2).
func (s *sequence) implicit() {
	for _, i := range s.at {
		switch c := s.types[i]; {
		case s.level%2 == 0 && c == bidi.R, s.level%2 == 1 && c != bidi.R:
			s.levels[i]++
		case s.level%2 == 0 && (c == bidi.EN || c == bidi.AN):
			s.levels[i] += 2
		}
	}
}
