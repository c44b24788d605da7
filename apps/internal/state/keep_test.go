package state

import (
	"context"
	"errors"
	"testing"
)

func doc(key, value string) Item { return Item{Key: key, Value: []byte(value)} }

// keep keeps items and checks the values that stand, by index; "" stands for any.
func keep(t *testing.T, m *memory, items []Item, want ...string) []error {
	t.Helper()
	kept, errs := Keep(context.Background(), m, items)
	if len(kept) != len(want) || len(errs) != len(want) {
		t.Fatalf("%d values and %d errors, want %d", len(kept), len(errs), len(want))
	}
	for i := range want {
		if want[i] != "" && string(kept[i]) != want[i] {
			t.Errorf("item %d is %q, want %q", i, kept[i], want[i])
		}
		if errs[i] != nil && kept[i] != nil {
			t.Errorf("item %d has a value and an error: %q, %v", i, kept[i], errs[i])
		}
	}
	return errs
}

// wantErrors checks errs against want, nil for none.
func wantErrors(t *testing.T, errs []error, want ...error) {
	t.Helper()
	if len(errs) != len(want) {
		t.Fatalf("%d errors, want %d: %v", len(errs), len(want), errs)
	}
	for i := range want {
		if !errors.Is(errs[i], want[i]) {
			t.Errorf("item %d: error %v, want %v", i, errs[i], want[i])
		}
	}
}

func wantValues(t *testing.T, m *memory, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if got := string(m.values[key]); got != value {
			t.Errorf("%s holds %q, want %q", key, got, value)
		}
	}
	if len(m.values) != len(want) {
		t.Errorf("%d keys, want %d: %q", len(m.values), len(want), m.values)
	}
}

func TestKeepWritesWhatIsNewInOneCall(t *testing.T) {
	m := newMemory()
	wantErrors(t, keep(t, m, []Item{doc("a", "1"), doc("b", "2")}, "1", "2"), nil, nil)
	wantValues(t, m, map[string]string{"a": "1", "b": "2"})
	if m.gets != 0 || m.swaps != 1 {
		t.Errorf("%d reads and %d writes, want one write", m.gets, m.swaps)
	}
}

func TestKeepWritesNothingTwice(t *testing.T) {
	m := newMemory()
	items := []Item{doc("a", "1"), doc("b", "2")}
	keep(t, m, items, "1", "2")
	wantErrors(t, keep(t, m, items, "1", "2"), nil, nil)
	wantErrors(t, keep(t, m, []Item{doc("b", "2"), doc("c", "3")}, "2", "3"), nil, nil)
	for key, n := range m.versions {
		if n != 1 {
			t.Errorf("%s was written %d times, want once", key, n)
		}
	}
}

func TestKeepTakesTheSameItemTwiceInOneBatch(t *testing.T) {
	m := newMemory()
	wantErrors(t, keep(t, m, []Item{doc("a", "1"), doc("a", "1"), doc("b", "2"), doc("a", "1")}, "1", "1", "2", "1"), nil, nil, nil, nil)
	wantValues(t, m, map[string]string{"a": "1", "b": "2"})
}

func TestWhatIsThereFirstStands(t *testing.T) {
	m := newMemory()
	keep(t, m, []Item{doc("a", "1")}, "1")
	wantErrors(t, keep(t, m, []Item{doc("a", "other"), doc("b", "2"), doc("a", "1")}, "1", "2", "1"), nil, nil, nil)
	wantErrors(t, keep(t, m, []Item{doc("c", "1"), doc("c", "2"), doc("c", "1")}, "1", "1", "1"), nil, nil, nil)
	wantValues(t, m, map[string]string{"a": "1", "b": "2", "c": "1"})
}

// Another replica keeps another value between our read and our write.
func TestKeepIsToldWhenItLosesARace(t *testing.T) {
	m := newMemory()
	keep(t, m, []Item{doc("a", "1")}, "1")
	m.failSwap = []error{errDown}
	m.beforeSwap = func() {
		m.beforeSwap = func() { keep(t, m, []Item{doc("b", "theirs")}, "theirs") }
	}
	wantErrors(t, keep(t, m, []Item{doc("a", "1"), doc("b", "ours")}, "1", ""), nil, ErrUnknown)
	wantErrors(t, keep(t, m, []Item{doc("b", "ours")}, "theirs"), nil)
}

func TestAWriteWhoseAnswerWasLostIsFound(t *testing.T) {
	m := newMemory()
	m.failSwap = []error{errLost}
	wantErrors(t, keep(t, m, []Item{doc("a", "1"), doc("b", "2")}, "1", "2"), nil, nil)
	wantValues(t, m, map[string]string{"a": "1", "b": "2"})
	if m.swaps != 1 {
		t.Errorf("%d writes", m.swaps)
	}
}

func TestKeepOfNothingDoesNothing(t *testing.T) {
	m := newMemory()
	keep(t, m, nil)
	if m.swaps+m.gets != 0 {
		t.Errorf("%d writes and %d reads", m.swaps, m.gets)
	}
}

func TestKeepSaysWhatReadingSaid(t *testing.T) {
	m := newMemory()
	m.failSwap, m.failGet = []error{errDown}, []error{errDown}
	wantErrors(t, keep(t, m, []Item{doc("a", "1"), doc("b", "2")}, "", ""), errDown, errDown)
	wantValues(t, m, nil)
}

func TestKeepSaysWhatWritingSaid(t *testing.T) {
	m := newMemory()
	keep(t, m, []Item{doc("a", "1")}, "1")
	m.failSwap = []error{errDown, errDown}
	wantErrors(t, keep(t, m, []Item{doc("a", "other"), doc("b", "2")}, "1", ""), nil, errDown)
	wantValues(t, m, map[string]string{"a": "1"})
}
