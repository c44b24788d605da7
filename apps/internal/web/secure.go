package web

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
)

// APIPolicy is the Content-Security-Policy of every answer that is not a page. A browser
// that shows the answer loads nothing, runs nothing, and puts it into no frame
// (https://www.w3.org/TR/CSP3/).
const APIPolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// secured sets the security headers. Strict-Transport-Security belongs to the proxy that
// terminates TLS.
func secured(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Content-Security-Policy", APIPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// RefuseBrowsers refuses, with 403, requests of web pages. A browser puts an Origin on
// every form and script request that changes something, and Sec-Fetch-Site on every
// request to this machine by its own names (https://fetch.spec.whatwg.org,
// https://www.w3.org/TR/fetch-metadata/). It is for listeners that only programs use.
func RefuseBrowsers(c *gin.Context) {
	for _, name := range []string{"Origin", "Sec-Fetch-Site"} {
		if _, sent := c.Request.Header[name]; sent {
			Fail(c, NewProblem(http.StatusForbidden, "This port is not for web pages; the request has the header "+name+"."))
			return
		}
	}
}

// OnlyHosts refuses, with 421, a request whose Host is neither this machine nor one of
// the names. The names have no port and no final dot. So a web page whose own name was
// made to resolve to this machine (DNS rebinding) reads nothing. A request without a Host
// does not come from a browser.
func OnlyHosts(names ...string) gin.HandlerFunc {
	return func(c *gin.Context) {
		host := HostName(c.Request.Host)
		if host == "" || IsLoopback(host) || slices.Contains(names, host) {
			return
		}
		Fail(c, NewProblem(http.StatusMisdirectedRequest,
			"This service is for this machine alone, and does not know the host that was asked for. ALLOWED_HOSTS names further ones."))
	}
}

// HostName is the name or address in a Host header, without port, brackets and final dot,
// in lower case.
func HostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// IsLoopback reports whether a host, a name in lower case or an address, is this
// machine's loopback interface (RFC 6761, section 6.3).
func IsLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}
