// Package web has what all HTTP APIs of Postbus share: errors as problem documents (RFC
// 9457), limits on what a client sends and how long it takes, security headers, content
// negotiation, and traces.
package web

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/event"
)

// Problem is an error as a client sees it.
type Problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail,omitempty"`
	// Field names the member of the body that caused the problem, if there is one.
	Field string `json:"field,omitempty"`
	// Role names the role that the person lacks, if that is the reason.
	Role string `json:"role,omitempty"`
	// Stands is what stands instead, for a 409.
	Stands any `json:"stands,omitempty"`
	// RetryAfter is sent as the header of that name, in whole seconds. 0 is not sent.
	RetryAfter time.Duration `json:"-"`
}

// Error is the detail.
func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

// NewProblem returns a problem of the given HTTP status.
func NewProblem(status int, detail string) *Problem {
	return &Problem{Status: status, Title: http.StatusText(status), Detail: detail}
}

// Unavailable is a 503 that asks the client to retry after a second.
func Unavailable(detail string) *Problem {
	p := NewProblem(http.StatusServiceUnavailable, detail)
	p.RetryAfter = time.Second
	return p
}

// Fail answers with err and ends the request. No other code writes errors. A *Problem is
// sent unchanged, an *event.FieldError as 422, and any other error as 500 without its
// text.
func Fail(c *gin.Context, err error) {
	var p *Problem
	var field *event.FieldError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &field):
		p = NewProblem(http.StatusUnprocessableEntity, field.Error())
		p.Field = field.Field
	default:
		slog.ErrorContext(c.Request.Context(), "request failed", "path", c.FullPath(), "error", err)
		p = NewProblem(http.StatusInternalServerError, "Something went wrong; the service's log says what.")
	}
	if p.RetryAfter > 0 {
		c.Header("Retry-After", strconv.Itoa(int(p.RetryAfter.Seconds())))
	}
	if c.Request.ContentLength != 0 && !c.GetBool(bodyRead) {
		closeAfter(c)
	}
	c.Header("Content-Type", "application/problem+json") // which gin leaves as it is
	c.AbortWithStatusPureJSON(p.Status, p)
}
