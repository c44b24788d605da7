package issuer

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// signedIn is a person who has signed in: what a refresh token stands for, an
// op.RefreshTokenRequest.
type signedIn struct {
	person string
	at     time.Time
	scopes []string
}

var _ op.RefreshTokenRequest = (*signedIn)(nil)

// GetAMR implements op.RefreshTokenRequest, as all methods of signedIn do. Nobody was
// authenticated.
func (*signedIn) GetAMR() []string { return nil }

// GetAudience is the client.
func (*signedIn) GetAudience() []string { return []string{clientID} }

// GetAuthTime is when the person was picked.
func (s *signedIn) GetAuthTime() time.Time { return s.at }

// GetClientID is the one client.
func (*signedIn) GetClientID() string { return clientID }

// GetScopes is those of the sign-in.
func (s *signedIn) GetScopes() []string { return s.scopes }

// GetSubject is the person's id.
func (s *signedIn) GetSubject() string { return s.person }

// SetCurrentScopes changes nothing: the scopes stay those of the sign-in.
func (*signedIn) SetCurrentScopes([]string) {}

// CreateAccessAndRefreshTokens implements op.AuthStorage. A refresh token is used once: the
// next one comes with the tokens that it makes.
func (s *storage) CreateAccessAndRefreshTokens(_ context.Context, request op.TokenRequest, used string) (id, refresh string, ends time.Time, err error) {
	of, ok := request.(op.IDTokenRequest)
	if !ok {
		return "", "", time.Time{}, errNotSupported
	}
	if used != "" && !s.refreshing.Remove(used) { // by another request meanwhile
		return "", "", time.Time{}, oidc.ErrInvalidGrant()
	}
	refresh = uuid.NewString()
	s.refreshing.Add(refresh, &signedIn{person: of.GetSubject(), at: of.GetAuthTime(), scopes: of.GetScopes()})
	return uuid.NewString(), refresh, time.Now().Add(tokenLifetime), nil
}

// TokenRequestByRefreshToken implements op.AuthStorage.
func (s *storage) TokenRequestByRefreshToken(_ context.Context, token string) (op.RefreshTokenRequest, error) {
	found, ok := s.refreshing.Get(token)
	if !ok {
		return nil, op.ErrInvalidRefreshToken
	}
	return found, nil
}

// GetRefreshTokenInfo implements op.AuthStorage.
func (s *storage) GetRefreshTokenInfo(_ context.Context, _, token string) (person, id string, err error) {
	found, ok := s.refreshing.Get(token)
	if !ok {
		return "", "", op.ErrInvalidRefreshToken
	}
	return found.person, token, nil
}

// RevokeToken implements op.AuthStorage. An access token is valid until it ends.
func (s *storage) RevokeToken(_ context.Context, token, _, _ string) *oidc.Error {
	s.refreshing.Remove(token)
	return nil
}
