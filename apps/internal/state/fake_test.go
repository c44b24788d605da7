package state_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	dapr "github.com/dapr/go-sdk/client"
)

var errDown = errors.New("the sidecar is down")

// sidecar has the calls of a sidecar that a store makes, with a component behind them.
type sidecar struct {
	dapr.Client

	component *dapr.MetadataRegisteredComponents
	// faults are what the component does wrong.
	faults map[fault]bool

	mu   sync.Mutex
	docs map[string]document
	made int
	err  error // of each call
	// forgetOnce has the store lose everything after its first write.
	forgetOnce bool
	calls      []string
	saved      []*dapr.SetStateItem // by the last call
	unread     map[string]string    // the errors of single keys of a bulk read
	lost       map[string]bool      // the keys that a bulk read does not answer for
}

type document struct{ value, etag string }

// fault is a line of the contract that a component does not keep.
type fault string

const (
	overwrites fault = "creates over what exists"
	stale      fault = "replaces at any version"
	silent     fault = "says nothing of a conflict"
	silentMany fault = "says nothing of a conflict in a transaction"
	atomic     fault = "writes all or nothing"
	oneVersion fault = "has one version"
	twoAtOnce  fault = "counts by twos"
	forgets    fault = "does not read what was written"
	keeps      fault = "keeps what was dropped"
	// The next two compare first, and write then, as state.etcd does.
	racyCreate  fault = "creates over what was created meanwhile"
	racyReplace fault = "says nothing if the version was replaced meanwhile"
	deadlocks   fault = "fails all writers that race"
	dropsRows   fault = "answers keys that it could not read as keys that do not exist"
)

// of is a sidecar with a store of that type.
func of(kind, version string, faults ...fault) *sidecar {
	s := &sidecar{
		component: &dapr.MetadataRegisteredComponents{Name: "store", Type: kind, Version: version},
		faults:    map[fault]bool{}, docs: map[string]document{},
	}
	for _, f := range faults {
		s.faults[f] = true
	}
	return s
}

func redisSidecar(faults ...fault) *sidecar    { return of("state.redis", "v1", faults...) }
func postgresSidecar(faults ...fault) *sidecar { return of("state.postgresql", "v2", faults...) }

func (s *sidecar) isRedis() bool { return s.component.Type == "state.redis" }

// do is one call.
func (s *sidecar) do(call string, effect func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
	if s.err != nil {
		return s.err
	}
	return effect()
}

func (s *sidecar) GetMetadata(context.Context) (*dapr.GetMetadataResponse, error) {
	var all []*dapr.MetadataRegisteredComponents
	err := s.do("metadata", func() error {
		all = append(all, &dapr.MetadataRegisteredComponents{Name: "other", Type: "state.in-memory", Version: "v1"}, s.component)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &dapr.GetMetadataResponse{RegisteredComponents: all}, nil
}

func (s *sidecar) GetState(_ context.Context, _, key string, _ map[string]string) (*dapr.StateItem, error) {
	item := &dapr.StateItem{Key: key}
	err := s.do("get", func() error {
		item.Value, item.Etag = s.read(key)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return item, nil
}

// GetBulkState answers in another order, as the sidecar does.
func (s *sidecar) GetBulkState(_ context.Context, _ string, keys []string, _ map[string]string, _ int32) ([]*dapr.BulkStateItem, error) {
	var items []*dapr.BulkStateItem
	err := s.do("get bulk", func() error {
		for i := len(keys) - 1; i >= 0; i-- {
			if s.lost[keys[i]] {
				continue
			}
			item := &dapr.BulkStateItem{Key: keys[i], Error: s.unread[keys[i]]}
			if !s.faults[dropsRows] {
				item.Value, item.Etag = s.read(keys[i])
			}
			items = append(items, item)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return items, nil
}

func (s *sidecar) read(key string) (value []byte, etag string) {
	d, exists := s.docs[key]
	if !exists || s.faults[forgets] {
		return nil, ""
	}
	return []byte(d.value), d.etag
}

func (s *sidecar) SaveBulkState(_ context.Context, _ string, items ...*dapr.SetStateItem) error {
	if len(items) == 1 && (isCreate(items[0]) && s.faults[racyCreate] || !isCreate(items[0]) && s.faults[racyReplace]) {
		return s.compareThenWrite(items[0])
	}
	return s.do("save", func() error {
		if s.faults[deadlocks] && strings.HasSuffix(items[0].Key, "-race") {
			return errDown
		}
		s.saved = items
		err := s.save(items, s.faults[atomic])
		if s.forgetOnce {
			s.forgetOnce = false
			clear(s.docs)
		}
		return err
	})
}

// fail has each call fail from now on, or none.
func (s *sidecar) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// ExecuteStateTransaction rolls back, but for Redis.
func (s *sidecar) ExecuteStateTransaction(_ context.Context, _ string, _ map[string]string, operations []*dapr.StateOperation) error {
	return s.do("transaction", func() error {
		var sets []*dapr.SetStateItem
		for _, o := range operations {
			if o.Type == dapr.StateOperationTypeUpsert {
				sets = append(sets, o.Item)
			} else if !s.faults[keeps] {
				delete(s.docs, o.Item.Key)
			}
		}
		s.saved = sets
		err := s.save(sets, !s.isRedis() || s.faults[atomic])
		if s.faults[silentMany] {
			return nil
		}
		return err
	})
}

func (s *sidecar) save(items []*dapr.SetStateItem, isAtomic bool) error {
	before := maps.Clone(s.docs)
	var errs []error
	for _, item := range items {
		errs = append(errs, s.write(item))
	}
	err := errors.Join(errs...)
	if err != nil && isAtomic {
		s.docs = before
	}
	if s.faults[silent] {
		return nil
	}
	return err
}

// compareThenWrite leaves other writers a moment between the two. It needs a bubble's clock: then
// all that race compare before one writes.
func (s *sidecar) compareThenWrite(item *dapr.SetStateItem) error {
	if err := s.do("save", func() error { return s.compare(item) }); err != nil {
		return err
	}
	time.Sleep(time.Millisecond)
	return s.do("save", func() error {
		if isCreate(item) || s.compare(item) == nil {
			s.put(item)
		}
		return nil
	})
}

func (s *sidecar) write(item *dapr.SetStateItem) error {
	err := s.compare(item)
	if err == nil {
		s.put(item)
	}
	return err
}

func isCreate(item *dapr.SetStateItem) bool { return item.Etag == nil || item.Etag.Value == "-1" }

// compare returns why an item conflicts, or nil.
func (s *sidecar) compare(item *dapr.SetStateItem) error {
	d, exists := s.docs[item.Key]
	etag := ""
	if item.Etag != nil {
		etag = item.Etag.Value
	}
	switch {
	case item.Options.Concurrency != dapr.StateConcurrencyFirstWrite:
	case isCreate(item) && s.faults[overwrites], !isCreate(item) && s.faults[stale]:
	case s.isRedis() && etag == "", s.isRedis() && !exists:
	case !s.isRedis() && etag == "-1":
		return errors.New("invalid UUID length")
	case isCreate(item) && exists:
		return errors.New("no item was updated")
	case !isCreate(item) && d.etag != etag:
		return fmt.Errorf("%s is at %q, not at %q", item.Key, d.etag, etag)
	}
	return nil
}

func (s *sidecar) put(item *dapr.SetStateItem) {
	s.docs[item.Key] = document{string(item.Value), s.next(s.docs[item.Key].etag)}
}

func (s *sidecar) next(etag string) string {
	n, _ := strconv.Atoi(etag)
	switch {
	case s.faults[oneVersion]:
		return "1"
	case s.faults[twoAtOnce]:
		return strconv.Itoa(n + 2)
	case s.isRedis():
		return strconv.Itoa(n + 1)
	}
	s.made++
	return "uuid-" + strconv.Itoa(s.made)
}

func (s *sidecar) DeleteStateWithETag(_ context.Context, _, key string, etag *dapr.ETag, _ map[string]string, opts *dapr.StateOptions) error {
	return s.do("delete", func() error {
		if d := s.docs[key]; opts.Concurrency == dapr.StateConcurrencyFirstWrite && d.etag != etag.Value {
			return fmt.Errorf("%s is at %q, not at %q", key, d.etag, etag.Value)
		}
		delete(s.docs, key)
		return nil
	})
}
