package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// sidecar is the address of every process's sidecar.
const sidecar = "http://sidecar"

// Bounds of an invocation, as the services' clients have them.
const headersWithin = 2 * time.Second

var errNobody = errors.New("no process of that service")

// invocations are a process's way to other services: its sidecar passes a request on to one
// of their processes.
type invocations struct {
	of *process
}

// RoundTrip implements http.RoundTripper.
func (i invocations) RoundTrip(req *http.Request) (*http.Response, error) {
	app, path, ok := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v1.0/invoke/"), "/method/")
	if !ok {
		return nil, fmt.Errorf("%s is no invocation", req.URL)
	}
	p := i.of
	w := p.world
	ctx, cancel := context.WithTimeout(req.Context(), headersWithin)
	defer cancel()
	inner := req.Clone(ctx)
	inner.URL.Path, inner.RequestURI = "/"+path, "/"+path+"?"+req.URL.RawQuery
	inner.Header.Set("Dapr-Caller-App-Id", p.service.name)
	var a *answer
	err := p.do(ctx, call{
		to: app, what: inner.Method + " " + inner.RequestURI, at: p.service.name,
		refused: string(CallLost), unknown: string(CallUnknown), slow: string(CallSlow),
		effect: func() (err error) {
			target := w.services[app].choose(p.dice)
			if target == nil {
				return errNobody
			}
			a, err = target.serve(inner)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	body := io.Reader(&a.body)
	if w.faults.strike(CallCut, p.service.name) != nil {
		body = io.MultiReader(io.LimitReader(body, int64(p.dice.IntN(a.body.Len()+1))), cut{})
	}
	return &http.Response{
		StatusCode: a.status, Status: fmt.Sprint(a.status), Header: a.header, Body: io.NopCloser(body), ContentLength: -1,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
	}, nil
}

// cut is the end of an answer that was cut off.
type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
