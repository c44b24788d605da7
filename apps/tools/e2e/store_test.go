package e2e

import (
	"fmt"
	"testing"

	dapr "github.com/dapr/go-sdk/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/tools/system"
)

// maxAnswer bounds an answer of the sidecar, in bytes, as the services do.
const maxAnswer = 64 << 20

// storeOf is an app's state store.
func storeOf(t *testing.T, a system.App, name string) *state.Sidecar {
	t.Helper()
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", a.GRPCPort), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer), grpc.MaxCallSendMsgSize(maxAnswer)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return state.New(dapr.NewClientWithConnection(conn), name)
}

func TestTheStateStoreKeepsTheContract(t *testing.T) {
	statetest.Conform(t, storeOf(t, shared.App("posts"), "posts-store"))
}
