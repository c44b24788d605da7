package identity

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

func TestATokenOfEveryAcceptedKindOfKeyIsVerified(t *testing.T) {
	i := newIssuer(t)
	ps, withoutID := keyOf(1), keyOf(2)
	ps.algorithm, withoutID.id = jose.PS256, ""
	for _, key := range []signing{keyOf(0), ps, ecKey(t, "ec"), edKey(t, "ed"), withoutID} {
		i.publish(key)
		got, err := i.verifier(statetest.New()).Verify(context.Background(), key.token(t, i.claims(nil)))
		if err != nil || got.Name != "Ann" || !reflect.DeepEqual(got.Roles, []Role{Author}) || len(got.Subject) != 64 {
			t.Errorf("%s %s: %+v, %v", key.id, key.algorithm, got, err)
		}
	}
}

// part is a part of a token.
func part(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// confused is a token that is signed with the bytes of a public key as the secret.
func confused(t *testing.T, id string, secret []byte, claims any) string {
	t.Helper()
	signed := part(t, map[string]string{"alg": "HS256", "typ": "JWT", "kid": id}) + "." + part(t, claims)
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// refused are tokens that are not valid, by what is wrong with them.
func refused(t *testing.T, i *issuer, key signing) map[string]string {
	t.Helper()
	valid, now := key.token(t, i.claims(nil)), time.Now()
	parts := strings.Split(valid, ".")
	der, err := x509.MarshalPKIXPublicKey(key.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := key.public()
	jwk, err := public.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	changed := func(changes map[string]any) string { return key.token(t, i.claims(changes)) }
	forger := signing{key.id, jose.RS256, keyOf(2).private}
	other := keyOf(2).public()
	ownKey := part(t, map[string]any{"alg": "RS256", "jwk": other}) + "." + parts[1]
	return map[string]string{
		"another issuer":          changed(map[string]any{"iss": "https://evil.example"}),
		"the issuer with a slash": changed(map[string]any{"iss": i.url + "/"}),
		"no issuer":               changed(map[string]any{"iss": nil}),
		"another audience":        changed(map[string]any{"aud": "another"}),
		"other audiences":         changed(map[string]any{"aud": []string{"a", "postbus2"}}),
		"no audience":             changed(map[string]any{"aud": nil}),
		"expired":                 changed(map[string]any{"exp": now.Add(-time.Second).Unix()}),
		"no expiry":               changed(map[string]any{"exp": nil}),
		"not yet valid":           changed(map[string]any{"nbf": now.Add(10 * time.Minute).Unix()}),
		"no subject":              changed(map[string]any{"sub": nil}),
		"an empty subject":        changed(map[string]any{"sub": ""}),
		"a sign-out":              changed(map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}),
		"a forged signature":      forger.token(t, i.claims(nil)),
		"a key of its own":        ownKey + "." + parts[2],
		"other claims":            parts[0] + "." + part(t, i.claims(map[string]any{"roles": []string{"operator"}})) + "." + parts[2],
		"alg none":                part(t, map[string]string{"alg": "none", "typ": "JWT"}) + "." + parts[1] + ".",
		"alg None with a kid":     part(t, map[string]string{"alg": "None", "kid": key.id}) + "." + parts[1] + "." + parts[2],
		"HS256 by the PEM":        confused(t, key.id, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), i.claims(nil)),
		"HS256 by the DER":        confused(t, key.id, der, i.claims(nil)),
		"HS256 by the JWK":        confused(t, key.id, jwk, i.claims(nil)),
		"cut in the signature":    valid[:len(valid)-10],
		"cut in the claims":       valid[:len(parts[0])+20],
		"no signature":            parts[0] + "." + parts[1] + ".",
		"two parts":               parts[0] + "." + parts[1],
		"no token":                "",
		"no JSON Web Token":       "abc",
		"the JSON form":           `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"no claims":               key.token(t, "text"),
	}
}

func TestATokenThatIsNotValidIsRefused(t *testing.T) {
	i, key := newIssuer(t), keyOf(0)
	i.publish(key, keyOf(1))
	v := i.verifier(statetest.New())
	for name, token := range refused(t, i, key) {
		t.Run(name, func(t *testing.T) {
			if got, err := v.Verify(context.Background(), token); !errors.Is(err, ErrInvalid) || !reflect.DeepEqual(got, Person{}) {
				t.Errorf("verified as %+v, %v", got, err)
			}
			res, _ := get("Bearer "+token, New(v, Post, Comment).Identify)
			if res.Code != http.StatusUnauthorized || res.Header().Get("WWW-Authenticate") != `Bearer error="invalid_token"` {
				t.Errorf("answered %d %v", res.Code, res.Header())
			}
			if len(token) > 20 && strings.Contains(res.Body.String(), token[:20]) {
				t.Errorf("the answer repeats the token: %s", res.Body)
			}
		})
	}
	if _, err := v.Verify(context.Background(), key.token(t, i.claims(nil))); err != nil {
		t.Errorf("the valid one is refused as well: %v", err)
	}
}

// A token that was verified is remembered, and ends all the same.
func TestATokenThatWasVerifiedEndsAtItsTime(t *testing.T) {
	i, key := newIssuer(t), keyOf(0)
	i.publish(key)
	v, now := i.verifier(statetest.New()), time.Now()
	ends := now.Add(time.Hour).Truncate(time.Second)
	token := key.token(t, i.claims(map[string]any{"exp": ends.Unix()}))
	for _, test := range []struct {
		at time.Time
		ok bool
	}{{now, true}, {now, true}, {ends, true}, {ends.Add(time.Nanosecond), false}, {ends.Add(time.Hour), false}} {
		v.Now = func() time.Time { return test.at }
		person, err := v.Verify(context.Background(), token)
		if (err == nil) != test.ok || test.ok && person.Name != "Ann" {
			t.Errorf("%s before its end: %+v, %v", ends.Sub(test.at), person, err)
		}
	}
}

func TestAClockMayBeSlightlyBehindTheIssuers(t *testing.T) {
	i, key := newIssuer(t), keyOf(0)
	i.publish(key)
	soon := key.token(t, i.claims(map[string]any{"nbf": time.Now().Add(time.Minute).Unix()}))
	if _, err := i.verifier(statetest.New()).Verify(context.Background(), soon); err != nil {
		t.Error(err)
	}
}

// Keys that must not verify a signature are not used, and hide no others.
func TestUnusableKeysAreIgnored(t *testing.T) {
	i, key := newIssuer(t), keyOf(0)
	encryption := keyOf(1).public()
	encryption.Use = "enc"
	private := jose.JSONWebKey{Key: keyOf(2).private, KeyID: "private", Algorithm: "RS256", Use: "sig"}
	secret := jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "secret", Algorithm: "HS256"}
	i.publish(key)
	var set bytes.Buffer
	for _, k := range []jose.JSONWebKey{encryption, private, secret, key.public()} {
		raw, err := k.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		set.WriteString("," + string(raw))
	}
	i.answers(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed448","x":"AA"},{"kty":"EC","crv":"secp256k1"},7%s]}`, set.String())
	})
	v := i.verifier(statetest.New())
	if _, err := v.Verify(context.Background(), key.token(t, i.claims(nil))); err != nil {
		t.Errorf("a usable key is not used: %v", err)
	}
	for _, of := range []signing{{encryption.KeyID, jose.RS256, keyOf(1).private}, {"private", jose.RS256, keyOf(2).private}} {
		if _, err := v.Verify(context.Background(), of.token(t, i.claims(nil))); !errors.Is(err, ErrInvalid) {
			t.Errorf("a token by the key %s: %v", of.id, err)
		}
	}
	if _, err := v.Verify(context.Background(), confused(t, "secret", []byte("0123456789abcdef0123456789abcdef"), i.claims(nil))); !errors.Is(err, ErrInvalid) {
		t.Errorf("a token by a published secret: %v", err)
	}
}

func TestAPseudonymIsOfAnIssuerASubjectAndAKey(t *testing.T) {
	seen := map[string]string{}
	for _, test := range []struct{ url, key, subject string }{
		{"https://a.example", "k", "ann"}, {"https://a.example", "k", "bob"}, {"https://a.example", "l", "ann"}, {"https://b.example", "k", "ann"},
	} {
		got := NewIssuer(Config{URL: test.url, SubjectKey: []byte(test.key)}).Pseudonym(test.subject)
		if len(got) != 64 || strings.Trim(got, "0123456789abcdef") != "" || seen[got] != "" {
			t.Errorf("%+v is %s, as is %s", test, got, seen[got])
		}
		seen[got] = fmt.Sprint(test)
	}
	if got := NewIssuer(Config{URL: "https://a.example", SubjectKey: []byte("k")}).Pseudonym("ann"); seen[got] == "" {
		t.Error("the same person has another pseudonym after a restart")
	}
}

func TestANameIsTheIssuersAndNoAddress(t *testing.T) {
	for claims, want := range map[string]string{
		`{"name":"Ann Lee","preferred_username":"ann"}`:          "Ann Lee",
		`{"preferred_username":"ann"}`:                           "ann",
		`{"name":" ","preferred_username":"ann"}`:                "ann",
		`{"name":"\u200b","preferred_username":"ann"}`:           "ann",
		`{"name":"ann@posts.com","preferred_username":"ann"}`:    "ann",
		`{"name":"Ann <ann@posts.com>"}`:                         "",
		`{"preferred_username":"ann@posts.com","email":"a@b.c"}`: "",
		`{"name":"@ann"}`:                       "@ann",
		`{"name":7,"preferred_username":"ann"}`: "ann",
		`{}`:                                    "",
		`{"name":"` + strings.Repeat("ü", 101) + `"}`: strings.Repeat("ü", 100),
		`{"name":"  Ann  "}`:                          "Ann",
		`{"name":["Ann"],"nickname":"x"}`:             "",
	} {
		var decoded map[string]json.RawMessage
		if err := json.Unmarshal([]byte(claims), &decoded); err != nil {
			t.Fatal(err)
		}
		if got := nameIn(decoded); got != want {
			t.Errorf("%s: %q, want %q", claims, got, want)
		}
	}
}

func TestRolesAreThoseOfTheClaim(t *testing.T) {
	mapping := map[string][]Role{"staff": {Author}, "admins": {Moderator, Operator}, "cn=all,o=x": {Reader}}
	for _, test := range []struct {
		claim, claims string
		mapping       map[string][]Role
		want          []Role
	}{
		{"roles", `{"roles":["operator","author","author","chief"]}`, nil, []Role{Author, Operator}},
		{"roles", `{"roles":"reader author"}`, nil, []Role{Reader, Author}},
		{"roles", `{"roles":"Author"}`, nil, nil},
		{"roles", `{}`, nil, nil},
		{"roles", `{"roles":7}`, nil, nil},
		{"roles", `{"roles":["author",7]}`, nil, nil},
		{"realm_access.roles", `{"realm_access":{"roles":["moderator"]}}`, nil, []Role{Moderator}},
		{"a.b.c", `{"a":{"b":{"c":"reader"}}}`, nil, []Role{Reader}},
		{"a.b.c", `{"a":{"b.c":"reader"}}`, nil, []Role{Reader}},
		{"a.b.c", `{"a":{"b":"c"}}`, nil, nil},
		{"https://posts.com/roles", `{"https://posts.com/roles":["author"]}`, nil, []Role{Author}},
		{"groups", `{"groups":["admins","staff"]}`, mapping, []Role{Author, Moderator, Operator}},
		{"groups", `{"groups":["cn=all,o=x","other"]}`, mapping, []Role{Reader}},
		{"groups", `{"groups":["author"]}`, mapping, nil},
		{"groups", `{"groups":[]}`, map[string][]Role{"*": {Reader}, "staff": {Author}}, []Role{Reader}},
		{"groups", `{"groups":["staff"]}`, map[string][]Role{"*": {Reader}, "staff": {Author}}, []Role{Reader, Author}},
		{"groups", `{"groups":["*"]}`, mapping, nil},
		{"email", `{"email":"a@b.c","email_verified":true}`, map[string][]Role{"a@b.c": {Author}}, []Role{Author}},
		{"email", `{"email":"a@b.c","email_verified":false}`, map[string][]Role{"a@b.c": {Author}, "*": {Reader}}, []Role{Reader}},
		{"email", `{"email":"a@b.c","email_verified":"true"}`, map[string][]Role{"a@b.c": {Author}}, nil},
		{"email", `{"email":"a@b.c"}`, map[string][]Role{"a@b.c": {Author}}, nil},
	} {
		var claims map[string]json.RawMessage
		if err := json.Unmarshal([]byte(test.claims), &claims); err != nil {
			t.Fatal(err)
		}
		i := NewIssuer(Config{RolesClaim: test.claim, Roles: test.mapping})
		if got := i.rolesIn(claims); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s of %s with %v: %v, want %v", test.claim, test.claims, test.mapping, got, test.want)
		}
	}
}

// wantUnavailable checks that a token can't be verified now.
func wantUnavailable(t *testing.T, err error) {
	t.Helper()
	var problem *web.Problem
	if !errors.As(err, &problem) || problem.Status != http.StatusServiceUnavailable || problem.RetryAfter == 0 {
		t.Errorf("error %v, want a 503", err)
	}
}
