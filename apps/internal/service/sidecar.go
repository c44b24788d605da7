package service

import (
	"context"
	"fmt"
	"os"
	"time"

	dapr "github.com/dapr/go-sdk/client"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/postbus/postbus/apps/internal/web"
)

// maxMessage bounds a message from or to the sidecar, in bytes. The sidecar's own bound
// is lower: its maxBodySize of 16 MiB. Callers of state.Get stay below that.
const maxMessage = 64 << 20

// connect returns a client of the sidecar. The SDK's own constructors wait 5 s for the
// sidecar (dapr/go-sdk#437, open) and then fail for good (dapr/go-sdk#280, open). They
// also keep gRPC's default reconnect delay, which grows to two minutes. It can go when
// the SDK has a constructor that does not wait.
func connect(port int) (dapr.Client, error) {
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", port),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(outgoing(os.Getenv("DAPR_API_TOKEN"))),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}))
	if err != nil {
		return nil, fmt.Errorf("sidecar: %w", err)
	}
	return dapr.NewClientWithConnection(conn), nil
}

// APIToken is the header with the token between the app and its sidecar.
const APIToken = "dapr-api-token" //nolint:gosec // the name of a header

// outgoing adds the API token and the trace to each call. (otelgrpc costs more than it
// brings: ../README.md, "Traces".)
func outgoing(token string) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, APIToken, token)
		}
		if parent := web.TraceParent(ctx); parent != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", parent)
		}
		return call(ctx, method, req, reply, cc, opts...)
	}
}

// startTraces makes trace ids for the log. If OTEL_EXPORTER_OTLP_ENDPOINT names an
// OpenTelemetry collector, it sends spans there (the standard variables configure
// exporter and sampler). It returns a function that flushes the spans.
func startTraces(name string) func(context.Context) error {
	opts := []sdktrace.TracerProviderOption{
		sdktrace.WithResource(resource.NewSchemaless(semconv.ServiceName(name))),
	}
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" {
		opts = append(opts, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
	} else if exporter, err := otlptracegrpc.New(context.Background()); err == nil {
		opts = append(opts, sdktrace.WithBatcher(exporter))
	}
	provider := sdktrace.NewTracerProvider(opts...)
	otel.SetTracerProvider(provider)
	return provider.Shutdown
}
