package system

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatHOSTOpensIsSaidInOneLine(t *testing.T) {
	for host, test := range map[Host]struct{ url, opens string }{
		"":            {"http://127.0.0.1:3000", ""},
		"127.0.0.1":   {"http://127.0.0.1:3000", ""},
		"127.8.0.1":   {"http://127.8.0.1:3000", ""},
		"::1":         {"http://[::1]:3000", ""},
		"Localhost":   {"http://Localhost:3000", ""},
		"localhost":   {"http://localhost:3000", ""},
		"*":           {"http://127.0.0.1:3000", "on every interface"},
		"0.0.0.0":     {"http://127.0.0.1:3000", "on every interface"},
		"::":          {"http://127.0.0.1:3000", "on every interface"},
		"192.0.2.7":   {"http://192.0.2.7:3000", "at 192.0.2.7"},
		"2001:db8::1": {"http://[2001:db8::1]:3000", "at 2001:db8::1"},
	} {
		t.Setenv("HOST", string(host))
		s := committed(t)
		if got := s.App("client").URL(); got != test.url {
			t.Errorf("%q: the client is at %s, want %s", host, got, test.url)
		}
		got := s.App("client").Host.Opens(s.Apps)
		if test.opens == "" && got != "" || !strings.Contains(got, test.opens) || strings.Contains(got, "\n") {
			t.Errorf("%q: says %q, want %q in one line", host, got, test.opens)
		}
		if test.opens != "" && !strings.Contains(got, "ports 3000, 4000-4003, 4005 are open") {
			t.Errorf("%q: does not say which ports: %q", host, got)
		}
	}
}

func TestARunFilesHOSTGoesBeforeTheEnvironments(t *testing.T) {
	t.Setenv("HOST", "192.0.2.7")
	c, err := FindCheckout()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	runFile, err := c.Derive(Derivation{Into: dir, Binaries: filepath.Join(dir, "bin"), Env: map[string]string{"HOST": "127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Load(Dapr{}, runFile)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.App("posts").URL(); got != "http://127.0.0.1:4000" {
		t.Errorf("posts is at %s", got)
	}
}

func TestAHOSTThatIsNoneOfThisMachinesIsRefused(t *testing.T) {
	for _, host := range []Host{"", "*", "127.0.0.1", "0.0.0.0", "localhost"} {
		if err := host.Check(); err != nil {
			t.Errorf("%q: %v", host, err)
		}
	}
	// 192.0.2.0/24 is for documentation (RFC 5737), .invalid is no name (RFC 2606), and
	// some shells set HOST to a platform.
	for _, host := range []Host{"192.0.2.7", "this.is.invalid", "x86_64-conda-linux-gnu", "127.0.0.1:3000"} {
		err := host.Check()
		wantSaid(t, err, "HOST="+string(host)+" is no address of this machine", "unset it")
	}
}
