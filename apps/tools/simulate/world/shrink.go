package world

import "slices"

// Shrink takes names of commands and faults away, as long as a history with the others
// still fails. It tries at most that many histories.
func Shrink(names []string, tries int, fails func(names []string) bool) []string {
	for size := max(1, len(names)/2); ; {
		isShorter := false
		for from := 0; from < len(names) && tries > 0; {
			tries--
			fewer := slices.Concat(names[:from], names[min(len(names), from+size):])
			if len(fewer) > 0 && fails(fewer) {
				names, isShorter = fewer, true
			} else {
				from += size
			}
		}
		switch {
		case tries == 0 || size == 1 && !isShorter:
			return names
		case size > 1:
			size /= 2
		}
	}
}
