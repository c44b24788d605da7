package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	pb "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/postbus/postbus/apps/tools/system"
)

// sidecarOf is a client of an app's sidecar over gRPC. Over HTTP a sidecar offers neither
// the stores nor the bus.
func sidecarOf(t *testing.T, a system.App) pb.DaprClient {
	t.Helper()
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", a.GRPCPort), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return pb.NewDaprClient(conn)
}

// wantRefused fails the test unless the sidecar refused a call with one of the codes and
// a reason with the text. A sidecar that could not be reached has refused nothing.
func wantRefused(t *testing.T, what string, err error, text string, as ...codes.Code) {
	t.Helper()
	if code := status.Code(err); !slices.Contains(as, code) || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %v because it %s", what, err, as, text)
	}
}
