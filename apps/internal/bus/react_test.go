package bus

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/postbus/postbus/apps/internal/event"
)

// published is a bus that keeps what was published and answers with errs.
type published struct {
	Publisher
	t      event.Type
	events []event.Event
	errs   []error
}

func (p *published) PublishAll(_ context.Context, t event.Type, events []event.Event) []error {
	p.t, p.events = t, events
	return p.errs
}

func TestEachEventHasTheErrorOfItsOwnAnswer(t *testing.T) {
	noAnswer, down := errors.New("no answer"), errors.New("bus is down")
	in := []event.Event{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d"}}
	answer := func(i int) (event.Event, error) {
		if i == 1 {
			return event.Event{}, noAnswer
		}
		return event.Event{ID: "to " + in[i].ID}, nil
	}
	for name, c := range map[string]struct{ published, want []error }{
		"all are published":    {nil, []error{nil, noAnswer, nil, nil}},
		"one is not published": {[]error{nil, down, nil}, []error{nil, noAnswer, down, nil}},
		"none is published":    {All(3, down), []error{down, noAnswer, down, down}},
	} {
		to := &published{errs: c.published}
		made, got := React(t.Context(), to, event.CommentUpdated, in, answer)
		if want := []event.Event{{ID: "to a"}, {}, {ID: "to c"}, {ID: "to d"}}; !reflect.DeepEqual(made, want) {
			t.Errorf("%s: the answers are %v", name, made)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: errors %v, want %v", name, got, c.want)
		}
		if want := []event.Event{{ID: "to a"}, {ID: "to c"}, {ID: "to d"}}; to.t != event.CommentUpdated || !reflect.DeepEqual(to.events, want) {
			t.Errorf("%s: published %v as %s", name, to.events, to.t)
		}
	}
}
