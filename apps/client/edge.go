package main

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// newEdge makes e the engine that visitors reach: it logs their requests, and has
// browsers do what the pages need and no more.
func newEdge(e *gin.Engine) *gin.Engine {
	e.Use(logged, pages)
	return e
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
		"status", c.Writer.Status(), "took", time.Since(start).Round(time.Millisecond))
}

// policy lets the page load what the host serves and nothing else, run no script
// and apply no style but from its files, and turn no string into markup
// (https://www.w3.org/TR/CSP3/, https://www.w3.org/TR/trusted-types/).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; " +
	"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// pages sets the headers that bind a browser which shows a page, beside those that
// every answer of Postbus has.
func pages(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), publickey-credentials-get=(), usb=()")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}
