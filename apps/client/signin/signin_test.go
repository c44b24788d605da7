package signin

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

func TestSomebodySignsInAndTheServicesGetTheToken(t *testing.T) {
	b := newBlog(t)
	u := b.browser()
	if p := u.me(); p.Subject != "" || !p.SignIn || p.Ended || fmt.Sprint(p.May, p.Roles) != "[comment] []" {
		t.Errorf("a guest is %+v", p)
	}
	back := u.begin(b.issuer, "/p/1?sort=new")
	res := u.get(back)
	if to := res.Header().Get("Location"); res.Code != http.StatusSeeOther || to != "/p/1?sort=new" {
		t.Fatalf("it leads to %d %s", res.Code, to)
	}
	cookie := u.cookies[sessionCookie]
	if cookie == nil || !cookie.HttpOnly || cookie.Secure || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.MaxAge != int((b.Idle+keptAfter)/time.Second) {
		t.Fatalf("the cookie is %+v", cookie)
	}
	for _, secret := range []string{"Ann", "author", "eyJ"} {
		if strings.Contains(cookie.Value, secret) {
			t.Errorf("the cookie shows %s", secret)
		}
	}
	if len(u.cookies) != 2 { // and the guest's
		t.Errorf("the browser has %v", u.cookies)
	}
	p := u.me()
	if len(p.Subject) != 64 || p.Name != "Ann" || fmt.Sprint(p.May, p.Roles) != "[post comment] [author]" || !p.Until.Equal(b.at.Add(b.Lifetime)) {
		t.Errorf("she is %+v", p)
	}
	res = u.post("/api")
	wants(t, res, http.StatusOK)
	if got := res.Body.String(); !strings.HasPrefix(got, "Bearer eyJ") || !strings.HasSuffix(got, "|") || res.Header().Get("Cache-Control") != "private, no-store" {
		t.Errorf("the services get %s with %v", got, res.Header())
	}
	// The code, and the sign-in, are good once.
	if to := u.get(back).Header().Get("Location"); to != "/?sign-in=late" {
		t.Errorf("the second time it leads to %s", to)
	}
}

func TestASignInWithTLSHasCookiesOfThisHostAlone(t *testing.T) {
	b := newBlog(t, "PUBLIC_URL=https://posts.com", "DEV_ISSUER=1")
	u := b.browser()
	u.signIn(b.issuer)
	u.me()
	for name, cookie := range u.cookies {
		if !strings.HasPrefix(name, "__Host-") || !cookie.Secure || !cookie.HttpOnly || cookie.Path != "/" || cookie.Domain != "" {
			t.Errorf("%s is %+v", name, cookie)
		}
	}
	if !u.isSignedIn() {
		t.Error("she is not signed in")
	}
}

func TestASignInLeadsNowhereElse(t *testing.T) {
	for text, want := range map[string]string{
		"/": "/", "/p/1": "/p/1", "/p/1?a=b&c=%2F": "/p/1?a=b&c=%2F", "/p/1#c": "/p/1#c", "": "/", "p/1": "/", "//evil.example": "/", "///evil.example": "/",
		"https://evil.example/": "/", `/\evil.example`: "/", `/\/evil.example`: "/", "/%5Cevil.example": "/", "/%2F/evil.example": "/", "http:/evil.example": "/", "javascript:alert(1)": "/",
		"/\tevil": "/", "/\n/evil.example": "/", "/\r\nLocation: x": "/", "\\\\evil.example": "/", " //evil.example": "/", "/auth/sign-in": "/",
		"/" + strings.Repeat("x", maxReturn-1): "/" + strings.Repeat("x", maxReturn-1), "/" + strings.Repeat("x", maxReturn): "/",
	} {
		if got := returnPath(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	b := newBlog(t)
	u := b.browser()
	if to := u.get(u.begin(b.issuer, "//evil.example/")).Header().Get("Location"); to != "/" {
		t.Errorf("it leads to %s", to)
	}
}

func TestASignInBeginsAtThePublicAddress(t *testing.T) {
	b := newBlog(t)
	u := b.browser()
	u.host = "127.0.0.1:3000"
	res := u.get(signInPath + "?return=" + url.QueryEscape("/p/1?a=b"))
	if to := res.Header().Get("Location"); to != publicURL+"/auth/sign-in?moved=1&return=%2Fp%2F1%3Fa%3Db" || len(u.cookies) > 0 {
		t.Errorf("it leads to %s with %v", to, u.cookies)
	}
	// Behind a proxy that always asks for the host by its own name, that does not go on for ever.
	if to := u.get(signInPath + "?moved=1&return=/p/1").Header().Get("Location"); !strings.HasPrefix(to, b.issuer.URL) {
		t.Errorf("it leads to %s", to)
	}
}

// change is an edit of what comes back from the issuer.
type change struct {
	issuer  func(*issuer)
	back    func(address string) string
	browser func(*browser)
	clock   time.Duration
	want    string
}

func TestASignInThatIsNotWholeMakesNoSession(t *testing.T) {
	query := func(name, value string) func(string) string {
		return func(address string) string {
			u, _ := url.Parse(address)
			q := u.Query()
			q.Set(name, value)
			u.RawQuery = q.Encode()
			return u.String()
		}
	}
	now := time.Now()
	for name, c := range map[string]change{
		"another state":                     {back: query("state", strings.Repeat("A", 26)), want: "/?sign-in=late"},
		"a short state":                     {back: query("state", "A"), want: "/?sign-in=late"},
		"no cookie":                         {browser: func(b *browser) { clear(b.cookies) }, want: "/?sign-in=late"},
		"after its time":                    {clock: flowLifetime + time.Second, want: "/?sign-in=late"},
		"the person says no":                {back: query("error", "access_denied"), want: "/p/1?sign-in=denied"},
		"the issuer refuses":                {back: query("error", "server_error"), want: "/p/1?sign-in=failed"},
		"another code":                      {back: query("code", "stolen"), want: "/p/1?sign-in=failed"},
		"another verifier":                  {issuer: func(i *issuer) { i.challenge = "x" }, want: "/p/1?sign-in=failed"},
		"an ID token of another sign-in":    {issuer: func(i *issuer) { i.nonce = "x" }, want: "/p/1?sign-in=failed"},
		"an ID token for another client":    {issuer: func(i *issuer) { i.id = claims{"aud": "other"} }, want: "/p/1?sign-in=failed"},
		"an ID token of another issuer":     {issuer: func(i *issuer) { i.id = claims{"iss": "https://evil.example"} }, want: "/p/1?sign-in=failed"},
		"an ID token that has expired":      {issuer: func(i *issuer) { i.id = claims{"exp": now.Add(-time.Hour).Unix()} }, want: "/p/1?sign-in=failed"},
		"tokens that no service takes":      {issuer: func(i *issuer) { i.access, i.id = claims{"aud": "other"}, claims{"sub": ""} }, want: "/p/1?sign-in=failed"},
		"tokens that are too large to keep": {issuer: func(i *issuer) { i.access = claims{"groups": strings.Repeat("x", 8_000)} }, want: "/p/1?sign-in=failed"},
		"an issuer that breaks":             {issuer: func(i *issuer) { i.tokens = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) } }, want: "/p/1?sign-in=failed"},
		"no ID token":                       {issuer: tokensOf(`{"token_type":"Bearer","access_token":"a"}`), want: "/p/1?sign-in=failed"},
		"an ID token without signature":     {issuer: tokensOf(`{"token_type":"Bearer","access_token":"a","id_token":"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ."}`), want: "/p/1?sign-in=failed"},
		"an ID token that another key signed": {issuer: func(i *issuer) {
			tokensOf(`{"token_type":"Bearer","access_token":"a","id_token":"` + signed(t, 1, claims{"iss": i.URL, "aud": "postbus", "sub": "ann", "exp": now.Add(time.Hour).Unix(), "nonce": i.nonce}) + `"}`)(i)
		}, want: "/p/1?sign-in=failed"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBlog(t)
			u := b.browser()
			back := u.begin(b.issuer, "/p/1")
			if c.issuer != nil {
				b.issuer.change(c.issuer)
			}
			if c.back != nil {
				back = c.back(back)
			}
			if c.browser != nil {
				c.browser(u)
			}
			b.pass(c.clock)
			res := u.get(back)
			if to := res.Header().Get("Location"); res.Code != http.StatusSeeOther || to != c.want || u.cookies[sessionCookie] != nil {
				t.Errorf("it leads to %d %s, want %s; the browser has %v", res.Code, to, c.want, u.cookies)
			}
		})
	}
}

func tokensOf(answer string) func(*issuer) {
	return func(i *issuer) {
		i.tokens = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }
	}
}

func TestASignInIsOfTheBrowserThatBeganIt(t *testing.T) {
	b := newBlog(t)
	attacker, victim := b.browser(), b.browser()
	if to := victim.get(attacker.begin(b.issuer, "/")).Header().Get("Location"); to != "/?sign-in=late" || victim.isSignedIn() {
		t.Errorf("the victim is signed in as the attacker: %s", to)
	}
}

func TestASessionFromBeforeASignInIsNotTheOneAfterIt(t *testing.T) {
	b := newBlog(t)
	attacker, victim := b.browser(), b.browser()
	attacker.signIn(b.issuer)
	planted := *attacker.cookies[sessionCookie]
	victim.cookies[sessionCookie] = &planted
	b.issuer.change(func(i *issuer) { i.access = claims{"sub": "victim"} })
	victim.signIn(b.issuer)
	if attacker.me().Subject == victim.me().Subject {
		t.Error("the attacker's cookie is the victim's")
	}
	var before, after session
	if b.jar.get(requestWith(&planted), sessionCookie, &before) != nil || b.jar.get(requestWith(victim.cookies[sessionCookie]), sessionCookie, &after) != nil || before.ID == after.ID {
		t.Errorf("the session is %s before and %s after", before.ID, after.ID)
	}
}

func requestWith(cookies ...*http.Cookie) *http.Request {
	req, _ := http.NewRequest(http.MethodGet, "/", http.NoBody)
	for _, cookie := range cookies {
		req.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
	}
	return req
}

func TestSeveralTabsSignInAtOnceButNotTooMany(t *testing.T) {
	b := newBlog(t)
	u := b.browser()
	first := u.begin(b.issuer, "/first")
	second := u.begin(b.issuer, "/second")
	if to := u.get(second).Header().Get("Location"); to != "/second" {
		t.Errorf("the second tab is led to %s", to)
	}
	b.issuer.change(func(i *issuer) { i.tokens = nil })
	if to := u.get(first).Header().Get("Location"); !strings.HasPrefix(to, "/first") {
		t.Errorf("the first tab is led to %s", to)
	}
	for range 3 * mostFlows {
		u.begin(b.issuer, "/")
	}
	if len(u.cookies) > mostFlows+1 { // and the session
		t.Errorf("the browser has %d cookies", len(u.cookies))
	}
}

func TestAnIssuerThatIsDownStopsNewSignInsAndNothingElse(t *testing.T) {
	b := newBlog(t)
	in, out := b.browser(), b.browser()
	in.signIn(b.issuer)
	b.pass(2 * time.Minute)
	b.issuer.change(func(i *issuer) { i.isDown = true })
	wants(t, in.post("/api"), http.StatusOK)
	wants(t, out.get("/api"), http.StatusOK)
	if to := out.get(out.begin(b.issuer, "/p/1")).Header().Get("Location"); to != "/p/1?sign-in=failed" {
		t.Errorf("a sign-in leads to %s", to)
	}
	_, fresh := b.replica()
	if to := out.at(fresh).get(signInPath + "?return=/p/1").Header().Get("Location"); to != "/p/1?sign-in=unavailable" {
		t.Errorf("a sign-in at a replica that never reached the issuer leads to %s", to)
	}
	b.issuer.change(func(i *issuer) { i.isDown = false })
	out.signIn(b.issuer)
}

// roundTrips is a transport of the test.
type roundTrips func(*http.Request) (*http.Response, error)

func (f roundTrips) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// While the issuer hangs, all who sign in wait for one and the same answer.
func TestAnIssuerThatHangsIsAskedOnceForAll(t *testing.T) {
	env := map[string]string{"ISSUER": "http://localhost:4006"}
	config, err := Read(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	config.Store = statetest.New()
	var asked atomic.Int32
	config.Client.Transport = roundTrips(func(r *http.Request) (*http.Response, error) {
		asked.Add(1)
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	s, err := New(config, nil) // outside of the bubble: its caches never end
	if err != nil {
		t.Fatal(err)
	}
	engine := web.NewEngine()
	s.Routes(engine)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var people sync.WaitGroup
		for range 8 {
			people.Go(func() {
				u := &browser{t: t, engine: engine, cookies: map[string]*http.Cookie{}, host: s.Public.Host}
				if to := u.get(signInPath + "?return=/p/1").Header().Get("Location"); to != "/p/1?sign-in=unavailable" {
					t.Errorf("it leads to %s", to)
				}
			})
		}
		people.Wait()
		if took := time.Since(began); asked.Load() != 1 || took != askTimeout { // of the bubble's clock
			t.Errorf("the issuer is asked %d times, for %s", asked.Load(), took)
		}
	})
}

func TestWithoutAnIssuerNobodySignsIn(t *testing.T) {
	b := newBlog(t, "ISSUER=")
	u := b.browser()
	if p := u.me(); p.SignIn || p.Subject != "" {
		t.Errorf("a guest is %+v", p)
	}
	wants(t, u.get(signInPath), http.StatusNotFound)
	if to := u.get(callbackPath + "?state=x&code=y").Header().Get("Location"); to != "/?sign-in=late" {
		t.Errorf("it leads to %s", to)
	}
	wants(t, u.post("/auth/back-channel-logout"), http.StatusNotFound)
	wants(t, u.post("/auth/sign-out"), http.StatusOK)
	wants(t, u.post("/api"), http.StatusOK)
}

func TestTheDevelopmentIssuerIsForThisMachineAlone(t *testing.T) {
	for _, test := range []struct {
		env  []string
		want string
	}{
		{nil, publicURL},
		{[]string{"PUBLIC_URL=https://posts.com", "DEV_ISSUER=1"}, "https://posts.com"},
	} {
		b := newBlog(t, test.env...)
		b.issuer.change(func(i *issuer) { i.development = true })
		b.browser().signIn(b.issuer)
	}
	// An issuer that has TLS and is not on this machine may be one, too: its document says so.
	b := newBlog(t, "PUBLIC_URL=https://posts.com", "DEV_ISSUER=1")
	b.AllowDevIssuer = false
	b.issuer.change(func(i *issuer) { i.development = true })
	if to := b.browser().get(signInPath + "?return=/p/1").Header().Get("Location"); to != "/p/1?sign-in=unavailable" {
		t.Errorf("it leads to %s", to)
	}
}
