package state

import (
	"context"
	"errors"
	"testing"
)

func doc(key, value string) Item { return Item{Key: key, Value: []byte(value)} }

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

func TestKeepWritesWhatIsMissingInOneSwap(t *testing.T) {
	m := newMemory()
	wantErrors(t, Keep(context.Background(), m, []Item{doc("a", "1"), doc("b", "2")}), nil, nil)
	wantValues(t, m, map[string]string{"a": "1", "b": "2"})
	if m.gets != 1 || m.swaps != 1 {
		t.Errorf("%d reads and %d writes, want one of each", m.gets, m.swaps)
	}
}

func TestKeepWritesNothingTwice(t *testing.T) {
	m := newMemory()
	items := []Item{doc("a", "1"), doc("b", "2")}
	Keep(context.Background(), m, items)
	wantErrors(t, Keep(context.Background(), m, items), nil, nil)
	if m.swaps != 1 {
		t.Errorf("%d writes, want 1", m.swaps)
	}
	wantErrors(t, Keep(context.Background(), m, []Item{doc("b", "2"), doc("c", "3")}), nil, nil)
	if m.versions["b"] != 1 {
		t.Errorf("b was written %d times, want once", m.versions["b"])
	}
}

func TestKeepTakesTheSameItemTwiceInOneBatch(t *testing.T) {
	m := newMemory()
	wantErrors(t, Keep(context.Background(), m, []Item{doc("a", "1"), doc("a", "1"), doc("b", "2"), doc("a", "1")}), nil, nil, nil, nil)
	wantValues(t, m, map[string]string{"a": "1", "b": "2"})
}

func TestKeepRefusesAnotherValueAndWritesTheRest(t *testing.T) {
	m := newMemory()
	Keep(context.Background(), m, []Item{doc("a", "1")})
	wantErrors(t, Keep(context.Background(), m, []Item{doc("a", "other"), doc("b", "2"), doc("a", "1")}), ErrOther, nil, nil)
	wantValues(t, m, map[string]string{"a": "1", "b": "2"})
}

func TestOfTwoValuesInOneBatchKeepTakesTheFirst(t *testing.T) {
	m := newMemory()
	wantErrors(t, Keep(context.Background(), m, []Item{doc("a", "1"), doc("a", "2"), doc("a", "1")}), nil, ErrOther, nil)
	wantValues(t, m, map[string]string{"a": "1"})
}

// Nil and empty are one value to a store.
func TestKeepTakesAnEmptyValue(t *testing.T) {
	m := newMemory()
	wantErrors(t, Keep(context.Background(), m, []Item{doc("a", "")}), nil)
	wantErrors(t, Keep(context.Background(), m, []Item{{Key: "a"}}), nil)
	wantErrors(t, Keep(context.Background(), m, []Item{doc("a", "1")}), ErrOther)
}

func TestKeepOfNothingDoesNothing(t *testing.T) {
	m := newMemory()
	wantErrors(t, Keep(context.Background(), m, nil))
	if m.swaps != 0 {
		t.Errorf("%d writes", m.swaps)
	}
}

func TestKeepSaysWhatReadingSaid(t *testing.T) {
	m := newMemory()
	m.failGet = []error{errDown}
	wantErrors(t, Keep(context.Background(), m, []Item{doc("a", "1"), doc("b", "2")}), errDown, errDown)
	wantValues(t, m, nil)
}

// ErrOther stays: it is about what was read, whatever became of the write.
func TestKeepSaysWhatWritingSaid(t *testing.T) {
	m := newMemory()
	Keep(context.Background(), m, []Item{doc("a", "1")})
	m.failSwap = []error{errDown}
	wantErrors(t, Keep(context.Background(), m, []Item{doc("a", "other"), doc("b", "2")}), ErrOther, errDown)
	wantValues(t, m, map[string]string{"a": "1"})
}

func TestAWriteWhoseAnswerWasLostIsFoundByTheNextTry(t *testing.T) {
	m := newMemory()
	m.failSwap = []error{errLost}
	items := []Item{doc("a", "1"), doc("b", "2")}
	wantErrors(t, Keep(context.Background(), m, items), ErrUnknown, ErrUnknown)
	wantErrors(t, Keep(context.Background(), m, items), nil, nil)
	wantValues(t, m, map[string]string{"a": "1", "b": "2"})
	if m.swaps != 1 {
		t.Errorf("%d writes, want 1", m.swaps)
	}
}

func TestKeepNeverOverwritesAWriterWhoWasFaster(t *testing.T) {
	for theirs, want := range map[string]error{"1": nil, "theirs": ErrOther} {
		m := newMemory()
		m.beforeSwap = func() { Keep(context.Background(), m, []Item{doc("a", theirs)}) }
		items := []Item{doc("a", "1"), doc("b", "2")}
		wantErrors(t, Keep(context.Background(), m, items), ErrUnknown, ErrUnknown)
		wantValues(t, m, map[string]string{"a": theirs, "b": "2"}) // one key's conflict rolls nothing back
		wantErrors(t, Keep(context.Background(), m, items), want, nil)
	}
}
