package e2e

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// traces is an OpenTelemetry collector that records spans.
type traces struct {
	collector.UnimplementedTraceServiceServer
	mu sync.Mutex
	// spans are "service: name", by trace id.
	spans map[string][]string
}

func (c *traces) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range req.GetResourceSpans() {
		service := ""
		for _, a := range r.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, s := range r.GetScopeSpans() {
			for _, span := range s.GetSpans() {
				id := hex.EncodeToString(span.GetTraceId())
				c.spans[id] = append(c.spans[id], service+": "+span.GetName())
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func TestOneTraceFollowsACommentFromItsPOSTToItsUpdate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &traces{spans: map[string][]string{}}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	t.Setenv("OTEL_EXPORTER_OTLP_INSECURE", "true")
	s := another(t, nil, built.binaries)

	p := s.createPost(t, "traced")
	const id = "0af7651916cd43dd8448eb211c80319c"
	want(t, 201, "POST", s.url("client", "/posts/"+p.ID+"/comments"), `{"content":"traced"}`, "traceparent: 00-"+id+"-b7ad6b7169203331-01")
	eventually(t, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		spans := c.spans[id]
		for _, expected := range []string{
			"client: POST /posts/:id/comments", "comments: POST /posts/:id/comments",
			"moderation: handle CommentCreated", "comments: handle CommentModerated", "query: handle CommentUpdated", "eventlog: handle CommentUpdated",
		} {
			if !slices.Contains(spans, expected) {
				return fmt.Errorf("no span %q among %q", expected, spans)
			}
		}
		// The sidecars also send spans.
		if !slices.ContainsFunc(spans, func(span string) bool { return strings.HasPrefix(span, s.App("comments").ID+": ") }) {
			return fmt.Errorf("no span of a sidecar among %q", spans)
		}
		return nil
	})
}
