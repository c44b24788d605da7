package comments

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/postbus/postbus/apps/internal/web"
)

// firstCallTimeout bounds the first call of the query service. After it there is a second
// call: the sidecar may have sent the first one to a replica that has died.
const firstCallTimeout = 500 * time.Millisecond

// Query is a ReadModel that asks the query service (GET /posts/:id) by Dapr's service
// invocation. It is safe for concurrent use.
type Query struct {
	// HTTP makes the calls.
	HTTP *http.Client

	url, token string
}

// NewQuery returns the read model that invokes the app with that id through the sidecar at
// a URL. The token is that of the sidecar's API, or empty.
func NewQuery(sidecar, appID, token string) *Query {
	return &Query{HTTP: &http.Client{}, url: sidecar + "/v1.0/invoke/" + appID + "/method/posts/", token: token}
}

// Comments implements ReadModel.
func (q *Query) Comments(ctx context.Context, post, cursor string, limit int) (ids []string, next string, err error) {
	first, cancel := context.WithTimeout(ctx, firstCallTimeout)
	defer cancel()
	if ids, next, err = q.page(first, post, cursor, limit); err == nil || errors.Is(err, ErrCursor) {
		return ids, next, err
	}
	return q.page(ctx, post, cursor, limit)
}

func (q *Query) page(ctx context.Context, post, cursor string, limit int) (ids []string, next string, err error) {
	parameters := url.Values{"limit": {strconv.Itoa(limit)}}
	if cursor != "" {
		parameters.Set("cursor", cursor)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, q.url+url.PathEscape(post)+"?"+parameters.Encode(), http.NoBody)
	if err != nil {
		return nil, "", err
	}
	if q.token != "" {
		req.Header.Set("Dapr-Api-Token", q.token)
	}
	if parent := web.TraceParent(ctx); parent != "" {
		req.Header.Set("Traceparent", parent)
	}
	res, err := q.HTTP.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, "", err
	}
	// An error that the sidecar itself answers with has another media type.
	isFromQuery := web.HasMediaType(res.Header, "application/problem+json")
	switch {
	case res.StatusCode == http.StatusBadRequest && isFromQuery:
		return nil, "", ErrCursor
	case res.StatusCode == http.StatusNotFound && isFromQuery:
		return nil, "", nil // query has not read the post in the log yet
	case res.StatusCode != http.StatusOK:
		return nil, "", fmt.Errorf("%s: %.300s", res.Status, body)
	}
	return decodePage(body, res.Header.Get("Link"))
}

// decodePage returns the ids of a page's comments, and the cursor in its Link header. The
// last page has no Link header; then the cursor is empty.
func decodePage(body []byte, link string) (ids []string, next string, err error) {
	var post struct {
		Comments []struct {
			ID string `json:"id"`
		} `json:"comments"`
	}
	if err := jsonv2.Unmarshal(body, &post); err != nil {
		return nil, "", fmt.Errorf("decoding a page of query: %w", err)
	}
	target, _, _ := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	nextPage, err := url.Parse(target)
	if err != nil {
		return nil, "", err
	}
	for _, c := range post.Comments {
		ids = append(ids, c.ID)
	}
	return ids, nextPage.Query().Get("cursor"), nil
}
