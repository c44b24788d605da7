package main

import (
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/web"
)

// newEdge is the engine that visitors reach. The probes' answers are as they were
// made, but for how long they may take to be read.
func newEdge(probes http.Handler) *gin.Engine {
	e := web.NewEngine()
	for _, path := range []string{"/healthz", "/readyz"} {
		e.GET(path, patient, gin.WrapH(probes))
	}
	e.Use(identified, logged, patient, secured)
	return e
}

// requestID is the header of a request's id, for finding it in the logs. The host
// makes one unless the request comes with one.
const requestID = "X-Request-Id"

var validRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

func identified(c *gin.Context) {
	id := c.GetHeader(requestID)
	if !validRequestID.MatchString(id) {
		id = uuid.NewString()
		c.Request.Header.Set(requestID, id)
	}
	c.Header(requestID, id)
}

// logged logs what changes something or goes wrong; all else at the level debug.
func logged(c *gin.Context) {
	start := time.Now()
	c.Next()
	level := slog.LevelDebug
	switch {
	case c.Writer.Status() >= http.StatusInternalServerError:
		level = slog.LevelWarn
	case c.Request.Method != http.MethodGet && c.Request.Method != http.MethodHead:
		level = slog.LevelInfo
	}
	slog.Log(c.Request.Context(), level, "request", "method", c.Request.Method, "path", c.Request.URL.Path,
		"status", c.Writer.Status(), "took", time.Since(start).Round(time.Millisecond), "request", c.GetHeader(requestID))
}

// frameTimeout bounds how long a visitor may take to accept a part of an answer.
const frameTimeout = 30 * time.Second

// patient gives up on a visitor who doesn't read an answer.
func patient(c *gin.Context) {
	w := patientWriter{c.Writer, http.NewResponseController(c.Writer)}
	_ = w.extend() // not every part comes through Write
	// What is buffered net/http writes after the handler, and then ends the deadline.
	defer func() { _ = w.extend() }()
	c.Writer = w
	c.Next()
}

type patientWriter struct {
	gin.ResponseWriter
	deadlines *http.ResponseController
}

// Write writes within frameTimeout.
func (w patientWriter) Write(b []byte) (int, error) {
	if err := w.extend(); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(b)
}

func (w patientWriter) extend() error {
	err := w.deadlines.SetWriteDeadline(time.Now().Add(frameTimeout))
	if errors.Is(err, http.ErrNotSupported) { // by a test's writer
		return nil
	}
	return err
}

// policy lets the page load what the host serves and nothing else, run no script
// and apply no style but from its files, and turn no string into markup
// (https://www.w3.org/TR/CSP3/, https://www.w3.org/TR/trusted-types/).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; " +
	"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// secured sets the headers that bind a browser. Strict-Transport-Security is for
// what terminates TLS in front of the host.
func secured(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), publickey-credentials-get=(), usb=()")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}
