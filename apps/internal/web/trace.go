package web

import (
	"context"
	"log/slog"
	"regexp"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"go.opentelemetry.io/contrib/instrumentation/github.com/gin-gonic/gin/otelgin"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// RequestID is the header with a request's id, which is in the logs. A service makes an
// id, unless the request has one of up to 128 letters, digits, dots, hyphens and
// underscores.
const RequestID = "X-Request-Id"

var validRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

type requestIDKey struct{}

// identified sets the request's id on the request, on the answer, and in the context,
// from which TraceLog reads it.
func identified(c *gin.Context) {
	id := c.GetHeader(RequestID)
	if !validRequestID.MatchString(id) {
		id = uuid.NewString()
	}
	c.Request.Header.Set(RequestID, id) // replaces all values of the header
	c.Header(RequestID, id)
	c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), requestIDKey{}, id))
}

// propagator is W3C Trace Context, which the sidecar speaks too.
var propagator = propagation.TraceContext{}

// traced gives every request a span, in the caller's trace or in a new one.
func traced() gin.HandlerFunc {
	return otelgin.Middleware("", otelgin.WithPropagators(propagator),
		otelgin.WithSpanNameFormatter(func(c *gin.Context) string { return c.Request.Method + " " + c.FullPath() }))
}

// TraceParent is the W3C traceparent of ctx's span, or empty.
func TraceParent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagator.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}

// Follow begins a span in the trace of a W3C traceparent, such as an event carries. It
// returns a function that ends the span. A trace that is not sampled, or not valid, costs
// nothing.
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
