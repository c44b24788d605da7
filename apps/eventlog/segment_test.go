package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/postbus/postbus/apps/internal/event"
)

// ofSize is a segment with n events.
func ofSize(t testing.TB, number, n int) *segment {
	t.Helper()
	s, taken, err := (&segment{number: number}).with(some(t, 0, n))
	if err != nil || taken != n {
		t.Fatalf("with() took %d of %d: %v", taken, n, err)
	}
	return s
}

func TestSegmentSurvivesEncodeAndDecode(t *testing.T) {
	for _, n := range []int{1, 2, 127, 128} {
		want := ofSize(t, 3, n)
		got, err := decodeSegment(3, want.encode())
		if err != nil {
			t.Fatalf("%d events: %v", n, err)
		}
		if err := got.unpack(); err != nil {
			t.Fatalf("%d events: %v", n, err)
		}
		if got.number != 3 || got.count != n || !bytes.Equal(got.lines, want.lines) {
			t.Errorf("%d events: got number %d, count %d, same lines %v", n, got.number, got.count, bytes.Equal(got.lines, want.lines))
		}
		if got.base() != 3*segmentSize || got.last() != uint64(3*segmentSize+n) || got.full() != (n == segmentSize) { //nolint:gosec // never negative
			t.Errorf("%d events: base %d, last %d, full %v", n, got.base(), got.last(), got.full())
		}
	}
}

func TestTheTailIsStoredAsABatchOfEvents(t *testing.T) {
	events, err := event.ParseBatch(ofSize(t, 2, 127).encode())
	if err != nil || len(events) != 127 {
		t.Fatalf("%d events, %v", len(events), err)
	}
}

func TestAFullSegmentIsStoredAsItsLinesCompressed(t *testing.T) {
	s := ofSize(t, 2, segmentSize)
	value := s.encode()
	if 4*len(value) > len(s.lines) {
		t.Errorf("%d bytes are stored of %d", len(value), len(s.lines))
	}
	if lines := unzstd(t, value); lines != string(s.lines) {
		t.Errorf("%d bytes are not the lines", len(lines))
	}
}

// A log that was written before full segments were compressed.
func TestAFullSegmentMayBeAnArray(t *testing.T) {
	want := ofSize(t, 2, segmentSize)
	s, err := decodeSegment(2, slices.Concat(opening, want.lines, closing))
	if err != nil || !s.full() || s.unpack() != nil || !bytes.Equal(s.lines, want.lines) {
		t.Errorf("%v: %d events", err, s.count)
	}
}

func TestASegmentOfTheLargestEventsCanBeUnpackedAndOneByteMoreThanTheBoundNot(t *testing.T) {
	largest := bytes.Repeat([]byte{'x'}, 2*event.MaxBytes)
	lines := bytes.Join(slices.Repeat([][]byte{largest}, segmentSize), separator)
	s, err := decodeSegment(1, pack(lines))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.unpack(); err != nil || !bytes.Equal(s.lines, lines) {
		t.Errorf("%d bytes: %v", len(lines), err)
	}
	last := slices.Concat(bytes.Repeat(separator, segmentSize-1), bytes.Repeat([]byte{'x'}, maxSegment-(segmentSize-1)*len(separator)))
	for _, test := range []struct {
		lines []byte
		want  bool
	}{{last, true}, {append(last, 'x'), false}} {
		if s, err = decodeSegment(1, pack(test.lines)); err != nil {
			t.Fatal(err)
		}
		if err := s.unpack(); (err == nil) != test.want {
			t.Errorf("%d bytes: %v", len(test.lines), err)
		}
	}
}

func TestADamagedPackedSegmentSaysSo(t *testing.T) {
	whole := ofSize(t, 2, segmentSize).encode()
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for name, value := range map[string][]byte{
		"cut off": whole[:len(whole)-1], "changed": flipped, "too few events": pack(ofSize(t, 2, 127).lines), "more than bytes": append(bytes.Clone(whole), 'x'),
	} {
		s, err := decodeSegment(2, value)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.unpack(); err == nil || !strings.Contains(err.Error(), "segment 2 is damaged") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.identities(s.base()); err == nil {
			t.Errorf("%s: it has identities", name)
		}
	}
}

func TestNoValueIsAnEmptySegment(t *testing.T) {
	s, err := decodeSegment(7, nil)
	if err != nil || s.number != 7 || s.count != 0 || s.last() != 7*segmentSize {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestWithNumbersOnFromTheSegmentsLast(t *testing.T) {
	s := ofSize(t, 1, 5)
	grown, n, err := s.with(some(t, 5, 8))
	if err != nil || n != 3 {
		t.Fatalf("took %d, %v", n, err)
	}
	events, err := event.ParseBatch(slices.Concat(opening, grown.lines, closing))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range events {
		if want := event.Sequence(segmentSize + i + 1); e.Sequence != want { //nolint:gosec // never negative
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
		grown, n, err := s.with(some(t, c.has, c.has+c.offered))
		if err != nil || n != c.taken || grown.count != c.has+c.taken {
			t.Errorf("%d with %d: took %d, has %d, %v; want %d taken", c.has, c.offered, n, grown.count, err, c.taken)
		}
	}
}

// Readers hold the tail while it is appended to.
func TestWithLeavesTheSegmentAsItIs(t *testing.T) {
	s := ofSize(t, 0, 3)
	before := bytes.Clone(s.lines)
	for range 3 { // also when it is appended to again and again, as after a conflict
		if _, _, err := s.with(some(t, 3, 6)); err != nil {
			t.Fatal(err)
		}
	}
	if s.count != 3 || !bytes.Equal(s.lines, before) {
		t.Error("with() changed the segment that it is called on")
	}
}

// naiveBetween decodes everything.
func naiveBetween(t testing.TB, s *segment, after, upTo uint64) string {
	t.Helper()
	var lines []json.RawMessage
	if err := json.Unmarshal(slices.Concat(opening, s.lines, closing), &lines); err != nil {
		t.Fatal(err)
	}
	var chosen []string
	for i, line := range lines {
		if n := s.base() + uint64(i) + 1; n > after && n <= upTo { //nolint:gosec // never negative
			chosen = append(chosen, string(line))
		}
	}
	return strings.Join(chosen, ",\n")
}

func TestBetweenIsWhatANaiveReaderFinds(t *testing.T) {
	for _, c := range []struct{ number, count int }{{0, 1}, {0, 2}, {1, 1}, {1, 3}, {2, 9}} {
		s := ofSize(t, c.number, c.count)
		first := max(s.base(), 2) - 2
		for after := first; after <= s.last()+2; after++ {
			for upTo := after; upTo <= s.last()+2; upTo++ {
				if got, want := string(s.between(after, upTo)), naiveBetween(t, s, after, upTo); got != want {
					t.Fatalf("segment %d of %d, between(%d, %d):\n got %q\nwant %q", c.number, c.count, after, upTo, got, want)
				}
			}
		}
	}
}

func TestBetweenOfAFullSegmentHasEveryRange(t *testing.T) {
	s := ofSize(t, 1, segmentSize)
	lines := strings.Split(string(s.lines), ",\n")
	for after := s.base(); after <= s.last(); after++ {
		for upTo := after; upTo <= s.last(); upTo++ {
			want := strings.Join(lines[after-s.base():upTo-s.base()], ",\n")
			if got := string(s.between(after, upTo)); got != want {
				t.Fatalf("between(%d, %d) has %d bytes, want %d", after, upTo, len(got), len(want))
			}
		}
	}
}

func TestBetweenOfAnEmptySegmentIsEmpty(t *testing.T) {
	s := &segment{number: 1}
	for _, r := range [][2]uint64{{0, 128}, {128, 128}, {128, 200}, {0, 1000}} {
		if got := s.between(r[0], r[1]); len(got) != 0 {
			t.Errorf("between(%d, %d) is %q", r[0], r[1], got)
		}
	}
}

func TestDamagedSegmentsAreRefused(t *testing.T) {
	line := string(ofSize(t, 0, 1).lines)
	for name, value := range map[string]string{
		"not JSON":         "hello",
		"another array":    "[]",
		"array of nothing": "[\n\n]",
		"an opening alone": "[\n",
		"brackets alone":   "[\n]",
		"not opened":       line + "\n]",
		"not closed":       "[\n" + line,
		"too many":         "[\n" + strings.Repeat(line+",\n", segmentSize) + line + "\n]",
	} {
		if s, err := decodeSegment(0, []byte(value)); err == nil {
			t.Errorf("%s: taken as %d events", name, s.count)
		}
	}
}

func TestATruncatedSegmentIsRefusedWhereverItEnds(t *testing.T) {
	value := ofSize(t, 0, 3).encode()
	for n := 1; n < len(value); n++ {
		if s, err := decodeSegment(0, value[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes are taken as %d events", n, len(value), s.count)
		}
	}
}

func TestIdentitiesOfADamagedLineAreRefused(t *testing.T) {
	s, err := decodeSegment(0, []byte("[\n{\"id\":\"a\"},\n{\"id\":\n]"))
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := s.identities(0); err == nil {
		t.Errorf("got %v", ids)
	}
}

func TestIdentitiesAreThoseAfterTheNumber(t *testing.T) {
	s := ofSize(t, 1, 4)
	for after := s.base(); after <= s.last(); after++ {
		ids, err := s.identities(after)
		if err != nil || uint64(len(ids)) != s.last()-after {
			t.Fatalf("after %d: %d identities, %v", after, len(ids), err)
		}
		for i, id := range ids {
			at := int(after-s.base()) + i //nolint:gosec // small
			e := titled(t, at, fmt.Sprintf("post %d", at))
			if id.ID != e.ID || id.Subject != e.Subject || id.Type != e.Type || !bytes.Equal(id.Data, e.Data) {
				t.Errorf("identity %d is %+v", at, id)
			}
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
		s, _, err := (&segment{}).with(events)
		if err != nil {
			r.Fatal(err)
		}
		got, err := decodeSegment(0, s.encode())
		if err != nil || got.count != len(events) {
			r.Fatalf("%d events became %d: %v", len(events), got.count, err)
		}
		for i := range events {
			line := got.between(uint64(i), uint64(i)+1) //nolint:gosec // never negative
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
		if !bytes.Contains(raw, separator) {
			t.Fatal("the test is of no use: the event has no line feed after a comma")
		}
	}
	s, _, err := (&segment{}).with(events)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeSegment(0, s.encode()); err != nil || got.count != 2 {
		t.Errorf("2 events became %+v, %v", got, err)
	}
}

func FuzzDecodeSegment(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(ofSize(f, 0, 2).encode())
	f.Add([]byte("[\n,\n,\n\n]"))
	f.Fuzz(func(t *testing.T, value []byte) {
		s, err := decodeSegment(1, value)
		if err != nil {
			return
		}
		if s.count < 0 || s.count > segmentSize {
			t.Fatalf("%d events", s.count)
		}
		// Whatever was taken can be cut anywhere, and put together again.
		for n := s.base(); n <= s.last(); n++ {
			young, old := s.between(n, s.last()), s.between(s.base(), n)
			if len(young) > len(s.lines) || len(old) > len(s.lines) {
				t.Fatalf("cut at %d: %d and %d of %d bytes", n, len(old), len(young), len(s.lines))
			}
		}
	})
}
