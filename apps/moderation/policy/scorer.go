package policy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/postbus/postbus/apps/internal/event"
)

// ScorerRule is about what an external scorer says. A comment that it does not score in time
// is held.
type ScorerRule struct {
	// HoldFrom and RejectFrom are scores from 0 to 1.
	HoldFrom   float64 `json:"holdFrom"`
	RejectFrom float64 `json:"rejectFrom"`
	// TimeoutMS bounds one call, from 50 to 1500 ms.
	TimeoutMS int `json:"timeoutMs"`
}

func (r *ScorerRule) validate() error {
	if r == nil {
		return nil
	}
	score := func(place string, s float64) error {
		if !(s >= 0 && s <= 1) { // also if it is not a number
			return &event.FieldError{Field: place, Detail: fmt.Sprintf("is %g; a score from 0 to 1 is expected", s)}
		}
		return nil
	}
	return cmp.Or(score("scorer.holdFrom", r.HoldFrom), score("scorer.rejectFrom", r.RejectFrom), validNumber("scorer.timeoutMs", r.TimeoutMS, 50, 1500))
}

// The headers of a call. The signature is the HMAC-SHA256, by the shared secret, of the
// timestamp, a full stop and the body, in hexadecimal. A scorer refuses a timestamp that is
// old, so that a call that somebody has recorded is of no use.
const (
	SignatureHeader = "Postbus-Signature"
	TimestampHeader = "Postbus-Timestamp"
)

// maxScore bounds the scorer's answer, in bytes.
const maxScore = 4 << 10

// Scorer is an external service that scores comments. It is safe for concurrent use.
type Scorer struct {
	// HTTP makes the calls.
	HTTP *http.Client

	url    string
	secret []byte
	now    func() time.Time
}

// NewScorer returns the scorer at a URL, which shares a secret with this service. It follows
// no redirects: the text goes to that URL alone.
func NewScorer(url, secret string, now func() time.Time) *Scorer {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &Scorer{HTTP: client, url: url, secret: []byte(secret), now: now}
}

// question is what the scorer gets to know of a comment.
type question struct {
	ID      string `json:"id"`
	PostID  string `json:"postId"`
	Author  string `json:"author"`
	Content string `json:"content"`
}

// score asks for the score of a comment, from 0 to 1.
func (s *Scorer) score(ctx context.Context, c event.Comment) (float64, error) {
	body, err := event.Marshal(question{c.ID, c.PostID, c.Author, c.Content})
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	timestamp := strconv.FormatInt(s.now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(TimestampHeader, timestamp)
	req.Header.Set(SignatureHeader, Sign(s.secret, timestamp, body))
	res, err := s.HTTP.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return 0, errors.New(res.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxScore))
	if err != nil {
		return 0, err
	}
	var answer struct {
		Score *float64 `json:"score"`
	}
	switch err := jsonv2.Unmarshal(raw, &answer); {
	case err != nil:
		return 0, err
	case answer.Score == nil || !(*answer.Score >= 0 && *answer.Score <= 1):
		return 0, errors.New("the answer has no score from 0 to 1")
	}
	return *answer.Score, nil
}

// Sign returns the signature of a call.
func Sign(secret []byte, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte(timestamp + "."))
	_, _ = mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

func (r *ScorerRule) decide(ctx context.Context, s *Scorer, c event.Comment) Verdict {
	if s == nil {
		return Verdict{Action: Hold, Reason: "is to be scored, and no scorer is configured"}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(r.TimeoutMS)*time.Millisecond)
	defer cancel()
	score, err := s.score(ctx, c)
	switch {
	case err != nil:
		slog.WarnContext(ctx, "the scorer did not score a comment", "comment", c.ID, "error", err)
		return Verdict{Action: Hold, Reason: "the scorer did not answer"}
	case score >= r.RejectFrom:
		return Verdict{Action: Reject, Reason: fmt.Sprintf("is scored %.2f", score)}
	case score >= r.HoldFrom:
		return Verdict{Action: Hold, Reason: fmt.Sprintf("is scored %.2f", score)}
	}
	return Verdict{}
}
