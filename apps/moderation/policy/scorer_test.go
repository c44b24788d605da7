package policy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
)

const secret = "the shared secret"

// scoring asks a scorer that answers so about a comment.
func scoring(t *testing.T, answer http.HandlerFunc) (event.Status, string) {
	t.Helper()
	server := httptest.NewServer(answer)
	defer server.Close()
	scorer := NewScorer(server.URL+"/score", secret, func() time.Time { return noon })
	p := New(Rules{Scorer: &ScorerRule{0.5, 0.9, 1500}}, 1, scorer)
	c := at(0, "ann", "Hello")
	verdict, mayAsk := p.Decide(&Case{Comment: c})
	if !mayAsk || verdict.Action != Approve {
		t.Fatalf("the scorer is not asked: %v", verdict)
	}
	verdict = p.Ask(t.Context(), c)
	status, _ := verdict.Action.Status()
	return status, verdict.Reason
}

func TestAScoreDecides(t *testing.T) {
	for answer, want := range map[string]event.Status{
		`{"score":0}`: event.Approved, `{"score":0.49,"more":1}`: event.Approved, `{"score":0.5}`: event.Held, `{"score":0.9}`: event.Rejected, `{"score":1}`: event.Rejected,
		// What is no score holds.
		`{}`: event.Held, `{"score":null}`: event.Held, `{"score":1.1}`: event.Held, `{"score":"0"}`: event.Held, ``: event.Held, `{"score":0}{`: event.Held,
		`{"more":"` + strings.Repeat("x", maxScore) + `","score":0}`: event.Held,
	} {
		got, reason := scoring(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
		if got != want {
			t.Errorf("after %.40s it is %s because it %q, want %s", answer, got, reason, want)
		}
	}
}

func TestACallOfTheScorerIsSigned(t *testing.T) {
	scoring(t, func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(r.Header.Get("Postbus-Timestamp") + "." + string(body)))
		if got, want := r.Header.Get("Postbus-Signature"), hex.EncodeToString(mac.Sum(nil)); got != want || r.Header.Get("Postbus-Timestamp") != strconv.FormatInt(noon.Unix(), 10) {
			t.Errorf("the signature is %q, want %q, at %s", got, want, r.Header.Get("Postbus-Timestamp"))
		}
		if r.URL.Path != "/score" || !strings.Contains(string(body), `"content":"Hello"`) || strings.Contains(string(body), "ann") {
			t.Errorf("%s is sent %s", r.URL, body)
		}
	})
}

func TestAScorerThatDoesNotAnswerHolds(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"an error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:9/", http.StatusFound)
		},
		"a broken one": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		if got, reason := scoring(t, answer); got != event.Held || reason != "the scorer did not answer" {
			t.Errorf("%s: it is %s because %q", name, got, reason)
		}
	}
	// One that hangs until the call is given up.
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer hangs.Close()
	p := New(Rules{Scorer: &ScorerRule{0.5, 0.9, 50}}, 1, NewScorer(hangs.URL, secret, time.Now))
	if v := p.Ask(t.Context(), at(0, "", "Hello")); v.Action != Hold {
		t.Errorf("after the time-out it is %v", v)
	}
	if v := New(Rules{Scorer: &ScorerRule{0.5, 0.9, 50}}, 1, nil).Ask(t.Context(), at(0, "", "Hello")); v.Action != Hold {
		t.Errorf("without a scorer it is %v", v)
	}
}
