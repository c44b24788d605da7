package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
)

const (
	// MaxHead bounds the part of a request before its body, in bytes: the address and the
	// header fields, each with four bytes of separators. It is lower than the sidecar's
	// bound (readBufferSize in dapr.yaml). So a request that a service's own port accepts
	// also passes through sidecars.
	MaxHead = 8 << 10
	// FirstTry is how long the client's host waits for the first answer to a request that
	// is safe to repeat. The call may have gone to a replica that has ended.
	FirstTry = time.Second
	// AnswerWithin is how long the host waits in all. It leaves time for
	// command.Deadline, which bounds a service's own calls, after the first try. So the
	// service itself answers.
	AnswerWithin = FirstTry + 2500*time.Millisecond
	// writeTimeout bounds how long a client may take to accept writeBytes of an answer.
	writeTimeout = 30 * time.Second
	writeBytes   = 256 << 10
)

// WellFormedHead refuses a request that cannot be forwarded: 431 (RFC 6585, section 5)
// for one over MaxHead, and 400 for an address or header fields that are not UTF-8, which
// no sidecar accepts.
func WellFormedHead(c *gin.Context) {
	size := len(c.Request.RequestURI)
	if host := c.Request.Host; host != "" {
		size += len("Host") + len(host) + len(": \r\n")
	}
	for name, values := range c.Request.Header {
		if name == RequestID {
			continue // it is bounded, and may be the service's own
		}
		for _, value := range values {
			size += len(name) + len(value) + len(": \r\n")
			if !utf8.ValidString(value) {
				Fail(c, NewProblem(http.StatusBadRequest, "The header "+name+" is not valid UTF-8."))
				return
			}
		}
	}
	switch {
	case size > MaxHead:
		Fail(c, NewProblem(http.StatusRequestHeaderFieldsTooLarge,
			fmt.Sprintf("The address and the headers have %d bytes; at most %d are allowed.", size, MaxHead)))
	case !utf8.ValidString(c.Request.RequestURI):
		Fail(c, NewProblem(http.StatusBadRequest, "The address is not valid UTF-8; percent-encode it."))
	}
}

// WellFormedQuery refuses, with 400, a query that cannot be parsed, and one that has a
// parameter twice. Otherwise the second value would silently be ignored.
func WellFormedQuery(c *gin.Context) {
	query, err := url.ParseQuery(c.Request.URL.RawQuery)
	if err != nil {
		Fail(c, NewProblem(http.StatusBadRequest, "The query can't be read: "+err.Error()+"."))
		return
	}
	for name, values := range query {
		if len(values) > 1 {
			Fail(c, NewProblem(http.StatusBadRequest, fmt.Sprintf("The query has %.40q %d times.", name, len(values))))
			return
		}
	}
}

// progressing closes the connection of a client that accepts less than writeBytes of its
// answer in writeTimeout.
func progressing(c *gin.Context) {
	w := progressWriter{c.Writer, http.NewResponseController(c.Writer)}
	_ = w.extend() // not every part comes through Write
	// net/http writes its buffer after the handler, and then clears the deadline.
	defer func() { _ = w.extend() }()
	c.Writer = w
	c.Next()
}

type progressWriter struct {
	gin.ResponseWriter
	deadlines *http.ResponseController
}

// Write writes b, and gives each writeBytes of it writeTimeout.
func (w progressWriter) Write(b []byte) (written int, err error) {
	for part := range slices.Chunk(b, writeBytes) {
		if err := w.extend(); err != nil {
			return written, err
		}
		n, err := w.ResponseWriter.Write(part)
		if written += n; err != nil {
			return written, err
		}
	}
	return written, nil
}

// WriteString is Write.
func (w progressWriter) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// Unwrap is for http.ResponseController.
func (w progressWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w progressWriter) extend() error {
	err := w.deadlines.SetWriteDeadline(time.Now().Add(writeTimeout))
	if errors.Is(err, http.ErrNotSupported) { // by a test's writer
		return nil
	}
	return err
}

// Streams bounds the endless answers that a service gives at once: the capacity is their
// number. Each of them keeps a connection from short requests.
type Streams chan struct{}

// Begin takes a place, and end gives it back. The error is a *Problem: 503 if no place is
// free.
func (s Streams) Begin() (end func(), err error) {
	select {
	case s <- struct{}{}:
		return func() { <-s }, nil
	default:
		return nil, Unavailable(fmt.Sprintf("There are %d streams already. Try again.", cap(s)))
	}
}

// unread closes the connection after a request that announces a body for a route that
// takes none. Otherwise net/http would wait for that body before it answers.
func unread(c *gin.Context) {
	if c.Request.ContentLength != 0 && (c.Request.Method == http.MethodGet || c.Request.Method == http.MethodHead) {
		closeAfter(c)
	}
}

// bodyRead is set in the context of a request whose body was read to its end.
const bodyRead = "body read"

// closeAfter closes the connection after this answer, which then does not wait for the
// rest of the request.
func closeAfter(c *gin.Context) { c.Header("Connection", "close") }
