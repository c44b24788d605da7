// Package eventlog is the event log as others see it: the format in which its store keeps
// it, positions in it, and the client that reads it. The service is apps/eventlog.
package eventlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/postbus/postbus/apps/internal/event"
)

// ErrDamaged says that what the store has is no part of a log: only a person can mend it.
var ErrDamaged = errors.New("damaged")

// OriginKey is the key of the document that a log begins with, its Origin.
const OriginKey = "log"

// FormerPrefix is the prefix of the segments' keys in a log that began before logs had ids
// (3b4f435).
const FormerPrefix = "segment-"

// Origin says which log the store holds.
//
// The keys of its segments carry its id. Dapr's Redis component writes a key that is missing
// whatever the ETag, so a replica that has not noticed yet that the store lost its log
// can still write that log's tail. Under the id it becomes part of no other log.
type Origin struct {
	// ID is the log's id, a UUIDv7: of two logs the younger sorts last.
	ID string `json:"id"`
	// Prefix is that of the segments' keys.
	Prefix string `json:"segments"`
}

// NewOrigin returns the origin of a new log.
func NewOrigin() Origin {
	id := event.NewID()
	return Origin{ID: id, Prefix: FormerPrefix + id + "-"}
}

// ParseOrigin reads the document at OriginKey.
func ParseOrigin(value []byte) (Origin, error) {
	var o Origin
	if err := json.Unmarshal(value, &o); err != nil {
		return Origin{}, fmt.Errorf("the log's origin is %w: %w", ErrDamaged, err)
	}
	if _, ok := event.IDTime(o.ID); !ok || o.Prefix == "" {
		return Origin{}, fmt.Errorf("the log's origin is %w: %.200s", ErrDamaged, value)
	}
	return o, nil
}

// Key is the key of the segment with the number.
func (o Origin) Key(number int) string { return fmt.Sprintf("%s%08d", o.Prefix, number) }

// SegmentSize is how many events a full segment has: event n is in segment
// (n-1)/SegmentSize. A write rewrites the last segment and a read fetches whole ones; 128
// was the best of both (37 KB with short comments).
const SegmentSize = 128

// A batch of events is a JSON array with an event a line: Opening, the lines with
// Separator between them, Closing. JSON has no raw line feed inside a value, so lines are
// separated without decoding them.
const (
	Opening   = "[\n"
	Separator = ",\n"
	Closing   = "\n]"
)

// Segment is what one key of the store has of the log. It never changes.
//
//   - All segments but the last, the tail, are full.
//   - The tail is stored as a batch.
//   - A full segment is stored as its lines and separators alone, compressed (RFC 8878),
//     and readers are given it as it is stored: its bytes were most of what a replay cost.
type Segment struct {
	// Number is the segment's place in the log, from 0.
	Number int

	// One of the two is nil.
	lines  [][]byte // of the events
	packed []byte   // a full segment as it is stored
}

// maxSegment bounds a segment's lines, in bytes. Readers take events of up to twice
// event.MaxBytes, of which 128 are 32 MiB; a dead letter is smaller than that.
const maxSegment = 64 << 20

// Neither fails for these options. The slower levels took twice the time for no fewer
// bytes: what is left is what the ids and traces have at random.
var (
	packer, _   = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	unpacker, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxSegment))
)

// The packer makes its channel at its first use, and a channel made in a synctest bubble
// is of no use outside of it.
func init() { Pack(nil) }

// zstdMagic is how a zstd frame begins (RFC 8878, section 3.1.1).
var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// Pack returns b as one zstd frame. Frames may follow one another.
func Pack(b []byte) []byte { return packer.EncodeAll(b, nil) }

// ParseSegment reads a segment as it is stored; an empty value is a segment without
// events. What is compressed is not checked before its lines are asked for.
func ParseSegment(number int, value []byte) (*Segment, error) {
	if len(value) == 0 {
		return &Segment{Number: number}, nil
	}
	if bytes.HasPrefix(value, zstdMagic) {
		return &Segment{Number: number, packed: value}, nil
	}
	lines, opened := bytes.CutPrefix(value, []byte(Opening))
	lines, closed := bytes.CutSuffix(lines, []byte(Closing))
	if !opened || !closed || len(lines) == 0 {
		return nil, fmt.Errorf("segment %d is %w: it is no array of lines", number, ErrDamaged)
	}
	s := &Segment{Number: number, lines: bytes.Split(lines, []byte(Separator))}
	if s.Count() > SegmentSize {
		return nil, fmt.Errorf("segment %d is %w: %d events", number, ErrDamaged, s.Count())
	}
	return s, nil
}

// Encode is the segment as it is stored.
func (s *Segment) Encode() []byte {
	if s.packed != nil {
		return s.packed
	}
	return Batch(s.lines)
}

// Packed is a full segment as it is stored, one zstd frame. It is nil for one that is not
// full, or was stored before full segments were compressed.
func (s *Segment) Packed() []byte { return s.packed }

// Batch is the lines as a batch.
func Batch(lines [][]byte) []byte {
	return slices.Concat([]byte(Opening), Join(lines), []byte(Closing))
}

// Join is the lines with their separators.
func Join(lines [][]byte) []byte { return bytes.Join(lines, []byte(Separator)) }

// Base is the number of the last event before the segment.
func (s *Segment) Base() uint64 { return uint64(s.Number) * SegmentSize } //nolint:gosec // never negative

// Last is the number of the last event in the segment.
func (s *Segment) Last() uint64 { return s.Base() + uint64(s.Count()) } //nolint:gosec // never negative

// Count is how many events the segment has.
func (s *Segment) Count() int {
	if s.packed != nil {
		return SegmentSize
	}
	return len(s.lines)
}

// Full says whether no event fits in any more.
func (s *Segment) Full() bool { return s.Count() == SegmentSize }

// With returns a segment that has as many of the events after its own as fit, numbered on,
// and how many those are.
func (s *Segment) With(events []event.Event) (grown *Segment, n int, err error) {
	n = min(len(events), SegmentSize-s.Count())
	if n == 0 {
		return s, 0, nil
	}
	grown = &Segment{Number: s.Number, lines: slices.Clip(s.lines)}
	for _, e := range events[:n] {
		e.Sequence = event.Sequence(grown.Last() + 1)
		line, err := event.Marshal(e)
		if err != nil {
			return nil, 0, fmt.Errorf("encoding event %s: %w", e.ID, err)
		}
		grown.lines = append(grown.lines, line)
	}
	if len(grown.lines) == SegmentSize {
		grown.lines, grown.packed = nil, Pack(Join(grown.lines))
	}
	return grown, n, nil
}

// Lines returns the lines of the events with numbers in (after, upTo], without separators.
// It is an error if the segment is damaged.
func (s *Segment) Lines(after, upTo uint64) ([][]byte, error) {
	lines := s.lines
	if s.packed != nil {
		plain, err := unpacker.DecodeAll(s.packed, nil)
		if lines = bytes.Split(plain, []byte(Separator)); err == nil && len(lines) != SegmentSize {
			err = fmt.Errorf("%d events", len(lines))
		}
		if err != nil {
			return nil, fmt.Errorf("segment %d is %w: %w", s.Number, ErrDamaged, err)
		}
	}
	from, to := max(after, s.Base()), min(upTo, s.Last())
	if from >= to {
		return nil, nil
	}
	return lines[from-s.Base() : to-s.Base()], nil
}
