package state

import (
	"context"

	dapr "github.com/dapr/go-sdk/client"
)

// portable is every component without a file of its own. A first-write without an ETag creates,
// as Dapr's documentation has it. (Redis's component does not do so.)
type portable struct{}

func (portable) create() *dapr.ETag { return nil }

// save sends the items as a bulk, whose items are written each for itself. A transaction would
// be rolled back if one item conflicts.
func (portable) save(ctx context.Context, client dapr.Client, store string, set []*dapr.SetStateItem) error {
	return client.SaveBulkState(ctx, store, set...)
}

func (portable) readsAll() bool { return true }

func (portable) etagAfter(string) (string, bool) { return "", false }
