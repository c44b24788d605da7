// Package issuer is an OpenID Connect issuer for development. Anybody picks a person on
// its page, without a password. What it knows is in memory, and its key is new at each start.
package issuer

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/postbus/postbus/apps/internal/web"
)

// CheckPrivate refuses a host to listen at, or a URL, that others than this machine reach.
// DevIssuer is the environment variable DEV_ISSUER: "1" allows it.
func CheckPrivate(host, address, devIssuer string) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("ISSUER: %w", err)
	}
	for _, name := range []string{host, u.Host} {
		if devIssuer != "1" && !web.IsLoopback(web.HostName(name)) {
			return fmt.Errorf("the development issuer signs anybody in as anybody, and %q is not this machine's loopback interface. "+
				"Leave HOST and ISSUER as they are, or set DEV_ISSUER=1 if nobody else reaches that network", name)
		}
	}
	return nil
}

// person is somebody to pick. The id is the subject. Each has one role.
type person struct{ ID, Name, Role, May string }

// people are all who can sign in. Two are moderators, who may disagree.
var people = []person{
	{"author", "Ada Author", "author", "posts and comments"},
	{"reader", "Rita Reader", "reader", "comments"},
	{"moderator", "Mo Moderator", "moderator", "comments, and decides which comments readers see"},
	{"second-moderator", "Mia Moderator", "moderator", "decides, too"},
	{"operator", "Otto Operator", "operator", "comments, and sees how the system works"},
}

func personOf(id string) (person, bool) {
	for _, p := range people {
		if p.ID == id {
			return p, true
		}
	}
	return person{}, false
}

// New returns an issuer with that URL. DevIssuer is as in CheckPrivate: "1" has it answer
// under every name.
func New(address, devIssuer string) (http.Handler, error) {
	store, err := newStorage()
	if err != nil {
		return nil, err
	}
	config := &op.Config{
		CodeMethodS256: true, GrantTypeRefreshToken: true, SupportedScopes: []string{"openid", "profile", "offline_access"},
		DefaultLogoutRedirectURI: address,
	}
	if _, err := rand.Read(config.CryptoKey[:]); err != nil {
		return nil, err
	}
	provider, err := op.NewProvider(config, store, op.StaticIssuer(address), op.WithAllowInsecure(), op.WithLogger(slog.Default()))
	if err != nil {
		return nil, err
	}
	handler := routes(provider, store)
	if devIssuer == "1" {
		return handler, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	return onlyHost(web.HostName(u.Host), handler), nil
}

// routes are the pages, the probes, and what the provider serves.
func routes(provider *op.Provider, store *storage) http.Handler {
	mux, interceptor := http.NewServeMux(), op.NewIssuerInterceptor(provider.IssuerFromRequest)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ready\n") })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { show(w, "") })
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) { show(w, r.URL.Query().Get("id")) })
	mux.Handle("POST /login", interceptor.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.PostFormValue("id")
		if err := store.pick(id, r.PostFormValue("person")); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		http.Redirect(w, r, op.AuthCallbackURL(provider)(r.Context(), id), http.StatusFound)
	}))
	mux.Handle("GET "+oidc.DiscoveryEndpoint, interceptor.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		discover(w, op.CreateDiscoveryConfig(r.Context(), provider, store))
	}))
	mux.Handle("/", provider)
	return mux
}

// onlyHost refuses a request whose Host is neither this machine nor the name. So a web page
// whose own name was made to resolve to this machine (DNS rebinding) signs nobody in.
func onlyHost(name string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host := web.HostName(r.Host); host != name && !web.IsLoopback(host) {
			http.Error(w, "The development issuer answers under this machine's names alone.", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// discover sends the discovery document, with the mark by which a program knows that this is
// no issuer for anything but development.
func discover(w http.ResponseWriter, document *oidc.DiscoveryConfiguration) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(struct {
		*oidc.DiscoveryConfiguration
		Development bool `json:"postbus_development_issuer"`
	}{document, true}); err != nil {
		slog.Debug("discovery document not sent", "error", err)
	}
}

// pagePolicy has no form-action: browsers apply it to the redirect after the form, too, which
// leads to the client's host.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"

var page = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Development issuer</title>
<style>body { font: 1.1rem/1.5 system-ui; max-width: 34rem; margin: 2rem auto; padding: 0 1rem }
button { font: inherit; display: block; width: 100%; text-align: left; margin: .5rem 0; padding: .6rem }</style>
<h1>Development issuer</h1>
<p>This page signs you in as anybody you pick, without a password. It is a tool for developing Postbus on one machine. If you see it anywhere else, something is wrong.</p>
{{if .ID}}<form method="post" action="/login"><input type="hidden" name="id" value="{{.ID}}">
{{range .People}}<button name="person" value="{{.ID}}"><strong>{{.Name}}</strong>: {{.May}}</button>
{{end}}</form>{{else}}<p>Sign in at the blog: it brings you here.</p>{{end}}
`))

// show shows the page for a sign-in with that id, or without one.
func show(w http.ResponseWriter, id string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", pagePolicy)
	w.Header().Set("Cache-Control", "no-store")
	if err := page.Execute(w, struct {
		ID     string
		People []person
	}{id, people}); err != nil {
		slog.Debug("page not sent", "error", err)
	}
}
