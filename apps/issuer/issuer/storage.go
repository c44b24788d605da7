package issuer

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	// tokenLifetime is how long an access token or an ID token is valid.
	tokenLifetime = 5 * time.Minute
	// refreshLifetime is how long a refresh token is valid.
	refreshLifetime = 12 * time.Hour
	// signInLifetime bounds how long a sign-in may take.
	signInLifetime = 10 * time.Minute
	// maxSignIns bounds how many sign-ins are under way, and how many can be refreshed.
	maxSignIns = 1000
	keyBits    = 2048
)

var (
	errNoSignIn     = errors.New("this sign-in is not known, or took too long: begin again at the blog")
	errNoPerson     = errors.New("there is no such person")
	errNotSupported = errors.New("the development issuer does not support this")
)

// storage is what the provider knows. It is safe for concurrent use.
type storage struct {
	key        signingKey
	mu         sync.Mutex                        // guards the sign-ins' contents
	signIns    *expirable.LRU[string, *signIn]   // by id
	codes      *expirable.LRU[string, *signIn]   // by authorization code
	refreshing *expirable.LRU[string, *signedIn] // by refresh token
}

var (
	_ op.Storage                        = (*storage)(nil)
	_ op.CanSetUserinfoFromRequest      = (*storage)(nil)
	_ op.CanTerminateSessionFromRequest = (*storage)(nil)
)

func newStorage() (*storage, error) {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, err
	}
	return &storage{
		key:        signingKey{uuid.NewString(), private},
		signIns:    expirable.NewLRU[string, *signIn](maxSignIns, nil, signInLifetime),
		codes:      expirable.NewLRU[string, *signIn](maxSignIns, nil, signInLifetime),
		refreshing: expirable.NewLRU[string, *signedIn](maxSignIns, nil, refreshLifetime),
	}, nil
}

// pick finishes a sign-in as the person with that id.
func (s *storage) pick(id, personID string) error {
	found, err := s.find(id)
	if err != nil {
		return err
	}
	if _, ok := personOf(personID); !ok {
		return errNoPerson
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found.person, found.at = personID, time.Now()
	return nil
}

func (s *storage) find(id string) (*signIn, error) {
	found, ok := s.signIns.Get(id)
	if !ok {
		return nil, errNoSignIn
	}
	return found, nil
}

// CreateAuthRequest implements op.AuthStorage.
func (s *storage) CreateAuthRequest(_ context.Context, request *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
	made := &signIn{id: uuid.NewString(), request: request, storage: s}
	s.signIns.Add(made.id, made)
	return made, nil
}

// AuthRequestByID implements op.AuthStorage.
func (s *storage) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	found, err := s.find(id)
	if err != nil {
		return nil, err
	}
	return found, nil
}

// AuthRequestByCode implements op.AuthStorage.
func (s *storage) AuthRequestByCode(_ context.Context, code string) (op.AuthRequest, error) {
	found, ok := s.codes.Get(code)
	if !ok {
		return nil, errNoSignIn
	}
	return found, nil
}

// SaveAuthCode implements op.AuthStorage.
func (s *storage) SaveAuthCode(_ context.Context, id, code string) error {
	found, err := s.find(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found.code = code
	s.codes.Add(code, found)
	return nil
}

// DeleteAuthRequest implements op.AuthStorage. So a code is used once.
func (s *storage) DeleteAuthRequest(_ context.Context, id string) error {
	if found, err := s.find(id); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.codes.Remove(found.code)
		s.signIns.Remove(id)
	}
	return nil
}

// CreateAccessToken implements op.AuthStorage. Nothing of a token is kept.
func (*storage) CreateAccessToken(context.Context, op.TokenRequest) (string, time.Time, error) {
	return uuid.NewString(), time.Now().Add(tokenLifetime), nil
}

// TerminateSession implements op.AuthStorage. There are no sessions: each sign-in picks anew.
func (*storage) TerminateSession(context.Context, string, string) error { return nil }

// TerminateSessionFromRequest implements op.CanTerminateSessionFromRequest.
func (*storage) TerminateSessionFromRequest(_ context.Context, r *op.EndSessionRequest) (string, error) {
	return r.RedirectURI, nil
}

// SigningKey implements op.AuthStorage.
func (s *storage) SigningKey(context.Context) (op.SigningKey, error) { return s.key, nil }

// SignatureAlgorithms implements op.AuthStorage.
func (*storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.RS256}, nil
}

// KeySet implements op.AuthStorage.
func (s *storage) KeySet(context.Context) ([]op.Key, error) { return []op.Key{publicKey{s.key}}, nil }

// GetClientByClientID implements op.OPStorage.
func (*storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if id != clientID {
		return nil, errNotSupported
	}
	return client{}, nil
}

// AuthorizeClientIDSecret implements op.OPStorage. The client has no secret.
func (*storage) AuthorizeClientIDSecret(context.Context, string, string) error {
	return errNotSupported
}

// SetUserinfoFromScopes implements op.OPStorage. It is empty, as that asks for.
func (*storage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return nil
}

// SetUserinfoFromRequest implements op.CanSetUserinfoFromRequest, for ID tokens.
func (*storage) SetUserinfoFromRequest(_ context.Context, info *oidc.UserInfo, r op.IDTokenRequest, _ []string) error {
	return describe(info, r.GetSubject())
}

// SetUserinfoFromToken implements op.OPStorage.
func (*storage) SetUserinfoFromToken(_ context.Context, info *oidc.UserInfo, _, subject, _ string) error {
	return describe(info, subject)
}

func describe(info *oidc.UserInfo, subject string) error {
	p, ok := personOf(subject)
	if !ok {
		return errNoPerson
	}
	info.Subject, info.Name, info.PreferredUsername = p.ID, p.Name, p.ID
	info.AppendClaims("roles", []string{p.Role})
	return nil
}

// SetIntrospectionFromToken implements op.OPStorage.
func (*storage) SetIntrospectionFromToken(context.Context, *oidc.IntrospectionResponse, string, string, string) error {
	return errNotSupported
}

// GetPrivateClaimsFromScopes implements op.OPStorage, for access tokens.
func (*storage) GetPrivateClaimsFromScopes(_ context.Context, subject, _ string, _ []string) (map[string]any, error) {
	p, ok := personOf(subject)
	if !ok {
		return nil, errNoPerson
	}
	return map[string]any{"name": p.Name, "preferred_username": p.ID, "roles": []string{p.Role}}, nil
}

// GetKeyByIDAndClientID implements op.OPStorage.
func (*storage) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errNotSupported
}

// ValidateJWTProfileScopes implements op.OPStorage.
func (*storage) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, errNotSupported
}

// Health implements op.Storage.
func (*storage) Health(context.Context) error { return nil }

// signingKey is the issuer's key, as op.SigningKey.
type signingKey struct {
	id      string
	private *rsa.PrivateKey
}

// SignatureAlgorithm implements op.SigningKey.
func (signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }

// Key implements op.SigningKey.
func (k signingKey) Key() any { return k.private }

// ID implements op.SigningKey.
func (k signingKey) ID() string { return k.id }

// publicKey is the key as it is published, an op.Key.
type publicKey struct{ signingKey }

// Algorithm implements op.Key.
func (publicKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }

// Use implements op.Key.
func (publicKey) Use() string { return "sig" }

// Key implements op.Key.
func (k publicKey) Key() any { return &k.private.PublicKey }
