package follow

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/query/internal/querytest"
	"github.com/postbus/postbus/apps/query/model"
	"github.com/postbus/postbus/apps/query/snapshot"
)

// A replay over HTTP from a log that costs next to nothing.
func BenchmarkReplay(b *testing.B) {
	var log []event.Event
	content := strings.Repeat("word ", 12)
	for i := range 100_000 {
		post, id := i/50, 1_000_000+i
		if i%50 == 0 {
			log = append(log, querytest.Posted(post))
		}
		log = append(log, querytest.CommentOf(event.CommentCreated, id, post, 1, content),
			querytest.CommentOf(event.CommentModerated, id, post, 2, content), querytest.CommentOf(event.CommentUpdated, id, post, 2, content))
	}
	var lines [][]byte
	for _, e := range querytest.Numbered(0, log...) {
		line, err := event.Marshal(e)
		if err != nil {
			b.Fatal(err)
		}
		lines = append(lines, line)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		after, _ := strconv.Atoi(r.URL.Query().Get("after"))
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		w.Header().Set(eventlog.SequenceHeader, strconv.Itoa(len(lines)))
		part := bytes.Join(lines[after:min(after+limit, len(lines))], []byte(",\n"))
		_, _ = w.Write(append(append([]byte("[\n"), part...), "\n]\n"...))
	}))
	defer server.Close()
	client := eventlog.NewClient(server.URL, "")
	defer client.HTTP.CloseIdleConnections()
	b.ResetTimer()
	for range b.N {
		m := model.New()
		f := New(m, client, snapshot.New(m, statetest.New(), time.Second, time.Now), time.Now)
		if end, err := f.replay(b.Context()); err != nil || f.at() != end {
			b.Fatalf("at %d of %d: %v", f.at(), end, err)
		}
	}
	b.ReportMetric(float64(len(log))*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
