package catchup

import (
	"fmt"
	"testing"
)

func TestRecentRemembersAtLeastSoManyAndAtMostTwiceAsMany(t *testing.T) {
	r := newRecent()
	const total = 5 * recentIDs / 2
	for n := range total {
		r.add(r.begin(), fmt.Sprint(n))
	}
	if n := len(r.young) + len(r.old); n > 2*recentIDs {
		t.Errorf("%d ids are remembered", n)
	}
	for n := total - recentIDs; n < total; n++ {
		if !r.remove(fmt.Sprint(n)) {
			t.Fatalf("id %d is forgotten", n)
		}
	}
	if r.remove("0") || r.remove(fmt.Sprint(total-1)) {
		t.Error("an id is remembered that is forgotten")
	}
}

func TestWhatBeganBeforeAClearIsNotRemembered(t *testing.T) {
	r := newRecent()
	r.add(r.begin(), "before")
	began := r.begin()
	r.clear()
	r.add(began, "during")
	r.add(r.begin(), "after")
	if r.remove("before") || r.remove("during") || !r.remove("after") {
		t.Error("not only what came after it is remembered")
	}
}
