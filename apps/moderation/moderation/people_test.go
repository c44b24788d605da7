package moderation

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

func TestAPostIsClosedAndAPersonIsBlocked(t *testing.T) {
	inOffice(t, holdsAll, func(t *testing.T, o *office) {
		var post event.Commenting
		for range 2 { // the second time changes nothing
			o.does(http.MethodPost, "/moderation/posts/"+aPost, `{"comments":"closed"}`, http.StatusOK, &post)
		}
		if post.Comments != event.Closed || post.Revision != 1 || post.DecidedBy != theModerator {
			t.Errorf("the post is %+v", post)
		}
		o.does(http.MethodPost, "/moderation/posts/"+aPost, `{"comments":"open"}`, http.StatusOK, &post)
		var person event.Blocking
		o.does(http.MethodPost, "/moderation/people/ann", `{"blocked":false}`, http.StatusOK, &person)
		o.does(http.MethodPost, "/moderation/people/ann", `{"blocked":true}`, http.StatusOK, &person)
		if !person.Blocked || person.Revision != 1 || person.DecidedBy != theModerator {
			t.Errorf("the person is %+v", person)
		}
		events := o.toLog()
		if len(events) != 3 || events[0].Commenting.Comments != event.Closed || *events[1].Commenting != post || post.Revision != 2 || *events[2].Blocking != person {
			t.Errorf("committed are %+v", events)
		}
		// Another store learns it from the log, in any order.
		empty := statetest.New()
		m := newModerator(&topic{}, empty)
		for _, c := range m.Consumers() {
			for i := len(events) - 1; i >= 0; i-- {
				if events[i].Type == c.Type {
					if errs := c.Restore(t.Context(), events[i:i+1]); errs != nil && errs[0] != nil {
						t.Error(errs)
					}
				}
			}
		}
		for _, key := range []string{commentingKey(aPost), blockingKey("ann")} {
			if empty.Value(key) != o.store.Value(key) {
				t.Errorf("%s is restored as %s, and was %s", key, empty.Value(key), o.store.Value(key))
			}
		}
	})
}

// The answer to a decision was lost, and so was the write of what had been committed. The
// moderator who sends the request again gets the first answer, and another one a conflict.
func TestADecisionWhoseAnswerWasLostIsSentAgain(t *testing.T) {
	inOffice(t, holdsAll, func(t *testing.T, o *office) {
		comment := o.commented("Hello")
		for path, body := range map[string]string{
			"/moderation/posts/" + aPost:         `{"comments":"closed"}`,
			"/moderation/people/ann":             `{"blocked":true}`,
			"/moderation/comments/" + comment.ID: `{"decision":"reject"}`,
		} {
			lose := o.store.Save()
			first := o.does(http.MethodPost, path, body, http.StatusOK, nil).Body.String()
			lose()
			time.Sleep(time.Second) // of the bubble's clock: it is not decided at the same time
			if again := o.does(http.MethodPost, path, body, http.StatusOK, nil).Body.String(); again != first {
				t.Errorf("%s is answered %s, and before %s", path, again, first)
			}
			lose()
		}
		_, closing := o.setCommenting(t.Context(), aPost, event.Closed, "another")
		_, blocking := o.setBlocking(t.Context(), "ann", true, "another")
		for _, err := range []error{closing, blocking} {
			if problem := new(web.Problem); !errors.As(err, &problem) || problem.Status != http.StatusConflict || problem.Stands == nil {
				t.Errorf("another moderator is answered %v", err)
			}
		}
		ids := map[string]bool{}
		for _, e := range o.journal.Events() {
			ids[e.ID] = true
		}
		if len(ids) != 3 {
			t.Errorf("%d decisions are committed", len(ids))
		}
	})
}

// The journal has the decision, and the store does not take it. Were that answered 200, the opposite
// decision would find what stood before, and change nothing.
func TestADecisionThatTheStoreLacksIsNotAnswered(t *testing.T) {
	inOffice(t, holdsAll, func(t *testing.T, o *office) {
		comment := "/moderation/comments/" + o.commented("Hello").ID
		for path, bodies := range map[string][2]string{
			"/moderation/posts/" + aPost: {`{"comments":"closed"}`, `{"comments":"open"}`},
			"/moderation/people/ann":     {`{"blocked":true}`, `{"blocked":false}`},
			comment:                      {`{"decision":"reject"}`, `{"decision":"hold"}`},
		} {
			o.store.Fail(statetest.ErrDown, statetest.Swap)
			o.does(http.MethodPost, path, bodies[0], http.StatusServiceUnavailable, nil)
			o.store.Fail(nil)
			var first, opposite struct{ Revision int }
			o.does(http.MethodPost, path, bodies[0], http.StatusOK, &first)
			o.does(http.MethodPost, path, bodies[1], http.StatusOK, &opposite)
			if opposite.Revision != first.Revision+1 {
				t.Errorf("%s is at revision %d, and then at %d", path, first.Revision, opposite.Revision)
			}
		}
		o.store.Fail(statetest.ErrDown, statetest.Swap)
		o.put(pears, `"1"`, http.StatusServiceUnavailable)
		o.store.Fail(nil)
		time.Sleep(time.Second) // of the bubble's clock: it is not changed at the same time
		o.put(nothing, `"1"`, http.StatusPreconditionFailed)
		o.put(pears, `"1"`, http.StatusOK)
		o.put(pears, `"1"`, http.StatusOK) // the answer was lost
		o.put(nothing, `"2"`, http.StatusOK)
		ids := map[string]bool{}
		for _, e := range o.journal.Events() {
			ids[e.ID] = true
		}
		if len(ids) != 8 {
			t.Errorf("%d decisions are committed, and not each once", len(ids))
		}
	})
}

// Every replica lists the people who are blocked, newest decision first.
func TestTheBlockedPeopleAreListed(t *testing.T) {
	inOffice(t, holdsAll, func(t *testing.T, o *office) {
		other := o.start(holdsAll)
		listed := func(want ...string) {
			t.Helper()
			for _, r := range []*replica{o.replica, other} {
				var list struct{ People []event.Blocking }
				o.wantStatus(r.ask(t, moderator, http.MethodGet, "/moderation/people", ""), http.StatusOK, &list)
				var got []string
				for _, p := range list.People {
					if got = append(got, p.Subject); !p.Blocked || p.DecidedBy != theModerator || p.DecidedAt.IsZero() {
						t.Errorf("listed is %+v", p)
					}
				}
				if !slices.Equal(got, want) || list.People == nil {
					t.Errorf("listed are %v, want %v", got, want)
				}
			}
		}
		listed()
		for _, person := range []string{"ann", "bob"} {
			o.does(http.MethodPost, "/moderation/people/"+person, `{"blocked":true}`, http.StatusOK, nil)
			time.Sleep(time.Second) // of the bubble's clock
		}
		o.toLog()
		listed("bob", "ann")
		o.does(http.MethodPost, "/moderation/people/bob", `{"blocked":false}`, http.StatusOK, nil)
		o.toLog()
		listed("ann")
		early := o.open(holdsAll) // it has not read the log yet
		o.wantStatus(early.ask(t, moderator, http.MethodGet, "/moderation/people", ""), http.StatusServiceUnavailable, nil)
	})
}
