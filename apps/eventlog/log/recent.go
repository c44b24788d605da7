package log

import "github.com/postbus/postbus/apps/internal/eventlog"

// At most cachedSegments of the youngest full segments are kept in memory for readers, as
// they are stored, and no more than cachedBytes of them.
const (
	cachedSegments = 512
	cachedBytes    = 64 << 20
)

// recentSegments are the youngest full segments, one after another.
type recentSegments struct {
	segments []*eventlog.Segment
	bytes    int // of them as they are stored
}

// add adds the next segment, and removes the oldest ones that exceed the bounds.
func (r *recentSegments) add(s *eventlog.Segment) {
	r.segments = append(r.segments, s)
	r.bytes += len(s.Encode())
	for len(r.segments) > cachedSegments || r.bytes > cachedBytes {
		r.bytes -= len(r.segments[0].Encode())
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
