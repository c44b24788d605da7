package identitytest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/web"
)

// Forged is a bearer token that Guard refuses.
const Forged = "forged"

// People are the bearer tokens of Check, in the order of Route.Want. The empty one is a
// guest's.
var People = []string{"", Forged, Nobody, "reader", "author", "moderator", "operator"}

// Policies are the guest policies of Check, in the order of Route.Want.
var Policies = [][]identity.Command{{identity.Post, identity.Comment}, {identity.Comment}, {identity.Post}, {}}

// Route is a route of a service, a valid request of it, and who may use it.
type Route struct {
	// Method and Path are those of gin, as in "/posts/:id".
	Method, Path string
	Target, Body string
	// Header is what the request has beside its content type and its token.
	Header http.Header
	// Want has a line for each of Policies, with the status for each of People. One line alone
	// is for all policies.
	Want []string
	// Role is the role that a 403 names.
	Role identity.Role
}

// Check sends each route's request as each of the people under each guest policy. Routes must
// have all routes of the service. Serve returns a new engine of the service with a guard,
// and how to count what the service has accepted: a refused request adds nothing.
func Check(t *testing.T, routes []Route, serve func(*testing.T, *identity.Guard) (engine *gin.Engine, accepted func() int)) {
	t.Helper()
	engine, _ := serve(t, Open())
	var has, tested []string
	for _, r := range engine.Routes() {
		has = append(has, r.Method+" "+r.Path)
	}
	for _, r := range routes {
		tested = append(tested, r.Method+" "+r.Path)
	}
	slices.Sort(has)
	slices.Sort(tested)
	if !slices.Equal(has, tested) {
		t.Errorf("the service has the routes %v, and these are tested: %v", has, tested)
	}
	for _, route := range routes {
		for i, guests := range Policies {
			want := strings.Fields(route.Want[min(i, len(route.Want)-1)])
			if len(want) != len(People) {
				t.Fatalf("%s %s: %d statuses for %d people", route.Method, route.Path, len(want), len(People))
			}
			for j, token := range People {
				t.Run(fmt.Sprintf("%s %s of %q when guests may %v", route.Method, route.Path, token, guests), func(t *testing.T) {
					engine, accepted := serve(t, Guard(guests...))
					route.check(t, engine, accepted, token, want[j])
				})
			}
		}
	}
}

func (r Route) check(t *testing.T, engine *gin.Engine, accepted func() int, token, want string) {
	t.Helper()
	req, res := httptest.NewRequest(r.Method, r.Target, strings.NewReader(r.Body)), httptest.NewRecorder()
	maps.Copy(req.Header, r.Header)
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	engine.ServeHTTP(res, req)
	if fmt.Sprint(res.Code) != want {
		t.Errorf("answered %d %s, want %s", res.Code, res.Body, want)
	}
	if res.Code < http.StatusBadRequest {
		return
	}
	if n := accepted(); n > 0 {
		t.Errorf("%d events of a refused request are accepted", n)
	}
	var problem web.Problem
	if err := json.Unmarshal(res.Body.Bytes(), &problem); r.Method != http.MethodHead && (err != nil || problem.Status != res.Code) {
		t.Errorf("%s is no problem document", res.Body)
	}
	challenge := ""
	switch {
	case res.Code == http.StatusUnauthorized && token == "":
		challenge = "Bearer"
	case res.Code == http.StatusUnauthorized:
		challenge = `Bearer error="invalid_token"`
	case problem.Role != string(r.Role) || !strings.Contains(problem.Detail, string(r.Role)):
		t.Errorf("%s does not name the role %s", res.Body, r.Role)
	}
	if got := res.Header().Get("WWW-Authenticate"); got != challenge {
		t.Errorf("the challenge is %q, want %q", got, challenge)
	}
}
