package issuer

import (
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// clientID is the id of the one client, and the audience of all tokens: AUDIENCE's default.
const clientID = "postbus"

// signIn is a sign-in under way, an op.AuthRequest.
type signIn struct {
	id      string
	request *oidc.AuthRequest
	storage *storage
	// The lock of the storage guards these.
	code   string
	person string    // that was picked, or empty
	at     time.Time // of the pick
}

var _ op.AuthRequest = (*signIn)(nil)

func (s *signIn) picked() (person string, at time.Time) {
	s.storage.mu.Lock()
	defer s.storage.mu.Unlock()
	return s.person, s.at
}

// GetID implements op.AuthRequest, as all methods here do.
func (s *signIn) GetID() string { return s.id }

// GetACR is empty.
func (*signIn) GetACR() string { return "" }

// GetAMR is empty: nobody was authenticated.
func (*signIn) GetAMR() []string { return nil }

// GetAudience is the client.
func (*signIn) GetAudience() []string { return []string{clientID} }

// GetAuthTime is when the person was picked.
func (s *signIn) GetAuthTime() time.Time { _, at := s.picked(); return at }

// GetClientID is the client that asks.
func (s *signIn) GetClientID() string { return s.request.ClientID }

// GetCodeChallenge is that of PKCE.
func (s *signIn) GetCodeChallenge() *oidc.CodeChallenge {
	if s.request.CodeChallenge == "" {
		return nil
	}
	return &oidc.CodeChallenge{Challenge: s.request.CodeChallenge, Method: s.request.CodeChallengeMethod}
}

// GetNonce is the request's.
func (s *signIn) GetNonce() string { return s.request.Nonce }

// GetRedirectURI is the request's.
func (s *signIn) GetRedirectURI() string { return s.request.RedirectURI }

// GetResponseType is the request's.
func (s *signIn) GetResponseType() oidc.ResponseType { return s.request.ResponseType }

// GetResponseMode is the request's.
func (s *signIn) GetResponseMode() oidc.ResponseMode { return s.request.ResponseMode }

// GetScopes is the request's.
func (s *signIn) GetScopes() []string { return s.request.Scopes }

// GetState is the request's.
func (s *signIn) GetState() string { return s.request.State }

// GetSubject is the person's id.
func (s *signIn) GetSubject() string { person, _ := s.picked(); return person }

// Done says that a person was picked.
func (s *signIn) Done() bool { person, _ := s.picked(); return person != "" }

// client is the one client, an op.Client without a secret. It must use PKCE. Its redirect
// addresses are those of this machine.
type client struct{}

var _ op.HasRedirectGlobs = client{}

// loopback are the addresses of this machine, with ports of four or five digits and paths of
// one or two segments. A pattern for any port would also match http://localhost:1@evil.example/.
var loopback = func() (globs []string) {
	const digits = "[0-9][0-9][0-9][0-9]"
	for _, host := range []string{"localhost", "127.0.0.1"} {
		for _, port := range []string{digits, digits + "[0-9]"} {
			globs = append(globs, "http://"+host+":"+port+"/*", "http://"+host+":"+port+"/*/*")
		}
	}
	return globs
}()

// GetID implements op.Client, as all methods below do.
func (client) GetID() string { return clientID }

// RedirectURIs is empty: all are in RedirectURIGlobs.
func (client) RedirectURIs() []string { return nil }

// RedirectURIGlobs are the addresses to which a sign-in may return.
func (client) RedirectURIGlobs() []string { return loopback }

// PostLogoutRedirectURIs is empty: all are in PostLogoutRedirectURIGlobs.
func (client) PostLogoutRedirectURIs() []string { return nil }

// PostLogoutRedirectURIGlobs are the addresses to which a sign-out may return.
func (client) PostLogoutRedirectURIGlobs() []string { return loopback }

// ApplicationType is that of a client on this machine.
func (client) ApplicationType() op.ApplicationType { return op.ApplicationTypeNative }

// AuthMethod is none, and so PKCE is required.
func (client) AuthMethod() oidc.AuthMethod { return oidc.AuthMethodNone }

// ResponseTypes is the authorization code alone.
func (client) ResponseTypes() []oidc.ResponseType { return []oidc.ResponseType{oidc.ResponseTypeCode} }

// GrantTypes are the authorization code, and the refresh token that comes with it.
func (client) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken}
}

// LoginURL is the page.
func (client) LoginURL(id string) string { return "/login?id=" + id }

// AccessTokenType is one that services verify themselves.
func (client) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

// IDTokenLifetime is an access token's.
func (client) IDTokenLifetime() time.Duration { return tokenLifetime }

// DevMode is for the globs.
func (client) DevMode() bool { return true }

// RestrictAdditionalIdTokenScopes restricts nothing.
func (client) RestrictAdditionalIdTokenScopes() func([]string) []string { //nolint:revive // op.Client's name
	return func(scopes []string) []string { return scopes }
}

// RestrictAdditionalAccessTokenScopes restricts nothing.
func (client) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}

// IsScopeAllowed says that there are no scopes of its own.
func (client) IsScopeAllowed(string) bool { return false }

// IDTokenUserinfoClaimsAssertion puts the name into the ID token.
func (client) IDTokenUserinfoClaimsAssertion() bool { return true }

// ClockSkew is none.
func (client) ClockSkew() time.Duration { return 0 }
