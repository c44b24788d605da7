package event

import (
	"bytes"
	"testing"
)

// benchLines are a post, and a comment as each of its events carries it.
func benchLines(b *testing.B) map[Type][]byte {
	rejected := func(c *Comment) {
		c.Status, c.Reason, c.Author, c.Revision = Rejected, "contains “orange”", "Ann", 2
	}
	return map[Type][]byte{
		PostCreated:      canonicalLine(b, PostCreated, nil),
		CommentCreated:   canonicalLine(b, CommentCreated, func(c *Comment) { c.Author = "Ann" }),
		CommentModerated: canonicalLine(b, CommentModerated, rejected),
		CommentUpdated:   canonicalLine(b, CommentUpdated, rejected),
	}
}

// The cost of decoding one event of a delivery.
func BenchmarkParse(b *testing.B) {
	for typ, raw := range benchLines(b) {
		b.Run(string(typ), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(typ, raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The cost of decoding 128 events of a replay.
func BenchmarkParseBatch(b *testing.B) {
	lines := benchLines(b)
	var batch [][]byte
	for len(batch) < 128 {
		for _, typ := range Types {
			batch = append(batch, lines[typ])
		}
	}
	raw := append(append([]byte("[\n"), bytes.Join(batch, []byte(",\n"))...), "\n]\n"...)
	b.ReportAllocs()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := ParseBatch(raw); err != nil {
			b.Fatal(err)
		}
	}
}
