package state_test

import (
	"testing"

	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

func TestTheTailIsFoundFromAnywhere(t *testing.T) {
	for tail := range 70 {
		for after := -1; after < tail; after++ {
			probes := 0
			got, err := state.Tail(after, func(n int) (bool, error) { probes++; return n < tail, nil })
			if err != nil || got != tail {
				t.Errorf("tail %d, after %d: found %d, error %v", tail, after, got, err)
			}
			if probes > 14 { // 2 log2 of 70, and a little
				t.Errorf("tail %d, after %d: %d probes", tail, after, probes)
			}
		}
	}
}

func TestTailReturnsTheErrorOfProbing(t *testing.T) {
	for fails := range 5 {
		n := 0
		_, err := state.Tail(-1, func(probe int) (bool, error) {
			if n++; n > fails {
				return false, statetest.ErrDown
			}
			return probe < 40, nil
		})
		if err != statetest.ErrDown { //nolint:errorlint // the very one
			t.Errorf("after %d probes: %v", fails, err)
		}
	}
}
