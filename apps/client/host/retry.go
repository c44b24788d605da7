package host

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
	// maxTries bounds the tries that fail at once. The sidecar calls the replicas in
	// turn. Without Kubernetes it calls a dead one for up to a minute.
	maxTries = 5
)

var errTimeout = errors.New("it did not answer in time")

// retrying sends requests to a service, and repeats the failed ones that are safe to
// repeat. An error means that the service has not answered. It wraps a *web.Problem where
// a repeat would change nothing.
type retrying struct {
	service string
	next    http.RoundTripper
}

// RoundTrip sends one request (http.RoundTripper).
func (t retrying) RoundTrip(req *http.Request) (*http.Response, error) {
	isRepeatable := req.Method == http.MethodGet || req.Method == http.MethodHead || req.Header.Get(command.KeyHeader) != ""
	if !isRepeatable {
		return t.try(req, web.AnswerWithin)
	}
	deadline := time.Now().Add(web.AnswerWithin)
	res, err := t.try(req, web.FirstTry)
	for n := 1; err != nil && n < maxTries && req.Context().Err() == nil && time.Until(deadline) > 0; n++ {
		if problem := new(web.Problem); errors.As(err, &problem) {
			break
		}
		res, err = t.try(req, time.Until(deadline))
	}
	return res, err
}

// try sends the request once. The time limit ends when the answer begins: a body may take
// longer, and a stream has no end.
func (t retrying) try(req *http.Request, within time.Duration) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context()) // the parent ends with the visitor's request
	timer := time.AfterFunc(within, cancel)
	req = req.WithContext(ctx)
	if req.GetBody != nil {
		req.Body, _ = req.GetBody() // it can't fail
	}
	res, err := t.next.RoundTrip(req)
	if err == nil {
		err = t.refusal(res)
	}
	if !timer.Stop() {
		err = errTimeout
	}
	if err == nil {
		return res, nil
	}
	if res != nil {
		_ = res.Body.Close()
	}
	cancel()
	return nil, err
}

// refusal is the error of an answer by the sidecar itself, which could not call the
// service. The services' own errors are problem documents.
func (t retrying) refusal(res *http.Response) error {
	if res.StatusCode < http.StatusBadRequest || web.HasMediaType(res.Header, "application/problem+json") {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, 500))
	err = errors.Join(fmt.Errorf("the sidecar says %d: %s", res.StatusCode, text), err)
	switch res.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge:
		detail := "The request can't be passed on to the " + t.service + " service as it is: repeating it changes nothing."
		return errors.Join(err, web.NewProblem(res.StatusCode, detail))
	}
	return err
}
