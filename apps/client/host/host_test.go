package host

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/postbus/postbus/apps/internal/web"
)

func TestEveryAnswerHasTheSecurityHeaders(t *testing.T) {
	e := engineOf(t, builtSite())
	for _, target := range []string{"/", script, "/nothing"} {
		h := ask(e, "GET", target).Header()
		for name, want := range map[string]string{
			"X-Content-Type-Options":       "nosniff",
			"Referrer-Policy":              "no-referrer",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q", target, name, got)
			}
		}
		if got := h.Get("Permissions-Policy"); !strings.Contains(got, "camera=()") {
			t.Errorf("%s: Permissions-Policy is %q", target, got)
		}
		csp := h.Get("Content-Security-Policy")
		for _, directive := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(csp, directive) {
				t.Errorf("%s: the policy has no %s: %s", target, directive, csp)
			}
		}
		for _, unsafe := range []string{"unsafe", "http", "*", "blob:", "data:"} {
			if strings.Contains(csp, unsafe) {
				t.Errorf("%s: the policy has %s: %s", target, unsafe, csp)
			}
		}
	}
}

func TestARequestsIDIsInTheHostsLog(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(web.TraceLog(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	t.Cleanup(func() { slog.SetDefault(before) })

	e := engineOf(t, builtSite())
	for _, sent := range []string{"abc-1.2_3", strings.Repeat("x", 128)} {
		if got := ask(e, "GET", "/", "X-Request-Id: "+sent).Header().Get("X-Request-Id"); got != sent {
			t.Errorf("%q becomes %q", sent, got)
		}
		if !strings.Contains(log.String(), "request="+sent) {
			t.Errorf("%q is not in the log: %s", sent, &log)
		}
	}
}
