package eventlog_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

func TestAPositionHasOneTextForm(t *testing.T) {
	for text, want := range map[string]eventlog.Position{
		"0":                          {},
		"4":                          {Sequence: 4},
		"18446744073709551615":       {Sequence: 1<<64 - 1},
		"0/" + someLog + "/":         {Log: someLog},
		"4/" + someLog + "/an-id":    {Sequence: 4, Log: someLog, Event: "an-id"},
		"4/" + someLog + "/":         {Sequence: 4, Log: someLog},
		"4//an-id":                   {Sequence: 4, Event: "an-id"},
		"4//a%2Fb%0A%25%C3%BC%20%00": {Sequence: 4, Event: "a/b\n%ü \x00"},
		"4//" + strings.Repeat("x", event.MaxIDLength): {Sequence: 4, Event: strings.Repeat("x", event.MaxIDLength)},
	} {
		if got := want.String(); got != text {
			t.Errorf("%+v is %q, want %q", want, got, text)
		}
		if got, err := eventlog.ParsePosition(text); err != nil || got != want {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, want)
		}
	}
	// As it is in an event.
	if got, err := eventlog.ParsePosition("00000000000000000004"); err != nil || got != (eventlog.Position{Sequence: 4}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestWhatIsNoPositionIsRefused(t *testing.T) {
	for _, text := range []string{
		"", " ", "x", "-1", "+1", "1.5", "1,2", " 1", "99999999999999999999", "/", "/" + someLog + "/x", "1/", "1/" + someLog,
		"1/x/y", "1/" + strings.ToUpper(someLog) + "A/y", "1/6f1cbf0c-52a1-4f6e-9d0e-1f2f5d0a7c11/y", "1//%", "1//%zz",
		"1//" + strings.Repeat("x", event.MaxIDLength+1), "0//x", "0/" + someLog + "/x", strings.Repeat("9", 10_000),
	} {
		if p, err := eventlog.ParsePosition(text); err == nil {
			t.Errorf("%.60q is %+v", text, p)
		}
	}
}

func TestAPositionComesBackFromItsText(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		p := eventlog.Position{Sequence: rapid.Uint64Min(1).Draw(r, "number"), Log: rapid.SampledFrom([]string{"", someLog}).Draw(r, "log")}
		p.Event = rapid.StringN(0, -1, event.MaxIDLength).Draw(r, "event")
		text := p.String()
		if got, err := eventlog.ParsePosition(text); err != nil || got != p {
			r.Fatalf("%+v is %q and comes back as %+v, %v", p, text, got, err)
		}
		if strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
			r.Fatalf("%q can't be a header or the id of a server-sent event", text)
		}
	})
}

func TestAPositionFitsWhereNothingContradictsIt(t *testing.T) {
	whole := eventlog.Position{4, someLog, "a"}
	for name, c := range map[string]struct {
		other eventlog.Position
		fits  bool
	}{
		"itself":            {whole, true},
		"a number alone":    {eventlog.Position{Sequence: 4}, true},
		"without the log":   {eventlog.Position{Sequence: 4, Event: "a"}, true},
		"without the event": {eventlog.Position{Sequence: 4, Log: someLog}, true},
		"another number":    {eventlog.Position{5, someLog, "a"}, false},
		"another log":       {eventlog.Position{4, strings.Replace(someLog, "1", "2", 1), "a"}, false},
		"another event":     {eventlog.Position{4, someLog, "b"}, false},
		"nothing alike":     {eventlog.Position{}, false},
	} {
		if whole.Fits(c.other) != c.fits || c.other.Fits(whole) != c.fits {
			t.Errorf("%s: %v, %v; want %v", name, whole.Fits(c.other), c.other.Fits(whole), c.fits)
		}
	}
}
