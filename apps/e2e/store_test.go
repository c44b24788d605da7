package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestAWriteIsACompareAndSwapOfEachKey is what apps/internal/state relies on: where
// there is a key, a write succeeds only at its ETag, and never with -1; where there is
// none, whatever the ETag; and in a transaction, where one key is written by somebody
// else, the others are written.
func TestAWriteIsACompareAndSwapOfEachKey(t *testing.T) {
	store := shared.App("posts").Sidecar() + "/v1.0/state/posts-store"
	run := time.Now().UnixNano()
	key := func(name string) string { return fmt.Sprintf("%s-%d-%s", t.Name(), run, name) }
	write := func(name, value, etag string) string {
		return fmt.Sprintf(`{"key":%q,"value":%q,"etag":%q,"options":{"concurrency":"first-write"}}`, key(name), value, etag)
	}
	alone := func(item string) response {
		r, err := do("POST", store, "["+item+"]")
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	together := func(items ...string) response {
		for i, item := range items {
			items[i] = `{"operation":"upsert","request":` + item + `}`
		}
		r, err := do("POST", store+"/transaction", `{"operations":[`+strings.Join(items, ",")+`]}`)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	holds := func(want map[string]string) {
		t.Helper()
		for name, value := range want {
			var got string
			r, err := do("GET", store+"/"+key(name), "")
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(r.body, &got); err != nil || got != value {
				t.Errorf("%s holds %s (%v), want %q", name, r, err, value)
			}
		}
	}
	succeeds := func(r response) {
		t.Helper()
		if r.status >= 300 {
			t.Errorf("not written: %s", r)
		}
	}
	conflicts := func(r response) {
		t.Helper()
		if r.status < 400 {
			t.Errorf("no conflict: %s", r)
		}
	}

	succeeds(together(write("a", "1", "-1"), write("b", "1", "-1")))
	succeeds(alone(write("c", "1", "-1")))
	holds(map[string]string{"a": "1", "b": "1", "c": "1"})

	conflicts(alone(write("a", "wrong", "-1")))
	conflicts(alone(write("c", "wrong", "-1")))
	conflicts(together(write("a", "wrong", "-1"), write("d", "1", "-1"), write("c", "wrong", "-1")))
	holds(map[string]string{"a": "1", "c": "1", "d": "1"})

	conflicts(together(write("a", "2", "1"), write("b", "wrong", "7"), write("c", "2", "1")))
	succeeds(alone(write("b", "2", "1")))
	holds(map[string]string{"a": "2", "b": "2", "c": "2"})
	conflicts(alone(write("a", "wrong", "1")))
	holds(map[string]string{"a": "2"})

	succeeds(alone(write("e", "1", "7")))
	succeeds(together(write("f", "1", "7"), write("g", "1", "1")))
	holds(map[string]string{"e": "1", "f": "1", "g": "1"})
}
