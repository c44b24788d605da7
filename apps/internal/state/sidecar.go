package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	dapr "github.com/dapr/go-sdk/client"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// component is how the components of one type are made to keep the contract.
type component interface {
	// create is the ETag of a write that succeeds only if its key does not exist.
	create() *dapr.ETag
	// save writes items, each for itself.
	save(ctx context.Context, client dapr.Client, store string, set []*dapr.SetStateItem) error
	// readsAll says that a key does not exist if a read of several keys says so.
	readsAll() bool
	// etagAfter is Store.ETagAfter.
	etagAfter(etag string) (after string, isKnown bool)
}

// components are the types that need a way of their own, as the sidecar's metadata names them.
var components = map[string]component{
	"state.redis/v1":      redis{},
	"state.postgresql/v2": postgres{},
}

// Sidecar is a state store component of Dapr. Before its first write it asks the sidecar of which
// type the component is, and proves that it keeps the contract. A store that takes no writes,
// because it is full, is read all the same. It is safe for concurrent use.
type Sidecar struct {
	client  dapr.Client
	name    string
	found   atomic.Pointer[view]
	proving *semaphore.Weighted // held during a proof
	proven  atomic.Pointer[proof]
}

// proof is what was proven of a store.
type proof struct {
	view *view
	err  error // an ErrUnfit, or nil
}

var _ Store = (*Sidecar)(nil)

// New returns the state store component with that name of the sidecar that client is connected
// to.
func New(client dapr.Client, name string) *Sidecar {
	return &Sidecar{client: client, name: name, proving: semaphore.NewWeighted(1)}
}

// Prove returns nil once it is proven that the store keeps the contract, and an ErrUnfit once it
// is proven that it does not. Any other error says that the store could not be asked.
func (s *Sidecar) Prove(ctx context.Context) error {
	_, err := s.fit(ctx)
	return err
}

const (
	// provePause is the pause between two tries to prove a store.
	provePause = time.Second
	// proveTimeout bounds one try. It is some 30 calls, or 60.
	proveTimeout = time.Minute
	// proveQuietly is how long a store may not be proven without a warning.
	proveQuietly = 30 * time.Second
)

// Await proves the store until it is known whether it keeps the contract. The error is an
// ErrUnfit, or that of ctx.
func (s *Sidecar) Await(ctx context.Context) error {
	for began, hasWarned := time.Now(), false; ; {
		try, cancel := context.WithTimeout(ctx, proveTimeout)
		err := s.Prove(try)
		cancel()
		if err == nil || errors.Is(err, ErrUnfit) {
			return err
		}
		if !hasWarned && time.Since(began) >= proveQuietly {
			slog.WarnContext(ctx, "the state store can't be tried yet, retrying", "store", s.name, "error", err)
			hasWarned = true
		}
		if err := pause(ctx, provePause); err != nil {
			return err
		}
	}
}

// fit returns the store as it is used, once it is proven that it keeps the contract.
func (s *Sidecar) fit(ctx context.Context) (*view, error) {
	if p := s.proven.Load(); p != nil {
		return p.view, p.err
	}
	if err := s.proving.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer s.proving.Release(1)
	if p := s.proven.Load(); p != nil {
		return p.view, p.err
	}
	v, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	err = prove(ctx, v)
	if errors.Is(err, ErrUnfit) { // or the store was emptied, or has failed, in the middle of the proof
		if err := pause(ctx, provePause); err != nil {
			return nil, err
		}
		err = prove(ctx, v)
	}
	if errors.Is(err, ErrUnfit) {
		err = fmt.Errorf("the state store %s (%s) %w", s.name, v.kind, err)
	}
	if err == nil || errors.Is(err, ErrUnfit) {
		s.proven.Store(&proof{v, err})
	}
	return v, err
}

func pause(ctx context.Context, long time.Duration) error {
	select {
	case <-time.After(long):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// find asks the sidecar, once, for the type of the component.
func (s *Sidecar) find(ctx context.Context) (*view, error) {
	if v := s.found.Load(); v != nil {
		return v, nil
	}
	metadata, err := s.client.GetMetadata(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the sidecar for its components: %w", err)
	}
	for _, c := range metadata.RegisteredComponents {
		if c.Name != s.name {
			continue
		}
		kind := c.Type + "/" + c.Version
		of, ok := components[kind]
		if !ok {
			of = portable{}
		}
		v := &view{s.client, s.name, kind, of}
		s.found.Store(v)
		return v, nil
	}
	return nil, fmt.Errorf("the sidecar has no component %s", s.name)
}

// notUnfit returns the store for what writes nothing new, unless it is proven unfit.
func (s *Sidecar) notUnfit(ctx context.Context) (*view, error) {
	if p := s.proven.Load(); p != nil {
		return p.view, p.err
	}
	return s.find(ctx)
}

// Get implements Store.
func (s *Sidecar) Get(ctx context.Context, keys ...string) ([]Item, error) {
	v, err := s.notUnfit(ctx)
	if err != nil {
		return nil, err
	}
	return v.get(ctx, keys)
}

// Swap implements Store.
func (s *Sidecar) Swap(ctx context.Context, items ...Item) error {
	v, err := s.fit(ctx)
	if err == nil {
		err = v.swap(ctx, items)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return nil
}

// ETagAfter implements Store. It knows nothing before the first write.
func (s *Sidecar) ETagAfter(etag string) (after string, isKnown bool) {
	if p := s.proven.Load(); p != nil {
		return p.view.etagAfter(etag)
	}
	return "", false
}

// Delete implements Store.
func (s *Sidecar) Delete(ctx context.Context, item Item) error {
	v, err := s.notUnfit(ctx)
	if err != nil {
		return err
	}
	return v.remove(ctx, item)
}

// Drop implements Store.
func (s *Sidecar) Drop(ctx context.Context, keys ...string) error {
	v, err := s.notUnfit(ctx)
	if err != nil {
		return err
	}
	return v.drop(ctx, keys)
}

// view is a store whose way is known.
type view struct {
	client dapr.Client
	name   string
	kind   string // its type and version, as in "state.redis/v1"
	component
}

// readParallelism is how many keys the sidecar reads at once for one call.
const readParallelism = 32

func (v *view) get(ctx context.Context, keys []string) ([]Item, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	if len(keys) == 1 {
		item, err := v.getOne(ctx, keys[0])
		if err != nil {
			return nil, err
		}
		return []Item{item}, nil
	}
	got, err := v.client.GetBulkState(ctx, v.name, keys, nil, readParallelism)
	if err != nil {
		return nil, fmt.Errorf("reading %d keys from %s on: %w", len(keys), keys[0], err)
	}
	byKey := make(map[string]*dapr.BulkStateItem, len(got))
	for _, g := range got {
		byKey[g.Key] = g
	}
	items := make([]Item, len(keys))
	for i, key := range keys {
		g, ok := byKey[key]
		if !ok {
			return nil, fmt.Errorf("reading %s: the store did not answer for it", key)
		}
		if g.Error != "" {
			return nil, fmt.Errorf("reading %s: %s", key, g.Error)
		}
		items[i] = Item{Key: key, Value: g.Value, ETag: g.Etag}
	}
	if v.readsAll() {
		return items, nil
	}
	return items, v.getAbsent(ctx, items)
}

func (v *view) getOne(ctx context.Context, key string) (Item, error) {
	got, err := v.client.GetState(ctx, v.name, key, nil)
	if err != nil {
		return Item{}, fmt.Errorf("reading %s: %w", key, err)
	}
	return Item{Key: key, Value: got.Value, ETag: got.Etag}, nil
}

// getAbsent reads the items that do not exist once more, each for itself.
func (v *view) getAbsent(ctx context.Context, items []Item) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readParallelism)
	for i := range items {
		if items[i].Exists() {
			continue
		}
		g.Go(func() (err error) {
			items[i], err = v.getOne(ctx, items[i].Key)
			return err
		})
	}
	return g.Wait()
}

func (v *view) swap(ctx context.Context, items []Item) error {
	set := make([]*dapr.SetStateItem, len(items))
	for i, item := range items {
		set[i] = &dapr.SetStateItem{Key: item.Key, Value: item.Value, Etag: v.create(), Options: firstWrite}
		if item.ETag != "" {
			set[i].Etag = &dapr.ETag{Value: item.ETag}
		}
		if item.TTL > 0 {
			set[i].Metadata = map[string]string{"ttlInSeconds": strconv.Itoa(int(item.TTL.Seconds()))}
		}
	}
	return v.save(ctx, v.client, v.name, set)
}

// firstWrite has a write conflict if its key is not at its ETag.
var firstWrite = &dapr.StateOptions{Concurrency: dapr.StateConcurrencyFirstWrite, Consistency: dapr.StateConsistencyStrong}

func (v *view) remove(ctx context.Context, item Item) error {
	if err := v.client.DeleteStateWithETag(ctx, v.name, item.Key, &dapr.ETag{Value: item.ETag}, nil, firstWrite); err != nil {
		return fmt.Errorf("deleting %s: %w", item.Key, err)
	}
	return nil
}

func (v *view) drop(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	items := make([]*dapr.SetStateItem, len(keys))
	for i, key := range keys {
		items[i] = &dapr.SetStateItem{Key: key}
	}
	if err := together(ctx, v.client, v.name, dapr.StateOperationTypeDelete, items); err != nil {
		return fmt.Errorf("removing %d keys from %s on: %w", len(keys), keys[0], err)
	}
	return nil
}

// together sends operations of one type as a transaction.
func together(ctx context.Context, client dapr.Client, store string, operation dapr.OperationType, items []*dapr.SetStateItem) error {
	operations := make([]*dapr.StateOperation, len(items))
	for i, item := range items {
		operations[i] = &dapr.StateOperation{Type: operation, Item: item}
	}
	return client.ExecuteStateTransaction(ctx, store, nil, operations)
}
