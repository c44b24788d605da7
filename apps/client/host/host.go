// Package host serves the built client to browsers, and forwards the API to the
// services by Dapr service invocation.
package host

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/client/signin"
	"github.com/postbus/postbus/apps/internal/web"
)

// Host serves the pages and the API to browsers.
type Host struct {
	// Files is the folder that `npm run build` made. It may be empty or missing.
	Files fs.FS
	// Sidecar is the base URL of the sidecar's HTTP API.
	Sidecar string
	// Token is the API token that the sidecar expects, or empty.
	Token string
	// Transport sends requests to the sidecar.
	Transport http.RoundTripper
	// Posts, Comments, Query and Moderation are the app ids of the services.
	Posts, Comments, Query, Moderation string
	// SignIn says who sends a request.
	SignIn *signin.SignIn
	// Streams bounds the streams that are open at once.
	Streams web.Streams
	// Stopping ends the streams when it is done.
	Stopping context.Context
}

// Routes adds the client and the API to an engine. The error names the files that cannot
// be served.
func (h *Host) Routes(e *gin.Engine) error {
	files, err := readSite(h.Files)
	if err != nil {
		return err
	}
	e.Use(logRequest, securePage)
	files.routes(e)

	posts, comments, query := h.forward("posts", h.Posts), h.forward("comments", h.Comments), h.forward("query", h.Query)
	read := []string{http.MethodGet, http.MethodHead}
	api := e.Group("/", web.WellFormedQuery)
	h.SignIn.Routes(api)
	// What query answers is the same for everybody.
	api.Match(read, "/posts", query)
	api.Match(read, "/posts/:id", query)
	personal := api.Group("/", h.SignIn.Identify)
	personal.POST("/posts/create", posts)
	personal.POST("/posts/:id/comments", comments)
	personal.Match(read, "/posts/:id/comments", comments)
	personal.Match(read, "/posts/:id/comments/:commentId", comments)
	moderation := h.forward("moderation", h.Moderation)
	for path, methods := range map[string][]string{
		"/moderation/queue":             {http.MethodGet},
		"/moderation/policy":            {http.MethodGet, http.MethodPut},
		"/moderation/policy/apply":      {http.MethodPost},
		"/moderation/policy/try":        {http.MethodPost},
		"/moderation/comments/:id":      {http.MethodGet, http.MethodPost},
		"/moderation/comments/:id/undo": {http.MethodPost},
		"/moderation/posts/:id":         {http.MethodPost},
		"/moderation/people":            {http.MethodGet},
		"/moderation/people/:subject":   {http.MethodPost},
	} {
		personal.Match(methods, path, moderation)
	}
	return nil
}

// logRequest logs requests that change something or fail, and all others at level debug.
func logRequest(c *gin.Context) {
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

// policy restricts the page to what the host serves. Scripts and styles come from files
// only, and no string becomes markup (https://www.w3.org/TR/CSP3/,
// https://www.w3.org/TR/trusted-types/).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; " +
	"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// securePage sets the security headers of a page, beside those that every answer of
// Postbus has.
func securePage(c *gin.Context) {
	c.Header("Content-Security-Policy", policy)
	c.Header("Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), publickey-credentials-get=(), usb=()")
	c.Header("Cross-Origin-Opener-Policy", "same-origin")
}
