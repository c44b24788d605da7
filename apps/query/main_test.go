package main

import (
	"testing"
	"time"
)

func TestAnIntervalOfNoUseIsIgnored(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 10 * time.Second, "often": 10 * time.Second, "0s": 10 * time.Second, "-1s": 10 * time.Second, "200ms": 200 * time.Millisecond} {
		if got := snapshotEvery(text); got != want {
			t.Errorf("SNAPSHOT_EVERY=%q: every %v, want %v", text, got, want)
		}
	}
}
