package web

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/elnormous/contenttype"
)

// Accepts returns which of the media types a request's Accept header takes best (RFC
// 9110, section 12.5.1), of equal ones the one that the header has first. It is empty
// where the request takes none of them; without an Accept header it is the first offer.
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

// HasMediaType says whether a Content-Type header names the media type, with any
// parameters and in any case (RFC 9110, section 8.3.1).
func HasMediaType(header http.Header, mediaType string) bool {
	parsed, err := contenttype.ParseMediaType(header.Get("Content-Type"))
	return err == nil && parsed.MIME() == mediaType
}

// AcceptsEncoding says whether a request takes a content coding (RFC 9110, section
// 12.5.3). The libraries for media types don't know codings.
func AcceptsEncoding(r *http.Request, coding string) bool {
	others := false
	for _, item := range listed(r.Header.Values("Accept-Encoding")) {
		name, params, _ := strings.Cut(item, ";")
		weight := 1.0
		if q, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(params)), "q="); ok {
			weight, _ = strconv.ParseFloat(q, 64) // what is no number is not taken
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

// listed are the elements of a list in header fields of one name; empty ones count for
// nothing (RFC 9110, section 5.6.1.2).
func listed(values []string) []string {
	var items []string
	for item := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
