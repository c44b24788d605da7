package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// letters serves one page of dead letters, as a sidecar that invokes eventlog.
func letters(t *testing.T, all ...map[string]any) *eventlog.Client {
	t.Helper()
	page, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1.0/invoke/eventlog/method/dead-letters" {
			t.Errorf("asked for %s", r.URL)
		}
		if r.FormValue("after") != "0" {
			page = []byte("[]")
		}
		w.Header().Set(eventlog.SequenceHeader, strconv.Itoa(len(all))) // as the version before logs had ids (3b4f435)
		_, _ = w.Write(page)
	}))
	t.Cleanup(s.Close)
	return clientOf(s.URL)
}

func clientOf(sidecar string) *eventlog.Client {
	return eventlog.NewClient(eventlog.InvokeURL(sidecar, "eventlog", eventlog.DeadLettersPath), "")
}

// pages serves the dead letters of one log, at most two a page, as eventlog does: a
// position that is not in the log is 409.
func pages(t *testing.T, all []map[string]any, log func(page int) string) *eventlog.Client {
	t.Helper()
	page := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page++
		after, err := strconv.Atoi(r.FormValue("after"))
		if err != nil {
			t.Errorf("asked for %s", r.URL)
		}
		last := ""
		if after > 0 {
			last, _ = all[after-1]["id"].(string)
		}
		end := eventlog.Position{Sequence: uint64(len(all)), Log: log(page), Event: all[len(all)-1]["id"].(string)} //nolint:errcheck,forcetypeassert // it is one
		end.SetHeaders(w.Header())
		if page > 1 && (r.FormValue("log") != end.Log || r.FormValue("event") != last) {
			http.Error(w, "Read the log from its start.", http.StatusConflict)
			return
		}
		if err := json.NewEncoder(w).Encode(all[after:min(len(all), after+2)]); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return clientOf(s.URL)
}

// Between two pages the log may become another one, whose letters do not follow.
func TestReadingGoesOnInTheLogThatItBeganWith(t *testing.T) {
	var all []map[string]any
	for i := range 5 {
		letter := letterOf("PostCreated", "x")
		letter["id"], letter["sequence"] = "a b/"+strconv.Itoa(i), strconv.Itoa(i+1)
		all = append(all, letter)
	}
	ids := []string{uuid.Must(uuid.NewV7()).String(), uuid.Must(uuid.NewV7()).String()}
	var seen []event.Sequence
	count := func(l letter) error {
		seen = append(seen, l.Sequence)
		return nil
	}
	if err := each(pages(t, all, func(int) string { return ids[0] }), count); err != nil || len(seen) != 5 {
		t.Errorf("read %v, %v", seen, err)
	}
	seen = nil
	if err := each(pages(t, all, func(page int) string { return ids[page/2] }), count); err == nil || len(seen) != 2 {
		t.Errorf("read %v of two logs, %v", seen, err)
	}
}

// hostile is text that takes over a terminal, adds a column and a line.
const hostile = "\x1b]0;owned\a\x1b[2J\u009b31m\u202e\tcolumn\nline\rstart\xff"

func letterOf(topic, payload string) map[string]any {
	return map[string]any{"sequence": "1", "data": map[string]any{
		"id": hostile, "service": hostile, "topic": topic, "reason": hostile, "payload": []byte(payload),
	}}
}

// harmless fails the test if a terminal would do with text anything but show it.
func harmless(t *testing.T, text string, lines int) {
	t.Helper()
	if at := strings.IndexAny(text, "\x1b\a\r\t\u009b\u202e"); at >= 0 {
		t.Errorf("it prints %q", text[at:])
	}
	if n := strings.Count(text, "\n"); n != lines {
		t.Errorf("it prints %d lines, not %d:\n%s", n, lines, text)
	}
	if !strings.Contains(text, `\x1b]0;owned\a`) {
		t.Errorf("it does not show what is there:\n%s", text)
	}
}

func TestAListShowsWhatALetterHasAndDoesNothingOfIt(t *testing.T) {
	var out bytes.Buffer
	if err := list(letters(t, letterOf(hostile, hostile)), &out); err != nil {
		t.Fatal(err)
	}
	harmless(t, out.String(), 2)
}

func TestARedriveShowsWhyALetterStaysAndDoesNothingOfIt(t *testing.T) {
	valid, err := event.OfPost(event.PostCreated, "posts", event.Post{ID: uuid.Must(uuid.NewV7()).String(), Title: "x", CreatedAt: time.Now(), Revision: 1}, time.Now(), "")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := event.Marshal(valid)
	if err != nil {
		t.Fatal(err)
	}
	var published []string
	publish := func(topic event.Type, message []byte) error {
		published = append(published, string(topic)+" "+string(message))
		return nil
	}
	var out bytes.Buffer
	// The same message twice, which is published once, and one that stays, whose topic the reason quotes.
	of := letters(t, letterOf("PostCreated", string(raw)), letterOf(hostile, string(raw)), letterOf("PostCreated", string(raw)))
	if err := redrive(of, publish, &out); err != nil {
		t.Fatal(err)
	}
	harmless(t, out.String(), 2)
	if want := "PostCreated " + string(raw); len(published) != 1 || published[0] != want {
		t.Errorf("published %q, want %q", published, want)
	}
}

func TestAnErrorShowsWhatTheSidecarSaidAndDoesNothingOfIt(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, hostile, http.StatusInternalServerError)
	}))
	t.Cleanup(s.Close)
	for _, verb := range []string{"list", "redrive"} {
		var out, errs bytes.Buffer
		if status := run([]string{"-eventlog", s.URL, verb}, &out, &errs); status != 1 {
			t.Errorf("%s: exit status %d", verb, status)
		}
		if text := errs.String(); strings.ContainsAny(text, "\x1b\a\r\u009b\u202e") || !strings.Contains(text, `\x1b]0;owned\a`) {
			t.Errorf("%s prints %q", verb, text)
		}
	}
}
