package web

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/elnormous/contenttype"
)

// Accepts returns the media type that a request's Accept header prefers (RFC 9110,
// section 12.5.1). Of equally preferred ones it returns the first in the header. It is
// empty if the request accepts none of them, and the first offer without an Accept
// header.
func Accepts(r *http.Request, offers ...string) string {
	items := listed(r.Header.Values("Accept"))
	if len(items) == 0 {
		return offers[0]
	}
	types := make([]contenttype.MediaType, len(offers))
	for i, offer := range offers {
		types[i] = contenttype.NewMediaType(offer)
	}
	best, _, err := contenttype.GetAcceptableMediaTypeFromHeader(strings.Join(items, ","), types)
	if err != nil {
		return ""
	}
	return best.MIME()
}

// HasMediaType reports whether a Content-Type header names the media type, with any
// parameters and in any case (RFC 9110, section 8.3.1).
func HasMediaType(header http.Header, mediaType string) bool {
	parsed, err := contenttype.ParseMediaType(header.Get("Content-Type"))
	return err == nil && parsed.MIME() == mediaType
}

// AcceptsEncoding reports whether a request accepts a content coding (RFC 9110, section
// 12.5.3). Libraries for media types do not cover codings.
func AcceptsEncoding(r *http.Request, coding string) bool {
	others := false
	for _, item := range listed(r.Header.Values("Accept-Encoding")) {
		name, params, _ := strings.Cut(item, ";")
		weight := 1.0
		if q, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(params)), "q="); ok {
			weight, _ = strconv.ParseFloat(q, 64) // a weight that is no number counts as 0
		}
		switch name = strings.TrimSpace(name); {
		case strings.EqualFold(name, coding):
			return weight > 0
		case name == "*":
			others = weight > 0
		}
	}
	return others
}

// listed are the elements of a list in header fields of one name, without the empty ones
// (RFC 9110, section 5.6.1.2).
func listed(values []string) []string {
	var items []string
	for item := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
