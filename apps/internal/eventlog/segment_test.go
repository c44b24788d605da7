package eventlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/postbus/postbus/apps/internal/event"
)

// uuid7 is the ith of the UUIDv7s that the tests use; they sort like i.
func uuid7(i int) string {
	at := int64(0x0190_0000_0000) + int64(i)
	return fmt.Sprintf("%08x-%04x-7000-8000-%012x", at>>16, at&0xffff, i)
}

// titled is the PostCreated of the ith post.
func titled(t testing.TB, i int, title string) event.Event {
	t.Helper()
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	e, err := event.OfPost(event.PostCreated, "posts", event.Post{ID: uuid7(i), Title: title, CreatedAt: at, Revision: 1}, at, "")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// some are the PostCreated of the posts from, from+1, ... to-1.
func some(t testing.TB, from, to int) []event.Event {
	t.Helper()
	events := make([]event.Event, 0, to-from)
	for i := from; i < to; i++ {
		events = append(events, titled(t, i, fmt.Sprintf("post %d", i)))
	}
	return events
}

// text is all lines of the segment with their separators.
func text(t testing.TB, s *Segment) string {
	t.Helper()
	return between(t, s, 0, s.Last())
}

// between is the lines of the events with numbers in (after, upTo].
func between(t testing.TB, s *Segment, after, upTo uint64) string {
	t.Helper()
	lines, err := s.Lines(after, upTo)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.Join(lines, []byte(Separator)))
}

// unzstd decompresses b.
func unzstd(t testing.TB, b []byte) string {
	t.Helper()
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	out, err := decoder.DecodeAll(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// ofSize is a segment with n events.
func ofSize(t testing.TB, number, n int) *Segment {
	t.Helper()
	s, taken, err := (&Segment{Number: number}).With(some(t, 0, n))
	if err != nil || taken != n {
		t.Fatalf("with() took %d of %d: %v", taken, n, err)
	}
	return s
}

func TestSegmentSurvivesEncodeAndDecode(t *testing.T) {
	for _, n := range []int{1, 2, 127, 128} {
		want := ofSize(t, 3, n)
		got, err := ParseSegment(3, want.Encode())
		if err != nil {
			t.Fatalf("%d events: %v", n, err)
		}
		if got.Number != 3 || got.Count() != n || text(t, got) != text(t, want) {
			t.Errorf("%d events: got number %d, count %d, same lines %v", n, got.Number, got.Count(), text(t, got) == text(t, want))
		}
		if got.Base() != 3*SegmentSize || got.Last() != uint64(3*SegmentSize+n) || got.Full() != (n == SegmentSize) { //nolint:gosec // never negative
			t.Errorf("%d events: base %d, last %d, full %v", n, got.Base(), got.Last(), got.Full())
		}
	}
}

func TestTheTailIsStoredAsABatchOfEvents(t *testing.T) {
	events, err := event.ParseBatch(ofSize(t, 2, 127).Encode())
	if err != nil || len(events) != 127 {
		t.Fatalf("%d events, %v", len(events), err)
	}
}

func TestAFullSegmentIsStoredAsItsLinesCompressed(t *testing.T) {
	s := ofSize(t, 2, SegmentSize)
	value := s.Encode()
	if 4*len(value) > len(text(t, s)) {
		t.Errorf("%d bytes are stored of %d", len(value), len(text(t, s)))
	}
	if lines := unzstd(t, value); lines != text(t, s) {
		t.Errorf("%d bytes are not the lines", len(lines))
	}
}

// A log that was written before full segments were compressed.
func TestAFullSegmentMayBeAnArray(t *testing.T) {
	want := ofSize(t, 2, SegmentSize)
	s, err := ParseSegment(2, []byte(Opening+text(t, want)+Closing))
	if err != nil || !s.Full() || text(t, s) != text(t, want) {
		t.Errorf("%v: %d events", err, s.Count())
	}
}

func TestASegmentOfTheLargestEventsCanBeUnpackedAndOneByteMoreThanTheBoundNot(t *testing.T) {
	largest := bytes.Repeat([]byte{'x'}, 2*event.MaxBytes)
	lines := bytes.Join(slices.Repeat([][]byte{largest}, SegmentSize), []byte(Separator))
	s, err := ParseSegment(1, Pack(lines))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Lines(0, s.Last()); err != nil || !bytes.Equal(bytes.Join(got, []byte(Separator)), lines) {
		t.Errorf("%d bytes: %v", len(lines), err)
	}
	last := slices.Concat(bytes.Repeat([]byte(Separator), SegmentSize-1), bytes.Repeat([]byte{'x'}, maxSegment-(SegmentSize-1)*len(Separator)))
	for _, test := range []struct {
		lines []byte
		want  bool
	}{{last, true}, {append(last, 'x'), false}} {
		if s, err = ParseSegment(1, Pack(test.lines)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lines(0, s.Last()); (err == nil) != test.want {
			t.Errorf("%d bytes: %v", len(test.lines), err)
		}
	}
}

func TestADamagedPackedSegmentSaysSo(t *testing.T) {
	whole := ofSize(t, 2, SegmentSize).Encode()
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for name, value := range map[string][]byte{
		"cut off": whole[:len(whole)-1], "changed": flipped, "too few events": Pack([]byte(text(t, ofSize(t, 2, 127)))), "more than bytes": append(bytes.Clone(whole), 'x'),
	} {
		s, err := ParseSegment(2, value)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lines(0, s.Last()); err == nil || !strings.Contains(err.Error(), "segment 2 is damaged") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoValueIsAnEmptySegment(t *testing.T) {
	s, err := ParseSegment(7, nil)
	if err != nil || s.Number != 7 || s.Count() != 0 || s.Last() != 7*SegmentSize {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestWithNumbersOnFromTheSegmentsLast(t *testing.T) {
	s := ofSize(t, 1, 5)
	grown, n, err := s.With(some(t, 5, 8))
	if err != nil || n != 3 {
		t.Fatalf("took %d, %v", n, err)
	}
	events, err := event.ParseBatch(Batch(grown.lines))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range events {
		if want := event.Sequence(SegmentSize + i + 1); e.Sequence != want { //nolint:gosec // never negative
			t.Errorf("event %d has number %d, want %d", i, e.Sequence, want)
		}
		if e.Subject != uuid7(i) {
			t.Errorf("event %d is of %s, want %s", i, e.Subject, uuid7(i))
		}
	}
}

func TestWithFillsTheSegmentAndNoMore(t *testing.T) {
	for _, c := range []struct{ has, offered, taken int }{
		{0, 0, 0}, {0, 1, 1}, {0, 128, 128}, {0, 129, 128}, {127, 1, 1}, {127, 2, 1}, {100, 1000, 28}, {128, 5, 0},
	} {
		s := ofSize(t, 0, c.has)
		grown, n, err := s.With(some(t, c.has, c.has+c.offered))
		if err != nil || n != c.taken || grown.Count() != c.has+c.taken {
			t.Errorf("%d with %d: took %d, has %d, %v; want %d taken", c.has, c.offered, n, grown.Count(), err, c.taken)
		}
	}
}

// Readers hold the tail while it is appended to.
func TestWithLeavesTheSegmentAsItIs(t *testing.T) {
	s := ofSize(t, 0, 3)
	before := text(t, s)
	for range 3 { // also when it is appended to again and again, as after a conflict
		if _, _, err := s.With(some(t, 3, 6)); err != nil {
			t.Fatal(err)
		}
	}
	if s.Count() != 3 || text(t, s) != before {
		t.Error("with() changed the segment that it is called on")
	}
}

// naiveBetween decodes everything.
func naiveBetween(t testing.TB, s *Segment, after, upTo uint64) string {
	t.Helper()
	var lines []json.RawMessage
	if err := json.Unmarshal([]byte(Opening+text(t, s)+Closing), &lines); err != nil {
		t.Fatal(err)
	}
	var chosen []string
	for i, line := range lines {
		if n := s.Base() + uint64(i) + 1; n > after && n <= upTo { //nolint:gosec // never negative
			chosen = append(chosen, string(line))
		}
	}
	return strings.Join(chosen, ",\n")
}

func TestBetweenIsWhatANaiveReaderFinds(t *testing.T) {
	for _, c := range []struct{ number, count int }{{0, 1}, {0, 2}, {1, 1}, {1, 3}, {2, 9}} {
		s := ofSize(t, c.number, c.count)
		first := max(s.Base(), 2) - 2
		for after := first; after <= s.Last()+2; after++ {
			for upTo := after; upTo <= s.Last()+2; upTo++ {
				if got, want := between(t, s, after, upTo), naiveBetween(t, s, after, upTo); got != want {
					t.Fatalf("segment %d of %d, between(%d, %d):\n got %q\nwant %q", c.number, c.count, after, upTo, got, want)
				}
			}
		}
	}
}

func TestBetweenOfAFullSegmentHasEveryRange(t *testing.T) {
	s := ofSize(t, 1, SegmentSize)
	lines := strings.Split(text(t, s), ",\n")
	for after := s.Base(); after <= s.Last(); after++ {
		for upTo := after; upTo <= s.Last(); upTo++ {
			want := strings.Join(lines[after-s.Base():upTo-s.Base()], ",\n")
			if got := between(t, s, after, upTo); got != want {
				t.Fatalf("between(%d, %d) has %d bytes, want %d", after, upTo, len(got), len(want))
			}
		}
	}
}

func TestBetweenOfAnEmptySegmentIsEmpty(t *testing.T) {
	s := &Segment{Number: 1}
	for _, r := range [][2]uint64{{0, 128}, {128, 128}, {128, 200}, {0, 1000}} {
		if got := between(t, s, r[0], r[1]); len(got) != 0 {
			t.Errorf("between(%d, %d) is %q", r[0], r[1], got)
		}
	}
}

func TestDamagedSegmentsAreRefused(t *testing.T) {
	line := text(t, ofSize(t, 0, 1))
	for name, value := range map[string]string{
		"not JSON":         "hello",
		"another array":    "[]",
		"array of nothing": "[\n\n]",
		"an Opening alone": "[\n",
		"brackets alone":   "[\n]",
		"not opened":       line + "\n]",
		"not closed":       "[\n" + line,
		"too many":         "[\n" + strings.Repeat(line+",\n", SegmentSize) + line + "\n]",
	} {
		if s, err := ParseSegment(0, []byte(value)); err == nil {
			t.Errorf("%s: taken as %d events", name, s.Count())
		}
	}
}

func TestATruncatedSegmentIsRefusedWhereverItEnds(t *testing.T) {
	value := ofSize(t, 0, 3).Encode()
	for n := 1; n < len(value); n++ {
		if s, err := ParseSegment(0, value[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes are taken as %d events", n, len(value), s.Count())
		}
	}
}

// Lines are told apart without decoding, so nothing in an event may look like
// the end of one.
func TestNoContentSplitsALine(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		piece := rapid.SampledFrom([]string{",\n", "\n]", "[\n", "\"", "\\", "\\n", "},\n{", "\r\n", "\u2028", "\u2029", "<&>", "\x00", "é", "😀", "x"})
		titles := rapid.SliceOfN(rapid.Map(rapid.SliceOfN(piece, 1, 20), func(p []string) string { return strings.Join(p, "") }), 1, 10).Draw(r, "titles")
		events := make([]event.Event, len(titles))
		for i, title := range titles {
			events[i] = titled(t, i, title+"x") // a title of white space alone is none
		}
		s, _, err := (&Segment{}).With(events)
		if err != nil {
			r.Fatal(err)
		}
		got, err := ParseSegment(0, s.Encode())
		if err != nil || got.Count() != len(events) {
			r.Fatalf("%d events became %d: %v", len(events), got.Count(), err)
		}
		for i := range events {
			line := between(t, got, uint64(i), uint64(i)+1) //nolint:gosec // never negative
			one, err := event.ParseBatch(append(append([]byte("["), line...), ']'))
			if err != nil || len(one) != 1 || one[0].Post.Title != titles[i]+"x" {
				r.Fatalf("line %d is %q: %v", i, line, err)
			}
		}
	})
}

// What comes off the bus need not be in one line.
func TestAnIndentedEventBecomesOneLine(t *testing.T) {
	events := some(t, 0, 2)
	for i, e := range events {
		raw, err := json.MarshalIndent(e, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if events[i], err = event.Parse(event.PostCreated, raw); err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(raw, []byte(Separator)) {
			t.Fatal("the test is of no use: the event has no line feed after a comma")
		}
	}
	s, _, err := (&Segment{}).With(events)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseSegment(0, s.Encode()); err != nil || got.Count() != 2 {
		t.Errorf("2 events became %+v, %v", got, err)
	}
}

func FuzzParseSegment(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(ofSize(f, 0, 2).Encode())
	f.Add([]byte("[\n,\n,\n\n]"))
	f.Fuzz(func(t *testing.T, value []byte) {
		s, err := ParseSegment(1, value)
		if err != nil {
			return
		}
		if s.Count() < 0 || s.Count() > SegmentSize {
			t.Fatalf("%d events", s.Count())
		}
		if _, err := s.Lines(0, s.Last()); err != nil {
			return // it is compressed, and damaged
		}
		// What was taken can be cut anywhere, and put together again.
		for n := s.Base(); n <= s.Last(); n++ {
			young, old := between(t, s, n, s.Last()), between(t, s, s.Base(), n)
			if len(young) > len(text(t, s)) || len(old) > len(text(t, s)) {
				t.Fatalf("cut at %d: %d and %d of %d bytes", n, len(old), len(young), len(text(t, s)))
			}
		}
	})
}
