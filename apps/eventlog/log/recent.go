package log

import "github.com/postbus/postbus/apps/internal/eventlog"

// recentSegments keeps at most cachedSegments of the youngest full segments in memory for
// readers, and no more than cachedBytes of them: 64 Ki events, of some 10 KB when they
// are long.
const (
	cachedSegments = 512
	cachedBytes    = 64 << 20
)

// recentSegments are the youngest full segments, one after another.
type recentSegments struct {
	segments []*eventlog.Segment
	bytes    int
}

// add takes the next segment.
func (r *recentSegments) add(s *eventlog.Segment) {
	r.segments = append(r.segments, s)
	r.bytes += s.Bytes()
	for len(r.segments) > cachedSegments || r.bytes > cachedBytes {
		r.bytes -= r.segments[0].Bytes()
		r.segments[0] = nil
		r.segments = r.segments[1:]
	}
}

// find returns nil for a segment that is not kept.
func (r *recentSegments) find(number int) *eventlog.Segment {
	if len(r.segments) == 0 || number < r.segments[0].Number || number > r.segments[len(r.segments)-1].Number {
		return nil
	}
	return r.segments[number-r.segments[0].Number]
}
