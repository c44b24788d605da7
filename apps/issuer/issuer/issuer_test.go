package issuer

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// serve starts an issuer, and returns its URL.
func serve(t *testing.T) string {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	address := "http://" + server.Listener.Addr().String()
	handler, err := New(address, "")
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = handler
	server.Start()
	t.Cleanup(server.Close)
	return address
}

const back = "http://localhost:3000/auth/callback"

// browser follows redirects until they lead back to the blog.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Host == "localhost:3000" {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

// signInAs picks a person, and returns the address to which the issuer leads back.
func signInAs(t *testing.T, address, authorize, person string) *url.URL {
	t.Helper()
	b := browser(t)
	res, err := b.Get(authorize)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	for _, p := range people {
		if !strings.Contains(string(body), p.Name) {
			t.Fatalf("%s is not to be picked: %s %s", p.Name, res.Status, body)
		}
	}
	if !strings.Contains(string(body), "without a password") {
		t.Errorf("the page does not say what it is: %s", body)
	}
	res, err = b.PostForm(address+"/login", url.Values{"id": {res.Request.URL.Query().Get("id")}, "person": {person}})
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	to, err := res.Location()
	if err != nil {
		t.Fatalf("%s: %v", res.Status, err)
	}
	return to
}

func flow(t *testing.T, address string) (*oidc.Provider, *oauth2.Config) {
	t.Helper()
	provider, err := oidc.NewProvider(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	return provider, &oauth2.Config{ClientID: clientID, Endpoint: provider.Endpoint(), RedirectURL: back, Scopes: []string{"openid", "profile"}}
}

func TestEachPersonSignsInAndTheServicesKnowTheRole(t *testing.T) {
	address, ctx := serve(t), context.Background()
	provider, config := flow(t, address)
	services := identity.NewIssuer(identity.Config{
		URL: address, Audience: "postbus", RolesClaim: "roles", SubjectKey: []byte("key"), Store: statetest.New(), Client: &http.Client{}, Now: time.Now,
	})
	for _, p := range people {
		verifier := oauth2.GenerateVerifier()
		to := signInAs(t, address, config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), oidc.Nonce("nonce")), p.ID)
		if to.Query().Get("state") != "state" || !strings.HasPrefix(to.String(), back+"?") {
			t.Fatalf("%s: it leads to %s", p.ID, to)
		}
		code := to.Query().Get("code")
		if _, err := config.Exchange(ctx, code, oauth2.VerifierOption(oauth2.GenerateVerifier())); err == nil {
			t.Fatalf("%s: the code is taken with another verifier", p.ID)
		}
		tokens, err := config.Exchange(ctx, code, oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatalf("%s: %v", p.ID, err)
		}
		if _, err := config.Exchange(ctx, code, oauth2.VerifierOption(verifier)); err == nil {
			t.Errorf("%s: the code is taken twice", p.ID)
		}
		raw, _ := tokens.Extra("id_token").(string)
		id, err := provider.Verifier(&oidc.Config{ClientID: clientID}).Verify(ctx, raw)
		if err != nil || id.Nonce != "nonce" || id.Subject != p.ID {
			t.Errorf("%s: the ID token is %+v, %v", p.ID, id, err)
		}
		got, err := services.Verify(ctx, tokens.AccessToken)
		if err != nil || got.Name != p.Name || !reflect.DeepEqual(got.Roles, []identity.Role{identity.Role(p.Role)}) {
			t.Errorf("%s: the services know %+v, %v", p.ID, got, err)
		}
	}
}

func TestASignInWithoutPKCEGetsNoTokens(t *testing.T) {
	address := serve(t)
	_, config := flow(t, address)
	to := signInAs(t, address, config.AuthCodeURL("state"), "author")
	if tokens, err := config.Exchange(context.Background(), to.Query().Get("code")); err == nil {
		t.Errorf("got %+v", tokens)
	}
}

func TestASignInLeadsOnlyBackToThisMachine(t *testing.T) {
	address := serve(t)
	_, config := flow(t, address)
	for _, to := range []string{"https://evil.example/auth/callback", "http://localhost.evil.example/a", "http://localhost:3000@evil.example/a", "http://localhost:3000\\@evil.example/a", "//evil.example/a", ""} {
		config.RedirectURL = to
		res, err := browser(t).Get(config.AuthCodeURL("state", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%q is answered %s %s", to, res.Status, body)
		}
	}
	for _, form := range []url.Values{{"id": {"none"}, "person": {"author"}}, {}} {
		res, err := http.PostForm(address+"/login", form)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%v is answered %s", form, res.Status)
		}
	}
}

// signOut asks to sign out and then to lead to an address, and returns the answer.
func signOut(t *testing.T, address string, query url.Values) *http.Response {
	t.Helper()
	provider, err := oidc.NewProvider(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	var found struct {
		EndSession string `json:"end_session_endpoint"`
	}
	if err := provider.Claims(&found); err != nil {
		t.Fatal(err)
	}
	once := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := once.Get(found.EndSession + "?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res
}

func TestASignOutLeadsBackToTheBlogAndNowhereElse(t *testing.T) {
	address := serve(t)
	for _, to := range []string{"http://localhost:3000/", "http://127.0.0.1:13000/", "http://localhost:3000/auth/bye"} {
		res := signOut(t, address, url.Values{"client_id": {clientID}, "post_logout_redirect_uri": {to}})
		if got := res.Header.Get("Location"); res.StatusCode != http.StatusFound || got != to {
			t.Errorf("%s: %s to %q", to, res.Status, got)
		}
	}
	for _, to := range []string{"https://evil.example/", "http://localhost.evil.example/", "http://localhost:3000@evil.example/", "http://localhost:1@evil.example/", "//evil.example/", "javascript:alert(1)"} {
		res := signOut(t, address, url.Values{"client_id": {clientID}, "post_logout_redirect_uri": {to}})
		if res.StatusCode != http.StatusBadRequest || res.Header.Get("Location") != "" {
			t.Errorf("%s: %s to %q", to, res.Status, res.Header.Get("Location"))
		}
		// Without a client the address is not looked at.
		if got := signOut(t, address, url.Values{"post_logout_redirect_uri": {to}}).Header.Get("Location"); got != address {
			t.Errorf("%s, of no client: it leads to %q", to, got)
		}
	}
}

func TestARefreshTokenIsUsedOnce(t *testing.T) {
	address, ctx := serve(t), context.Background()
	provider, config := flow(t, address)
	config.Scopes = append(config.Scopes, oidc.ScopeOfflineAccess)
	verifier := oauth2.GenerateVerifier()
	to := signInAs(t, address, config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)), "author")
	first, err := config.Exchange(ctx, to.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil || first.RefreshToken == "" {
		t.Fatalf("got %+v, %v", first, err)
	}
	if lives := time.Until(first.Expiry); lives > tokenLifetime {
		t.Errorf("the first token lives for %s", lives)
	}
	refresh := func(token string) (*oauth2.Token, error) {
		return config.TokenSource(ctx, &oauth2.Token{RefreshToken: token}).Token()
	}
	second, err := refresh(first.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := second.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: clientID}).Verify(ctx, raw)
	if err != nil || id.Subject != "author" || second.RefreshToken == first.RefreshToken || second.AccessToken == first.AccessToken {
		t.Errorf("the next tokens are %+v of %+v, %v", second, id, err)
	}
	if again, err := refresh(first.RefreshToken); err == nil {
		t.Errorf("a used token makes %+v", again)
	}
	if third, err := refresh(second.RefreshToken); err != nil {
		t.Errorf("the next token makes %+v, %v", third, err)
	}
	if none, err := refresh("unknown"); err == nil {
		t.Errorf("an unknown token makes %+v", none)
	}
}

func TestARevokedRefreshTokenMakesNothing(t *testing.T) {
	address, ctx := serve(t), context.Background()
	_, config := flow(t, address)
	config.Scopes = append(config.Scopes, oidc.ScopeOfflineAccess)
	verifier := oauth2.GenerateVerifier()
	to := signInAs(t, address, config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)), "reader")
	tokens, err := config.Exchange(ctx, to.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.PostForm(address+"/revoke", url.Values{"client_id": {clientID}, "token": {tokens.RefreshToken}, "token_type_hint": {"refresh_token"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("the revocation is answered %s", res.Status)
	}
	if again, err := config.TokenSource(ctx, &oauth2.Token{RefreshToken: tokens.RefreshToken}).Token(); err == nil {
		t.Errorf("it makes %+v", again)
	}
}

func TestADevelopmentIssuerSaysThatItIsOne(t *testing.T) {
	provider, _ := flow(t, serve(t))
	var found struct {
		Development bool     `json:"postbus_development_issuer"`
		Scopes      []string `json:"scopes_supported"`
	}
	if err := provider.Claims(&found); err != nil || !found.Development || len(found.Scopes) != 3 {
		t.Errorf("the discovery document has %+v, %v", found, err)
	}
}

func TestItIsReadyWhenItAnswers(t *testing.T) {
	address := serve(t)
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
		res, err := http.Get(address + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK || string(body) != want {
			t.Errorf("%s: %s %q", path, res.Status, body)
		}
	}
}

func TestItAnswersUnderThisMachinesNamesAndItsOwn(t *testing.T) {
	for _, test := range []struct {
		dev, host string
		status    int
	}{
		{"", "localhost:4006", 200}, {"", "127.0.0.1", 200}, {"", "issuer.test:4006", 200}, {"", "evil.example:4006", 421}, {"", "", 421},
		{"1", "evil.example", 200},
	} {
		handler, err := New("http://issuer.test:4006", test.dev)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/", "/healthz", "/.well-known/openid-configuration", "/login?id=x"} {
			r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
			r.Host = test.host
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != test.status {
				t.Errorf("%+v: %s is answered %d", test, path, w.Code)
			}
		}
	}
}

func TestItRefusesToStartWhereOthersReachIt(t *testing.T) {
	for _, test := range []struct {
		host, url, dev string
		ok             bool
	}{
		{"127.0.0.1", "http://localhost:4006", "", true}, {"::1", "http://[::1]:4006", "", true}, {"localhost", "http://127.0.0.1", "", true},
		{"*", "http://localhost:4006", "", false}, {"", "http://localhost:4006", "", false}, {"0.0.0.0", "http://localhost:4006", "", false},
		{"127.0.0.1", "https://id.posts.com", "", false}, {"127.0.0.1", "https://id.posts.com", "true", false}, {"127.0.0.1", "http://\x7f", "1", false},
		{"*", "http://issuer:4006", "1", true},
	} {
		err := CheckPrivate(test.host, test.url, test.dev)
		if (err == nil) != test.ok {
			t.Errorf("%+v: %v", test, err)
		}
		if err != nil && test.dev != "1" && !strings.Contains(err.Error(), "DEV_ISSUER=1") {
			t.Errorf("%+v: %v does not say what to set", test, err)
		}
	}
}
