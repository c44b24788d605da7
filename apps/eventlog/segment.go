package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/klauspost/compress/zstd"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// segmentSize is how many events a segment holds. Every segment but the last,
// the tail, is full and never changes; so event n is in segment (n-1)/segmentSize.
// A write rewrites the tail, a read fetches whole segments: 128 was the best of
// both (37 KB with short comments).
const segmentSize = eventlog.SegmentSize

// segment is one state key's worth of the log: an event a line. JSON has no raw
// line feed inside a value, so lines can be told apart without decoding anything.
//
// The tail is stored as a JSON array. A full segment is stored as its lines,
// compressed (RFC 8878): it is written once, and read by every replay, which gives
// it to readers as it is; its bytes were most of what a replay cost.
type segment struct {
	number int
	count  int
	// lines are the events' lines with their commas, without the brackets; nil if
	// there are none, and until they are unpacked.
	lines []byte
	// packed is a full segment as it is stored, or nil.
	packed []byte
}

// base is the number of the last event before the segment.
func (s *segment) base() uint64 { return uint64(s.number) * segmentSize } //nolint:gosec // never negative

// last is the number of the last event in the segment.
func (s *segment) last() uint64 { return s.base() + uint64(s.count) } //nolint:gosec // never negative

func (s *segment) full() bool { return s.count == segmentSize }

// bytes is what it takes in memory, in one form or both; a nil one takes nothing.
func (s *segment) bytes() int {
	if s == nil {
		return 0
	}
	return len(s.lines) + len(s.packed)
}

// name is what the segment is called where it is complained of.
func (s *segment) name() string { return fmt.Sprintf("segment %d", s.number) }

var (
	opening   = []byte("[\n")
	closing   = []byte("\n]")
	separator = []byte(",\n")
)

// maxSegment bounds a segment's lines, in bytes. Readers take events of up to twice
// event.MaxBytes, of which 128 are 32 MiB; a dead letter is smaller than that.
const maxSegment = 64 << 20

// Neither fails for these options. (The slower levels took twice the time for no
// fewer bytes: what is left is what the ids and traces have at random.)
var (
	packer, _   = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	unpacker, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxSegment))
)

// zstdMagic is how what is compressed begins (RFC 8878, section 3.1.1).
var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

func pack(b []byte) []byte { return packer.EncodeAll(b, nil) }

// encode is the segment as it is stored.
func (s *segment) encode() []byte {
	if s.full() {
		return pack(s.lines)
	}
	return slices.Concat(opening, s.lines, closing)
}

// decodeSegment is the inverse of encode, but for the unpacking; a stored value
// that is no segment is an error.
func decodeSegment(number int, value []byte) (*segment, error) {
	if len(value) == 0 {
		return &segment{number: number}, nil
	}
	if bytes.HasPrefix(value, zstdMagic) {
		return &segment{number: number, count: segmentSize, packed: value}, nil
	}
	lines, opened := bytes.CutPrefix(value, opening)
	lines, closed := bytes.CutSuffix(lines, closing)
	if !opened || !closed || len(lines) == 0 {
		return nil, fmt.Errorf("segment %d is damaged: it is no array of lines", number)
	}
	s := &segment{number: number, lines: lines, count: 1 + bytes.Count(lines, separator)}
	if s.count > segmentSize {
		return nil, fmt.Errorf("%s is damaged: %d events", s.name(), s.count)
	}
	return s, nil
}

// unpack sets the lines of a segment that was read packed. Nobody else may have
// the segment yet.
func (s *segment) unpack() error {
	if s.packed == nil || s.lines != nil {
		return nil
	}
	lines, err := unpacker.DecodeAll(s.packed, nil)
	if n := 1 + bytes.Count(lines, separator); err == nil && n != s.count {
		err = fmt.Errorf("%d events", n)
	}
	if err != nil {
		return fmt.Errorf("%s is damaged: %w", s.name(), err)
	}
	s.lines = lines
	return nil
}

// with returns a copy of the segment with as many of events after its own as fit,
// numbered on, and how many those are.
func (s *segment) with(events []event.Event) (*segment, int, error) {
	n := min(len(events), segmentSize-s.count)
	grown := &segment{number: s.number, count: s.count + n, lines: bytes.Clone(s.lines)}
	for i, e := range events[:n] {
		e.Sequence = event.Sequence(s.last() + uint64(i) + 1) //nolint:gosec // never negative
		line, err := event.Marshal(e)
		if err != nil {
			return nil, 0, fmt.Errorf("encoding event %s: %w", e.ID, err)
		}
		if len(grown.lines) > 0 {
			grown.lines = append(grown.lines, separator...)
		}
		grown.lines = append(grown.lines, line...)
	}
	return grown, n, nil
}

// between returns the lines of the events with numbers in (after, upTo]. The
// segment is unpacked.
func (s *segment) between(after, upTo uint64) []byte {
	if after >= s.last() || upTo <= s.base() {
		return nil
	}
	lines := s.lines
	for n := s.base(); n < after; n++ {
		lines = lines[bytes.Index(lines, separator)+len(separator):]
	}
	if upTo >= s.last() {
		return lines
	}
	end := 0
	for n := max(after, s.base()); n < upTo; n++ {
		if n > max(after, s.base()) {
			end += len(separator)
		}
		end += bytes.Index(lines[end:], separator)
	}
	return lines[:end]
}

// identity is what of an event decides whether it is in the log already.
type identity struct {
	ID      string          `json:"id"`
	Type    event.Type      `json:"type"`
	Subject string          `json:"subject"`
	Data    json.RawMessage `json:"data"`
}

func identityOf(e event.Event) identity {
	return identity{ID: e.ID, Type: e.Type, Subject: e.Subject, Data: e.Data}
}

// identities are those of the segment's events from number after+1 on. It unpacks
// the segment.
func (s *segment) identities(after uint64) ([]identity, error) {
	if err := s.unpack(); err != nil {
		return nil, err
	}
	var ids []identity
	if err := jsonv2.Unmarshal(slices.Concat(opening, s.between(after, s.last()), closing), &ids); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", s.name(), err)
	}
	return ids, nil
}
