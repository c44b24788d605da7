package web

import (
	"context"
	"log/slog"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// propagator is W3C Trace Context, which the sidecar speaks too.
var propagator = propagation.TraceContext{}

// traced gives every request a span: the caller's trace goes on, or one begins.
func traced(c *gin.Context) {
	ctx := propagator.Extract(c.Request.Context(), propagation.HeaderCarrier(c.Request.Header))
	ctx, span := otel.Tracer("postbus").Start(ctx, c.Request.Method+" "+c.FullPath(), trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	c.Request = c.Request.WithContext(ctx)
	c.Next()
}

// TraceParent is the W3C traceparent of ctx's span, or empty.
func TraceParent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagator.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}

// Follow begins a span that goes on with the trace of a W3C traceparent, such as
// an event carries, and returns what ends it. A trace that isn't sampled, or is no
// trace, costs nothing.
func Follow(ctx context.Context, traceParent, name string) (end func()) {
	ctx = propagator.Extract(ctx, propagation.MapCarrier{"traceparent": traceParent})
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return func() {}
	}
	_, span := otel.Tracer("postbus").Start(ctx, name, trace.WithSpanKind(trace.SpanKindConsumer))
	return func() { span.End() }
}

// TraceLog adds the ids of the context's request and trace to each line that h logs.
func TraceLog(h slog.Handler) slog.Handler { return traceLog{h} }

type traceLog struct{ slog.Handler }

func (t traceLog) Handle(ctx context.Context, r slog.Record) error {
	if id, ok := ctx.Value(requestIDKey{}).(string); ok {
		r.AddAttrs(slog.String("request", id))
	}
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		r.AddAttrs(slog.String("trace", span.TraceID().String()))
	}
	return t.Handler.Handle(ctx, r)
}

func (t traceLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return traceLog{t.Handler.WithAttrs(attrs)}
}
func (t traceLog) WithGroup(name string) slog.Handler { return traceLog{t.Handler.WithGroup(name)} }
