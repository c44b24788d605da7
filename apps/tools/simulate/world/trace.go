package world

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"time"
)

// Trace is what happened in a history, a line for each call between a process and the
// world. Two runs of a plan have the same trace. A nil Trace records nothing.
type Trace struct {
	// Lines, if set, gets the lines.
	Lines *bytes.Buffer
	began time.Time
	hash  uint64
}

// Sum is a hash of the lines so far.
func (t *Trace) Sum() uint64 { return t.hash }

func (t *Trace) add(format string, args ...any) {
	if t == nil {
		return
	}
	line := fmt.Appendf(nil, "%12.6f ", time.Since(t.began).Seconds())
	line = fmt.Appendf(line, format+"\n", args...)
	h := fnv.New64a()
	_, _ = h.Write(line)
	t.hash = t.hash*31 + h.Sum64()
	if t.Lines != nil {
		_, _ = t.Lines.Write(line)
	}
}

// traceLog writes what the services log into a trace.
type traceLog struct {
	slog.Handler // of Enabled and the like; nothing is written to it
	trace        *Trace
}

func (l traceLog) Enabled(context.Context, slog.Level) bool { return l.trace != nil }

func (l traceLog) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l traceLog) WithGroup(string) slog.Handler { return l }

func (l traceLog) Handle(ctx context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	l.trace.add("%s logs %s: %s", processOf(ctx), r.Level, text)
	return nil
}
