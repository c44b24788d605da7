package moderation

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog/eventlogtest"
	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/identity/identitytest"
	"github.com/postbus/postbus/apps/internal/journal/journaltest"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
	"github.com/postbus/postbus/apps/moderation/policy"
)

// moderator is the token of a moderator, and theModerator their subject.
const moderator = string(identity.Moderator)

var theModerator = identitytest.Of(moderator).Subject

// holdsAll holds whatever a guest writes.
var holdsAll = policy.Rules{Newcomers: &policy.NewcomersRule{Comments: 1, Action: policy.Hold}}

// office is a system with replicas of moderation, in a synctest bubble.
type office struct {
	*testing.T
	log     *eventlogtest.Log
	store   *statetest.Memory
	journal *journaltest.Fake
	bus     *topic
	scorer  *policy.Scorer // of the replicas that start from now on
	logged  int            // events of the journal that are in the log
	*replica
}

// replica is one process of moderation.
type replica struct {
	*Service
	api http.Handler
}

func inOffice(t *testing.T, rules policy.Rules, test func(t *testing.T, o *office)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := &office{T: t, log: eventlogtest.New(), store: statetest.New(), journal: journaltest.New(), bus: &topic{}}
		o.replica = o.start(rules)
		test(t, o)
	})
}

// start starts one more replica.
func (o *office) start(rules policy.Rules) *replica {
	r := o.open(rules)
	go r.Run(o.Context())
	synctest.Wait()
	return r
}

// open makes a replica that does not read the log yet.
func (o *office) open(rules policy.Rules) *replica {
	m := New(Config{
		Source: "moderation", Journal: o.journal, Publisher: o.bus, Store: o.store, Progress: whole{}, Log: o.log,
		Guard: identitytest.Guard(), Default: rules, Scorer: o.scorer, Now: time.Now,
	})
	engine := web.NewEngine()
	m.Routes(engine.Group("/", web.WellFormedQuery))
	return &replica{m, engine}
}

// commented has a guest comment, and the policy decide. The log has both events.
func (o *office) commented(content string) event.Comment {
	o.Helper()
	return o.decidedOn(created(o.T, content))
}

func (o *office) decidedOn(e event.Event) event.Comment {
	o.Helper()
	o.log.Append(e)
	answers, errs := o.decideAll(o.Context(), []event.Event{e})
	if err := errors.Join(errs...); err != nil {
		o.Fatal(err)
	}
	o.log.Append(answers...)
	synctest.Wait()
	return *answers[0].Comment
}

// toLog brings what the journal has into the log.
func (o *office) toLog() []event.Event {
	o.Helper()
	all := o.journal.Events()
	news := all[o.logged:]
	for _, e := range news {
		raw, err := event.Marshal(e)
		if err != nil {
			o.Fatal(err)
		}
		if _, err := event.Parse(e.Type, raw); err != nil {
			o.Errorf("what was committed is no event: %v", err)
		}
	}
	o.log.Append(news...)
	o.logged = len(all)
	synctest.Wait()
	return news
}

// ask sends a request with the bearer token of a role. The headers are name and value in turn.
func (r *replica) ask(t *testing.T, token, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res := httptest.NewRecorder()
	r.api.ServeHTTP(res, req)
	return res
}

// does is ask by a moderator, who gets the status and, if into is not nil, that answer.
func (o *office) does(method, path, body string, status int, into any) *httptest.ResponseRecorder {
	o.Helper()
	res := o.ask(o.T, moderator, method, path, body)
	o.wantStatus(res, status, into)
	return res
}

func (o *office) wantStatus(res *httptest.ResponseRecorder, status int, into any) {
	o.Helper()
	if res.Code != status {
		o.Fatalf("answered %d %s, want %d", res.Code, res.Body, status)
	}
	if into != nil {
		if err := json.Unmarshal(res.Body.Bytes(), into); err != nil {
			o.Fatal(err)
		}
	}
}

// wantStands checks how a comment stands, by the answer, by the store and by another replica.
func (o *office) wantStands(got event.Comment, status event.Status, revision int, by string) {
	o.Helper()
	var read event.Comment
	o.does(http.MethodGet, "/moderation/comments/"+got.ID, "", http.StatusOK, &read)
	if got != read || got.Status != status || got.Revision != revision || got.DecidedBy != by {
		o.Errorf("answered %+v, stored %+v, want %s at revision %d by %q", got, read, status, revision, by)
	}
}
