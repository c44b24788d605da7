package comments

import (
	"context"
	"errors"
	"testing"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

func TestEachEventReachesItsStore(t *testing.T) {
	m := statetest.New()
	h := newService(m, &topic{})
	c := aComment(aPost, 1)
	wantErrors(t, h.deliver(event.PostCreated)(context.Background(), []event.Event{postCreated(t, aPost, "a")}), nil)
	wantErrors(t, h.deliver(event.CommentCreated)(context.Background(), []event.Event{about(t, c)}), nil)
	wantErrors(t, h.deliver(event.CommentModerated)(context.Background(), []event.Event{about(t, moderated(c))}), nil)
	wantComment(t, m, moderated(c))
	if m.Value("post-"+aPost) == "" {
		t.Error("the post is not stored")
	}
}

func TestEachModerationIsAnsweredByAnUpdate(t *testing.T) {
	bus := &topic{}
	h := newService(statetest.New(), bus)
	in := []event.Event{about(t, moderated(aComment(aPost, 1))), about(t, moderated(aComment(aPost, 2)))}
	wantErrors(t, h.deliver(event.CommentModerated)(context.Background(), in), nil, nil)
	if len(bus.events) != 2 {
		t.Fatalf("%d events were published, want 2", len(bus.events))
	}
	for i, e := range bus.events {
		e = onTheBus(t, e, nil)
		if e.Type != event.CommentUpdated || *e.Comment != *in[i].Comment || e.Source != "/comments" {
			t.Errorf("update %d is %+v", i, e)
		}
		if want := event.IDOf(event.CommentUpdated, e.Comment.ID, 2); e.ID != want {
			t.Errorf("update %d has the id %s, want %s", i, e.ID, want)
		}
		if !e.Time.Equal(in[i].Time) || e.TraceParent != in[i].TraceParent {
			t.Errorf("update %d is of %v in %q", i, e.Time, e.TraceParent)
		}
	}
}

func TestARedeliveredModerationIsAnsweredByTheSameBytes(t *testing.T) {
	bus := &topic{}
	m := statetest.New()
	in := []event.Event{about(t, moderated(aComment(aPost, 1)))}
	wantErrors(t, newService(m, bus).deliver(event.CommentModerated)(context.Background(), in), nil)
	wantErrors(t, newService(m, bus).deliver(event.CommentModerated)(context.Background(), in), nil)
	first, err := event.Marshal(bus.events[0])
	if err != nil {
		t.Fatal(err)
	}
	second, err := event.Marshal(bus.events[1])
	if err != nil {
		t.Fatal(err)
	}
	if string(first) != string(second) {
		t.Errorf("first\n%s, then\n%s", first, second)
	}
}

// What was not published has to come again, and what wasn't stored must not be
// published: the update would say what nobody can read.
func TestAnUpdateIsPublishedAfterItsDocumentAndAcknowledgedAfterThat(t *testing.T) {
	down := errors.New("bus is down")
	m := statetest.New()
	out := &topic{errs: []error{nil, down}}
	h := newService(m, out)
	forged := moderated(aComment(aPost, 1))
	wantErrors(t, h.deliver(event.CommentCreated)(context.Background(), []event.Event{about(t, aComment(aPost, 1))}), nil)
	forged.Content = "forged"
	in := []event.Event{about(t, forged), about(t, moderated(aComment(aPost, 2))), about(t, moderated(aComment(aPost, 3)))}
	// The first is not published, so the publisher's errors are of the others.
	wantErrors(t, h.deliver(event.CommentModerated)(context.Background(), in), bus.ErrPoison, nil, down)
	if len(out.events) != 2 || out.events[0].Comment.ID != in[1].Comment.ID || out.events[1].Comment.ID != in[2].Comment.ID {
		t.Errorf("published %+v", out.events)
	}
	for _, e := range in[1:] {
		wantComment(t, m, *e.Comment)
	}
}

func TestWhileTheStoreIsDownNoUpdateIsPublished(t *testing.T) {
	m := statetest.New()
	m.Fail(errDown, statetest.Get)
	out := &topic{}
	wantErrors(t, newService(m, out).deliver(event.CommentModerated)(context.Background(), []event.Event{about(t, moderated(aComment(aPost, 1)))}), errDown)
	if len(out.events) > 0 {
		t.Errorf("published %+v", out.events)
	}
}
