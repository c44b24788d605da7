package main

// recentSegments are the youngest full segments, one after another, up to
// cachedSegments and cachedBytes.
type recentSegments struct {
	byNumber map[int]*segment
	oldest   int
	bytes    int
}

// add takes the next segment, or the last one again.
func (r *recentSegments) add(s *segment) {
	if len(r.byNumber) == 0 {
		r.byNumber, r.oldest = map[int]*segment{}, s.number
	}
	r.bytes += s.bytes() - r.byNumber[s.number].bytes()
	r.byNumber[s.number] = s
	for len(r.byNumber) > cachedSegments || r.bytes > cachedBytes {
		r.bytes -= r.byNumber[r.oldest].bytes()
		delete(r.byNumber, r.oldest)
		r.oldest++
	}
}

// find returns nil for a segment that is not kept.
func (r *recentSegments) find(number int) *segment { return r.byNumber[number] }
