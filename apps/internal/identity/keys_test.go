package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// verify checks that a token by the key is accepted.
func verify(t *testing.T, i *issuer, v *Issuer, key signing) {
	t.Helper()
	if _, err := v.Verify(context.Background(), key.token(t, i.claims(nil))); err != nil {
		t.Errorf("a token by %s: %v", key.id, err)
	}
}

// running runs the verifier until the test ends.
func running(t *testing.T, v *Issuer) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { v.Run(ctx) })
	t.Cleanup(func() { cancel(); run.Wait() })
}

// waitUntil waits for a condition that is bound to come.
func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func TestWhileTheIssuerIsDownKnownKeysVerify(t *testing.T) {
	i, v := newIssuer(t), (*Issuer)(nil)
	i.publish(keyOf(0))
	v = i.verifier(statetest.New())
	verify(t, i, v, keyOf(0))
	i.down()
	verify(t, i, v, keyOf(0))
	_, err := v.Verify(context.Background(), keyOf(1).token(t, i.claims(nil)))
	wantUnavailable(t, err)
	verify(t, i, v, keyOf(0))

	i.publish(keyOf(0), keyOf(1))
	i.up()
	waitUntil(t, "the new key verifies", func() bool {
		_, err := v.Verify(context.Background(), keyOf(1).token(t, i.claims(nil)))
		return err == nil
	})
	verify(t, i, v, keyOf(0))
}

func TestKeysRotateWithoutRefusingAnybodyWhoseKeyIsPublished(t *testing.T) {
	i, store := newIssuer(t), statetest.New()
	i.publish(keyOf(0))
	v := i.verifier(store)
	verify(t, i, v, keyOf(0))
	i.publish(keyOf(0), keyOf(1)) // the new key is used at once
	verify(t, i, v, keyOf(1))
	verify(t, i, v, keyOf(0))
	i.publish(keyOf(1), keyOf(2))
	verify(t, i, v, keyOf(2))
	verify(t, i, v, keyOf(1))
	if _, err := v.Verify(context.Background(), keyOf(0).token(t, i.claims(nil))); !errors.Is(err, ErrInvalid) {
		t.Errorf("a withdrawn key: %v", err)
	}
}

// An issuer may sign with another key under the same id.
func TestAKeyThatChangesUnderItsIDIsReadAgain(t *testing.T) {
	i, v := newIssuer(t), (*Issuer)(nil)
	v = i.verifier(statetest.New())
	for n := range 3 {
		key := keyOf(n)
		key.id = "same"
		i.publish(key)
		verify(t, i, v, key)
	}
}

func TestAServiceThatRestartsWhileTheIssuerIsDownVerifies(t *testing.T) {
	i, store := newIssuer(t), statetest.NewOpaque()
	i.publish(keyOf(0))
	first := i.verifier(store)
	running(t, first)
	waitUntil(t, "the keys are stored", func() bool { return store.Value(KeysKey) != "" })
	i.down()
	for range 2 {
		verify(t, i, i.verifier(store), keyOf(0))
	}
	restarted := i.verifier(store)
	running(t, restarted)
	_, err := restarted.Verify(context.Background(), keyOf(1).token(t, i.claims(nil)))
	wantUnavailable(t, err)

	// Another process has seen a key before the issuer went down.
	i.publish(keyOf(0), keyOf(1))
	i.up()
	other := i.verifier(store)
	running(t, other)
	verify(t, i, other, keyOf(1))
	waitUntil(t, "the new key is stored", func() bool { return strings.Contains(store.Value(KeysKey), `"rsa-1"`) })
	i.down()
	waitUntil(t, "the stored key verifies", func() bool {
		_, err := restarted.Verify(context.Background(), keyOf(1).token(t, i.claims(nil)))
		return err == nil
	})
}

func TestWithoutIssuerAndStoreNothingIsKnown(t *testing.T) {
	i, store := newIssuer(t), statetest.New()
	i.publish(keyOf(0))
	i.down()
	v := i.verifier(store)
	_, err := v.Verify(context.Background(), keyOf(0).token(t, i.claims(nil)))
	wantUnavailable(t, err)
	res, _ := get("Bearer "+keyOf(0).token(t, i.claims(nil)), New(v).Identify)
	if res.Code != http.StatusServiceUnavailable || res.Header().Get("Retry-After") == "" {
		t.Errorf("answered %d %s", res.Code, res.Body)
	}
	if res, _ := get("", New(v).Identify); res.Code != http.StatusNoContent {
		t.Errorf("a guest is answered %d", res.Code)
	}
	store.Fail(statetest.ErrDown)
	i.up()
	waitUntil(t, "it verifies without the store", func() bool {
		_, err := v.Verify(context.Background(), keyOf(0).token(t, i.claims(nil)))
		return err == nil
	})
}

func TestAnAnswerThatHasNoKeysWithdrawsNone(t *testing.T) {
	i, store := newIssuer(t), statetest.New()
	i.publish(keyOf(0))
	v := i.verifier(store)
	verify(t, i, v, keyOf(0))
	for name, answer := range map[string]http.HandlerFunc{
		"an error":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadGateway) },
		"no keys":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"keys":[]}`) },
		"a page":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"too much":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte(" "), maxKeys+1)) },
		"no string": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `[]`) },
	} {
		i.answers(answer)
		if err := v.keys.refresh(context.Background()); err == nil {
			t.Errorf("%s is taken for keys", name)
		}
		verify(t, i, v, keyOf(0))
	}
}

func TestTheKeysOfAnotherIssuerAreNotUsed(t *testing.T) {
	i, store := newIssuer(t), statetest.New()
	value, err := json.Marshal(published{Issuer: "https://other.example", At: time.Now(), Keys: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{keyOf(0).public()}}})
	if err != nil {
		t.Fatal(err)
	}
	store.Put(KeysKey, string(value))
	i.down()
	v := i.verifier(store)
	_, err = v.Verify(context.Background(), keyOf(0).token(t, i.claims(nil)))
	wantUnavailable(t, err)
	store.Put(KeysKey, "no JSON")
	_, err = v.Verify(context.Background(), keyOf(0).token(t, i.claims(nil)))
	wantUnavailable(t, err)
	i.publish(keyOf(0))
	i.up()
	running(t, v)
	waitUntil(t, "they are replaced", func() bool { return strings.Contains(store.Value(KeysKey), i.url) })
}

// A process that read the keys earlier does not replace what another one read later.
func TestStoredKeysAreTheLast(t *testing.T) {
	i, store := newIssuer(t), statetest.New()
	i.publish(keyOf(0))
	early, late := i.verifier(store), i.verifier(store)
	verify(t, i, early, keyOf(0))
	i.publish(keyOf(0), keyOf(1))
	verify(t, i, late, keyOf(1))
	for _, v := range []*Issuer{late, early} {
		if err := v.keys.save(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if got := store.Value(KeysKey); !strings.Contains(got, `"rsa-1"`) {
		t.Errorf("the store has %s", got)
	}
	written := store.Written()
	verify(t, i, late, keyOf(1))
	if err := late.keys.save(context.Background()); err != nil || store.Written() != written {
		t.Errorf("the same keys are written again: %v", err)
	}
}

// transport answers as an issuer does, without a network, so that the clock can be virtual.
type transport struct {
	issuer *issuer
	isDown atomic.Bool
	mu     sync.Mutex
	looks  []time.Time
}

func (s *transport) looked() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.looks)
}

func (s *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.isDown.Load() || r.URL.Path == "/keys" {
		s.mu.Lock()
		s.looks = append(s.looks, time.Now())
		s.mu.Unlock()
	}
	if s.isDown.Load() {
		return nil, errors.New("connection refused")
	}
	w := httptest.NewRecorder()
	s.issuer.ServeHTTP(w, r)
	return w.Result(), nil
}

// Whatever tokens are sent, an issuer is asked at most every lookEvery.
func TestForgedTokensAskLittleOfTheIssuer(t *testing.T) {
	rsaKeys()
	for _, isDown := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			to := &transport{issuer: &issuer{t: t, url: "http://127.0.0.1:1"}}
			to.isDown.Store(isDown)
			to.issuer.publish(keyOf(0))
			v := NewIssuer(Config{URL: to.issuer.url, Audience: "postbus", Store: statetest.New(), Client: &http.Client{Transport: to}, Now: time.Now})
			forged := keyOf(1).token(t, to.issuer.claims(map[string]any{"exp": time.Now().Add(24 * time.Hour).Unix()}))
			var asking sync.WaitGroup
			start := time.Now()
			for n := range 300 {
				asking.Go(func() {
					time.Sleep(time.Duration(n) * 100 * time.Millisecond) // of the bubble's clock
					if _, err := v.Verify(t.Context(), forged); err == nil {
						t.Error("it is accepted")
					}
				})
			}
			asking.Wait()
			looks := to.looked()
			if most := int(time.Since(start)/lookEvery) + 1; len(looks) > most || len(looks) < 10 {
				t.Errorf("down %v: %d looks in %s", isDown, len(looks), time.Since(start))
			}
			for n := 1; n < len(looks); n++ {
				if pause := looks[n].Sub(looks[n-1]); pause < lookEvery {
					t.Errorf("down %v: a look %s after the one before", isDown, pause)
				}
			}
		})
	}
}

// While forged tokens keep the issuer busy, one by a key that was just published waits, and is
// accepted.
func TestAForgedTokenDelaysANewKeyAndRefusesNobody(t *testing.T) {
	rsaKeys()
	synctest.Test(t, func(t *testing.T) {
		to := &transport{issuer: &issuer{t: t, url: "http://127.0.0.1:1"}}
		to.issuer.publish(keyOf(0))
		v := NewIssuer(Config{URL: to.issuer.url, Audience: "postbus", Store: statetest.New(), Client: &http.Client{Transport: to}, Now: time.Now})
		if _, err := v.Verify(t.Context(), keyOf(2).token(t, to.issuer.claims(nil))); !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
		time.Sleep(time.Millisecond) // of the bubble's clock
		to.issuer.publish(keyOf(0), keyOf(1))
		verify(t, to.issuer, v, keyOf(1))
	})
}

func TestOnlySoManyRequestsWaitForALook(t *testing.T) {
	rsaKeys()
	synctest.Test(t, func(t *testing.T) {
		to := &transport{issuer: &issuer{t: t, url: "http://127.0.0.1:1"}}
		to.issuer.publish(keyOf(0))
		v := NewIssuer(Config{URL: to.issuer.url, Audience: "postbus", Store: statetest.New(), Client: &http.Client{Transport: to}, Now: time.Now})
		verify(t, to.issuer, v, keyOf(0))
		time.Sleep(time.Millisecond) // of the bubble's clock
		forged, ctx := keyOf(1).token(t, to.issuer.claims(nil)), t.Context()
		var asking sync.WaitGroup
		for range maxLooking {
			asking.Go(func() { _, _ = v.Verify(ctx, forged) })
		}
		synctest.Wait()
		_, err := v.Verify(ctx, forged)
		wantUnavailable(t, err)
		verify(t, to.issuer, v, keyOf(0))
		asking.Wait()
	})
}

// A key that the issuer has withdrawn is refused after refreshEvery, without any token that
// makes the service look.
func TestAWithdrawnKeyIsForgotten(t *testing.T) {
	rsaKeys()
	synctest.Test(t, func(t *testing.T) {
		to := &transport{issuer: &issuer{t: t, url: "http://127.0.0.1:1"}}
		to.issuer.publish(keyOf(0))
		v := NewIssuer(Config{URL: to.issuer.url, Audience: "postbus", Store: statetest.New(), Client: &http.Client{Transport: to}, Now: time.Now})
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { v.Run(ctx) })
		synctest.Wait()
		token := keyOf(0).token(t, to.issuer.claims(nil))
		to.issuer.publish(keyOf(1))
		if _, err := v.Verify(ctx, token); err != nil {
			t.Error(err)
		}
		time.Sleep(refreshEvery) // of the bubble's clock
		synctest.Wait()
		if _, err := v.Verify(ctx, token); !errors.Is(err, ErrInvalid) {
			t.Errorf("the withdrawn key: %v", err)
		}
		to.isDown.Store(true)
		before := len(to.looked())
		time.Sleep(2 * refreshEvery) // of the bubble's clock
		synctest.Wait()
		if tries := len(to.looked()) - before; tries < 10 || tries > int(refreshEvery/retryEvery)*2 {
			t.Errorf("%d tries", tries)
		}
		cancel()
		run.Wait()
	})
}

// A service that starts a moment before its issuer reports nothing.
func TestAnIssuerThatDoesNotAnswerIsReportedOnceAndOnlyIfThatLasts(t *testing.T) {
	rsaKeys()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		before := slog.Default()
		slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
		defer slog.SetDefault(before)
		to := &transport{issuer: &issuer{t: t, url: "http://127.0.0.1:1"}}
		to.issuer.publish(keyOf(0))
		to.isDown.Store(true)
		store := statetest.New()
		store.Fail(errors.New("away"), statetest.Get)
		v := NewIssuer(Config{URL: to.issuer.url, Audience: "postbus", Store: store, Client: &http.Client{Transport: to}, Now: time.Now})
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { v.Run(ctx) })
		says := func(after time.Duration, want ...string) {
			time.Sleep(after) // of the bubble's clock
			synctest.Wait()
			v.keys.looking.Acquire(ctx, 1) //nolint:errcheck // ctx is not done
			defer v.keys.looking.Release(1)
			got := strings.Count(log.String(), "\n")
			for _, text := range want {
				if !strings.Contains(log.String(), text) {
					t.Errorf("%q is not in %q", text, log.String())
				}
			}
			if len(want) == 0 && got > 0 {
				t.Errorf("it says %q", log.String())
			}
			log.Reset()
		}
		says(reportAfter - time.Second)
		says(retryEvery, "level=WARN msg=\"the issuer's keys can't be read", "level=WARN msg=\"the stored keys")
		to.isDown.Store(false)
		store.Fail(nil)
		says(retryEvery, "level=INFO msg=\"the issuer's keys are read again")
		says(2 * refreshEvery)
		cancel()
		run.Wait()
	})
}
