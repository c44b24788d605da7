package log

import (
	"fmt"
	"testing"
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
		t.Error("the first of the second generation is gone")
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
