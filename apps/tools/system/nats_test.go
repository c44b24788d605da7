package system

import (
	"net"
	"regexp"
	"slices"
	"testing"
	"time"
)

func TestEveryTopicOfTheBusGetsAStream(t *testing.T) {
	c, err := FindCheckout()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range Engines() {
		topics, err := c.topicsOf(e)
		if err != nil || !slices.Contains(topics, "PostCreated") || !slices.Contains(topics, "dead-letters") {
			t.Errorf("the topics of %s are %v, error %v", e, topics, err)
		}
	}
	if err := c.MakeStreams(t.Context(), ""); err == nil {
		t.Error("streams are made in no NATS")
	}
}

// The component takes an event's id for the id of its message. NATS drops a message whose id it has
// seen within the window. A publisher publishes again after 10 s.
func TestAnEventIsPublishedAgainBeyondTheWindowOfDuplicates(t *testing.T) {
	s := streamOf("PostCreated", nodesOfNATS)
	if s.Duplicates <= 0 || s.Duplicates > time.Second {
		t.Errorf("the window is %s (0 is NATS's default, two minutes)", s.Duplicates)
	}
	if s.MaxAge < s.Duplicates {
		t.Errorf("NATS refuses a window of %s where messages live for %s", s.Duplicates, s.MaxAge)
	}
}

// The routes ask for no password.
func TestNATSListensOnLoopbackAlone(t *testing.T) {
	conf := nodeOfNATS(0, "/data", []int{1, 2, 3}, []int{4, 5, 6})
	listens := regexp.MustCompile(`(?m)^\s*(?:listen|http|https|port|host): *"?([^"\n]*)`).FindAllStringSubmatch(conf, -1)
	if len(listens) != 2 {
		t.Fatalf("it listens %d times, want for clients and for routes:\n%s", len(listens), conf)
	}
	for _, at := range listens {
		host, _, err := net.SplitHostPort(at[1])
		if err != nil || !net.ParseIP(host).IsLoopback() {
			t.Errorf("it listens at %q, error %v", at[1], err)
		}
	}
}
