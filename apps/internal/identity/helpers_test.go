package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-jose/go-jose/v4"

	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/web"
)

// issuer is an OpenID Connect issuer on loopback, which goes down, comes back and rotates its
// keys as a test wants.
type issuer struct {
	t      *testing.T
	url    string
	server *http.Server

	mu        sync.Mutex
	published []jose.JSONWebKey
	answer    http.HandlerFunc // instead of the keys
}

// signing is a private key of an issuer with its id.
type signing struct {
	id        string
	algorithm jose.SignatureAlgorithm
	private   crypto.Signer
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, url: "http://" + l.Addr().String()}
	i.serve(l)
	t.Cleanup(i.down)
	return i
}

func (i *issuer) serve(l net.Listener) {
	server := &http.Server{Handler: i}
	i.server = server
	go func() { _ = server.Serve(l) }()
}

// ServeHTTP answers with the discovery document and the keys.
func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var document any = map[string]string{"issuer": i.url, "jwks_uri": i.url + "/keys"}
	if r.URL.Path == "/keys" {
		if i.answer != nil {
			i.answer(w, r)
			return
		}
		document = jose.JSONWebKeySet{Keys: i.published}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(document)
}

// down ends the issuer. Its port refuses connections.
func (i *issuer) down() { _ = i.server.Close() }

// up has the issuer answer again, at its old address.
func (i *issuer) up() {
	i.t.Helper()
	l, err := net.Listen("tcp", i.url[len("http://"):])
	if err != nil {
		i.t.Fatal(err)
	}
	i.serve(l)
}

// publish has the issuer publish the public parts of these keys and no others.
func (i *issuer) publish(keys ...signing) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.published = nil
	for _, key := range keys {
		i.published = append(i.published, key.public())
	}
}

// answers has the issuer answer so instead of with its keys, or with them if it is nil.
func (i *issuer) answers(answer http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

// claims are those of a valid token, with these changes. A nil value removes a claim.
func (i *issuer) claims(changes map[string]any) map[string]any {
	now := time.Now()
	claims := map[string]any{
		"iss": i.url, "aud": "postbus", "sub": "ann", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"name": "Ann", "roles": []string{"author"},
	}
	for name, value := range changes {
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
	}
	return claims
}

var rsaKeys = sync.OnceValue(func() (keys [3]*rsa.PrivateKey) {
	for i := range keys {
		keys[i], _ = rsa.GenerateKey(rand.Reader, minRSA)
	}
	return keys
})

// keyOf is the nth of three RSA keys. Making one takes a tenth of a second.
func keyOf(n int) signing { return signing{"rsa-" + strconv.Itoa(n), jose.RS256, rsaKeys()[n]} }

func ecKey(t *testing.T, id string) signing {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signing{id, jose.ES256, private}
}

func edKey(t *testing.T, id string) signing {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signing{id, jose.EdDSA, private}
}

func (s signing) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.private.Public(), KeyID: s.id, Algorithm: string(s.algorithm), Use: "sig"}
}

// token is a token with these claims, signed by the key.
func (s signing) token(t *testing.T, claims any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if s.id != "" {
		options = options.WithHeader("kid", s.id)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: s.algorithm, Key: s.private}, options.WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// lookOften is the least time between two looks in tests whose issuer is a real one.
const lookOften = time.Millisecond

// verifier is a new process of a service with that store.
func (i *issuer) verifier(store state.Store) *Issuer {
	v := NewIssuer(Config{
		URL: i.url, Audience: "postbus", RolesClaim: "roles", SubjectKey: []byte("key"), Store: store,
		Client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, Now: time.Now,
	})
	v.keys.every = lookOften
	return v
}

// get sends a request with that Authorization header to a route behind the middleware.
func get(authorization string, middleware ...gin.HandlerFunc) (*httptest.ResponseRecorder, Person) {
	engine := web.NewEngine()
	var found Person
	engine.Use(middleware...)
	engine.GET("/", func(c *gin.Context) { found = Of(c); c.Status(http.StatusNoContent) })
	req, res := httptest.NewRequest(http.MethodGet, "/", http.NoBody), httptest.NewRecorder()
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	engine.ServeHTTP(res, req)
	return res, found
}
