package history

import (
	"fmt"
	"maps"
	"net/http"

	"github.com/anishathalye/porcupine"

	"github.com/postbus/postbus/apps/internal/eventlog"
)

// modelOf returns Porcupine's model of a thing with states of type S, from the empty one
// on, and calls of type C. step says whether a call may be answered as it was in a state,
// and which state is next.
func modelOf[S comparable, C fmt.Stringer](step func(S, C) (bool, S)) porcupine.Model {
	var empty S
	return porcupine.Model{
		Init: func() any { return empty },
		Step: func(state, call, _ any) (bool, any) {
			return step(state.(S), call.(C)) //nolint:errcheck,forcetypeassert // it has no others
		},
		DescribeOperation: func(call, _ any) string { return fmt.Sprint(call) },
		DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
	}
}

// register is what an Idempotency-Key stands for.
type register struct {
	// isClaimed says that a request has the key. It never has another one.
	isClaimed bool
	request   string
	// isAnswered says that there was a success. It fixes the answer.
	isAnswered bool
	answer     string
}

func (r register) String() string {
	if !r.isClaimed {
		return "not used"
	}
	return fmt.Sprintf("claimed by %.100s, answer %.100s", r.request, r.answer)
}

// keys is the model of one Idempotency-Key. A try without an answer may happen at any time
// after it was sent. That it never happens is the same as that it happens after all others.
var keys = modelOf(func(r register, c *Command) (bool, register) {
	switch {
	case c.isUnknown():
		if !r.isClaimed {
			r = register{isClaimed: true, request: c.request}
		}
		return true, r
	case c.status == http.StatusCreated:
		next := register{true, c.request, true, c.answer}
		return !r.isClaimed || r.request == c.request && !r.isAnswered || r == next, next
	case c.status == http.StatusUnprocessableEntity:
		return r.isClaimed && r.request != c.request, r
	}
	return true, r // refused before the key was looked at
})

// place is how far in which log somebody has come.
type place struct {
	log    string
	number uint64
}

func placeOf(p eventlog.Position) place { return place{p.Log, p.Sequence} }

// isBefore says whether the other place is not behind this one, and in the same log.
func (p place) isBefore(other place) bool {
	return p.number <= other.number && (p.log == other.log || p.log == "" || other.log == "")
}

// sessions is the model of one reader.
var sessions = modelOf(func(stands place, r *Read) (bool, place) {
	at := placeOf(r.at)
	return !r.misfit && r.least <= r.at.Sequence && stands.isBefore(at), at
})

// shown is what a page showed last, in the order of the log.
type shown struct {
	place
	view *View
}

func (s shown) String() string {
	if s.view == nil {
		return "not read"
	}
	return fmt.Sprintf("at %d: %d, digest %x", s.number, len(s.view.Entities), s.view.Digest)
}

// pages is the model of one page. Its calls are ordered by where in the log they stand.
var pages = modelOf(func(s shown, r *Read) (bool, shown) {
	next := shown{placeOf(r.at), &r.view}
	switch {
	case s.view == nil:
		return true, next
	case s.number == next.number:
		saysTheSame := s.view.Digest == next.view.Digest || s.view.Digest == 0 || next.view.Digest == 0
		return saysTheSame && maps.Equal(s.view.Entities, next.view.Entities), s
	}
	return s.isBefore(next.place) && s.view.isIn(next.view), next
})

// isIn says whether the later view shows all that this one shows.
func (v *View) isIn(later *View) bool {
	for id, n := range v.Entities {
		if now, isThere := later.Entities[id]; isThere && now < n || !isThere && !later.More {
			return false
		}
	}
	return true
}

// ends is the model of where the log ends, as one replica knows it.
var ends = modelOf(func(known place, r *LogRead) (bool, place) {
	end := placeOf(r.last)
	isCutOff := r.upTo == r.after && r.after < known.number
	return !r.misfit && r.gap == 0 && !isCutOff && r.upTo <= end.number && known.isBefore(end), end
})

// numbers is the model of one number of the log: its event never changes.
var numbers = modelOf(func(known observation, o observation) (bool, observation) {
	isSame := agree(&known.log, o.log) && agree(&known.event, o.event) && agree(&known.digest, o.digest)
	return isSame, known
})

// agree says whether two things that are known can be the same, and keeps what is known of
// either.
func agree[T comparable](known *T, seen T) bool {
	var nothing T
	if *known == nothing {
		*known = seen
	}
	return seen == nothing || *known == seen
}
