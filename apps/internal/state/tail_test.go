package state

import "testing"

func TestTheTailIsFoundFromAnywhere(t *testing.T) {
	for tail := range 70 {
		for after := -1; after < tail; after++ {
			probes := 0
			got, err := Tail(after, func(n int) (bool, error) { probes++; return n < tail, nil })
			if err != nil || got != tail {
				t.Errorf("tail %d, after %d: found %d, error %v", tail, after, got, err)
			}
			if probes > 14 { // 2 log2 of 70, and a little
				t.Errorf("tail %d, after %d: %d probes", tail, after, probes)
			}
		}
	}
}

func TestTailSaysWhatProbingSaid(t *testing.T) {
	for fails := range 5 {
		n := 0
		_, err := Tail(-1, func(probe int) (bool, error) {
			if n++; n > fails {
				return false, errDown
			}
			return probe < 40, nil
		})
		if err != errDown { //nolint:errorlint // the very one
			t.Errorf("after %d probes: %v", fails, err)
		}
	}
}
