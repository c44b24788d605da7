package web

import (
	"net/http"
	"testing"
)

func TestTheMediaTypeThatARequestTakesBest(t *testing.T) {
	for accept, want := range map[string]string{
		"":                  "application/json",
		"*/*":               "application/json",
		"text/event-stream": "text/event-stream",
		"Text/Event-Stream": "text/event-stream",
		"text/event-stream;q=0, application/json":     "application/json",
		"text/event-stream;q=0, */*":                  "application/json",
		"application/json;q=0.5, text/event-stream":   "text/event-stream",
		"application/json, text/event-stream":         "application/json",
		"text/event-stream,":                          "text/event-stream",
		" , text/event-stream ,, ":                    "text/event-stream",
		",":                                           "application/json",
		"text/*":                                      "text/event-stream",
		"text/event-stream, application/problem+json": "text/event-stream",
		"text/event-stream-not, image/png":            "",
		"text/event-stream;q=0":                       "",
		"text/html":                                   "",
		"what is this":                                "",
	} {
		r := &http.Request{Header: http.Header{}}
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		if got := Accepts(r, "application/json", "text/event-stream"); got != want {
			t.Errorf("Accept: %s takes %q, want %q", accept, got, want)
		}
	}
	if got := Accepts(&http.Request{Header: http.Header{"Accept": {"application/json;q=0.1", "text/event-stream"}}}, "application/json", "text/event-stream"); got != "text/event-stream" {
		t.Errorf("of two headers %q is taken", got)
	}
}

func TestAContentTypeNamesAMediaType(t *testing.T) {
	for value, want := range map[string]bool{
		"application/json": true, "Application/JSON; charset=utf-8": true, "application/json;charset=utf-8": true,
		"": false, "application/jsonx": false, "text/plain": false, "text/plain; application/json": false, "application/json/x": false,
	} {
		if got := HasMediaType(http.Header{"Content-Type": {value}}, "application/json"); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}

func TestTheCodingsThatARequestTakes(t *testing.T) {
	for value, want := range map[string]bool{
		"zstd": true, ", zstd,": true, "gzip, zstd": true, "ZSTD;q=0.1": true, "*": true, "gzip, *;q=0.5": true,
		"": false, "gzip": false, "zstd;q=0": false, "*, zstd;q=0": false, "zstdx": false, "x-zstd": false, "zstd;q=x": false,
	} {
		if got := AcceptsEncoding(&http.Request{Header: http.Header{"Accept-Encoding": {value}}}, "zstd"); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}
