package bus

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/postbus/postbus/apps/internal/event"
)

// The first three are what a form of a web page can send.
func TestOnlyJSONIsTakenForADelivery(t *testing.T) {
	whole := []byte(`{"entries":[]}`)
	for value, status := range map[string]int{
		"text/plain": 415, "application/x-www-form-urlencoded": 415, "multipart/form-data; boundary=x": 415,
		"": 415, "text/plain; application/json": 415, "application/jsonx": 415,
		"application/json": 200, "Application/JSON; charset=utf-8": 200,
	} {
		var g keeper
		var r recorder
		if res := deliver(channel(&g, r.handle), whole, http.Header{"Content-Type": {value}}); res.Code != status {
			t.Errorf("%q is answered %d, want %d", value, res.Code, status)
		}
	}
}

func TestAnEnvelopeIsReadToItsEnd(t *testing.T) {
	for body, status := range map[string]int{
		`null`: 200, `{}`: 200, `{"entries":null}`: 200, `{"entries":[]}`: 200, `{"entries":[null,{}],"x":{"entries":[7]}}`: 200,
		" {\"entries\" : [ ] }\n": 200,
		``:                        400, `[]`: 400, `7`: 400, `{"entries":{}}`: 400, `{"entries":[7]}`: 400, `{"entries":[]`: 400, `{"entries":[{}`: 400,
		`{"entries":[]}{}`: 400, `null null`: 400, `{"entries":[],"entries":[]}`: 400, `{"entries":[],}`: 400,
	} {
		var g keeper
		var r recorder
		if res := deliver(channel(&g, r.handle), []byte(body), nil); res.Code != status {
			t.Errorf("%s is answered %d, want %d", body, res.Code, status)
		}
	}
}

// repeated reads as before, then n times unit, then after.
func repeated(before, unit string, n int, after string) io.Reader {
	readers := []io.Reader{strings.NewReader(before)}
	for range n {
		readers = append(readers, strings.NewReader(unit))
	}
	return io.MultiReader(append(readers, strings.NewReader(after))...)
}

// peak is by how much the heap grows while f runs, in bytes, as the garbage collector
// last measured it.
func peak(f func()) (most uint64) {
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&now)
	return now.HeapSys - min(now.HeapSys, before.HeapSys)
}

func TestADeliveryTakesABoundedMemory(t *testing.T) {
	large := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), 16<<20))
	post := base64.StdEncoding.EncodeToString(post(t, "a"))
	for name, test := range map[string]struct {
		body    io.Reader
		status  int
		letters int
		most    uint64
	}{
		// A delivery that the bus can bring is accepted, however large it is.
		"9 messages of 16 MiB":   {repeated(`{"entries":[`, `{"event":"`+large+`"},`, 9, `{"event":"`+post+`"}]}`), 200, 9, 160 << 20},
		"one of 200 MiB":         {repeated(`{"entries":[{"event":"`, strings.Repeat("x", 1<<20), 200, `"}]}`), 413, 0, 160 << 20},
		"a field of 200 MiB":     {repeated(`{"id":"`, strings.Repeat("x", 1<<20), 200, `","entries":[]}`), 413, 0, 160 << 20},
		"millions of entries":    {repeated(`{"entries":[`, strings.Repeat(`{},`, 1<<18), 100, `{}]}`), 413, 0, 160 << 20},
		"20 ids of 20 MiB":       {repeated(`{"entries":[`, `{"entryId":"`+strings.Repeat("x", 20<<20)+`"},`, 20, `{}]}`), 413, 0, 160 << 20},
		"200 MiB of white space": {repeated(`{"entries":[`, strings.Repeat(" ", 1<<20), 200, `]}`), 413, 0, 160 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			var g keeper
			var r recorder
			req := httptest.NewRequest(http.MethodPost, "/deliver/PostCreated", test.body)
			req.Header.Set("Content-Type", "application/json")
			res := httptest.NewRecorder()
			h := channel(&g, r.handle)
			used := peak(func() { h.ServeHTTP(res, req) })
			if res.Code != test.status || len(g.letters) != test.letters {
				t.Errorf("answered %d with %d dead letters, want %d and %d", res.Code, len(g.letters), test.status, test.letters)
			}
			if used > test.most {
				t.Errorf("took %d MiB", used>>20)
			}
		})
	}
}

func TestDeliveriesThatAreReadAtOnceAreBounded(t *testing.T) {
	var g keeper
	var r recorder
	h := channel(&g, r.handle)
	deliverFrom := func(body io.Reader, size int64) int {
		req := httptest.NewRequest(http.MethodPost, "/deliver/PostCreated", body)
		req.Header.Set("Content-Type", "application/json")
		req.ContentLength = size
		res := httptest.NewRecorder()
		h.ServeHTTP(res, req)
		return res.Code
	}
	var deliveries sync.WaitGroup
	var ends []*io.PipeWriter
	const size = 1 << 20
	for range maxReading / size {
		body, end := io.Pipe()
		ends = append(ends, end)
		deliveries.Go(func() { deliverFrom(body, size) })
		if _, err := end.Write([]byte("{")); err != nil { // so it is being read
			t.Fatal(err)
		}
	}
	begun := make(chan struct{})
	var once sync.Once
	waits := readerFunc(func([]byte) (int, error) { once.Do(func() { close(begun) }); return 0, io.EOF })
	deliveries.Go(func() { deliverFrom(waits, 1) })
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	req := httptest.NewRequestWithContext(gone, http.MethodPost, "/deliver/PostCreated", waits)
	req.Header.Set("Content-Type", "application/json")
	h.ServeHTTP(httptest.NewRecorder(), req) // a delivery whose sidecar has left does not wait
	select {
	case <-begun:
		t.Error("one more is read")
	default:
	}
	_ = ends[0].Close()
	<-begun
	for _, end := range ends {
		_ = end.Close()
	}
	deliveries.Wait()
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestAMessageOfMaxBytesIsAnEventAndOneMoreIsNone(t *testing.T) {
	for extra, letters := range map[int]int{0: 0, 1: 1} {
		raw := post(t, "a")
		raw = append(raw, bytes.Repeat([]byte(" "), event.MaxBytes-len(raw)+extra)...)
		var g keeper
		var r recorder
		check(t, "statuses", delivered(t, channel(&g, r.handle), raw), []string{success})
		check(t, fmt.Sprint("dead letters with ", extra, " more"), len(g.letters), letters)
		check(t, fmt.Sprint("events with ", extra, " more"), len(r.events), 1-letters)
	}
}
