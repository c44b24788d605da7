package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/web"
)

const (
	// KeysKey is the key of the store under which a service keeps its issuer's keys.
	KeysKey = "issuer-keys"

	// maxKeys bounds the issuer's answer, in bytes.
	maxKeys = 1 << 20
	// minRSA is the least length of an RSA key, in bits (RFC 7518, section 3.3).
	minRSA = 2048
)

// published are an issuer's keys as they were published at a time. It is also the document
// in the store.
type published struct {
	Issuer string             `json:"issuer"`
	At     time.Time          `json:"at"`
	Keys   jose.JSONWebKeySet `json:"keys"`
}

// errNoSuchKey is returned for a token that none of the keys has signed.
var errNoSuchKey = errors.New("none of the issuer's keys has signed it")

// verify tries the keys with the id that the token names, or all if it names none. The error
// is errNoSuchKey.
func (p *published) verify(signed *jose.JSONWebSignature) ([]byte, error) {
	if p == nil || len(signed.Signatures) != 1 {
		return nil, errNoSuchKey
	}
	header := signed.Signatures[0].Header
	for i := range p.Keys.Keys {
		key := &p.Keys.Keys[i]
		if header.KeyID != "" && key.KeyID != header.KeyID || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := signed.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, errNoSuchKey
}

// ask reads the issuer's keys, where its discovery document says. The error is also for an
// answer without any usable key: such an answer withdraws none.
func (k *keys) ask(ctx context.Context) (*published, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	at := k.now().UTC()
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, k.client), k.issuer)
	if err != nil {
		return nil, err
	}
	var discovered struct {
		Keys string `json:"jwks_uri"`
	}
	if err := provider.Claims(&discovered); err != nil {
		return nil, err
	}
	if err := checkURL(discovered.Keys); err != nil {
		return nil, fmt.Errorf("the issuer's jwks_uri %w", err)
	}
	body, err := k.get(ctx, discovered.Keys)
	if err != nil {
		return nil, err
	}
	usable, err := usableKeys(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", discovered.Keys, err)
	}
	return &published{Issuer: k.issuer, At: at, Keys: jose.JSONWebKeySet{Keys: usable}}, nil
}

func (k *keys) get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(http.MaxBytesReader(nil, res.Body, maxKeys))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", address, res.Status)
	}
	return body, err
}

// checkURL says whether an address may be trusted: by TLS, or because it is this machine's.
func checkURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return err
	case u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%q is no https URL", address)
	case u.Scheme == "http" && !web.IsLoopback(web.HostName(u.Host)):
		return fmt.Errorf("%q has no TLS: it must begin with https:, unless the issuer is on this machine", address)
	}
	return nil
}

// usableKeys are the keys of a JSON Web Key Set (RFC 7517) that verify signatures by one of
// the algorithms. Others in the set are ignored, as section 5 asks for.
func usableKeys(body []byte) (usable []jose.JSONWebKey, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, err
	}
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && isUsable(key) {
			usable = append(usable, key)
		}
	}
	if len(usable) == 0 {
		return nil, errors.New("it has no public key for signatures")
	}
	return usable, nil
}

func isUsable(key jose.JSONWebKey) bool {
	if key.Use != "" && key.Use != "sig" {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return public.N.BitLen() >= minRSA
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false // also a private or a symmetric key, which must not be published
}

// load returns the issuer's keys that are in the store, or nil if there are none.
func (k *keys) load(ctx context.Context) (*published, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	items, err := k.store.Get(ctx, KeysKey)
	if err != nil {
		return nil, err
	}
	return k.storedIn(items[0]), nil
}

// storedIn is the document of an item, or nil if it has none of this issuer.
func (k *keys) storedIn(item state.Item) *published {
	var stored published
	if !item.Exists() || json.Unmarshal(item.Value, &stored) != nil || stored.Issuer != k.issuer {
		return nil
	}
	return &stored
}

// save stores the known keys, if there are any, unless the store has the same ones, or such as were published
// later.
func (k *keys) save(ctx context.Context) error {
	known := k.known.Load()
	if known == nil {
		return nil
	}
	return state.Update(ctx, k.store, []string{KeysKey}, func(items []state.Item) ([]state.Item, error) {
		stored := k.storedIn(items[0])
		if stored != nil && (stored.At.After(known.At) || sameKeys(stored, known)) {
			return nil, nil
		}
		value, err := json.Marshal(known)
		items[0].Value = value
		return items, err
	})
}

func sameKeys(a, b *published) bool {
	of, err := json.Marshal(a.Keys)
	other, failed := json.Marshal(b.Keys)
	return err == nil && failed == nil && bytes.Equal(of, other)
}
