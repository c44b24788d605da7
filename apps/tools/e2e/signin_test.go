package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/tools/system"
)

// fromPage are the headers of a request that a page of the blog sends with a browser's cookies.
func fromPage(browser *http.Client, host string, more ...string) []string {
	return append([]string{"Cookie: " + system.Cookie(browser, host), "Sec-Fetch-Site: same-origin"}, more...)
}

// guest is a browser that has asked who it is.
func guest(t *testing.T, host string) *http.Client {
	t.Helper()
	browser, err := system.Guest(host)
	if err != nil {
		t.Fatal(err)
	}
	return browser
}

// TestPeopleSignInAtTheClientsHost signs each person of the development issuer in, as a browser
// does, and has the services refuse and take what they write.
func TestPeopleSignInAtTheClientsHost(t *testing.T) {
	s := another(t, nil, plain(t), "GUESTS=comment")
	host := s.ofClient("")
	type me struct {
		Name, Subject string
		Roles, May    []string
		SignIn        bool
	}
	subjects := map[string]bool{}
	for person, may := range map[string]string{"author": "[post comment]", "reader": "[comment]", "moderator": "[comment moderate]", "operator": "[comment]"} {
		browser, err := system.SignIn(host, person)
		if err != nil {
			t.Fatal(err)
		}
		is := decode[me](t, want(t, 200, "GET", host+"/me", "", fromPage(browser, host)...).body)
		if fmt.Sprint(is.Roles, is.May) != "["+person+"] "+may || is.Name == "" || len(is.Subject) != 64 || subjects[is.Subject] {
			t.Errorf("%s is %+v", person, is)
		}
		subjects[is.Subject] = true
		status := map[bool]int{true: 201, false: 403}[person == "author"]
		r := want(t, status, "POST", host+"/posts/create", `{"title":"Of somebody"}`, fromPage(browser, host)...)
		if status == 403 && !strings.Contains(string(r.body), `"role":"author"`) {
			t.Errorf("%s is refused with %s", person, r)
		}
		want(t, map[bool]int{true: 200, false: 403}[person == "moderator"], "GET", host+"/moderation/queue", "", fromPage(browser, host)...)
		// Another site's page, and a cookie without any page, change nothing.
		want(t, 403, "POST", host+"/posts/create", `{"title":"x"}`, "Cookie: "+system.Cookie(browser, host), "Sec-Fetch-Site: cross-site")
		want(t, 403, "POST", host+"/posts/create", `{"title":"x"}`, "Cookie: "+system.Cookie(browser, host))
		want(t, 403, "POST", host+"/auth/sign-out", "", "Cookie: "+system.Cookie(browser, host), "Origin: https://evil.example")
	}
	want(t, 401, "POST", host+"/posts/create", `{"title":"Of a guest"}`)
	want(t, 401, "GET", host+"/moderation/queue", "")
}

// TestANameOfSomebodySignedInIsTheTokensAndASessionEnds comments, signs out, and comments again.
func TestANameOfSomebodySignedInIsTheTokensAndASessionEnds(t *testing.T) {
	host, p := shared.ofClient(""), shared.createPost(t, "commented by people")
	at := host + "/posts/" + p.ID + "/comments"
	browser, err := system.SignIn(host, "reader")
	if err != nil {
		t.Fatal(err)
	}
	signedIn := fromPage(browser, host)
	c := decode[seen](t, want(t, 201, "POST", at, `{"content":"An orange of mine.","author":"Mo Moderator"}`, signedIn...).body)
	if c.Author != "Rita Reader" || c.AuthorID == "" || c.Receipt != "" {
		t.Errorf("the comment is %+v", c)
	}
	forged := decode[seen](t, want(t, 201, "POST", at, `{"content":"Mine, too.","author":"Rita Reader"}`, fromPage(guest(t, host), host)...).body)
	if forged.AuthorID != "" {
		t.Errorf("a guest with her name is %+v", forged)
	}
	eventually(t, func() error { return settled(shared.App("query"), p.ID, map[string]string{c.ID: "rejected"}) })
	eventually(t, func() error {
		mine := want(t, 200, "GET", at+"/"+c.ID, "", signedIn...)
		others := want(t, 200, "GET", at+"/"+c.ID, "")
		if !strings.Contains(string(mine.body), "An orange") || strings.Contains(string(others.body), "orange") || !strings.Contains(mine.header.Get("Cache-Control"), "no-store") {
			return fmt.Errorf("she sees %s, others %s", mine, others)
		}
		return nil
	})

	r := want(t, 200, "POST", host+"/auth/sign-out", "", signedIn...)
	if !strings.Contains(string(r.body), "post_logout_redirect_uri") || !strings.Contains(fmt.Sprint(r.header["Set-Cookie"]), "postbus-session=;") {
		t.Errorf("signing out is answered %s %v", r, r.header)
	}
	// A copy of the cookie is no session any more: it neither writes nor becomes a guest's.
	want(t, 401, "POST", at, `{"content":"After that."}`, signedIn...)
	if mine := want(t, 200, "GET", at+"/"+c.ID, "", signedIn...); strings.Contains(string(mine.body), "orange") {
		t.Errorf("after signing out she sees %s", mine)
	}
}

// TestAGuestsKeyIsThatOfItsBrowser uses one Idempotency-Key in two browsers, and without one.
func TestAGuestsKeyIsThatOfItsBrowser(t *testing.T) {
	host, p := shared.ofClient(""), shared.createPost(t, "of guests")
	at, key := host+"/posts/"+p.ID+"/comments", "Idempotency-Key: "+uuid.NewString()
	ann, bob := fromPage(guest(t, host), host, key), fromPage(guest(t, host), host, key)
	var ids []string
	for i, headers := range [][]string{ann, bob, {key}} {
		body := fmt.Sprintf(`{"content":"guest %d"}`, i)
		first := decode[seen](t, want(t, 201, "POST", at, body, headers...).body)
		again := decode[seen](t, want(t, 201, "POST", at, body, headers...).body)
		if first.ID != again.ID || slices.Contains(ids, first.ID) {
			t.Errorf("guest %d made %s and %s, others %v", i, first.ID, again.ID, ids)
		}
		ids = append(ids, first.ID)
	}
	// Nobody but the host says which guest it is.
	forged := append([]string{"Postbus-Guest: " + strings.TrimPrefix(ann[0], "Cookie: postbus-guest=")}, key)
	want(t, 422, "POST", at, `{"content":"guest 0"}`, forged...)
	want(t, 422, "POST", shared.url("comments", "/posts/"+p.ID+"/comments"), `{"content":"guest 0"}`, forged...)
}

// TestAnIssuerThatIsDownStopsNewSignInsAlone kills the issuer, and starts again what needs its keys.
func TestAnIssuerThatIsDownStopsNewSignInsAlone(t *testing.T) {
	s := another(t, nil, plain(t), "SESSION_KEY="+strings.Repeat("k", 32))
	host, p := s.ofClient(""), s.createPost(t, "while the issuer is down")
	at := host + "/posts/" + p.ID + "/comments"
	browser, err := system.SignIn(host, "reader")
	if err != nil {
		t.Fatal(err)
	}
	signedIn := fromPage(browser, host)
	want(t, 201, "POST", at, `{"content":"It is up."}`, signedIn...)
	eventually(t, func() error { // a process stores the keys once its sidecar is there
		for _, name := range []string{"comments", "client"} {
			hasKeys := false
			for place, content := range s.stored(t) {
				hasKeys = hasKeys || strings.Contains(place, name) && strings.Contains(content, identity.KeysKey)
			}
			if !hasKeys {
				return fmt.Errorf("%s has not stored the issuer's keys", name)
			}
		}
		return nil
	})
	issuer := s.process(t, s.App(system.Issuer).Port)
	kill(t, issuer)
	for _, name := range []string{"comments", "client"} { // they begin with the keys of their stores
		app := s.process(t, s.App(name).Port)
		kill(t, app)
		s.launch(t, app)
		awaitReady(t, s.App(name))
	}
	eventually(t, func() error { // a token is a 503 until a process has read the keys of its store
		r, err := do("POST", at, `{"content":"It is down."}`, signedIn...)
		if err == nil && r.status != 201 {
			err = errors.New(r.String())
		}
		return err
	})
	want(t, 201, "POST", at, `{"content":"It is down."}`)
	if _, err := system.SignIn(host, "author"); err == nil {
		t.Error("somebody signs in while the issuer is down")
	}
	s.launch(t, issuer)
	eventually(t, func() error { _, err := system.SignIn(host, "author"); return err })
}
