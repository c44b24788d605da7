package comments

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// sidecar answers calls in memory.
type sidecar func(*http.Request) (*http.Response, error)

func (s sidecar) RoundTrip(req *http.Request) (*http.Response, error) { return s(req) }

// queryBehind is the read model behind a sidecar.
func queryBehind(s sidecar) *Query {
	q := NewQuery("http://127.0.0.1:3501", "query-7", "the token")
	q.HTTP.Transport = s
	return q
}

// answer is one of query's, or of the sidecar's with another media type.
func answer(status int, mediaType, link, body string) *http.Response {
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", mediaType)
	if link != "" {
		w.Header().Set("Link", link)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
	return w.Result()
}

// always is the same answer for each call.
func always(status int, mediaType, link, body string) func() *http.Response {
	return func() *http.Response { return answer(status, mediaType, link, body) }
}

const (
	applicationJSON = "application/json; charset=utf-8"
	problemJSON     = "application/problem+json"
	pageOfTwo       = `{"id":"p","title":"t","comments":[{"id":"b","content":"x","status":"approved"},{"id":"a","content":"y"}],"commentCount":3}` + "\n"
)

func TestAPageOfQueryIsReadByServiceInvocation(t *testing.T) {
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	ctx := trace.ContextWithSpanContext(t.Context(), parent)
	for name, test := range map[string]struct{ cursor, parameters, link, next string }{
		"the first page": {"", "limit=2", `</posts/p?limit=2&cursor=a>; rel="next"`, "a"},
		"the last page":  {"a b&c", "cursor=a+b%26c&limit=2", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			q := queryBehind(func(req *http.Request) (*http.Response, error) {
				if got, want := req.URL.String(), "http://127.0.0.1:3501/v1.0/invoke/query-7/method/posts/p?"+test.parameters; req.Method != http.MethodGet || got != want {
					t.Errorf("%s %s, want %s", req.Method, got, want)
				}
				if req.Header.Get("dapr-api-token") != "the token" || !strings.Contains(req.Header.Get("traceparent"), parent.TraceID().String()) {
					t.Errorf("the headers are %v", req.Header)
				}
				return answer(200, applicationJSON, test.link, pageOfTwo), nil
			})
			ids, next, err := q.Comments(ctx, "p", test.cursor, 2)
			if err != nil || !slices.Equal(ids, []string{"b", "a"}) || next != test.next {
				t.Errorf("ids %v, next %q, error %v", ids, next, err)
			}
		})
	}
}

func TestWithoutATokenNoneIsSent(t *testing.T) {
	q := queryBehind(func(req *http.Request) (*http.Response, error) {
		if values, sent := req.Header["Dapr-Api-Token"]; sent {
			t.Errorf("sent %q", values)
		}
		return answer(200, applicationJSON, "", pageOfTwo), nil
	})
	q.token = ""
	if _, _, err := q.Comments(t.Context(), "p", "", 2); err != nil {
		t.Error(err)
	}
}

// What query says of a request is taken as it is; what fails is asked once more, also
// where the sidecar says it with the same status.
func TestAnswersThatAreNoPage(t *testing.T) {
	refused := errors.New("refused")
	for name, test := range map[string]struct {
		answer func() *http.Response
		err    error
		calls  int
		want   func(error) bool
	}{
		"a bad cursor":            {always(400, problemJSON, "", "{}"), nil, 1, func(err error) bool { return errors.Is(err, ErrCursor) }},
		"a post it does not know": {always(404, problemJSON, "", "{}"), nil, 1, func(err error) bool { return err == nil }},
		"not ready":               {always(503, problemJSON, "", "{}"), nil, 2, isUnavailable},
		"the sidecar's 400":       {always(400, "application/json", "", "{}"), nil, 2, isUnavailable},
		"the sidecar's 404":       {always(404, "application/json", "", "{}"), nil, 2, isUnavailable},
		"the sidecar's 403":       {always(403, "application/json", "", "{}"), nil, 2, isUnavailable},
		"the sidecar's 500":       {always(500, "application/json", "", `{"errorCode":"ERR_DIRECT_INVOKE"}`), nil, 2, isUnavailable},
		"no sidecar":              {nil, refused, 2, func(err error) bool { return errors.Is(err, refused) }},
		"no JSON":                 {always(200, applicationJSON, "", `{"comments":[`), nil, 2, isUnavailable},
		"a link that is none":     {always(200, applicationJSON, "<%>", pageOfTwo), nil, 2, isUnavailable},
	} {
		for _, recovers := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, recovers: %t", name, recovers), func(t *testing.T) {
				calls := 0
				q := queryBehind(func(*http.Request) (*http.Response, error) {
					if calls++; calls == 2 && recovers {
						return answer(200, applicationJSON, "", pageOfTwo), nil
					}
					if test.err != nil {
						return nil, test.err
					}
					return test.answer(), nil
				})
				ids, next, err := q.Comments(t.Context(), "p", "c", 2)
				if calls != test.calls {
					t.Errorf("%d calls, want %d", calls, test.calls)
				}
				if recovers && calls == 2 {
					if err != nil || len(ids) != 2 {
						t.Errorf("ids %v, error %v", ids, err)
					}
				} else if !test.want(err) || len(ids) > 0 || next != "" {
					t.Errorf("ids %v, next %q, error %v", ids, next, err)
				}
			})
		}
	}
}

func isUnavailable(err error) bool { return err != nil && !errors.Is(err, ErrCursor) }

// A replica of query that has died answers nothing. Another one is asked in time for the
// client's host, which gives this service a second.
func TestACallThatHangsIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		q := queryBehind(func(req *http.Request) (*http.Response, error) {
			if calls++; calls == 1 {
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			return answer(200, applicationJSON, "", pageOfTwo), nil
		})
		start := time.Now()
		ids, _, err := q.Comments(t.Context(), "p", "", 2)
		if took := time.Since(start); err != nil || len(ids) != 2 || took != firstCallTimeout || took >= time.Second {
			t.Errorf("ids %v, error %v after %v", ids, err, took)
		}
	})
}
