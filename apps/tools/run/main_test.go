package main

import (
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postbus/postbus/apps/tools/system"
)

// greeting is the text that is printed when the system is up.
func greeting(t *testing.T) string {
	t.Helper()
	c, err := system.FindCheckout()
	if err != nil {
		t.Fatal(err)
	}
	s, err := system.Load(system.Dapr{}, filepath.Join(c.Root, "dapr.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	hello(&out, s)
	return out.String()
}

func TestTheAddressToOpenIsTheLastLine(t *testing.T) {
	for host, want := range map[string]string{
		"":          "Open http://localhost:3000\n",
		"*":         "Open http://localhost:3000\n",
		"192.0.2.7": "Open http://192.0.2.7:3000\n",
	} {
		t.Setenv("HOST", host)
		if got := greeting(t); !strings.HasSuffix(got, "\n"+want) {
			t.Errorf("HOST=%s: it ends otherwise than with %q:\n%s", host, want, got)
		}
	}
}

func TestEveryAddressIsSaidWithWhatIsThere(t *testing.T) {
	t.Setenv("HOST", "")
	got := greeting(t)
	for _, name := range append(slices.Clone(system.Services), system.Issuer) {
		if purposes[name] == "" {
			t.Errorf("it is not said what %s is for", name)
		}
		line := "  " + name
		for _, l := range strings.Split(got, "\n") {
			if strings.HasPrefix(l, line) && strings.Contains(l, "http://127.0.0.1:") && strings.HasSuffix(l, "  "+purposes[name]) {
				line = ""
			}
		}
		if line != "" {
			t.Errorf("no line for %s in\n%s", name, got)
		}
	}
}

func TestOnlyWhatIsOpenToOthersIsSaidToBe(t *testing.T) {
	for host, want := range map[string]int{"": 0, "127.0.0.1": 0, "*": 1, "192.0.2.7": 1} {
		t.Setenv("HOST", host)
		if got := greeting(t); strings.Count(got, "open ") != want {
			t.Errorf("HOST=%s: %d lines say what is open, want %d:\n%s", host, strings.Count(got, "open "), want, got)
		}
	}
}

func TestARedisThatCanNotBeUsedIsSaidWithTheMend(t *testing.T) {
	c, err := system.FindCheckout()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("-NOAUTH Authentication required.\r\n"))
			_ = conn.Close()
		}
	}()
	answers := l.Addr().String()
	for address, want := range map[string]string{
		"localhost":   "it has to be host:port",
		answers:       "NOAUTH",
		"127.0.0.1:1": "connection refused",
	} {
		t.Setenv("REDIS_HOST", address)
		_, err := findRedis(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), "REDIS_HOST="+address) || !strings.Contains(err.Error(), want) {
			t.Errorf("REDIS_HOST=%s: %v, want %q", address, err, want)
		}
	}
	_ = l.Close()
}

func TestEachRunHasATokenOfItsOwn(t *testing.T) {
	t.Setenv("APP_API_TOKEN", "")
	const bits = 5 // a character of base32
	first, second := appToken(), appToken()
	if len(first) != 1 || len(second) != 1 || first[0] == second[0] || len(strings.TrimPrefix(first[0], "APP_API_TOKEN="))*bits < 128 {
		t.Errorf("the tokens are %q and %q", first, second)
	}
}

func TestTheUsersTokenIsKept(t *testing.T) {
	t.Setenv("APP_API_TOKEN", "mine")
	if all := appToken(); len(all) != 0 {
		t.Errorf("it is overruled by %q", all)
	}
}

func TestAnErrorIsPrintedWithoutTheTerminalEscapesOfWhatItQuotes(t *testing.T) {
	var out strings.Builder
	complain(&out, errors.New("posts is not ready: \x1b]0;owned\a\npostbus's sidecar: \u009b31m\r\u202e"))
	if want := "postbus: posts is not ready: \\x1b]0;owned\\a\npostbus: postbus's sidecar: \\u009b31m\\r\\u202e\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
