package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/postbus/postbus/apps/query/internal/querytest"
)

// FuzzRequest reads pages by any path, query string and tag. None of them is answered
// as if the service were at fault.
func FuzzRequest(f *testing.F) {
	m := querytest.ModelOf(f, querytest.Numbered(0, querytest.Commented(101, 1)))
	for _, path := range []string{"", "/" + querytest.UUID7(1), "/" + querytest.UUID7(2), "/x", "/%2f", "//", "/" + querytest.UUID7(1) + "/"} {
		for _, query := range []string{"", "limit=1", "limit=0", "limit=1;cursor=x", "cursor=" + querytest.UUID7(1), "cursor=%", "min_sequence=1", "min_sequence=18446744073709551616", "limit=1&limit=2"} {
			f.Add(path, query, `W/"x", *`)
		}
	}
	stopped, stop := context.WithCancel(f.Context())
	stop() // nothing waits for a number that is ahead
	h := engine(stopped, m, nil)
	f.Fuzz(func(t *testing.T, path, query, tag string) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/posts", nil)
		req.URL = &url.URL{Path: "/posts" + path, RawQuery: query}
		req.Header.Set("If-None-Match", tag)
		res := httptest.NewRecorder()
		h.ServeHTTP(res, req)
		if res.Code >= 500 && res.Code != http.StatusServiceUnavailable { // which is for a number that is ahead
			t.Errorf("GET /posts%q?%q: %d %s", path, query, res.Code, res.Body)
		}
	})
}
