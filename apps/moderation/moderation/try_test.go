package moderation

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/moderation/policy"
)

// tries has a moderator try rules, which are as they are sent, on a comment.
func (o *office) tries(rules, rest string, status int, into any) {
	o.Helper()
	o.does(http.MethodPost, "/moderation/policy/try", fmt.Sprintf(`{"policy":%s,%s}`, rules, rest), status, into)
}

func (o *office) wantTrial(rules, rest string, want trial) {
	o.Helper()
	var got trial
	if o.tries(rules, rest, http.StatusOK, &got); got != want {
		o.Errorf("%s on %s answers %+v, want %+v", rules, rest, got, want)
	}
}

func TestRulesThatNobodySavedAreTried(t *testing.T) {
	inOffice(t, policy.Default, func(t *testing.T, o *office) {
		// The policy that stands does not count.
		o.wantTrial(`{}`, `"content":"an orange"`, trial{Status: event.Approved})
		o.wantTrial(pears, `"content":"a pear"`, trial{event.Held, "contains “pear”", "words"})
		o.wantTrial(pears, `"content":"Hello","author":"Pear"`, trial{event.Held, "contains “pear”", "words"})
		o.wantTrial(pears, `"content":"Hello","author":" "`, trial{Status: event.Approved})
		o.wantTrial(`{"words":[{"text":"pear","match":"whole","action":"approve"}],"newcomers":{"comments":1,"action":"hold"}}`, `"content":"a pear"`,
			trial{event.Approved, "contains the word “pear”", "words"})
		o.wantTrial(`{"links":{"most":0,"action":"reject"}}`, `"content":"https://example.com"`, trial{event.Rejected, "has 1 links, more than 0", "links"})
		res := o.does(http.MethodPost, "/moderation/policy/try", `{"policy":{},"content":"Hello"}`, http.StatusOK, nil)
		if got := strings.TrimSpace(res.Body.String()); got != `{"status":"approved"}` {
			t.Errorf("answered is %s", got)
		}
	})
}

// Nothing is written: no hint, no event, no decision.
func TestATrialReadsThePastAndWritesNothing(t *testing.T) {
	rules := policy.Rules{
		Repeated:  &policy.RepeatedRule{By: policy.Anybody, Most: 1, WithinSeconds: 3600, Action: policy.Hold},
		TooMany:   &policy.TooManyRule{Most: 2, WithinSeconds: 3600, Action: policy.Reject},
		Newcomers: &policy.NewcomersRule{Comments: 1, Action: policy.Hold},
	}
	inOffice(t, rules, func(t *testing.T, o *office) {
		path := "/moderation/comments/" + o.decidedOn(writtenBy(t, "ann", "Buy!", time.Now())).ID
		o.does(http.MethodPost, path, `{"decision":"approve"}`, http.StatusOK, nil)
		o.decidedOn(writtenBy(t, "ann", "buy!", time.Now()))
		time.Sleep(time.Second) // of the bubble's clock
		o.bus.events = nil
		writes, events := o.store.Written(), len(o.journal.Events())
		for range 2 {
			o.wantTrial(`{"newcomers":{"comments":1,"action":"hold"}}`, `"content":"Hello"`, trial{event.Held, "is by somebody new", "newcomers"})
			o.wantTrial(`{"newcomers":{"comments":1,"action":"hold"}}`, `"content":"Hello","subject":"bob"`, trial{event.Held, "is by somebody new", "newcomers"})
			o.wantTrial(`{"newcomers":{"comments":1,"action":"hold"}}`, `"content":"Hello","subject":"ann"`, trial{Status: event.Approved})
			o.wantTrial(`{"tooMany":{"most":2,"withinSeconds":60,"action":"reject"}}`, `"content":"Hello","subject":"ann"`, trial{event.Rejected, "is one of more than 2 within 1m0s", "tooMany"})
			o.wantTrial(`{"repeated":{"by":"anybody","most":1,"withinSeconds":60,"action":"hold"}}`, `"content":"BUY!"`, trial{event.Held, "repeats what was written before", "repeated"})
			o.wantTrial(`{"repeated":{"by":"anybody","most":2,"withinSeconds":60,"action":"hold"}}`, `"content":"BUY!"`, trial{Status: event.Approved})
		}
		if o.store.Written() != writes || len(o.journal.Events()) != events || len(o.bus.events) > 0 {
			t.Error("a trial has written something")
		}
		o.store.Fail(statetest.ErrDown)
		o.tries(`{}`, `"content":"Hello"`, http.StatusOK, nil)
		o.tries(`{"newcomers":{"comments":1,"action":"hold"}}`, `"content":"Hello","subject":"ann"`, http.StatusServiceUnavailable, nil)
	})
}

// The scorer is asked as it is for a comment.
func TestATrialAsksTheScorer(t *testing.T) {
	inOffice(t, policy.Default, func(_ *testing.T, o *office) {
		const rules = `{"scorer":{"holdFrom":0.5,"rejectFrom":0.9,"timeoutMs":1500}}`
		o.scorer = scorerTaking(time.Second, 0.93)
		o.replica = o.start(policy.Default)
		o.wantTrial(rules, `"content":"Hello"`, trial{event.Rejected, "is scored 0.93", "scorer"})
		o.scorer = scorerTaking(2*time.Second, 0)
		o.replica = o.start(policy.Default)
		o.wantTrial(rules, `"content":"Hello"`, trial{event.Held, "the scorer did not answer", "scorer"})
	})
}

// A place in the rules is named as PUT names it.
func TestATrialIsCheckedAsAPolicyAndACommentAre(t *testing.T) {
	inOffice(t, policy.Default, func(t *testing.T, o *office) {
		for body, want := range map[string]string{
			`{"content":"Hello"}`: "policy",
			`{"policy":{"words":[{"text":"a","match":"part","action":"hold"},{"text":"","match":"part","action":"hold"}]},"content":"Hello"}`: "words[1].text",
			`{"policy":{"scorer":{"holdFrom":0.5,"rejectFrom":0.9,"timeoutMs":100}},"content":"Hello"}`:                                       "scorer",
			`{"policy":{}}`: "content",
			`{"policy":{},"content":"` + strings.Repeat("x", event.MaxContent+1) + `"}`:                 "content",
			`{"policy":{},"content":"Hello","author":"` + strings.Repeat("x", event.MaxAuthor+1) + `"}`: "author",
			`{"policy":{},"content":"Hello","subject":"a person"}`:                                      "subject",
		} {
			var problem struct{ Field string }
			if o.does(http.MethodPost, "/moderation/policy/try", body, http.StatusUnprocessableEntity, &problem); problem.Field != want {
				t.Errorf("%.100s: the place is %q, want %q", body, problem.Field, want)
			}
		}
		o.tries(`{"fruit":1}`, `"content":"Hello"`, http.StatusBadRequest, nil)
		o.tries(`{}`, `"content":"Hello","fruit":1`, http.StatusBadRequest, nil)
		o.does(http.MethodPost, "/moderation/policy/try", "", http.StatusUnsupportedMediaType, nil)
	})
}
