package statetest_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

func swap(t *testing.T, m *statetest.Memory, items ...state.Item) error {
	t.Helper()
	err := m.Swap(t.Context(), items...)
	if err != nil && !errors.Is(err, state.ErrUnknown) {
		t.Errorf("error %v, want an ErrUnknown", err)
	}
	return err
}

func item(key, value, etag string) state.Item {
	return state.Item{Key: key, Value: []byte(value), ETag: etag}
}

func get(t *testing.T, m *statetest.Memory, key string) state.Item {
	t.Helper()
	items, err := m.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return items[0]
}

func TestAConflictIsThatOfOneKeyAlone(t *testing.T) {
	m := statetest.New()
	if err := swap(t, m, item("a", "1", ""), item("b", "1", "7")); err != nil {
		t.Fatal(err) // a key that does not exist takes any ETag
	}
	if err := swap(t, m, item("a", "2", ""), item("b", "2", "1")); err == nil {
		t.Error("a was written without its ETag")
	}
	if a, b := get(t, m, "a"), get(t, m, "b"); string(a.Value) != "1" || a.ETag != "1" || string(b.Value) != "2" || b.ETag != "2" {
		t.Errorf("a is %+v, b is %+v", a, b)
	}
	if m.Written() != 3 {
		t.Errorf("%d writes", m.Written())
	}
}

func TestDeleteIsACompareAndSwap(t *testing.T) {
	m := statetest.New()
	m.Put("a", "1")
	if err := m.Delete(t.Context(), item("a", "", "2")); err == nil || m.Value("a") != "1" {
		t.Errorf("error %v, and a is %q", err, m.Value("a"))
	}
	for range 2 { // the second time it does not exist
		if err := m.Delete(t.Context(), item("a", "", "1")); err != nil || get(t, m, "a").Exists() {
			t.Errorf("error %v", err)
		}
	}
	m.Put("a", "2")
	if got := get(t, m, "a").ETag; got != "1" {
		t.Errorf("the ETag after a Delete and a write is %s", got)
	}
}

func TestDropRemovesKeysAtAnyVersion(t *testing.T) {
	m := statetest.New()
	for _, key := range []string{"a", "a", "b", "c"} {
		m.Put(key, "1")
	}
	if err := m.Drop(t.Context(), "a", "none", "c"); err != nil {
		t.Fatal(err)
	}
	if keys := m.Keys(""); len(keys) != 1 || keys[0] != "b" {
		t.Errorf("there are %q", keys)
	}
	m.Fail(statetest.ErrDown, statetest.Drop)
	if err := m.Drop(t.Context(), "b"); !errors.Is(err, statetest.ErrDown) || m.Value("b") != "1" {
		t.Errorf("error %v, and b is %q", err, m.Value("b"))
	}
	if m.Named(statetest.Drop, "") != 4 {
		t.Errorf("%d keys in calls", m.Named(statetest.Drop, ""))
	}
}

func TestAnItemExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.New()
		if err := swap(t, m, state.Item{Key: "a", Value: []byte("1"), TTL: time.Minute}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute - 1)
		if err := swap(t, m, item("a", "2", "1")); err != nil || m.TTL("a") != time.Minute {
			t.Errorf("error %v, and it lives for %v", err, m.TTL("a"))
		}
		time.Sleep(time.Nanosecond)
		if get(t, m, "a").Exists() || len(m.Keys("")) > 0 {
			t.Error("it is still there")
		}
	})
}

func TestEveryWriteHasItsFate(t *testing.T) {
	m := statetest.New()
	fates := map[string]statetest.Fate{"refused": statetest.Refused, "lost": statetest.Lost, "late": statetest.Late}
	m.Decide(func(i state.Item) statetest.Fate { return fates[i.Key] })
	for key := range fates {
		if err := swap(t, m, item(key, "1", "")); err == nil {
			t.Errorf("%s succeeded", key)
		}
	}
	if err := swap(t, m, item("written", "1", "")); err != nil {
		t.Error(err)
	}
	if keys := m.Keys(""); len(keys) != 2 || keys[0] != "lost" || keys[1] != "written" {
		t.Errorf("there are %q", keys)
	}
	m.Land()
	if m.Value("late") != "1" {
		t.Error("the late write did not happen")
	}
}

func TestALateWriteLosesToAnother(t *testing.T) {
	m := statetest.New()
	m.Decide(statetest.Always(statetest.Late))
	_ = swap(t, m, item("a", "late", ""))
	m.Put("a", "first")
	m.Land()
	if m.Value("a") != "first" {
		t.Errorf("a is %q", m.Value("a"))
	}
}

func TestAHookMayFailACall(t *testing.T) {
	m := statetest.New()
	m.Before(func(context.Context, statetest.Call) error { return statetest.ErrDown })
	if err := swap(t, m, item("a", "1", "")); !errors.Is(err, statetest.ErrDown) || m.Value("a") != "" {
		t.Errorf("error %v, and a is %q", err, m.Value("a"))
	}
	if _, err := m.Get(t.Context(), "a"); !errors.Is(err, statetest.ErrDown) {
		t.Errorf("error %v", err)
	}
	m.Before(nil)
	if err := swap(t, m, item("a", "1", "")); err != nil {
		t.Error(err)
	}
	if m.Named(statetest.Swap, "a") != 2 || len(m.Calls(statetest.Get)) != 1 {
		t.Errorf("%d writes of a and %d reads", m.Named(statetest.Swap, "a"), len(m.Calls(statetest.Get)))
	}
}

func TestAStoreThatIsDownFailsUntilItIsUp(t *testing.T) {
	m := statetest.New()
	m.Fail(statetest.ErrDown)
	_, getErr := m.Get(t.Context(), "a")
	for _, err := range []error{getErr, swap(t, m, item("a", "1", "")), m.Delete(t.Context(), item("a", "", ""))} {
		if !errors.Is(err, statetest.ErrDown) {
			t.Errorf("error %v", err)
		}
	}
	m.Fail(nil)
	if err := swap(t, m, item("a", "1", "")); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Get(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// Another writer writes between the read and the write, and ETags are opaque.
func TestEachWriteOfConcurrentWritersCounts(t *testing.T) {
	m := statetest.NewOpaque()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for done := false; !done; {
				items, err := m.Get(t.Context(), "n")
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(items[0].Value))
				items[0].Value = []byte(strconv.Itoa(n + 1))
				done = m.Swap(t.Context(), items[0]) == nil
			}
		})
	}
	all.Wait()
	if m.Value("n") != "8" || m.Version("n") != 8 {
		t.Errorf("it is %s after %d writes", m.Value("n"), m.Version("n"))
	}
}

func TestAnOpaqueStoreWritesNothingWithAnETagThatNobodyRead(t *testing.T) {
	m := statetest.NewOpaque()
	if err := swap(t, m, item("a", "1", "v1")); err == nil {
		t.Error("a key that does not exist took a write with an ETag")
	}
	if err := m.Delete(t.Context(), item("a", "", "v1")); err == nil {
		t.Error("a key that does not exist took a delete with an ETag")
	}
	if err := swap(t, m, item("a", "1", "")); err != nil {
		t.Fatal(err)
	}
	before := get(t, m, "a")
	if after, isKnown := m.ETagAfter(before.ETag); isKnown {
		t.Errorf("the ETag %q is known", after)
	}
	m.Remove("a")
	if err := swap(t, m, item("a", "2", "")); err != nil {
		t.Fatal(err)
	}
	if now := get(t, m, "a"); now.ETag == before.ETag {
		t.Errorf("%q comes twice", now.ETag)
	}
}

func TestAWriteWithoutTTLInAnOpaqueStoreLivesForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.NewOpaque()
		short := item("a", "1", "")
		short.TTL = time.Second
		if err := swap(t, m, short); err != nil {
			t.Fatal(err)
		}
		if err := swap(t, m, item("a", "2", get(t, m, "a").ETag)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // of the bubble's clock
		if m.Value("a") != "2" {
			t.Error("it has ended")
		}
	})
}
