package seen

import (
	"slices"

	"golang.org/x/text/unicode/bidi"
)

// paragraph resolves the levels of one paragraph by UAX #9, in a page whose own
// direction is left to right. golang.org/x/text/unicode/bidi has the properties; of the
// levels it says only whether they are odd, which is too little to order what is nested.
type paragraph struct {
	runes   []rune
	classes []bidi.Class // as published
	types   []bidi.Class // as the rules have changed them
	levels  []int        // removed, for what rule X9 takes out
	match   []int        // an isolate's other end, or -1
}

const (
	removed  = -1
	maxDepth = 125 // BD2
)

// inOrder cuts a text into its paragraphs and returns the characters of each in the
// order in which they stand on one line, from left to right, without those that only
// direct the order.
func inOrder(runes []rune) [][]character {
	var paragraphs [][]character
	for len(runes) > 0 {
		end := slices.IndexFunc(runes, func(r rune) bool { return class(r) == bidi.B }) + 1
		if end == 0 {
			end = len(runes)
		}
		order := newParagraph(runes[:end]).order()
		stand := make([]character, len(order))
		for n, i := range order {
			stand[n] = character{runes[i], i}
		}
		paragraphs = append(paragraphs, stand)
		runes = runes[end:]
	}
	return paragraphs
}

// character is one of a paragraph, and its index there.
type character struct {
	rune
	at int
}

// visual returns the characters of all paragraphs in the order in which they stand.
func visual(paragraphs [][]character) []rune {
	var order []rune
	for _, paragraph := range paragraphs {
		for _, c := range paragraph {
			order = append(order, c.rune)
		}
	}
	return order
}

func class(r rune) bidi.Class {
	properties, _ := bidi.LookupRune(r)
	return properties.Class()
}

// reorders reports whether a text with r may stand in another order than it is read in.
// Without these classes no rule makes an R, so that all levels are even and nothing is
// reversed: numbers are raised to level 2, and what stands between two of AN to 1 (N1).
func reorders(r rune) bool {
	switch class(r) {
	case bidi.R, bidi.AL, bidi.AN, bidi.RLE, bidi.RLO, bidi.RLI:
		return true
	}
	return false
}

func newParagraph(runes []rune) *paragraph {
	p := &paragraph{runes: runes, classes: make([]bidi.Class, len(runes)), levels: make([]int, len(runes)), match: make([]int, len(runes))}
	var open []int
	for i, r := range runes {
		p.classes[i], p.match[i] = class(r), -1
		switch {
		case isInitiator(p.classes[i]):
			open = append(open, i)
		case p.classes[i] == bidi.PDI && len(open) > 0:
			j := open[len(open)-1]
			open = open[:len(open)-1]
			p.match[i], p.match[j] = j, i
		}
	}
	p.types = slices.Clone(p.classes)
	p.explicit()
	for _, s := range p.sequences() {
		s.weak()
		s.brackets()
		s.neutral()
		s.implicit()
	}
	return p
}

func isInitiator(c bidi.Class) bool { return c == bidi.LRI || c == bidi.RLI || c == bidi.FSI }

// status is an entry of the directional status stack.
type status struct {
	level    int
	override bidi.Class // ON for none
	isolate  bool
}

// explicit sets the levels that the format characters ask for (X1 to X9).
func (p *paragraph) explicit() {
	stack := []status{{0, bidi.ON, false}}
	var overflowIsolates, overflowEmbeddings, isolates int
	for i, c := range p.classes {
		last := stack[len(stack)-1]
		p.levels[i] = removed
		switch c {
		case bidi.RLE, bidi.LRE, bidi.RLO, bidi.LRO, bidi.RLI, bidi.LRI, bidi.FSI:
			if isInitiator(c) {
				p.place(i, last)
			}
			next := p.opened(i, last)
			switch {
			case next.level <= maxDepth && overflowIsolates == 0 && overflowEmbeddings == 0:
				stack = append(stack, next)
				if next.isolate {
					isolates++
				}
			case next.isolate:
				overflowIsolates++
			case overflowIsolates == 0:
				overflowEmbeddings++
			}
		case bidi.PDI:
			switch {
			case overflowIsolates > 0:
				overflowIsolates--
			case isolates > 0:
				overflowEmbeddings = 0
				for !stack[len(stack)-1].isolate {
					stack = stack[:len(stack)-1]
				}
				stack = stack[:len(stack)-1]
				isolates--
			}
			p.place(i, stack[len(stack)-1])
		case bidi.PDF:
			switch {
			case overflowIsolates > 0:
			case overflowEmbeddings > 0:
				overflowEmbeddings--
			case !last.isolate && len(stack) > 1:
				stack = stack[:len(stack)-1]
			}
		case bidi.BN:
		case bidi.B:
			p.levels[i] = 0
		default:
			p.place(i, last)
		}
	}
}

// place gives a character the level and the override that it stands under.
func (p *paragraph) place(i int, under status) {
	p.levels[i] = under.level
	if under.override != bidi.ON {
		p.types[i] = under.override
	}
}

// opened is the status that the format character at i asks for.
func (p *paragraph) opened(i int, last status) status {
	c := p.classes[i]
	next := status{override: bidi.ON, isolate: isInitiator(c)}
	switch c {
	case bidi.LRO:
		next.override = bidi.L
	case bidi.RLO:
		next.override = bidi.R
	}
	if c == bidi.RLE || c == bidi.RLO || c == bidi.RLI || c == bidi.FSI && p.beginsRightToLeft(i) {
		next.level = last.level + 1 | 1
	} else {
		next.level = (last.level + 2) &^ 1
	}
	return next
}

// beginsRightToLeft reports the direction of what the isolate at i holds (P2, P3).
func (p *paragraph) beginsRightToLeft(i int) bool {
	end := p.match[i]
	if end < 0 {
		end = len(p.classes)
	}
	for j := i + 1; j < end; j++ {
		switch c := p.classes[j]; {
		case c == bidi.L:
			return false
		case c == bidi.R || c == bidi.AL:
			return true
		case isInitiator(c) && p.match[j] < 0:
			return false
		case isInitiator(c):
			j = p.match[j]
		}
	}
	return false
}

// order returns the indexes of the characters from left to right (L1, L2).
func (p *paragraph) order() []int {
	var kept []int
	trailing := true
	for i := len(p.levels) - 1; i >= 0; i-- {
		switch c := p.classes[i]; {
		case p.levels[i] == removed:
			continue
		case c == bidi.S || c == bidi.B:
			p.levels[i], trailing = 0, true
		case trailing && (c == bidi.WS || isInitiator(c) || c == bidi.PDI):
			p.levels[i] = 0
		default:
			trailing = false
		}
		kept = append(kept, i)
	}
	slices.Reverse(kept)
	highest := 0
	for _, i := range kept {
		highest = max(highest, p.levels[i])
	}
	for level := highest; level > 0; level-- {
		for from := 0; from < len(kept); from++ {
			to := from
			for to < len(kept) && p.levels[kept[to]] >= level {
				to++
			}
			slices.Reverse(kept[from:to])
			from = to
		}
	}
	return kept
}
