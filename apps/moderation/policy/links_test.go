package policy

import (
	"testing"

	"github.com/postbus/postbus/apps/internal/event"
)

func TestLinksAreCounted(t *testing.T) {
	one := Rules{Links: &LinkRule{0, Hold}}
	for text, want := range map[string]event.Status{
		"See https://example.com":        event.Held,
		"HTTP://EXAMPLE.COM/x":           event.Held,
		"www.example.com":                event.Held,
		"example.com/buy":                event.Held,
		"пример.рф/а":                    event.Held,
		"ftp://files":                    event.Held,
		"Nothing here.":                  event.Approved,
		"Version 1.2/3, and/or so. 5:30": event.Approved,
		"a: // b":                        event.Approved,
	} {
		wantVerdict(t, text, one, &Case{Comment: at(0, "", text)}, want)
	}
	two := Rules{Links: &LinkRule{2, Reject}}
	wantVerdict(t, "two", two, &Case{Comment: at(0, "", "https://a.org https://b.org")}, event.Approved)
	wantVerdict(t, "three", two, &Case{Comment: at(0, "", "https://a.org https://b.org www.c.org")}, event.Rejected)
	named := at(0, "", "Hello")
	named.Author = "buy.example/now"
	wantVerdict(t, "a name", one, &Case{Comment: named}, event.Held)
}
