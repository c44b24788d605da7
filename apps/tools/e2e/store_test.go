package e2e

import (
	"fmt"
	"testing"
	"time"

	common "github.com/dapr/dapr/pkg/proto/common/v1"
	pb "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestAWriteIsACompareAndSwapOfEachKey covers what apps/internal/state relies on. A write
// of an existing key succeeds only at its ETag, and never with -1. A write of a missing
// key succeeds with any ETag. If one key of a transaction conflicts, the others are
// written.
func TestAWriteIsACompareAndSwapOfEachKey(t *testing.T) {
	const store = "posts-store"
	sidecar, run := sidecarOf(t, shared.App("posts")), time.Now().UnixNano()
	key := func(name string) string { return fmt.Sprintf("%s-%d-%s", t.Name(), run, name) }
	write := func(name, value, etag string) *common.StateItem {
		return &common.StateItem{
			Key: key(name), Value: []byte(value), Etag: &common.Etag{Value: etag},
			Options: &common.StateOptions{Concurrency: common.StateOptions_CONCURRENCY_FIRST_WRITE},
		}
	}
	alone := func(item *common.StateItem) error {
		_, err := sidecar.SaveState(t.Context(), &pb.SaveStateRequest{StoreName: store, States: []*common.StateItem{item}})
		return err
	}
	together := func(items ...*common.StateItem) error {
		var operations []*pb.TransactionalStateOperation
		for _, item := range items {
			operations = append(operations, &pb.TransactionalStateOperation{OperationType: "upsert", Request: item})
		}
		_, err := sidecar.ExecuteStateTransaction(t.Context(), &pb.ExecuteStateTransactionRequest{StoreName: store, Operations: operations})
		return err
	}
	holds := func(want map[string]string) {
		t.Helper()
		for name, value := range want {
			got, err := sidecar.GetState(t.Context(), &pb.GetStateRequest{StoreName: store, Key: key(name)})
			if err != nil {
				t.Fatal(err)
			}
			if string(got.GetData()) != value {
				t.Errorf("%s holds %q, want %q", name, got.GetData(), value)
			}
		}
	}
	succeeds := func(err error) {
		t.Helper()
		if err != nil {
			t.Errorf("not written: %v", err)
		}
	}
	conflicts := func(err error) {
		t.Helper()
		if code := status.Code(err); code != codes.Aborted && code != codes.Internal {
			t.Errorf("no conflict: %v", err)
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
