package api

import (
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
	"github.com/postbus/postbus/apps/query/internal/querytest"
	"github.com/postbus/postbus/apps/query/model"
	"github.com/postbus/postbus/apps/query/snapshot"
)

// benchLog has a post for every 50 comments, and the three events of each comment.
func benchLog(comments int) []event.Event {
	var log []event.Event
	content := strings.Repeat("word ", 12)
	for i := range comments {
		post, id := i/50, 1_000_000+i
		if i%50 == 0 {
			log = append(log, querytest.Posted(post))
		}
		log = append(log, querytest.CommentOf(event.CommentCreated, id, post, 1, content),
			querytest.CommentOf(event.CommentModerated, id, post, 2, content), querytest.CommentOf(event.CommentUpdated, id, post, 2, content))
	}
	return querytest.Numbered(0, log...)
}

func batches(log []event.Event) (raw [][]byte) {
	for i := 0; i < len(log); i += eventlog.ReadLimit {
		raw = append(raw, querytest.Batch(log[i:min(len(log), i+eventlog.ReadLimit)]))
	}
	return raw
}

func BenchmarkApply(b *testing.B) {
	log := benchLog(50_000)
	b.ResetTimer()
	for range b.N {
		m := model.New()
		for i := 0; i < len(log); i += eventlog.ReadLimit {
			if err := m.Apply("", log[i:min(len(log), i+eventlog.ReadLimit)]); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(log))*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkParseAndApply(b *testing.B) {
	log := benchLog(50_000)
	raw := batches(log)
	b.ResetTimer()
	for range b.N {
		m := model.New()
		for _, r := range raw {
			events, err := event.ParseBatch(r)
			if err != nil {
				b.Fatal(err)
			}
			if err := m.Apply("", events); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(log))*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// The heap that a model takes for each byte of its comments' JSON.
func BenchmarkMemory(b *testing.B) {
	size, heap := 0, 0.0
	for range b.N {
		before := heapNow()
		m := model.New()
		raw := batches(benchLog(50_000))
		for i, r := range raw {
			events, err := event.ParseBatch(r)
			if err != nil {
				b.Fatal(err)
			}
			if err := m.Apply("", events); err != nil {
				b.Fatal(err)
			}
			raw[i] = nil
		}
		heap, size = heapNow()-before, 0
		_, posts := m.Copy()
		for _, p := range posts {
			for _, c := range p.Comments {
				size += len(c.JSON)
			}
		}
	}
	b.ReportMetric(heap/float64(size), "bytes/byte")
}

func heapNow() float64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return float64(s.HeapAlloc)
}

// nowhere takes an answer.
type nowhere struct{ h http.Header }

func (n nowhere) Header() http.Header               { return n.h }
func (n nowhere) Write(b []byte) (int, error)       { return len(b), nil }
func (n nowhere) WriteString(s string) (int, error) { return len(s), nil }
func (n nowhere) WriteHeader(int)                   {}

func BenchmarkRead(b *testing.B) {
	e := serve(querytest.ModelOf(b, benchLog(20_000)))
	for name, path := range map[string]string{
		"first": "/posts", "large": "/posts?limit=100", "post": "/posts/" + querytest.UUID7(3), "some": "/posts/" + querytest.UUID7(3) + "?limit=10",
	} {
		body := get(b, e, path).Body.Bytes()
		static := web.NewEngine()
		for _, route := range []string{"/posts", "/posts/:id"} {
			static.GET(route, func(c *gin.Context) { c.Data(http.StatusOK, "application/json; charset=utf-8", body) })
		}
		for what, h := range map[string]http.Handler{"query": e, "static": static} {
			b.Run(name+"/"+what, func(b *testing.B) {
				req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, path, http.NoBody)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for range b.N {
					h.ServeHTTP(nowhere{http.Header{}}, req)
				}
			})
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	m, store := querytest.ModelOf(b, benchLog(50_000)), statetest.New()
	b.Run("save", func(b *testing.B) {
		for range b.N {
			s := snapshot.New(m, store, time.Second, time.Now)
			s.Distrust()
			if err := s.Save(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("load", func(b *testing.B) {
		for range b.N {
			loaded := model.New()
			snapshot.New(loaded, store, time.Second, time.Now).Load(b.Context())
			if querytest.At(loaded) == 0 {
				b.Fatal("nothing was loaded")
			}
		}
	})
}
