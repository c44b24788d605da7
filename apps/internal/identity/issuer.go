package identity

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/web"
)

// algorithms are the ways to sign a token that are accepted. All are asymmetric: with a
// symmetric one the published key, or anything else that is public, could sign.
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512,
	oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

// Config says whose tokens an Issuer accepts, and what it reads in them.
type Config struct {
	// URL is the issuer's, exactly as its tokens have it.
	URL string
	// Audience must be one of a token's audiences.
	Audience string
	// RolesClaim is the claim that has the roles: its name, or a path with dots.
	RolesClaim string
	// Roles are the roles of each name in that claim; those of "*" are everybody's. If there
	// are none at all, names are taken as they are.
	Roles map[string][]Role
	// SubjectKey makes pseudonyms of the issuer's subjects. Another key makes other ones.
	SubjectKey []byte
	// Store keeps the issuer's keys for the time when the issuer is down.
	Store state.Store
	// Client sends the requests to the issuer. Each is bounded by lookTimeout.
	Client *http.Client
	Now    func() time.Time
}

// Issuer is an OpenID Connect issuer whose tokens are accepted. It verifies them by the
// issuer's published keys, without asking the issuer for each. It is safe for concurrent use.
type Issuer struct {
	Config
	keys *keys
	// verified has what tokens say that were verified lately, by digest. A person sends the same
	// one many times, and to verify it costs 70 µs.
	verified *lru.Cache[[sha256.Size]byte, verified]
}

// verified is what a token says until it ends, or until the keys change by which it was verified.
type verified struct {
	person Person
	ends   time.Time
	by     *published
}

// mostVerified bounds the tokens that are remembered. One takes about 500 bytes.
const mostVerified = 10_000

// NewIssuer returns an issuer. Nothing is asked of it before the first Verify or Run.
func NewIssuer(c Config) *Issuer {
	cache, _ := lru.New[[sha256.Size]byte, verified](mostVerified) // it fails for a size of 0 alone
	return &Issuer{Config: c, keys: newKeys(c), verified: cache}
}

// Run keeps the issuer's keys fresh, in memory and in the store, until ctx is done.
func (i *Issuer) Run(ctx context.Context) { i.keys.run(ctx) }

// Verify implements Verifier. It checks the signature, the issuer, the audience, that the
// token has not expired and is valid already. For the last, 5 minutes between the clocks of
// issuer and service are allowed.
func (i *Issuer) Verify(ctx context.Context, token string) (Person, error) {
	digest, by := sha256.Sum256([]byte(token)), i.keys.known.Load()
	if v, ok := i.verified.Get(digest); ok && v.by == by && !i.Now().After(v.ends) {
		return v.person, nil
	}
	person, ends, err := i.verify(ctx, token)
	if err == nil {
		i.verified.Add(digest, verified{person, ends, by})
	}
	return person, err
}

func (i *Issuer) verify(ctx context.Context, token string) (person Person, ends time.Time, err error) {
	by := &signature{keys: i.keys}
	signed, err := oidc.NewVerifier(i.URL, by, &oidc.Config{
		ClientID: i.Audience, SupportedSigningAlgs: algorithms, Now: i.Now,
	}).Verify(ctx, token)
	var problem *web.Problem
	switch {
	case errors.As(by.err, &problem):
		return person, ends, problem
	case err != nil:
		return person, ends, fmt.Errorf("%w: %w", ErrInvalid, err)
	case signed.Subject == "":
		return person, ends, fmt.Errorf("%w: it has no subject", ErrInvalid)
	}
	var claims map[string]json.RawMessage
	if err := signed.Claims(&claims); err != nil {
		return person, ends, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, isEvent := claims["events"]; isEvent {
		return person, ends, fmt.Errorf("%w: it is about an event, such as a sign-out (RFC 8417)", ErrInvalid)
	}
	return Person{Subject: i.Pseudonym(signed.Subject), Name: nameIn(claims), Roles: i.rolesIn(claims)}, signed.Expiry, nil
}

// signature verifies the signature of one token. It keeps the error: the verifier returns
// only its text (go-oidc 3.21; no issue found).
type signature struct {
	keys *keys
	err  error
}

// VerifySignature implements oidc.KeySet.
func (s *signature) VerifySignature(ctx context.Context, token string) (payload []byte, err error) {
	payload, s.err = s.keys.verify(ctx, token)
	return payload, s.err
}

// Pseudonym is the Subject of the person whom the issuer calls so.
func (i *Issuer) Pseudonym(subject string) string {
	mac := hmac.New(sha256.New, i.SubjectKey)
	_, _ = mac.Write([]byte(i.URL + "\n" + subject)) // no URL has a line feed
	return hex.EncodeToString(mac.Sum(nil))
}

// nameIn is the first of the claims for a name that shows something and is no e-mail address.
func nameIn(claims map[string]json.RawMessage) string {
	for _, claim := range []string{"name", "preferred_username"} {
		var name string
		if json.Unmarshal(claims[claim], &name) != nil || isAddress(name) {
			continue
		}
		name = strings.TrimSpace(name)
		if characters := []rune(name); len(characters) > event.MaxAuthor {
			name = string(characters[:event.MaxAuthor])
		}
		if name = event.EmptyIfBlank(name); name != "" {
			return name
		}
	}
	return ""
}

// isAddress reports whether a name is, or contains, an e-mail address: text on both sides of
// an @. A name with another @ in it is refused, too, rather than published.
func isAddress(name string) bool {
	local, domain, isCut := strings.Cut(name, "@")
	return isCut && strings.TrimSpace(local) != "" && strings.TrimSpace(domain) != ""
}

// rolesIn are the person's roles.
func (i *Issuer) rolesIn(claims map[string]json.RawMessage) (roles []Role) {
	names := namesAt(claims, i.RolesClaim)
	if i.RolesClaim == "email" && string(claims["email_verified"]) != "true" {
		names = nil // anybody can claim an address
	}
	if len(i.Roles) > 0 {
		names = append(names, everybody)
	}
	isOf := map[Role]bool{}
	for _, name := range names {
		if len(i.Roles) == 0 {
			isOf[Role(name)] = true
		}
		for _, role := range i.Roles[name] {
			isOf[role] = true
		}
	}
	for _, role := range Roles {
		if isOf[role] {
			roles = append(roles, role)
		}
	}
	return roles
}

// namesAt are the names in a claim, an array of texts or one text with spaces between the
// names. The claim is at a path with dots, unless there is a claim with dots in its own name.
func namesAt(claims map[string]json.RawMessage, path string) []string {
	if value, ok := claims[path]; ok {
		return namesOf(value)
	}
	head, rest, isPath := strings.Cut(path, ".")
	var inner map[string]json.RawMessage
	if !isPath || json.Unmarshal(claims[head], &inner) != nil {
		return nil
	}
	return namesAt(inner, rest)
}

func namesOf(value json.RawMessage) (names []string) {
	var text string
	if json.Unmarshal(value, &names) == nil {
		return names
	}
	if json.Unmarshal(value, &text) == nil {
		return strings.Fields(text)
	}
	return nil
}
