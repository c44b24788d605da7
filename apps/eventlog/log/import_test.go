package log

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

// lineOf is an event as a log has it under a number.
func lineOf(t *testing.T, e event.Event, number int) string {
	t.Helper()
	e.Sequence = event.Sequence(number) //nolint:gosec // never negative
	raw, err := event.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func importInto(l *Log, after, mediaType, body string) *httptest.ResponseRecorder {
	engine := web.NewEngine()
	engine.POST(eventlog.ImportPath, ServeImport(l))
	req := httptest.NewRequest(http.MethodPost, "/import?after="+after, strings.NewReader(body))
	req.Header.Set("Content-Type", mediaType)
	res := httptest.NewRecorder()
	engine.ServeHTTP(res, req)
	return res
}

func TestOnlyWhatFollowsInTheLogIsImported(t *testing.T) {
	a, b, c := titled(t, 1, "a"), titled(t, 2, "b"), titled(t, 3, "c")
	newer := strings.Replace(lineOf(t, c, 2), `"type":"PostCreated"`, `"type":"PostPinned"`, 1)
	for name, test := range map[string]struct {
		after, mediaType, body string
		status                 int
		end                    uint64
	}{
		"what follows":              {"1", eventlog.ContentType, "[" + lineOf(t, b, 2) + "," + lineOf(t, c, 3) + "]", 204, 3},
		"nothing":                   {"1", eventlog.ContentType, "[]", 204, 1},
		"a type of a later version": {"1", eventlog.ContentType, "[" + newer + "]", 204, 2},
		"a form":                    {"1", "text/plain", "[]", 415, 1},
		"before the end":            {"0", eventlog.ContentType, "[" + lineOf(t, b, 1) + "]", 409, 1},
		"after the end":             {"2", eventlog.ContentType, "[" + lineOf(t, b, 3) + "]", 409, 1},
		"other numbers":             {"1", eventlog.ContentType, "[" + lineOf(t, b, 3) + "]", 422, 1},
		"a gap":                     {"1", eventlog.ContentType, "[" + lineOf(t, b, 2) + "," + lineOf(t, c, 4) + "]", 422, 1},
		"no number":                 {"1", eventlog.ContentType, "[" + lineOf(t, b, 0) + "]", 422, 1},
		"no event":                  {"1", eventlog.ContentType, `[{"sequence":"2"}]`, 422, 1},
		"no place":                  {"x", eventlog.ContentType, "[]", 400, 1},
		"no JSON":                   {"1", eventlog.ContentType, "[", 400, 1},
		"what is there already":     {"1", eventlog.ContentType, "[" + lineOf(t, a, 2) + "]", 409, 1},
		"too many":                  {"1", eventlog.ContentType, "[" + strings.Repeat("0,", eventlog.MaxAppend) + "0]", 413, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t, statetest.NewOpaque())
			mustAppend(t, l, a)
			if res := importInto(l, test.after, test.mediaType, test.body); res.Code != test.status {
				t.Errorf("%d %s, want %d", res.Code, res.Body, test.status)
			}
			if end, err := l.End(); err != nil || end.Sequence != test.end {
				t.Errorf("the log ends at %s, error %v, want %d", end, err, test.end)
			}
		})
	}
}

func TestAnImportThatTheStoreDoesNotTakeIs503(t *testing.T) {
	store := statetest.New()
	l := start(t, store)
	mustAppend(t, l) // it is read
	store.Fail(statetest.ErrDown)
	body := fmt.Sprintf("[%s]", lineOf(t, titled(t, 1, "a"), 1))
	if res := importInto(l, "0", eventlog.ContentType, body); res.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", res.Code, res.Body)
	}
	store.Fail(nil)
	if res := importInto(l, "0", eventlog.ContentType, body); res.Code != http.StatusNoContent {
		t.Errorf("%d %s", res.Code, res.Body)
	}
}
