package words

import (
	"reflect"
	"slices"

	"github.com/go-text/typesetting/bidi"
	property "golang.org/x/text/unicode/bidi"
)

// paragraph is text[start:end], including its paragraph separator.
type paragraph struct {
	start, end int
	// order has the indexes of the visible characters, from left to right on one line.
	// Format characters that only direct the order are left out.
	order []int
}

// directionsOf are the directions in which a text may be shown. The client gives each text
// the direction of its first letter (dir="auto" in HTML), other readers that of their page.
func directionsOf(text []rune) []bidi.Direction {
	isRightToLeft := func(r rune) bool { return class(r) == property.R || class(r) == property.AL }
	if slices.ContainsFunc(text, isRightToLeft) {
		return []bidi.Direction{bidi.LeftToRight, bidi.RightToLeft}
	}
	return []bidi.Direction{bidi.LeftToRight}
}

// inVisualOrder splits a text into paragraphs and finds their order in a direction (UAX #9).
func inVisualOrder(text []rune, direction bidi.Direction) []paragraph {
	var paragraphs []paragraph
	for start := 0; start < len(text); {
		end := len(text)
		if i := slices.IndexFunc(text[start:], endsParagraph); i >= 0 {
			end = start + i + 1
		}
		paragraphs = append(paragraphs, paragraph{start, end, reorder(levels(text[start:end], direction))})
		start = end
	}
	return paragraphs
}

// mayReorder reports whether a text with r may be shown in another order than it is
// stored. Without such characters no level is odd, and only odd levels reverse
// characters.
func mayReorder(r rune) bool {
	switch class(r) {
	case property.R, property.AL, property.AN, property.RLE, property.RLO, property.RLI:
		return true
	}
	return false
}

// removed is the level of a character that rule X9 takes out.
const removed = -1

// levels returns the levels of a paragraph's characters: odd ones run from right to left,
// and each level is nested in the one below it.
func levels(paragraph []rune, direction bidi.Direction) []int {
	var p bidi.Paragraph
	runs := p.Segment(paragraph, direction)
	// The methods of Runs join neighbours of one direction (v0.3.5), for instance of
	// levels 0 and 2, but rule L2 needs each level. So this reads a field that is not
	// exported; TestTheOrderIsThatOfUAX9 fails if an update changes it. It can go when a
	// run has one level. go-text/typesetting#276 (open) exposes levels, for #249.
	resolved := reflect.ValueOf(runs).FieldByName("levels")
	levels := make([]int, len(paragraph)) // the separator at its end has level 0
	for i := range resolved.Len() {
		levels[i] = int(resolved.Index(i).Int())
	}
	for i, r := range paragraph {
		if isRemoved(r) {
			levels[i] = removed
		}
	}
	return levels
}

// reorder returns the indexes of a line's characters from left to right. It reverses the
// runs at the highest level, then those at the next lower level or above, down to level 1
// (rule L2).
func reorder(levels []int) []int {
	var order []int
	for i, level := range levels {
		if level != removed {
			order = append(order, i)
		}
	}
	for level := slices.Max(levels); level > 0; level-- {
		for from := 0; from < len(order); from++ {
			to := from
			for to < len(order) && levels[order[to]] >= level {
				to++
			}
			slices.Reverse(order[from:to])
			from = to
		}
	}
	return order
}

func endsParagraph(r rune) bool { return class(r) == property.B }

func isRemoved(r rune) bool {
	switch class(r) {
	case property.LRE, property.RLE, property.LRO, property.RLO, property.PDF, property.BN:
		return true
	}
	return false
}

func class(r rune) property.Class {
	properties, _ := property.LookupRune(r)
	return properties.Class()
}
