package signin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/hashicorp/golang-lru/v2/expirable"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/identity"
)

const (
	// askTimeout bounds a request to the issuer.
	askTimeout = 5 * time.Second
	// discoverEvery is how often the issuer's document is read again.
	discoverEvery = time.Hour
	// refreshedFor is how long the result of a refresh is remembered: the requests that a page
	// sends together all have the old cookie, and a refresh token is good for one use.
	refreshedFor = time.Minute
	// mostRefreshed bounds how many are remembered.
	mostRefreshed = 10_000
)

// errDevelopment is the error of an issuer that signs anybody in as anybody, where others could
// reach the host.
var errDevelopment = errors.New("it is the development issuer, which signs anybody in as anybody, and others reach PUBLIC_URL. Set ISSUER to another one, or DEV_ISSUER=1 if nobody else reaches that network")

// provider is the issuer, as the host signs people in with it.
type provider struct {
	*Config
	// services verifies a token as the services do.
	services *identity.Issuer

	known  atomic.Pointer[discovered]
	asking singleflight.Group

	refreshing singleflight.Group
	refreshed  *expirable.LRU[string, *session] // by refresh token; nil if the issuer refused it
}

// discovered is what the issuer's discovery document says.
type discovered struct {
	at    time.Time
	oauth oauth2.Config
	ids   *oidc.IDTokenVerifier
	// endSession is where a person signs out at the issuer, or empty.
	endSession string
}

func newProvider(c *Config) *provider {
	forServices := *c.Issuer
	forServices.Store = c.Store
	return &provider{
		Config: c, services: identity.NewIssuer(forServices),
		refreshed: expirable.NewLRU[string, *session](mostRefreshed, nil, refreshedFor),
	}
}

// discover returns what the issuer's document says. While the issuer does not answer, what it said
// before stands. The error is also errDevelopment. Requests that come together share one look, so
// none waits for longer than askTimeout.
func (p *provider) discover(ctx context.Context) (*discovered, error) {
	known := p.known.Load()
	if known != nil && p.Now().Sub(known.at) < discoverEvery {
		return known, nil
	}
	found, err, _ := p.asking.Do("", func() (any, error) { return p.ask(context.WithoutCancel(ctx)) })
	switch {
	case err == nil:
		known = found.(*discovered) //nolint:forcetypeassert,errcheck // ask returns one
		p.known.Store(known)
	case known == nil || errors.Is(err, errDevelopment):
		return nil, err
	}
	return known, nil
}

func (p *provider) ask(ctx context.Context) (*discovered, error) {
	issuer, err := oidc.NewProvider(oidc.ClientContext(ctx, p.Client), p.Issuer.URL)
	if err != nil {
		return nil, fmt.Errorf("the issuer's document can't be read: %w", err)
	}
	var more struct {
		EndSession    string   `json:"end_session_endpoint"`
		Scopes        []string `json:"scopes_supported"`
		IsDevelopment bool     `json:"postbus_development_issuer"`
	}
	if err := issuer.Claims(&more); err != nil {
		return nil, err
	}
	if more.IsDevelopment && !p.mayDevelop() {
		return nil, errDevelopment
	}
	scopes := []string{oidc.ScopeOpenID, "profile"}
	if slices.Contains(more.Scopes, oidc.ScopeOfflineAccess) { // some issuers refuse scopes that they do not have
		scopes = append(scopes, oidc.ScopeOfflineAccess)
	}
	return &discovered{
		at: p.Now(), endSession: more.EndSession,
		ids: issuer.Verifier(&oidc.Config{ClientID: p.ClientID, Now: p.Now}),
		oauth: oauth2.Config{
			ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: issuer.Endpoint(), Scopes: scopes,
			RedirectURL: p.Public.String() + callbackPath,
		},
	}, nil
}

// exchange makes a session of an authorization code. The ID token must have the nonce.
func (p *provider) exchange(ctx context.Context, d *discovered, code string, flow *flow) (*session, error) {
	ctx = oidc.ClientContext(ctx, p.Client)
	tokens, err := d.oauth.Exchange(ctx, code, oauth2.VerifierOption(flow.Verifier))
	if err != nil {
		return nil, fmt.Errorf("the issuer gives no tokens for the code: %w", err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	id, err := d.ids.Verify(ctx, raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the ID token: %w", err)
	case id.Nonce != flow.Nonce:
		return nil, errors.New("the ID token is of another sign-in: its nonce differs")
	}
	var claims struct {
		SessionID string `json:"sid"`
	}
	if err := id.Claims(&claims); err != nil {
		return nil, fmt.Errorf("the ID token: %w", err)
	}
	now := p.Now()
	made := &session{ID: event.NewID(), IssuerID: claims.SessionID, IssuedAt: id.IssuedAt, Began: now, Seen: now}
	return made, p.fill(ctx, d, made, tokens)
}

// fill puts into a session the token that the services take, and what it says of the person: the
// access token, or the ID token if the access token is not for them. Google's, for example, is
// none that anybody else can verify.
func (p *provider) fill(ctx context.Context, d *discovered, s *session, tokens *oauth2.Token) error {
	s.Token, s.Ends = tokens.AccessToken, p.Now().Add(time.Duration(tokens.ExpiresIn)*time.Second)
	if tokens.ExpiresIn == 0 { // it is only recommended (RFC 6749, section 5.1)
		s.Ends = p.Now().Add(refreshBefore)
	}
	person, err := p.services.Verify(ctx, s.Token)
	if raw, has := tokens.Extra("id_token").(string); errors.Is(err, identity.ErrInvalid) && has {
		id, idErr := d.ids.Verify(ctx, raw)
		if idErr != nil {
			return fmt.Errorf("the ID token: %w", idErr)
		}
		s.Token, s.Ends = raw, id.Expiry
		person, err = p.services.Verify(ctx, raw)
	}
	if err != nil {
		return fmt.Errorf("the services take neither the access token nor the ID token: %w", err)
	}
	if s.Subject != "" && s.Subject != person.Subject {
		return errEnded // OpenID Connect Core, section 12.2
	}
	s.Subject, s.Name, s.Roles = person.Subject, person.Name, person.Roles
	if tokens.RefreshToken != "" {
		s.Refresh = tokens.RefreshToken
	}
	return nil
}

// refresh returns the session with a new token. The error is errEnded if the issuer refuses one.
// Requests that come together share one refresh, and what came of it is remembered.
func (p *provider) refresh(ctx context.Context, old *session) (*session, error) {
	fresh, isDone := p.refreshed.Get(old.Refresh)
	if !isDone {
		made, err, _ := p.refreshing.Do(old.Refresh, func() (any, error) {
			fresh, err := p.refreshOnce(context.WithoutCancel(ctx), old)
			if err == nil || errors.Is(err, errEnded) {
				p.refreshed.Add(old.Refresh, fresh)
			}
			return fresh, err
		})
		if err != nil {
			return nil, err
		}
		fresh = made.(*session) //nolint:forcetypeassert,errcheck // the function above returns one
	}
	if fresh == nil {
		return nil, errEnded
	}
	copied := *fresh
	return &copied, nil
}

func (p *provider) refreshOnce(ctx context.Context, old *session) (*session, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return nil, err
	}
	ctx = oidc.ClientContext(ctx, p.Client)
	tokens, err := d.oauth.TokenSource(ctx, &oauth2.Token{RefreshToken: old.Refresh}).Token()
	if refused := new(oauth2.RetrieveError); errors.As(err, &refused) && refused.Response.StatusCode < http.StatusInternalServerError {
		slog.InfoContext(ctx, "the issuer ends a session", "reason", refused.ErrorCode)
		return nil, errEnded
	}
	if err != nil {
		slog.WarnContext(ctx, "a token can't be refreshed", "error", err)
		return nil, err
	}
	fresh := *old
	if err := p.fill(ctx, d, &fresh, tokens); err != nil {
		slog.WarnContext(ctx, "a refreshed token can't be used", "error", err)
		return nil, errEnded
	}
	return &fresh, nil
}
