package signin

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-jose/go-jose/v4"

	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

// signers are two RSA keys: the issuer's, and another one. Making one takes a tenth of a second.
var signers = sync.OnceValue(func() (keys [2]*rsa.PrivateKey) {
	for i := range keys {
		keys[i], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	return keys
})

type claims map[string]any

// signed is a token with these claims by the nth signer.
func signed(t *testing.T, n int, c claims) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: signers()[n]}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	object, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := object.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// issuer is one that a test changes as it wants. It checks PKCE as a real one does.
type issuer struct {
	*httptest.Server
	t   *testing.T
	now func() time.Time

	mu          sync.Mutex
	isDown      bool
	development bool
	nonce       string
	challenge   string
	refreshes   int
	// refresh is the refresh token that is good now, or empty if none is given.
	refresh string
	// Changes to the next tokens. A nil value removes a claim.
	access, id claims
	// opaque has access tokens be no JSON Web Tokens.
	opaque bool
	tokens http.HandlerFunc // instead of the tokens
}

func newIssuer(t *testing.T, now func() time.Time) *issuer {
	t.Helper()
	i := &issuer{t: t, now: now}
	i.Server = httptest.NewServer(http.HandlerFunc(i.serve))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.isDown {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token",
			"end_session_endpoint": i.URL + "/end?kept=1", "scopes_supported": []string{"openid", "offline_access"},
			"id_token_signing_alg_values_supported": []string{"RS256"}, "postbus_development_issuer": i.development,
		})
	case "/keys":
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: signers()[0].Public(), KeyID: "1", Algorithm: "RS256", Use: "sig"}}})
	case "/token":
		i.serveTokens(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (i *issuer) serveTokens(w http.ResponseWriter, r *http.Request) {
	verifier := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	isCode := r.PostFormValue("grant_type") == "authorization_code" && r.PostFormValue("code") == "code" &&
		base64.RawURLEncoding.EncodeToString(verifier[:]) == i.challenge
	isRefresh := r.PostFormValue("grant_type") == "refresh_token" && i.refresh != "" && r.PostFormValue("refresh_token") == i.refresh
	switch {
	case i.tokens != nil:
		i.tokens(w, r)
		return
	case !isCode && !isRefresh:
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	case isRefresh:
		i.refreshes++
		i.refresh += "+"
	}
	answer := map[string]any{"token_type": "Bearer", "expires_in": 300, "access_token": i.token(i.access), "id_token": i.token(i.id)}
	if i.opaque {
		answer["access_token"] = "opaque"
	}
	if i.refresh != "" {
		answer["refresh_token"] = i.refresh
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// token is a valid one for ann, who is an author, with these changes. It lives for five minutes.
func (i *issuer) token(changes claims) string {
	now := i.now()
	c := claims{
		"iss": i.URL, "aud": "postbus", "sub": "ann", "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"name": "Ann", "roles": []string{"author"}, "nonce": i.nonce, "sid": "at the issuer",
	}
	for name, value := range changes {
		c[name] = value
		if value == nil {
			delete(c, name)
		}
	}
	return signed(i.t, 0, c)
}

// change changes the issuer while nothing is asked of it.
func (i *issuer) change(change func(i *issuer)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

// blog is a host with a sign-in, and an API route that answers with what the services would get.
type blog struct {
	*SignIn
	t      *testing.T
	engine *gin.Engine
	issuer *issuer
	store  *statetest.Memory
	mu     sync.Mutex
	at     time.Time
}

func (b *blog) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at
}

// pass has the clock go on.
func (b *blog) pass(long time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = b.at.Add(long)
}

const publicURL = "http://localhost:3000"

// newBlog serves a host with the environment variables "NAME=value" beside ISSUER.
func newBlog(t *testing.T, env ...string) *blog {
	t.Helper()
	b := &blog{t: t, store: statetest.New(), at: time.Now()}
	b.issuer = newIssuer(t, b.now)
	b.SignIn, b.engine = b.replica(env...)
	return b
}

// replica is another host with the same store and clock.
func (b *blog) replica(env ...string) (*SignIn, *gin.Engine) {
	b.t.Helper()
	values := map[string]string{
		"ISSUER": b.issuer.URL, "PUBLIC_URL": publicURL, "GUESTS": "comment", "SESSION_KEY": strings.Repeat("k", minKey), "SUBJECT_KEY": strings.Repeat("s", 32),
	}
	for _, one := range env {
		name, value, _ := strings.Cut(one, "=")
		values[name] = value
	}
	config, err := Read(func(name string) string { return values[name] })
	if err != nil {
		b.t.Fatal(err)
	}
	config.Store, config.Now = b.store, b.now
	if config.Issuer != nil {
		config.Issuer.Now = b.now
	}
	s, err := New(config, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	engine := web.NewEngine()
	s.Routes(engine)
	engine.Match([]string{http.MethodGet, http.MethodPost}, "/api", s.Identify, func(c *gin.Context) {
		c.String(http.StatusOK, "%s|%s", c.GetHeader("Authorization"), c.GetHeader(web.GuestHeader))
	})
	return s, engine
}

// browser has the cookies of a host.
type browser struct {
	t       *testing.T
	engine  *gin.Engine
	cookies map[string]*http.Cookie
	host    string
}

func (b *blog) browser() *browser {
	return &browser{t: b.t, engine: b.engine, cookies: map[string]*http.Cookie{}, host: b.Public.Host}
}

// at is the same browser at another replica.
func (b *browser) at(engine *gin.Engine) *browser {
	return &browser{t: b.t, engine: engine, cookies: b.cookies, host: b.host}
}

// send sends a request with the browser's cookies, and keeps those of the answer. Headers are
// "Name: value".
func (b *browser) send(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	req.Host = b.host
	for _, cookie := range b.cookies {
		req.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		req.Header.Set(name, value)
	}
	res := httptest.NewRecorder()
	b.engine.ServeHTTP(res, req)
	for _, cookie := range res.Result().Cookies() { //nolint:bodyclose // a recorder's
		b.cookies[cookie.Name] = cookie
		if cookie.MaxAge < 0 {
			delete(b.cookies, cookie.Name)
		}
	}
	return res
}

func (b *browser) get(target string) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.send(http.MethodGet, target, "")
}

// post sends a request as the blog's own pages do.
func (b *browser) post(target string) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.send(http.MethodPost, target, "", "Sec-Fetch-Site: same-origin")
}

// begin goes to the issuer, and returns the address to which it would lead back with a code.
func (b *browser) begin(i *issuer, to string) (back string) {
	b.t.Helper()
	res := b.get(signInPath + "?return=" + url.QueryEscape(to))
	at, err := url.Parse(res.Header().Get("Location"))
	if err != nil || res.Code != http.StatusSeeOther || !strings.HasPrefix(at.String(), i.URL+"/authorize?") {
		b.t.Fatalf("it leads to %d %s, %v", res.Code, at, err)
	}
	query := at.Query()
	i.change(func(i *issuer) { i.nonce, i.challenge = query.Get("nonce"), query.Get("code_challenge") })
	return callbackPath + "?" + url.Values{"state": {query.Get("state")}, "code": {"code"}}.Encode()
}

// signIn signs in, and wants that to lead to the blog's front page.
func (b *browser) signIn(i *issuer) {
	b.t.Helper()
	res := b.get(b.begin(i, "/"))
	if to := res.Header().Get("Location"); res.Code != http.StatusSeeOther || to != "/" {
		b.t.Fatalf("signing in leads to %d %s", res.Code, to)
	}
}

// me is what /me says.
func (b *browser) me() person {
	b.t.Helper()
	res := b.get("/me")
	var p person
	if err := json.Unmarshal(res.Body.Bytes(), &p); err != nil || res.Code != http.StatusOK {
		b.t.Fatalf("/me is %d %s, %v", res.Code, res.Body, err)
	}
	return p
}

// isSignedIn asks /me.
func (b *browser) isSignedIn() bool { b.t.Helper(); return b.me().Subject != "" }

func wants(t *testing.T, res *httptest.ResponseRecorder, status int) {
	t.Helper()
	if res.Code != status {
		t.Errorf("got %d %s, want %d", res.Code, res.Body, status)
	}
}
