package log

import (
	"encoding/json"
	"fmt"
	"hash/maphash"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// DefaultWindow is the Window of a Config that has none.
const DefaultWindow = 1_000_000

// identity has the fields of an event that decide whether it is in the log already. Their
// bytes are compared, not their meaning: the log accepts event types that it does not know.
type identity struct {
	ID      string          `json:"id"`
	Type    event.Type      `json:"type"`
	Subject string          `json:"subject"`
	Data    json.RawMessage `json:"data"`
}

func identityOf(e event.Event) identity {
	return identity{ID: e.ID, Type: e.Type, Subject: e.Subject, Data: e.Data}
}

// identitiesOf returns the identities of the segment's events after the number.
func identitiesOf(s *eventlog.Segment, after uint64) ([]identity, error) {
	lines, err := s.Lines(after, s.Last())
	if err != nil || len(lines) == 0 {
		return nil, err
	}
	var ids []identity
	if err := jsonv2.Unmarshal(eventlog.Batch(lines), &ids); err != nil {
		return nil, fmt.Errorf("segment %d is %w: %w", s.Number, eventlog.ErrDamaged, err)
	}
	return ids, nil
}

// seen remembers the last events, at least limit of them and at most twice as many, by
// 128-bit hashes of their ids with a digest of their content. Of two million that are
// remembered, fewer than one new event in 10^32 matches falsely.
type seen struct {
	limit         int
	low, high     maphash.Seed
	young, old    map[[2]uint64]uint64
	contentSeeded maphash.Seed
}

func newSeen(limit int) *seen {
	return &seen{
		limit: limit, low: maphash.MakeSeed(), high: maphash.MakeSeed(), contentSeeded: maphash.MakeSeed(),
		young: make(map[[2]uint64]uint64), old: make(map[[2]uint64]uint64),
	}
}

func (s *seen) hash(e identity) ([2]uint64, uint64) {
	var content maphash.Hash
	content.SetSeed(s.contentSeeded)
	_, _ = content.WriteString(string(e.Type) + "\x00" + e.Subject + "\x00")
	_, _ = content.Write(e.Data)
	return [2]uint64{maphash.String(s.low, e.ID), maphash.String(s.high, e.ID)}, content.Sum64()
}

// add remembers e. When the young half is full, the old half is forgotten.
func (s *seen) add(e identity) {
	if len(s.young) >= s.limit {
		s.old, s.young = s.young, make(map[[2]uint64]uint64, s.limit)
	}
	id, content := s.hash(e)
	s.young[id] = content
}

// find says whether an event with e's id was seen, and if so whether its content was the same.
func (s *seen) find(e identity) (known, same bool) {
	id, content := s.hash(e)
	was, known := s.young[id]
	if !known {
		was, known = s.old[id]
	}
	return known, known && was == content
}
