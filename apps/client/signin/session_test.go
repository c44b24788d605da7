package signin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/state/statetest"
)

func TestASessionEndsWhenItIsOldOrUnused(t *testing.T) {
	env := []string{"SESSION_LIFETIME=10h", "SESSION_IDLE=1h"}
	long := claims{"exp": time.Now().Add(24 * time.Hour).Unix()}
	for name, test := range map[string]struct {
		pauses []time.Duration
		want   bool
	}{
		"used until its end":     {slicesOf(50*time.Minute, 12), true},
		"used beyond it":         {slicesOf(50*time.Minute, 13), false},
		"unused for the limit":   {[]time.Duration{time.Hour}, true},
		"unused for longer":      {[]time.Duration{time.Hour + time.Second}, false},
		"used, and then no more": {[]time.Duration{30 * time.Minute, time.Hour + time.Second}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBlog(t, env...)
			b.issuer.change(func(i *issuer) { i.access, i.refresh = long, "r" })
			u := b.browser()
			u.signIn(b.issuer)
			got := true
			for _, pause := range test.pauses {
				b.pass(pause)
				got = u.isSignedIn()
			}
			if got != test.want {
				t.Errorf("signed in: %v", got)
			}
			if _, has := u.cookies[sessionCookie]; has != test.want {
				t.Errorf("the browser has %v", u.cookies)
			}
		})
	}
}

func slicesOf(pause time.Duration, n int) (pauses []time.Duration) {
	for range n {
		pauses = append(pauses, pause)
	}
	return pauses
}

func TestASessionThatHasEndedStopsWritingAndNotReading(t *testing.T) {
	b := newBlog(t)
	u := b.browser()
	u.me()
	u.signIn(b.issuer)
	b.pass(5*time.Minute + time.Second) // there is no refresh token
	ended := *u.cookies[sessionCookie]
	res := u.post("/api")
	wants(t, res, http.StatusUnauthorized)
	if res.Header().Get("WWW-Authenticate") == "" || res.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("the answer has %v", res.Header())
	}
	u.cookies[sessionCookie] = &ended
	res = u.get("/api")
	wants(t, res, http.StatusOK)
	if got := res.Body.String(); !strings.HasPrefix(got, "|") || len(got) < 20 {
		t.Errorf("the services get %s, want a guest", got)
	}
	u.cookies[sessionCookie] = &ended
	if p := u.me(); !p.Ended || p.Subject != "" {
		t.Errorf("/me says %+v", p)
	}
	if p := u.me(); p.Ended {
		t.Errorf("/me says it again: %+v", p)
	}
}

func TestACookieThatWasCutOrChangedIsNoSession(t *testing.T) {
	b := newBlog(t)
	u := b.browser()
	b.issuer.change(func(i *issuer) { i.access = claims{"groups": strings.Repeat("group ", 300)} }) // two cookies
	u.signIn(b.issuer)
	first, second := *u.cookies[sessionCookie], *u.cookies[partName(sessionCookie, 1)]
	if !u.isSignedIn() {
		t.Fatal("a session of two cookies is none")
	}
	value := first.Value
	for name, edit := range map[string]func(*browser){
		"half of the first":     func(b *browser) { b.cookies[first.Name].Value = value[:len(value)/2] },
		"half of the second":    func(b *browser) { b.cookies[second.Name].Value = second.Value[:len(second.Value)/2] },
		"no second":             func(b *browser) { delete(b.cookies, second.Name) },
		"nothing in it":         func(b *browser) { b.cookies[first.Name].Value = "" },
		"many parts":            func(b *browser) { b.cookies[first.Name].Value = "9" + value[1:] },
		"no parts":              func(b *browser) { b.cookies[first.Name].Value = "0" + value[1:] },
		"a negative number":     func(b *browser) { b.cookies[first.Name].Value = "-1" + value[1:] },
		"one character changed": func(b *browser) { b.cookies[first.Name].Value = value[:99] + other(value[99]) + value[100:] },
		"the parts swapped": func(b *browser) {
			b.cookies[first.Name].Value, b.cookies[second.Name].Value = "2."+second.Value, value[2:]
		},
		"garbage": func(b *browser) { b.cookies[first.Name].Value = strings.Repeat("1.x", 1000) },
	} {
		u := b.browser()
		one, two := first, second
		u.cookies[one.Name], u.cookies[two.Name] = &one, &two
		edit(u)
		before := map[string]*http.Cookie{}
		for name, cookie := range u.cookies {
			before[name] = cookie
		}
		if res := u.post("/api"); res.Code != http.StatusUnauthorized {
			t.Errorf("%s: a write is answered %d %s", name, res.Code, res.Body)
		}
		u.cookies = before
		if res := u.get("/api"); res.Code != http.StatusOK || strings.Contains(res.Body.String(), "Bearer") {
			t.Errorf("%s: a read is answered %d %s", name, res.Code, res.Body)
		}
		if len(u.cookies) > 0 {
			t.Errorf("%s: the browser keeps %v", name, u.cookies)
		}
	}
}

func other(b byte) string {
	if b == 'A' {
		return "B"
	}
	return "A"
}

func TestASignInsCookieIsNoSession(t *testing.T) {
	b := newBlog(t)
	u := b.browser()
	u.begin(b.issuer, "/")
	for _, cookie := range u.cookies {
		u.cookies = map[string]*http.Cookie{sessionCookie: {Name: sessionCookie, Value: cookie.Value}}
		wants(t, u.post("/api"), http.StatusUnauthorized)
	}
}

func TestANewKeySignsNobodyOut(t *testing.T) {
	older, newer := strings.Repeat("o", minKey), strings.Repeat("n", minKey)
	b := newBlog(t, "SESSION_KEY="+older)
	u := b.browser()
	u.signIn(b.issuer)
	_, both := b.replica("SESSION_KEY=" + newer + "," + older)
	if !u.at(both).isSignedIn() {
		t.Fatal("a new key signs people out")
	}
	b.pass(b.Idle / seenShare * 2 / 3)
	_, alone := b.replica("SESSION_KEY=" + newer)
	if u.at(alone).isSignedIn() {
		t.Error("a session that was sealed by a key that is gone goes on")
	}
}

func TestATokenIsRefreshedOnceForAllRequestsOfAPage(t *testing.T) {
	b := newBlog(t)
	b.issuer.change(func(i *issuer) { i.refresh = "r" })
	u := b.browser()
	u.signIn(b.issuer)
	old := *u.cookies[sessionCookie]
	b.pass(4*time.Minute + time.Second)
	b.issuer.change(func(i *issuer) { i.access = claims{"roles": []string{"reader"}} })
	var requests sync.WaitGroup
	for range 8 {
		requests.Go(func() {
			tab := b.browser()
			tab.cookies[sessionCookie] = &old
			if res := tab.post("/api"); res.Code != http.StatusOK {
				t.Errorf("got %d %s", res.Code, res.Body)
			}
		})
	}
	requests.Wait()
	tab := b.browser()
	tab.cookies[sessionCookie] = &old
	if p := tab.me(); fmt.Sprint(p.Roles) != "[reader]" {
		t.Errorf("she is %+v", p)
	}
	if b.issuer.refreshes != 1 {
		t.Errorf("the token was refreshed %d times", b.issuer.refreshes)
	}
	b.pass(4*time.Minute + time.Second)
	if !tab.isSignedIn() || b.issuer.refreshes != 2 {
		t.Errorf("the token was refreshed %d times", b.issuer.refreshes)
	}
}

func TestAnIssuerThatRefusesAFreshTokenEndsTheSession(t *testing.T) {
	for name, change := range map[string]func(*issuer){
		"refused":        func(i *issuer) { i.refresh = "another" },
		"another person": func(i *issuer) { i.access, i.id = claims{"sub": "bob"}, claims{"sub": "bob"} },
		"no good tokens": func(i *issuer) { i.access, i.id = claims{"aud": "other"}, claims{"aud": "other"} },
	} {
		b := newBlog(t)
		b.issuer.change(func(i *issuer) { i.refresh = "r" })
		u := b.browser()
		u.signIn(b.issuer)
		b.pass(4*time.Minute + time.Second)
		b.issuer.change(change)
		if !u.isSignedIn() {
			t.Errorf("%s: the session ends before its token: another replica may have refreshed it", name)
		}
		b.pass(time.Minute)
		if u.isSignedIn() || u.cookies[sessionCookie] != nil {
			t.Errorf("%s: the session goes on", name)
		}
	}
}

func TestWhileTheIssuerIsDownATokenIsUsedToItsEnd(t *testing.T) {
	b := newBlog(t)
	b.issuer.change(func(i *issuer) { i.refresh = "r" })
	u := b.browser()
	u.signIn(b.issuer)
	b.issuer.change(func(i *issuer) { i.isDown = true })
	b.pass(4*time.Minute + 59*time.Second)
	wants(t, u.post("/api"), http.StatusOK)
	b.pass(2 * time.Second)
	wants(t, u.post("/api"), http.StatusServiceUnavailable)
	wants(t, u.get("/api"), http.StatusOK)
	wants(t, u.get("/me"), http.StatusServiceUnavailable)
	b.issuer.change(func(i *issuer) { i.isDown = false })
	wants(t, u.post("/api"), http.StatusOK)
}

func TestAnAccessTokenThatNobodyCanVerifyIsReplacedByTheIDToken(t *testing.T) {
	b := newBlog(t)
	b.issuer.change(func(i *issuer) { i.opaque = true })
	u := b.browser()
	u.signIn(b.issuer)
	if res := u.post("/api"); !strings.HasPrefix(res.Body.String(), "Bearer eyJ") {
		t.Errorf("the services get %s", res.Body)
	}
	b.pass(5*time.Minute + time.Second)
	wants(t, u.post("/api"), http.StatusUnauthorized)
}

func TestASignOutEndsEveryCopyOfASession(t *testing.T) {
	b := newBlog(t)
	u, other := b.browser(), b.browser()
	u.signIn(b.issuer)
	other.signIn(b.issuer)
	stolen := *u.cookies[sessionCookie]
	_, replica := b.replica()
	thief := b.browser().at(replica)
	thief.cookies[sessionCookie] = &stolen
	if !thief.isSignedIn() {
		t.Fatal("a copy is no session") // and this replica remembers that it was one
	}
	res := u.post("/auth/sign-out")
	wants(t, res, http.StatusOK)
	want := `{"next":"` + b.issuer.URL + `/end?client_id=postbus&kept=1&post_logout_redirect_uri=http%3A%2F%2Flocalhost%3A3000%2F"}`
	if got := strings.TrimSpace(res.Body.String()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if u.cookies[sessionCookie] != nil {
		t.Errorf("the browser keeps %v", u.cookies)
	}
	u.cookies[sessionCookie] = &stolen
	if u.isSignedIn() {
		t.Error("the session goes on at this replica")
	}
	waitUntil(t, func() bool {
		thief.cookies[sessionCookie] = &stolen
		return !thief.isSignedIn()
	})
	if !other.isSignedIn() {
		t.Error("the person's other session ended, too")
	}
}

// waitUntil waits for what takes up to lookEvery.
func waitUntil(t *testing.T, isSo func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * lookEvery); !isSo(); {
		if time.Now().After(deadline) {
			t.Fatal("it never is so")
		}
		<-time.After(100 * time.Millisecond)
	}
}

func TestASignOutWorksWhileTheStoreDoesNotAnswer(t *testing.T) {
	b := newBlog(t)
	u := b.browser()
	u.signIn(b.issuer)
	b.store.Fail(errors.New("away"), statetest.Get, statetest.Swap)
	wants(t, u.post("/api"), http.StatusOK) // a session that is not known to be ended
	wants(t, u.post("/auth/sign-out"), http.StatusOK)
	if u.cookies[sessionCookie] != nil {
		t.Errorf("the browser keeps %v", u.cookies)
	}
}

func TestTheIssuerEndsSessions(t *testing.T) {
	const event = "http://schemas.openid.net/event/backchannel-logout"
	for name, test := range map[string]struct {
		changes claims
		signer  int
		status  int
		isEnded bool
	}{
		"of the issuer's session": {claims{"sid": "at the issuer", "sub": nil}, 0, 200, true},
		"of a person":             {claims{"sid": nil}, 0, 200, true},
		"of another session":      {claims{"sid": "another", "sub": nil}, 0, 200, false},
		"of another person":       {claims{"sid": nil, "sub": "bob"}, 0, 200, false},
		"from before the sign-in": {claims{"sid": nil, "iat": time.Now().Add(-time.Hour).Unix()}, 0, 200, false},
		"by another key":          {claims{}, 1, 400, false},
		"for another client":      {claims{"aud": "other"}, 0, 400, false},
		"of another issuer":       {claims{"iss": "https://evil.example"}, 0, 400, false},
		"too old":                 {claims{"exp": time.Now().Add(-time.Hour).Unix()}, 0, 400, false},
		"an ID token":             {claims{"events": nil}, 0, 400, false},
		"with a nonce":            {claims{"nonce": "n"}, 0, 400, false},
		"without an id":           {claims{"jti": nil}, 0, 400, false},
		"of nobody":               {claims{"sid": nil, "sub": nil}, 0, 400, false},
	} {
		b := newBlog(t)
		u := b.browser()
		u.signIn(b.issuer)
		c := claims{
			"iss": b.issuer.URL, "aud": "postbus", "sub": "ann", "sid": "at the issuer", "iat": b.now().Unix(), "exp": b.now().Add(time.Minute).Unix(),
			"jti": "1", "events": map[string]any{event: map[string]any{}},
		}
		for name, value := range test.changes {
			c[name] = value
			if value == nil {
				delete(c, name)
			}
		}
		// The issuer has neither cookies nor an origin.
		res := b.browser().send(http.MethodPost, "/auth/back-channel-logout", "logout_token="+signed(t, test.signer, c), "Content-Type: application/x-www-form-urlencoded")
		if res.Code != test.status || res.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got %d %s", name, res.Code, res.Body)
		}
		if u.isSignedIn() == test.isEnded {
			t.Errorf("%s: the session has ended: %v", name, !test.isEnded)
		}
	}
	b := newBlog(t)
	for _, body := range []string{"", "logout_token=", "logout_token=x.y.z", "%", "{}"} {
		wants(t, b.browser().send(http.MethodPost, "/auth/back-channel-logout", body), http.StatusBadRequest)
	}
}

func TestALogoutThatCanNotBeKeptIsAskedForAgain(t *testing.T) {
	b := newBlog(t)
	b.store.Fail(errors.New("away"), statetest.Get, statetest.Swap)
	token := signed(t, 0, claims{
		"iss": b.issuer.URL, "aud": "postbus", "sub": "ann", "iat": b.now().Unix(), "exp": b.now().Add(time.Minute).Unix(),
		"jti": "1", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	})
	wants(t, b.browser().send(http.MethodPost, "/auth/back-channel-logout", "logout_token="+token), http.StatusServiceUnavailable)
}
