package state_test

import (
	"context"
	"errors"
	"strconv"
	"testing"

	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// count adds 1 to the number in each item.
func count(items []state.Item) ([]state.Item, error) {
	for i := range items {
		n, _ := strconv.Atoi(string(items[i].Value))
		items[i].Value = []byte(strconv.Itoa(n + 1))
	}
	return items, nil
}

func TestAnUpdateIsOneReadAndOneWrite(t *testing.T) {
	m := statetest.New()
	m.Put("b", "7")
	if err := state.Update(t.Context(), m, []string{"a", "b"}, count); err != nil {
		t.Fatal(err)
	}
	if m.Value("a") != "1" || m.Value("b") != "8" || len(m.Calls(statetest.Get)) != 1 || len(m.Calls(statetest.Swap)) != 1 {
		t.Errorf("a is %s and b is %s after %d reads", m.Value("a"), m.Value("b"), len(m.Calls(statetest.Get)))
	}
}

func TestAnUpdateStartsOverWhereAnotherWriterIsFirst(t *testing.T) {
	m := statetest.New()
	m.Before(func(_ context.Context, c statetest.Call) error {
		if c.Op == statetest.Swap {
			m.Before(nil)
			m.Put("a", "7")
		}
		return nil
	})
	if err := state.Update(t.Context(), m, []string{"a"}, count); err != nil || m.Value("a") != "8" {
		t.Errorf("a is %s, error %v", m.Value("a"), err)
	}
}

func TestAnUpdateWithNothingToWriteWritesNothing(t *testing.T) {
	m := statetest.New()
	nothing := func([]state.Item) ([]state.Item, error) { return nil, nil }
	if err := state.Update(t.Context(), m, []string{"a"}, nothing); err != nil || len(m.Calls(statetest.Swap)) > 0 {
		t.Errorf("error %v after %d writes", err, len(m.Calls(statetest.Swap)))
	}
}

func TestAnUpdateSaysWhatFailed(t *testing.T) {
	refused := errors.New("refused")
	for name, test := range map[string]struct {
		breakIt func(*statetest.Memory)
		change  func([]state.Item) ([]state.Item, error)
		want    error
		writes  int
	}{
		"the read":       {func(m *statetest.Memory) { m.Fail(statetest.ErrDown, statetest.Get) }, count, statetest.ErrDown, 0},
		"the change":     {func(*statetest.Memory) {}, func([]state.Item) ([]state.Item, error) { return nil, refused }, refused, 0},
		"the write":      {func(m *statetest.Memory) { m.Fail(statetest.ErrDown, statetest.Swap) }, count, statetest.ErrDown, 4},
		"another writer": {func(m *statetest.Memory) { m.Decide(statetest.Always(statetest.Refused)) }, count, state.ErrUnknown, 4},
	} {
		t.Run(name, func(t *testing.T) {
			m := statetest.New()
			test.breakIt(m)
			if err := state.Update(t.Context(), m, []string{"a"}, test.change); !errors.Is(err, test.want) || len(m.Calls(statetest.Swap)) != test.writes {
				t.Errorf("error %v after %d writes, want %v after %d", err, len(m.Calls(statetest.Swap)), test.want, test.writes)
			}
		})
	}
}

func TestDecodeTellsWhatDoesNotExistFromWhatIsDamaged(t *testing.T) {
	type document struct{ N int }
	docs, err := state.Decode[*document](state.Item{Key: "a", ETag: "1", Value: []byte(`{"N":7,"more":true}`)}, state.Item{Key: "b"})
	if err != nil || len(docs) != 2 || docs[0] == nil || docs[0].N != 7 || docs[1] != nil {
		t.Errorf("%v, error %v", docs, err)
	}
	if docs, err := state.Decode[*document](state.Item{Key: "a", ETag: "1", Value: []byte(`{`)}); err == nil {
		t.Errorf("%v of a damaged document", docs)
	}
}
