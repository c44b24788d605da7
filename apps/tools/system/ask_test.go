package system

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestCreatePostsReturnsTheirIDsOrWhatWasWrong(t *testing.T) {
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n++; n > 2 {
			http.Error(w, "no more", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"id":"%d"}`, n)
	}))
	t.Cleanup(server.Close)
	if ids, err := CreatePosts(server.Client(), server.URL, 2); err != nil || strings.Join(ids, " ") != "1 2" {
		t.Errorf("got %v, %v", ids, err)
	}
	if _, err := CreatePosts(server.Client(), server.URL, 1); err == nil || !strings.Contains(err.Error(), "503 no more") {
		t.Errorf("got %v", err)
	}
}

func TestAnAnswerIsReadWhateverItsStatus(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprintf(w, "%s %s %q", r.Method, r.Header.Get("X-Mine"), r.Header.Get("Content-Type"))
	}))
	t.Cleanup(server.Close)
	for body, want := range map[string]string{`{}`: `PUT a: b "application/json"`, "": `PUT a: b ""`} {
		a, err := Ask(server.Client(), http.MethodPut, server.URL, body, "X-Mine: a: b")
		if err != nil || a.Status != http.StatusTeapot || string(a.Body) != want {
			t.Errorf("got %+v, %v, want %s", a, err, want)
		}
		if err := a.Want(http.StatusOK); err == nil || err.Error() != "418 "+want {
			t.Errorf("got %v", err)
		}
	}
}
