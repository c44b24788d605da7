package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/web"
)

const (
	firstTry     = web.FirstTry
	answerWithin = web.AnswerWithin
	// maxTries bounds the tries that fail at once. The sidecar takes the replicas in
	// turn, and without Kubernetes a dead one for a minute more.
	maxTries = 5
)

var errNoAnswer = errors.New("it did not answer in time")

// tries sends requests to the sidecar, and those that are safe to repeat again when
// they fail. An error means that the service has not answered.
type tries struct{ next http.RoundTripper }

// RoundTrip sends one request (http.RoundTripper).
func (t tries) RoundTrip(req *http.Request) (*http.Response, error) {
	if !repeatable(req) {
		return t.once(req, answerWithin)
	}
	deadline := time.Now().Add(answerWithin)
	res, err := t.once(req, firstTry)
	for n := 1; err != nil && !permanent(err) && n < maxTries && req.Context().Err() == nil && time.Until(deadline) > 0; n++ {
		res, err = t.once(req, time.Until(deadline))
	}
	return res, err
}

// repeatable says whether sending it twice does the same as sending it once.
func repeatable(req *http.Request) bool {
	return req.Method == http.MethodGet || req.Method == http.MethodHead || req.Header.Get(command.KeyHeader) != ""
}

// once sends it once. The time is until the answer begins: a body may take longer,
// and a stream has no end.
func (t tries) once(req *http.Request, within time.Duration) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(within, func() { cancel(errNoAnswer) })
	req = req.WithContext(ctx)
	if req.GetBody != nil {
		req.Body, _ = req.GetBody() // it can't fail
	}
	res, err := t.next.RoundTrip(req)
	if err == nil {
		err = refusal(res)
	}
	if err == nil && !timer.Stop() {
		_ = res.Body.Close()
		err = errNoAnswer
	}
	if err != nil {
		timer.Stop()
		cause := context.Cause(ctx)
		cancel(nil)
		if errors.Is(cause, errNoAnswer) {
			err = errNoAnswer
		}
		return nil, err
	}
	res.Body = &cancelling{res.Body, cancel}
	return res, nil
}

// refusedError is a sidecar's own answer of a status that blames the request, which it
// gives again however often the request is repeated.
type refusedError struct {
	status int
	text   string
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("the sidecar says %d: %s", e.status, e.text)
}

func permanent(err error) bool {
	var refused *refusedError
	return errors.As(err, &refused)
}

// refusal is the error of an answer that a sidecar made because it could not call
// the service: the services' own errors are problem documents.
func refusal(res *http.Response) error {
	if res.StatusCode < http.StatusBadRequest || web.HasMediaType(res.Header, "application/problem+json") {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, 500))
	_ = res.Body.Close()
	switch res.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge:
		return &refusedError{res.StatusCode, string(text)}
	}
	return errors.Join(fmt.Errorf("the sidecar says %s: %s", res.Status, text), err)
}

// cancelling is a body that ends its call when it is closed.
type cancelling struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

// Close closes the body.
func (c *cancelling) Close() error {
	defer c.cancel(nil)
	return c.ReadCloser.Close()
}
