package log

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/postbus/postbus/apps/internal/eventlog"
)

func ident(i int) identity {
	return identity{ID: fmt.Sprintf("id-%d", i), Type: "T", Subject: "s", Data: []byte("{}")}
}

func TestSeenRemembersAtLeastItsLimit(t *testing.T) {
	const limit = 10
	s := newSeen(limit)
	for n := range 5 * limit {
		s.add(ident(n))
		for i := max(0, n-limit+1); i <= n; i++ {
			if known, same := s.find(ident(i)); !known || !same {
				t.Fatalf("after %d events, number %d is known %v, the same %v", n+1, i, known, same)
			}
		}
		if size := len(s.young) + len(s.old); size > 2*limit {
			t.Fatalf("after %d events it holds %d, more than twice its limit", n+1, size)
		}
	}
}

func TestSeenForgetsWhatIsTwoGenerationsOld(t *testing.T) {
	const limit = 4
	s := newSeen(limit)
	for i := range 2*limit + 1 {
		s.add(ident(i))
	}
	if known, _ := s.find(ident(0)); known {
		t.Error("the first of three generations is still there")
	}
	if known, _ := s.find(ident(limit)); !known {
		t.Error("the first of the second generation is missing")
	}
}

func TestSeenDoesNotKnowWhatWasNotAdded(t *testing.T) {
	s := newSeen(8)
	s.add(ident(1))
	if known, same := s.find(ident(2)); known || same {
		t.Errorf("known %v, same %v", known, same)
	}
}

func TestSeenTellsOtherContentApart(t *testing.T) {
	s := newSeen(8)
	s.add(ident(1))
	for name, change := range map[string]func(*identity){
		"type":    func(e *identity) { e.Type = "U" },
		"subject": func(e *identity) { e.Subject = "t" },
		"data":    func(e *identity) { e.Data = []byte("{ }") },
		// The fields may not run into one another.
		"boundary": func(e *identity) { e.Type, e.Subject = "Ts", "" },
	} {
		e := ident(1)
		change(&e)
		if known, same := s.find(e); !known || same {
			t.Errorf("%s: known %v, same %v; want known and not the same", name, known, same)
		}
	}
}

func TestSeenAgainDoesNotTakeMorePlace(t *testing.T) {
	s := newSeen(2)
	for range 10 {
		s.add(ident(1))
	}
	if len(s.young) != 1 || len(s.old) != 0 {
		t.Errorf("one event takes %d and %d places", len(s.young), len(s.old))
	}
}

func TestIdentitiesOfADamagedLineAreRefused(t *testing.T) {
	s, err := eventlog.ParseSegment(0, []byte("[\n{\"id\":\"a\"},\n{\"id\":\n]"))
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := identitiesOf(s, 0); err == nil {
		t.Errorf("got %v", ids)
	}
	whole := ofSize(t, 2, eventlog.SegmentSize).Encode()
	if s, err = eventlog.ParseSegment(2, whole[:len(whole)-1]); err != nil {
		t.Fatal(err)
	}
	if ids, err := identitiesOf(s, s.Base()); err == nil {
		t.Errorf("of a packed segment that is cut off: %v", ids)
	}
}

func TestIdentitiesAreThoseAfterTheNumber(t *testing.T) {
	s := ofSize(t, 1, 4)
	for after := s.Base(); after <= s.Last(); after++ {
		ids, err := identitiesOf(s, after)
		if err != nil || uint64(len(ids)) != s.Last()-after {
			t.Fatalf("after %d: %d identities, %v", after, len(ids), err)
		}
		for i, id := range ids {
			at := int(after-s.Base()) + i //nolint:gosec // small
			e := titled(t, at, fmt.Sprintf("post %d", at))
			if id.ID != e.ID || id.Subject != e.Subject || id.Type != e.Type || !bytes.Equal(id.Data, e.Data) {
				t.Errorf("identity %d is %+v", at, id)
			}
		}
	}
}
