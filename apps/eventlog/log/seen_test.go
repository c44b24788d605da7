package log

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
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

// windowed is a replica on store that recognises the last 20 events, and at most 40.
func windowed(t testing.TB, store state.Store) *Log {
	t.Helper()
	return run(t, New(Config{Store: store, Now: time.Now, Window: 20}))
}

// Beyond its window a repeat may be in the log twice. No reader shows it: see query.
func TestARepeatIsRecognisedWithinTheWindowAndNotFarBeyond(t *testing.T) {
	store := statetest.New()
	l, events := windowed(t, store), some(t, 0, 300)
	log := []event.Event{}
	repeats := func(from, to int) { // appends events again, which changes nothing
		t.Helper()
		mustAppend(t, l, events[from:to]...)
		wantInOrder(t, store, log)
	}
	for n, e := range events[:150] {
		mustAppend(t, l, e)
		log = append(log, e)
		repeats(max(0, n-19), n+1) // the last 20
	}
	repeats(121, 130) // up to twice the window
	l = windowed(t, store)
	repeats(130, 150) // also by a replica that has just read the log
	for _, again := range []event.Event{events[0], titled(t, 1, "another title")} {
		mustAppend(t, l, again)
		log = append(log, again)
		wantInOrder(t, store, log)
	}
	mustAppend(t, l, events[0]) // now it is among the last again
	wantInOrder(t, store, log)
	if errs := l.Append(t.Context(), []event.Event{titled(t, 149, "another title")}); !errors.Is(errs[0], bus.ErrPoison) {
		t.Errorf("another event with the id of one in the window: %v", errs)
	}
	wantInOrder(t, store, log)
}

// wantInOrder checks that the store has these events, numbered from 1. An event may be there
// twice.
func wantInOrder(t testing.TB, store *statetest.Memory, want []event.Event) {
	t.Helper()
	got := stored(t, store)
	if len(got) != len(want) {
		t.Fatalf("the log has %d events, want %d", len(got), len(want))
	}
	for i, e := range got {
		if e.ID != want[i].ID || int(e.Sequence) != i+1 || !bytes.Equal(e.Data, want[i].Data) { //nolint:gosec // small
			t.Fatalf("event %d is %+v, want %+v", i+1, e, want[i])
		}
	}
}

func TestALogThatIsToldNoWindowRecognisesTheDefault(t *testing.T) {
	if got := New(Config{Now: time.Now}).Window; got != 1_000_000 {
		t.Errorf("it recognises %d", got)
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
