package state

import (
	"context"
	"strconv"

	dapr "github.com/dapr/go-sdk/client"
)

// redis is state.redis v1 (components-contrib 1.18.4, state/redis/redis.go). Its ETags count
// a key's writes. A key that does not exist takes any ETag.
type redis struct{}

// absent is an ETag that no key has. A write with it succeeds only if the key does not exist.
// (Without an ETag a write never conflicts, and with the ETag 0 one in a transaction neither.)
const absent = "-1"

func (redis) create() *dapr.ETag { return &dapr.ETag{Value: absent} }

// save sends several items as a transaction, because the component then sends them at once
// (../README.md, "One key a write"). It does not roll back: if one item conflicts, the others
// are written.
func (redis) save(ctx context.Context, client dapr.Client, store string, set []*dapr.SetStateItem) error {
	if len(set) < 2 {
		return client.SaveBulkState(ctx, store, set...)
	}
	return together(ctx, client, store, dapr.StateOperationTypeUpsert, set)
}

func (redis) readsAll() bool { return true }

func (redis) etagAfter(etag string) (string, bool) {
	n, err := strconv.ParseUint(etag, 10, 64)
	if err != nil && etag != "" {
		return "", false
	}
	return strconv.FormatUint(n+1, 10), true
}
