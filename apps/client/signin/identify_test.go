package signin

import (
	"net/http"
	"strings"
	"testing"
)

// sites are the headers of a request by where it comes from, and whether a cookie lets it change
// something.
var sites = map[string]struct {
	headers []string
	isOwn   bool
}{
	"a fetch of the blog's own page":          {[]string{"Sec-Fetch-Site: same-origin", "Origin: " + publicURL}, true},
	"an older browser's own page":             {[]string{"Origin: " + publicURL}, true},
	"a form of another site":                  {[]string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example", "Content-Type: application/x-www-form-urlencoded"}, false},
	"a text/plain form of another site":       {[]string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example", "Content-Type: text/plain"}, false},
	"a fetch of another site":                 {[]string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example", "Content-Type: application/json"}, false},
	"a page beside the blog":                  {[]string{"Sec-Fetch-Site: same-site", "Origin: http://localhost:3001"}, false},
	"an older browser's page of another site": {[]string{"Origin: https://evil.example"}, false},
	"an older browser's page beside the blog": {[]string{"Origin: http://localhost:3001"}, false},
	"a sandboxed frame":                       {[]string{"Origin: null"}, false},
	"what does not say where it comes from":   {nil, false},
	"what says nothing in many words":         {[]string{"Sec-Fetch-Site: ", "Origin: "}, false},
	"what says it wrong":                      {[]string{"Sec-Fetch-Site: whatever"}, false},
}

func TestOtherSitesChangeNothingWithACookie(t *testing.T) {
	b := newBlog(t)
	for name, site := range sites {
		signedIn, guest := b.browser(), b.browser()
		signedIn.signIn(b.issuer)
		guest.me()
		want := http.StatusOK
		if !site.isOwn {
			want = http.StatusForbidden
		}
		for _, u := range []*browser{signedIn, guest} {
			if res := u.send(http.MethodPost, "/api", "{}", site.headers...); res.Code != want {
				t.Errorf("%s: got %d %s, want %d", name, res.Code, res.Body, want)
			}
		}
		if res := signedIn.send(http.MethodPost, "/auth/sign-out", "", site.headers...); res.Code != want || (signedIn.cookies[sessionCookie] == nil) != site.isOwn {
			t.Errorf("%s: signing out is answered %d", name, res.Code)
		}
		// Without a cookie, other sites have nothing that the attacker does not have himself.
		if res := b.browser().send(http.MethodPost, "/api", "{}", site.headers...); res.Code != http.StatusOK {
			t.Errorf("%s: without a cookie it is answered %d", name, res.Code)
		}
	}
}

func TestABearerTokenIsWorthMoreThanACookie(t *testing.T) {
	b := newBlog(t)
	u := b.browser()
	u.signIn(b.issuer)
	for header, want := range map[string]string{
		"Authorization: Bearer mine": "Bearer mine|", "Authorization: bearer mine": "bearer mine|", "Authorization: Basic YTpi": "Bearer eyJ",
	} {
		res := u.send(http.MethodGet, "/api", "", header)
		if !strings.HasPrefix(res.Body.String(), want) {
			t.Errorf("with %s the services get %s", header, res.Body)
		}
	}
	// It does not open what another site sends with the cookie.
	wants(t, u.send(http.MethodPost, "/api", "", "Authorization: Bearer mine", "Sec-Fetch-Site: cross-site"), http.StatusForbidden)
}

func TestAGuestsBrowserIsKnownAndNobodyNamesAnother(t *testing.T) {
	b := newBlog(t)
	u := b.browser()
	if got := u.post("/api").Body.String(); got != "|" {
		t.Errorf("without a cookie the services get %s", got)
	}
	u.me()
	id := u.cookies[guestCookie].Value
	if got := u.post("/api").Body.String(); got != "|"+id || !validGuest.MatchString(id) {
		t.Errorf("the services get %s, want %s", got, id)
	}
	u.me()
	if u.cookies[guestCookie].Value != id {
		t.Error("the guest is another one")
	}
	if got := u.send(http.MethodPost, "/api", "", "Sec-Fetch-Site: same-origin", "Postbus-Guest: another").Body.String(); got != "|"+id {
		t.Errorf("the services get %s", got)
	}
	if got := b.browser().send(http.MethodPost, "/api", "", "Postbus-Guest: another").Body.String(); got != "|" {
		t.Errorf("a program makes up a guest: %s", got)
	}
	u.cookies[guestCookie].Value = "another"
	if got := u.post("/api").Body.String(); got != "|" {
		t.Errorf("a cookie that the host has not made is a guest: %s", got)
	}
}
