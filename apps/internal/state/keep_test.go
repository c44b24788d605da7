package state_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

func doc(key, value string) state.Item { return state.Item{Key: key, Value: []byte(value)} }

// wantKept keeps items and checks what their keys hold then: a value, or an error.
func wantKept(t *testing.T, m *statetest.Memory, items []state.Item, want map[string]any) {
	t.Helper()
	kept := state.Keep(context.Background(), m, items...)
	if len(kept) != len(want) {
		t.Fatalf("%d keys, want %d: %v", len(kept), len(want), kept)
	}
	for key, w := range want {
		got := kept[key]
		if got.Err != nil && got.Value != nil {
			t.Errorf("%s has a value and an error: %q, %v", key, got.Value, got.Err)
		}
		if err, ok := w.(error); ok {
			if !errors.Is(got.Err, err) {
				t.Errorf("%s: error %v, want %v", key, got.Err, err)
			}
		} else if got.Err != nil || string(got.Value) != w {
			t.Errorf("%s is %q with error %v, want %q", key, got.Value, got.Err, w)
		}
	}
}

type values = map[string]any

func wantValues(t *testing.T, m *statetest.Memory, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if got := m.Value(key); got != value {
			t.Errorf("%s holds %q, want %q", key, got, value)
		}
	}
	if keys := m.Keys(""); len(keys) != len(want) {
		t.Errorf("%d keys, want %d: %q", len(keys), len(want), keys)
	}
}

func TestKeepWritesWhatIsNewInOneCall(t *testing.T) {
	m := statetest.New()
	wantKept(t, m, []state.Item{doc("a", "1"), doc("b", "2")}, values{"a": "1", "b": "2"})
	wantValues(t, m, map[string]string{"a": "1", "b": "2"})
	if gets, swaps := len(m.Calls(statetest.Get)), len(m.Calls(statetest.Swap)); gets != 0 || swaps != 1 {
		t.Errorf("%d reads and %d writes, want one write", gets, swaps)
	}
}

func TestKeepWritesNothingTwice(t *testing.T) {
	m := statetest.New()
	items := []state.Item{doc("a", "1"), doc("b", "2")}
	wantKept(t, m, items, values{"a": "1", "b": "2"})
	wantKept(t, m, items, values{"a": "1", "b": "2"})
	wantKept(t, m, []state.Item{doc("b", "2"), doc("c", "3")}, values{"b": "2", "c": "3"})
	for _, key := range m.Keys("") {
		if n := m.Version(key); n != 1 {
			t.Errorf("%s was written %d times, want once", key, n)
		}
	}
}

func TestKeepTakesTheSameItemTwiceInOneBatch(t *testing.T) {
	m := statetest.New()
	wantKept(t, m, []state.Item{doc("a", "1"), doc("a", "1"), doc("b", "2"), doc("a", "1")}, values{"a": "1", "b": "2"})
	wantValues(t, m, map[string]string{"a": "1", "b": "2"})
}

func TestTheFirstValueOfAKeyStands(t *testing.T) {
	m := statetest.New()
	wantKept(t, m, []state.Item{doc("a", "1")}, values{"a": "1"})
	wantKept(t, m, []state.Item{doc("a", "other"), doc("b", "2"), doc("a", "1")}, values{"a": "1", "b": "2"})
	wantKept(t, m, []state.Item{doc("c", "1"), doc("c", "2"), doc("c", "1")}, values{"c": "1"})
	wantValues(t, m, map[string]string{"a": "1", "b": "2", "c": "1"})
}

// Another replica keeps another value between our read and our write.
func TestKeepFailsWhenItLosesARace(t *testing.T) {
	m := statetest.New()
	wantKept(t, m, []state.Item{doc("a", "1")}, values{"a": "1"})
	swaps := 0
	m.Before(func(_ context.Context, c statetest.Call) error {
		if c.Op != statetest.Swap {
			return nil
		}
		if swaps++; swaps == 1 {
			return statetest.ErrDown
		}
		m.Put("b", "theirs")
		return nil
	})
	wantKept(t, m, []state.Item{doc("a", "1"), doc("b", "ours")}, values{"a": "1", "b": state.ErrUnknown})
	m.Before(nil)
	wantKept(t, m, []state.Item{doc("b", "ours")}, values{"b": "theirs"})
}

func TestAWriteWhoseAnswerWasLostIsFound(t *testing.T) {
	m := statetest.New()
	m.Decide(statetest.Always(statetest.Lost))
	wantKept(t, m, []state.Item{doc("a", "1"), doc("b", "2")}, values{"a": "1", "b": "2"})
	wantValues(t, m, map[string]string{"a": "1", "b": "2"})
	if swaps := len(m.Calls(statetest.Swap)); swaps != 1 {
		t.Errorf("%d writes", swaps)
	}
}

func TestKeepOfNothingDoesNothing(t *testing.T) {
	m := statetest.New()
	wantKept(t, m, nil, nil)
	if n := len(m.Calls(statetest.Swap)) + len(m.Calls(statetest.Get)); n != 0 {
		t.Errorf("%d calls", n)
	}
}

func TestKeepReturnsTheErrorOfReading(t *testing.T) {
	m := statetest.New()
	m.Fail(state.ErrUnknown, statetest.Swap)
	m.Fail(statetest.ErrDown, statetest.Get)
	wantKept(t, m, []state.Item{doc("a", "1"), doc("b", "2")}, values{"a": statetest.ErrDown, "b": statetest.ErrDown})
	wantValues(t, m, nil)
}

func TestKeepReturnsTheErrorOfWriting(t *testing.T) {
	m := statetest.New()
	wantKept(t, m, []state.Item{doc("a", "1")}, values{"a": "1"})
	m.Fail(statetest.ErrDown, statetest.Swap)
	wantKept(t, m, []state.Item{doc("a", "other"), doc("b", "2")}, values{"a": "1", "b": statetest.ErrDown})
	wantValues(t, m, map[string]string{"a": "1"})
}

func TestMissingSaysWhichKeysDoNotExist(t *testing.T) {
	m := statetest.New()
	m.Put("a", "")
	m.Put("c", "3")
	missing, err := state.Missing(t.Context(), m, "a", "b", "c", "b")
	if err != nil || !slices.Equal(missing, []bool{false, true, false, true}) {
		t.Errorf("missing are %v (error %v)", missing, err)
	}
	if missing, err := state.Missing(t.Context(), m); err != nil || len(missing) != 0 {
		t.Errorf("of no keys missing are %v (error %v)", missing, err)
	}
	m.Fail(statetest.ErrDown, statetest.Get)
	if _, err := state.Missing(t.Context(), m, "a"); !errors.Is(err, statetest.ErrDown) {
		t.Errorf("error %v", err)
	}
}
