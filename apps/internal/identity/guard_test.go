package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/web"
)

// roleTokens takes the name of a role as the token of a person who has it. "nobody" has none.
type roleTokens struct{}

func (roleTokens) Verify(_ context.Context, token string) (Person, error) {
	switch token {
	case "invalid":
		return Person{}, fmt.Errorf("%w: as it says", ErrInvalid)
	case "nobody":
		return Person{Subject: "s"}, nil
	}
	return Person{Subject: "s", Name: "Ann", Roles: []Role{Role(token)}}, nil
}

func TestTheAuthorizationHeaderSaysWhoSendsARequest(t *testing.T) {
	ann := Person{Subject: "s", Name: "Ann", Roles: []Role{Reader}}
	for header, want := range map[string]struct {
		status int
		person Person
	}{
		"":                {204, Person{}},
		"Bearer reader":   {204, ann},
		"bearer  reader ": {204, ann},
		"Bearer invalid":  {401, Person{}},
		"reader":          {401, Person{}},
		"Token reader":    {401, Person{}},
		"Basic YTpi":      {401, Person{}}, // a:b
		// dapr-app-id:posts, for the sidecar
		"Basic ZGFwci1hcHAtaWQ6cG9zdHM=": {204, Person{}},
	} {
		res, got := get(header, New(roleTokens{}).Identify)
		if res.Code != want.status || !reflect.DeepEqual(got, want.person) {
			t.Errorf("%q: answered %d to %+v", header, res.Code, got)
		}
		if res.Code == 401 && (res.Header().Get("WWW-Authenticate") != `Bearer error="invalid_token"` || !web.HasMediaType(res.Header(), "application/problem+json")) {
			t.Errorf("%q: answered %v %s", header, res.Header(), res.Body)
		}
	}
	if res, _ := get("Bearer reader", New(nil, Post, Comment).Identify); res.Code != 401 {
		t.Errorf("without an issuer a token is answered %d", res.Code)
	}
	two := func(c *gin.Context) { c.Request.Header.Add("Authorization", "Bearer operator") }
	if res, got := get("Bearer reader", two, New(roleTokens{}).Identify); res.Code != 401 || !got.IsGuest() {
		t.Errorf("two tokens are answered %d to %+v", res.Code, got)
	}
}

func TestRolesAndTheGuestPolicySayWhoMayDoWhat(t *testing.T) {
	people := []string{"", "nobody", "reader", "author", "moderator", "operator"}
	for _, test := range []struct {
		name    string
		guests  []Command
		command Command
		want    string // the status of each of the people
		role    string // which is missing where the status is 403
	}{
		{"post", []Command{Post, Comment}, Post, "204 403 403 204 403 403", "author"},
		{"post, no guests", []Command{Comment}, Post, "401 403 403 204 403 403", "author"},
		{"comment", []Command{Comment}, Comment, "204 403 204 204 204 204", "reader"},
		{"comment, no guests", nil, Comment, "401 403 204 204 204 204", "reader"},
		{"moderate", []Command{Post, Comment}, Moderate, "401 403 403 403 204 403", "moderator"},
	} {
		guard, got := New(roleTokens{}, test.guests...), []string{}
		for _, person := range people {
			header := "Bearer " + person
			if person == "" {
				header = ""
			}
			res, _ := get(header, guard.Identify, guard.Allow(test.command))
			got = append(got, fmt.Sprint(res.Code))
			var problem web.Problem
			_ = json.Unmarshal(res.Body.Bytes(), &problem)
			if res.Code == 401 && res.Header().Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s, %s: no challenge in %v", test.name, person, res.Header())
			}
			if res.Code == 403 && (problem.Role != test.role || !strings.Contains(problem.Detail, test.role)) {
				t.Errorf("%s, %s: %s does not say which role is missing", test.name, person, res.Body)
			}
			if res.Code != 204 && problem.Status != res.Code {
				t.Errorf("%s, %s: %s is no problem document", test.name, person, res.Body)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %v, want %s", test.name, got, test.want)
		}
	}
}

func TestWithoutIdentifyEverybodyIsAGuest(t *testing.T) {
	if res, got := get("Bearer moderator", New(roleTokens{}).Allow(Moderate)); res.Code != http.StatusUnauthorized || !got.IsGuest() {
		t.Errorf("answered %d to %+v", res.Code, got)
	}
	if (Person{Roles: []Role{Moderator}}).Has(Moderator) {
		t.Error("a guest has a role")
	}
}
