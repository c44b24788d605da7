package state_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	dapr "github.com/dapr/go-sdk/client"

	"github.com/postbus/postbus/apps/internal/state"
)

// proven is a store that has kept the contract. What it calls from here on is what a test asks
// of it.
func proven(t *testing.T, s *sidecar) *state.Sidecar {
	t.Helper()
	store := state.New(s, "store")
	if err := store.Prove(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.calls, s.saved = nil, nil
	return store
}

// synctested runs a subtest in a bubble, whose clock passes over the pauses between two proofs.
func synctested(t *testing.T, name string, test func(*testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func TestEachComponentIsMadeToKeepTheContract(t *testing.T) {
	for name, s := range map[string]*sidecar{"Redis": redisSidecar(), "PostgreSQL": postgresSidecar(), "one that nobody has tried": of("state.other", "v1")} {
		t.Run(name, func(t *testing.T) {
			// The times to live are the component's own.
			t.Parallel()
			store := proven(t, s)
			if len(s.docs) > 0 {
				t.Errorf("the proof has left %v", s.docs)
			}
			if err := store.Swap(t.Context(), doc("a", "1")); err != nil {
				t.Fatal(err)
			}
			for _, items := range [][]state.Item{{doc("a", "2")}, {doc("a", "2"), doc("b", "1")}} {
				if err := store.Swap(t.Context(), items...); !errors.Is(err, state.ErrUnknown) {
					t.Errorf("error %v", err)
				}
			}
			got, err := store.Get(t.Context(), "a", "b", "c")
			if err != nil || string(got[0].Value) != "1" || string(got[1].Value) != "1" || got[2].Exists() {
				t.Fatalf("got %v and error %v", got, err)
			}
			if err := store.Swap(t.Context(), state.Item{Key: "a", Value: []byte("3"), ETag: got[0].ETag}, state.Item{Key: "b", Value: []byte("3"), ETag: got[1].ETag}); err != nil {
				t.Error(err)
			}
		})
	}
}

// With the ETag 0 a Redis transaction would overwrite a value, and without an ETag no write to
// Redis conflicts. PostgreSQL takes no ETag that is no UUID.
func TestEveryWriteIsACompareAndSwap(t *testing.T) {
	for name, test := range map[string]struct {
		of       *sidecar
		items    []state.Item
		call     string
		creating *dapr.ETag
	}{
		"one in Redis":          {redisSidecar(), []state.Item{doc("new", "1")}, "save", &dapr.ETag{Value: "-1"}},
		"several in Redis":      {redisSidecar(), []state.Item{doc("new", "1"), {Key: "old", Value: []byte("2"), ETag: "1", TTL: 90 * time.Second}}, "transaction", &dapr.ETag{Value: "-1"}},
		"one in PostgreSQL":     {postgresSidecar(), []state.Item{doc("new", "1")}, "save", nil},
		"several in PostgreSQL": {postgresSidecar(), []state.Item{doc("new", "1"), {Key: "old", Value: []byte("2"), ETag: "uuid-9", TTL: 90 * time.Second}}, "save", nil},
	} {
		t.Run(name, func(t *testing.T) {
			store := proven(t, test.of)
			for _, item := range test.items {
				if item.ETag != "" {
					test.of.docs[item.Key] = document{"1", item.ETag}
				}
			}
			if err := store.Swap(t.Context(), test.items...); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(test.of.calls, []string{test.call}) || len(test.of.saved) != len(test.items) {
				t.Fatalf("calls %q, with %d items", test.of.calls, len(test.of.saved))
			}
			for i, item := range test.items {
				got, etag, ttl := test.of.saved[i], test.creating, ""
				if item.ETag != "" {
					etag = &dapr.ETag{Value: item.ETag}
				}
				if item.TTL > 0 {
					ttl = "90"
				}
				if got.Key != item.Key || string(got.Value) != string(item.Value) || (got.Etag == nil) != (etag == nil) || etag != nil && got.Etag.Value != etag.Value {
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

func TestAStoreThatDoesNotKeepTheContractIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		of   *sidecar
		line string
	}{
		"creates over what exists":                {redisSidecar(overwrites), "a key is created only if it does not exist"},
		"replaces at any version":                 {postgresSidecar(stale), "a document is replaced only at the version that was read"},
		"fails in silence":                        {postgresSidecar(silent), "a key is created only if it does not exist, and otherwise the call fails"},
		"fails in silence in transactions":        {redisSidecar(silentMany), "a call with several items fails if one of them conflicts"},
		"writes all or nothing":                   {postgresSidecar(atomic), "of several items each is written for itself"},
		"rolls transactions back":                 {redisSidecar(atomic), "of several items each is written for itself"},
		"has one version":                         {postgresSidecar(oneVersion), "a document that was replaced is read, with another version"},
		"counts versions otherwise":               {redisSidecar(twoAtOnce), `the version after "2" is "4", and the component was expected to make "3"`},
		"does not read what was written":          {redisSidecar(forgets), "a document that was written is read, with its version"},
		"does not remove":                         {postgresSidecar(keeps), "documents that were removed do not exist"},
		"one that nobody has tried, and fits not": {of("state.other", "v1", silent), "a key is created only if it does not exist"},
		"creates after another writer":            {of("state.etcd", "v2", racyCreate), "a key is created by one alone of several writers that race for it"},
		"replaces after another writer":           {of("state.etcd", "v2", racyReplace), "a version is replaced by one alone of several writers that race for it"},
	} {
		synctested(t, name, func(t *testing.T) {
			store := state.New(test.of, "store")
			err := store.Prove(t.Context())
			if !errors.Is(err, state.ErrUnfit) || !strings.Contains(err.Error(), test.line) {
				t.Fatalf("error %v, want one that names the line %q", err, test.line)
			}
			if kind := test.of.component.Type + "/" + test.of.component.Version; !strings.HasPrefix(err.Error(), "the state store store ("+kind+") ") {
				t.Errorf("error %v does not name the component and its type", err)
			}
			calls := len(test.of.calls)
			_, err1 := store.Get(t.Context(), "a")
			err2 := store.Swap(t.Context(), doc("a", "1"))
			for i, err := range []error{err1, err2, store.Delete(t.Context(), doc("a", "1")), store.Drop(t.Context(), "a"), store.Prove(t.Context())} {
				if !errors.Is(err, state.ErrUnfit) {
					t.Errorf("call %d: error %v", i, err)
				}
			}
			if len(test.of.calls) > calls {
				t.Errorf("it is called all the same: %q", test.of.calls[calls:])
			}
		})
	}
}

// A store that is away is asked again. One that is full can be read meanwhile.
func TestAStoreThatIsAwayIsNotUnfit(t *testing.T) {
	s := redisSidecar()
	store := state.New(s, "store")
	s.err = errDown
	if err := store.Prove(t.Context()); !errors.Is(err, errDown) || errors.Is(err, state.ErrUnfit) {
		t.Errorf("error %v", err)
	}
	if err := store.Swap(t.Context(), doc("a", "1")); !errors.Is(err, errDown) || !errors.Is(err, state.ErrUnknown) {
		t.Errorf("error %v", err)
	}
	if after, isKnown := store.ETagAfter(""); isKnown {
		t.Errorf("the ETag after a write is said to be %q", after)
	}
	s.err, s.docs["a"] = nil, document{"1", "1"}
	if got, err := store.Get(t.Context(), "a"); err != nil || string(got[0].Value) != "1" || slices.Contains(s.calls, "save") {
		t.Errorf("got %v and error %v after calls %q", got, err, s.calls)
	}
	if err := store.Swap(t.Context(), doc("b", "1")); err != nil {
		t.Error(err)
	}
	if after, isKnown := store.ETagAfter("1"); !isKnown || after != "2" {
		t.Errorf("the ETag after 1 is said to be %q, known: %v", after, isKnown)
	}
}

// A race that nobody wins shows nothing.
func TestAStoreThatFailsAllWritersThatRaceIsAskedAgain(t *testing.T) {
	s := postgresSidecar(deadlocks)
	store := state.New(s, "store")
	if err := store.Prove(t.Context()); !errors.Is(err, errDown) || errors.Is(err, state.ErrUnfit) {
		t.Errorf("error %v", err)
	}
	s.faults[deadlocks] = false
	if err := store.Prove(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAComponentThatTheSidecarDoesNotHaveIsNamed(t *testing.T) {
	err := state.New(redisSidecar(), "posts-store").Prove(t.Context())
	if err == nil || errors.Is(err, state.ErrUnfit) || !strings.Contains(err.Error(), "posts-store") {
		t.Errorf("error %v", err)
	}
}

// A key that could not be read must not look like one that does not exist: its document
// would be written again.
func TestGetFailsIfOneKeyCannotBeRead(t *testing.T) {
	for name, break1 := range map[string]func(*sidecar){
		"the call fails":        func(s *sidecar) { s.err = errDown },
		"one key has an error":  func(s *sidecar) { s.unread = map[string]string{"b": "timeout"} },
		"one key has no answer": func(s *sidecar) { s.lost = map[string]bool{"b": true} },
	} {
		s := redisSidecar()
		s.docs["a"] = document{"1", "1"}
		store := proven(t, s)
		s.docs["a"] = document{"1", "1"}
		break1(s)
		if got, err := store.Get(t.Context(), "a", "b"); err == nil || got != nil {
			t.Errorf("%s: got %v and error %v, want an error", name, got, err)
		}
	}
	s := redisSidecar()
	s.err = errDown
	if got, err := state.New(s, "store").Get(t.Context(), "a"); !errors.Is(err, errDown) || got != nil {
		t.Errorf("got %v and error %v", got, err)
	}
}

// A key of PostgreSQL that could not be read is answered like one that does not exist.
func TestAKeyOfPostgreSQLIsAbsentOnlyIfItIsReadAlone(t *testing.T) {
	for _, isProven := range []bool{false, true} {
		s := postgresSidecar(dropsRows)
		store := state.New(s, "store")
		if isProven {
			store = proven(t, s)
		}
		s.docs = map[string]document{"a": {"1", "uuid-1"}, "c": {"3", "uuid-3"}}
		got, err := store.Get(t.Context(), "a", "b", "c")
		if err != nil || string(got[0].Value) != "1" || got[0].Key != "a" || got[1].Exists() || got[1].Key != "b" || got[2].ETag != "uuid-3" {
			t.Errorf("proven %v: got %v and error %v", isProven, got, err)
		}
	}
}

// What was written is lost in the middle of the first proof.
func TestAStoreThatIsEmptiedDuringItsProofIsProvenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := redisSidecar()
		s.forgetOnce = true
		if err := state.New(s, "store").Await(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestAwaitEndsOnceItIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := redisSidecar()
		s.err = errDown
		store, ended := state.New(s, "store"), make(chan error, 1)
		go func() { ended <- store.Await(t.Context()) }()
		time.Sleep(time.Hour) // of the bubble's clock
		if len(ended) > 0 {
			t.Fatalf("it has ended with error %v", <-ended)
		}
		s.fail(nil)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := state.New(redisSidecar(atomic), "store").Await(t.Context()); !errors.Is(err, state.ErrUnfit) {
			t.Errorf("error %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s.fail(errDown)
		if err := state.New(s, "store").Await(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

func TestNothingMakesNoCall(t *testing.T) {
	s := redisSidecar()
	store := proven(t, s)
	s.err = errDown
	if got, err := store.Get(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("got %v and error %v", got, err)
	}
	if err := store.Drop(t.Context()); err != nil {
		t.Errorf("nothing to remove: error %v", err)
	}
}

func TestDeleteAndDrop(t *testing.T) {
	s := postgresSidecar()
	store := proven(t, s)
	s.docs = map[string]document{"a": {"1", "uuid-7"}, "b": {"1", "uuid-8"}, "c": {"1", "uuid-9"}}
	if err := store.Delete(t.Context(), state.Item{Key: "a", ETag: "uuid-8"}); err == nil {
		t.Error("another version was deleted")
	}
	if err := store.Delete(t.Context(), state.Item{Key: "a", ETag: "uuid-7"}); err != nil {
		t.Error(err)
	}
	s.calls = nil
	if err := store.Drop(t.Context(), "b", "never", "c"); err != nil || len(s.calls) != 1 || len(s.docs) > 0 {
		t.Errorf("error %v after calls %q, and %v is left", err, s.calls, s.docs)
	}
	s.err = errDown
	if err := errors.Join(store.Delete(t.Context(), doc("a", "")), store.Drop(t.Context(), "a")); !errors.Is(err, errDown) {
		t.Errorf("error %v", err)
	}
}
