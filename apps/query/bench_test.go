package main

import (
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/web"
)

// benchLog has a post, and then for each of the comments its three events.
func benchLog(comments int) []event.Event {
	var log []event.Event
	for i := range comments {
		post := i / 50
		if i%50 == 0 {
			log = append(log, posted(post))
		}
		content := strings.Repeat("word ", 12)
		id := 1_000_000 + i
		log = append(log, commentOf(event.CommentCreated, id, post, 1, content), commentOf(event.CommentModerated, id, post, 2, content), commentOf(event.CommentUpdated, id, post, 2, content))
	}
	return numbered(0, log...)
}

func BenchmarkApply(b *testing.B) {
	log := benchLog(50_000)
	b.ResetTimer()
	for range b.N {
		m := newModel()
		for i := 0; i < len(log); i += readLimit {
			if err := m.apply(log[i:min(len(log), i+readLimit)]); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(log))*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkParseAndApply(b *testing.B) {
	log := benchLog(50_000)
	var raw [][]byte
	for i := 0; i < len(log); i += readLimit {
		raw = append(raw, batch(log[i:min(len(log), i+readLimit)]))
	}
	b.ResetTimer()
	for range b.N {
		m := newModel()
		for _, r := range raw {
			events, err := event.ParseBatch(r)
			if err != nil {
				b.Fatal(err)
			}
			if err := m.apply(events); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(log))*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkMemory(b *testing.B) {
	size, heap := 0, 0.0
	for range b.N {
		before := heapNow()
		log := benchLog(50_000)
		m := newModel()
		raw := [][]byte{}
		for i := 0; i < len(log); i += readLimit {
			raw = append(raw, batch(log[i:min(len(log), i+readLimit)]))
		}
		log = nil
		for i, r := range raw {
			events, _ := event.ParseBatch(r)
			if err := m.apply(events); err != nil {
				b.Fatal(err)
			}
			raw[i] = nil
		}
		raw = nil
		heap = heapNow() - before
		size = 0
		for _, p := range m.posts {
			for _, c := range p.comments {
				size += len(c.json)
			}
		}
		runtime.KeepAlive(m)
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

type nowhere struct{ h http.Header }

func (n nowhere) Header() http.Header               { return n.h }
func (n nowhere) Write(b []byte) (int, error)       { return len(b), nil }
func (n nowhere) WriteString(s string) (int, error) { return len(s), nil }
func (n nowhere) WriteHeader(int)                   {}

func BenchmarkRead(b *testing.B) {
	m := modelOf(b, benchLog(20_000))
	e := engine(b.Context(), m, nil)
	for _, path := range []string{"/posts", "/posts?limit=100", "/posts/" + uuid7(3), "/posts/" + uuid7(3) + "?limit=10"} {
		body := get(b, e, path).Body.Bytes()
		s := web.NewEngine()
		s.GET("/posts", func(c *ginContext) { c.Data(200, "application/json; charset=utf-8", body) })
		s.GET("/posts/:id", func(c *ginContext) { c.Data(200, "application/json; charset=utf-8", body) })
		for name, h := range map[string]http.Handler{"query": e, "static": s} {
			b.Run(name+path[:min(len(path), 12)], func(b *testing.B) {
				req, _ := http.NewRequest(http.MethodGet, path, nil)
				b.ReportAllocs()
				for range b.N {
					h.ServeHTTP(nowhere{http.Header{}}, req)
				}
			})
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	m := modelOf(b, benchLog(50_000))
	store := newFakeStore()
	b.Run("save", func(b *testing.B) {
		for range b.N {
			s := newSnapshots(store)
			s.distrust()
			if _, err := s.save(b.Context(), m); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("load", func(b *testing.B) {
		for range b.N {
			if newSnapshots(store).load(b.Context(), newModel()) == 0 {
				b.Fatal("no")
			}
		}
	})
}

type ginContext = gin.Context
