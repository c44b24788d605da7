package state_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	dapr "github.com/dapr/go-sdk/client"

	"github.com/postbus/postbus/apps/internal/state"
)

// sidecar has the calls of a sidecar that a store makes.
type sidecar struct {
	dapr.Client

	single    *dapr.StateItem
	bulk      []*dapr.BulkStateItem
	err       error
	component string
	asked     []string
	saved     []*dapr.SetStateItem
	// together means that the items were saved as a transaction.
	together bool
	deleted  string
	etag     *dapr.ETag
	options  *dapr.StateOptions
	dropped  []string
}

func (s *sidecar) GetState(_ context.Context, component, key string, _ map[string]string) (*dapr.StateItem, error) {
	s.component, s.asked = component, []string{key}
	return s.single, s.err
}

func (s *sidecar) GetBulkState(_ context.Context, component string, keys []string, _ map[string]string, _ int32) ([]*dapr.BulkStateItem, error) {
	s.component, s.asked = component, keys
	return s.bulk, s.err
}

func (s *sidecar) SaveBulkState(_ context.Context, component string, items ...*dapr.SetStateItem) error {
	s.component, s.saved = component, items
	return s.err
}

func (s *sidecar) ExecuteStateTransaction(_ context.Context, component string, _ map[string]string, operations []*dapr.StateOperation) error {
	s.component, s.together = component, true
	for _, o := range operations {
		switch o.Type {
		case dapr.StateOperationTypeUpsert:
			s.saved = append(s.saved, o.Item)
		case dapr.StateOperationTypeDelete:
			s.dropped = append(s.dropped, o.Item.Key)
		}
	}
	return s.err
}

func (s *sidecar) DeleteStateWithETag(_ context.Context, component, key string, etag *dapr.ETag, _ map[string]string, opts *dapr.StateOptions) error {
	s.component, s.deleted, s.etag, s.options = component, key, etag, opts
	return s.err
}

func TestGetReadsOneKey(t *testing.T) {
	s := &sidecar{single: &dapr.StateItem{Key: "a", Value: []byte("1"), Etag: "7"}}
	got, err := state.New(s, "store").Get(context.Background(), "a")
	if want := []state.Item{{Key: "a", Value: []byte("1"), ETag: "7"}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v and error %v, want %v", got, err, want)
	}
	if !got[0].Exists() || s.component != "store" || s.asked[0] != "a" {
		t.Errorf("exists %v, asked %s for %v", got[0].Exists(), s.component, s.asked)
	}
}

func TestAKeyThatIsNotThereDoesNotExist(t *testing.T) {
	got, err := state.New(&sidecar{single: &dapr.StateItem{Key: "a"}}, "store").Get(context.Background(), "a")
	if err != nil || len(got) != 1 || got[0].Key != "a" || got[0].Exists() {
		t.Errorf("got %v and error %v", got, err)
	}
}

// The sidecar returns the items in the order in which its reads end.
func TestGetAnswersInTheOrderOfTheKeys(t *testing.T) {
	s := &sidecar{bulk: []*dapr.BulkStateItem{{Key: "c", Value: []byte("3"), Etag: "9"}, {Key: "b"}, {Key: "a", Value: []byte("1"), Etag: "7"}}}
	got, err := state.New(s, "store").Get(context.Background(), "a", "b", "c")
	want := []state.Item{{Key: "a", Value: []byte("1"), ETag: "7"}, {Key: "b"}, {Key: "c", Value: []byte("3"), ETag: "9"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v and error %v, want %v", got, err, want)
	}
}

// A key that could not be read must not look like one that does not exist: its document
// would be written again.
func TestGetFailsIfOneKeyCannotBeRead(t *testing.T) {
	down := errors.New("sidecar is down")
	for name, s := range map[string]*sidecar{
		"the call fails":        {err: down},
		"one key has an error":  {bulk: []*dapr.BulkStateItem{{Key: "a", Etag: "1"}, {Key: "b", Error: "timeout"}}},
		"one key has no answer": {bulk: []*dapr.BulkStateItem{{Key: "a", Etag: "1"}}},
		"another key is there":  {bulk: []*dapr.BulkStateItem{{Key: "a", Etag: "1"}, {Key: "x", Etag: "1"}}},
	} {
		if got, err := state.New(s, "store").Get(context.Background(), "a", "b"); err == nil || got != nil {
			t.Errorf("%s: got %v and error %v, want an error", name, got, err)
		}
	}
	if got, err := state.New(&sidecar{err: down}, "store").Get(context.Background(), "a"); !errors.Is(err, down) || got != nil {
		t.Errorf("got %v and error %v, want %v", got, err, down)
	}
}

func TestGetOfNothingMakesNoCall(t *testing.T) {
	if got, err := state.New(&sidecar{err: errors.New("sidecar is down")}, "store").Get(context.Background()); err != nil || len(got) > 0 {
		t.Errorf("got %v and error %v", got, err)
	}
}

// With the ETag 0 a transaction would overwrite a value, and without an ETag no write
// conflicts.
func TestEveryWriteIsACompareAndSwap(t *testing.T) {
	for name, test := range map[string]struct {
		items    []state.Item
		together bool
	}{
		"one":           {[]state.Item{doc("new", "1")}, false},
		"several":       {[]state.Item{doc("new", "1"), {Key: "old", Value: []byte("2"), ETag: "7"}}, true},
		"one that ends": {[]state.Item{doc("new", "1"), {Key: "old", Value: []byte("2"), ETag: "7", TTL: 90 * time.Second}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &sidecar{}
			if err := state.New(s, "store").Swap(context.Background(), test.items...); err != nil {
				t.Fatal(err)
			}
			if s.component != "store" || len(s.saved) != len(test.items) || s.together != test.together {
				t.Fatalf("wrote %d items to %s, together %v", len(s.saved), s.component, s.together)
			}
			for i, item := range test.items {
				got, etag, ttl := s.saved[i], item.ETag, ""
				if etag == "" {
					etag = "-1"
				}
				if item.TTL > 0 {
					ttl = "90"
				}
				if got.Key != item.Key || string(got.Value) != string(item.Value) || got.Etag == nil || got.Etag.Value != etag {
					t.Errorf("item %d is %+v with ETag %+v, want %+v", i, got, got.Etag, item)
				}
				if got.Options == nil || got.Options.Concurrency != dapr.StateConcurrencyFirstWrite {
					t.Errorf("item %d has options %+v, want first-write", i, got.Options)
				}
				if got.Metadata["ttlInSeconds"] != ttl {
					t.Errorf("item %d lives %q seconds, want %q", i, got.Metadata["ttlInSeconds"], ttl)
				}
			}
		})
	}
}

func TestAFailedWriteIsUnknown(t *testing.T) {
	down := errors.New("sidecar is down")
	for _, items := range [][]state.Item{{doc("a", "1")}, {doc("a", "1"), doc("b", "2")}} {
		if err := state.New(&sidecar{err: down}, "store").Swap(context.Background(), items...); !errors.Is(err, state.ErrUnknown) || !errors.Is(err, down) {
			t.Errorf("error %v of %d, want ErrUnknown that says %v", err, len(items), down)
		}
	}
}

func TestDeleteIsACompareAndSwapToo(t *testing.T) {
	s := &sidecar{}
	if err := state.New(s, "store").Delete(context.Background(), state.Item{Key: "a", ETag: "7"}); err != nil {
		t.Fatal(err)
	}
	if s.component != "store" || s.deleted != "a" || s.etag == nil || s.etag.Value != "7" || s.options.Concurrency != dapr.StateConcurrencyFirstWrite {
		t.Errorf("deleted %s of %s at %+v with %+v", s.deleted, s.component, s.etag, s.options)
	}
	s.err = errors.New("sidecar is down")
	if err := state.New(s, "store").Delete(context.Background(), state.Item{Key: "a"}); !errors.Is(err, s.err) {
		t.Errorf("error %v, want %v", err, s.err)
	}
}

func TestDropRemovesKeysInOneCallWhateverTheirVersion(t *testing.T) {
	s := &sidecar{}
	store := state.New(s, "posts-store")
	if err := store.Drop(context.Background(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	if s.component != "posts-store" || !reflect.DeepEqual(s.dropped, []string{"a", "b"}) || s.etag != nil {
		t.Errorf("removed %q from %s with ETag %v", s.dropped, s.component, s.etag)
	}
	s.err = errors.New("store is down")
	if err := store.Drop(context.Background(), "a"); !errors.Is(err, s.err) {
		t.Errorf("error %v", err)
	}
	if err := store.Drop(context.Background()); err != nil {
		t.Errorf("nothing to remove: error %v", err)
	}
}
