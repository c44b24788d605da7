package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/postbus/postbus/apps/internal/event"
)

// anyLog draws a log in which entities come in any order and at any revision,
// also more than one event at the same.
func anyLog(r *rapid.T) []event.Event {
	const posts, comments = 4, 8
	n := rapid.IntRange(0, 40).Draw(r, "events")
	events := make([]event.Event, n)
	for i := range events {
		text, revision := fmt.Sprintf("text <%d>", i), rapid.IntRange(1, 3).Draw(r, "revision")
		switch t := rapid.SampledFrom(event.Types).Draw(r, "type"); t {
		case event.PostCreated:
			events[i] = postOf(rapid.IntRange(0, posts-1).Draw(r, "post"), revision, text)
		default:
			c := rapid.IntRange(0, comments-1).Draw(r, "comment")
			events[i] = commentOf(t, 100+c, c%posts, revision, text)
		}
	}
	return numbered(0, events...)
}

func TestAnyOrderAndAnyRepeatsFoldToTheSame(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		log := anyLog(r)
		want := newModel()
		if err := want.apply(log); err != nil {
			r.Fatal(err)
		}
		shuffled := slices.Clone(log)
		if len(log) > 0 {
			shuffled = append(shuffled, rapid.SliceOfN(rapid.SampledFrom(log), 0, 20).Draw(r, "repeats")...)
		}
		got := newModel()
		for _, e := range rapid.Permutation(shuffled).Draw(r, "order") {
			if err := got.fold(e); err != nil {
				r.Fatal(err)
			}
		}
		if a, b := everything(want), everything(got); a != b {
			r.Fatalf("in the log's order:\n%s\nin another:\n%s", a, b)
		}
	})
}

// A fold that is right by being simple: of each entity the event that wins.
func TestTheHighestRevisionWinsAndOfEqualOnesTheFirst(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		log := anyLog(r)
		wins := func(e, than event.Event, revision func(event.Event) int) bool {
			return than.ID == "" || revision(e) > revision(than) || revision(e) == revision(than) && e.Sequence < than.Sequence
		}
		posts, comments := map[string]event.Event{}, map[string]event.Event{}
		for _, e := range log {
			switch {
			case e.Type == event.PostCreated && wins(e, posts[e.Subject], func(e event.Event) int { return e.Post.Revision }):
				posts[e.Subject] = e
			case (e.Type == event.CommentCreated || e.Type == event.CommentUpdated) &&
				wins(e, comments[e.Subject], func(e event.Event) int { return e.Comment.Revision }):
				comments[e.Subject] = e
			}
		}
		m := newModel()
		for _, e := range rapid.Permutation(log).Draw(r, "order") {
			if err := m.fold(e); err != nil {
				r.Fatal(err)
			}
		}
		var got map[string]shown
		if err := json.Unmarshal(m.postsPage(nil, maxLimit).json, &got); err != nil {
			r.Fatal(err)
		}
		if len(got) != len(posts) {
			r.Fatalf("%d posts, want %d", len(got), len(posts))
		}
		for id, e := range posts {
			if got[id].ID != id || got[id].Title != e.Post.Title {
				r.Fatalf("post %s is %+v, want %q", id, got[id], e.Post.Title)
			}
			n := 0
			for _, c := range comments {
				if c.Comment.PostID == id {
					n++
				}
			}
			if len(got[id].Comments) != n || got[id].CommentCount != n {
				r.Fatalf("post %s has %d comments and counts %d, want %d", id, len(got[id].Comments), got[id].CommentCount, n)
			}
			for i, c := range got[id].Comments {
				want := comments[c.ID].Comment
				if want == nil || c.Content != want.Content || c.Status != string(want.Status) {
					r.Fatalf("comment %+v, want %+v", c, want)
				}
				if i > 0 && c.ID >= got[id].Comments[i-1].ID {
					r.Fatalf("comment %s comes after %s, and is not older", c.ID, got[id].Comments[i-1].ID)
				}
			}
		}
	})
}

func TestParkedCommentsAreInvisibleUntilTheirPostComes(t *testing.T) {
	m := modelOf(t, numbered(0, commented(101, 1), approved(101, 1), commented(102, 1)))
	if page := m.postsPage(nil, 20); string(page.json) != "{}" {
		t.Errorf("without its post: %s", page.json)
	}
	if m.postPage(uuid.MustParse(uuid7(1)), nil, 20) != nil {
		t.Error("a post that did not come has a page")
	}
	if err := m.apply(numbered(3, posted(1))); err != nil {
		t.Fatal(err)
	}
	var got map[string]shown
	if err := json.Unmarshal(m.postsPage(nil, 20).json, &got); err != nil {
		t.Fatal(err)
	}
	p := got[uuid7(1)]
	if len(p.Comments) != 2 || p.Comments[0].ID != uuid7(102) || p.Comments[0].Status != "pending" ||
		p.Comments[1].ID != uuid7(101) || p.Comments[1].Status != "approved" {
		t.Errorf("with its post: %+v", p)
	}
}

// What has been rendered must not be shown again after a change.
func TestAModelThatWasReadShowsWhatOneThatWasNotShows(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		log := anyLog(r)
		read := newModel()
		for i := range log {
			if err := read.apply(log[i : i+1]); err != nil {
				r.Fatal(err)
			}
			fresh := newModel()
			if err := fresh.apply(log[:i+1]); err != nil {
				r.Fatal(err)
			}
			if a, b := everything(read), everything(fresh); a != b {
				r.Fatalf("at %d, read before:\n%s\nread first:\n%s", i+1, a, b)
			}
		}
	})
}

// Readers see moderation by the CommentUpdated alone.
func TestCommentModeratedChangesNothingThatReadersSee(t *testing.T) {
	m := modelOf(t, numbered(0, posted(1), commented(101, 1)))
	before := everything(m)
	if err := m.apply(numbered(2, moderated(101, 1), moderated(102, 1), moderated(103, 9))); err != nil {
		t.Fatal(err)
	}
	if got := everything(m); got != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, got)
	}
	if m.at() != 5 {
		t.Errorf("the model stands at %d, want 5: the events count all the same", m.at())
	}
}

func TestApplySkipsWhatItHas(t *testing.T) {
	log := someLog()
	m := modelOf(t, log[:7])
	for from := range 8 {
		if err := m.apply(log[from:7]); err != nil || m.at() != 7 {
			t.Errorf("the events from %d on again: at %d, %v", from+1, m.at(), err)
		}
	}
	if err := m.apply(log[3:]); err != nil { // some again, and some new
		t.Fatal(err)
	}
	if m.at() != uint64(len(log)) || everything(m) != everything(modelOf(t, log)) {
		t.Errorf("at %d it is another model", m.at())
	}
}

func TestApplyRefusesAGapAndAllAfterIt(t *testing.T) {
	log := someLog()
	for missing := range len(log) - 1 {
		m := newModel()
		holed := slices.Delete(slices.Clone(log), missing, missing+1)
		if err := m.apply(holed); !errors.Is(err, errGap) {
			t.Errorf("without event %d: %v", missing+1, err)
		}
		if m.at() != uint64(missing) { //nolint:gosec // never negative
			t.Errorf("without event %d the model stands at %d", missing+1, m.at())
		}
		if everything(m) != everything(modelOf(t, log[:missing])) {
			t.Errorf("without event %d something after it was applied", missing+1)
		}
		if err := m.apply(log); err != nil || everything(m) != everything(modelOf(t, log)) {
			t.Errorf("with event %d at last: %v", missing+1, err)
		}
	}
}

func TestGrowthIsToldOfWhatIsNewAlone(t *testing.T) {
	log := someLog()
	m := modelOf(t, log[:3])
	_, grown := m.growth()
	isClosed := func() bool {
		select {
		case <-grown:
			return true
		default:
			return false
		}
	}
	if err := m.apply(log[:3]); err != nil || isClosed() {
		t.Errorf("repeats: grown %v, %v", isClosed(), err)
	}
	if err := m.apply(log[4:]); err == nil || isClosed() {
		t.Errorf("a gap: grown %v, %v", isClosed(), err)
	}
	if err := m.apply(append(log[3:5:5], log[7:]...)); err == nil || !isClosed() {
		t.Errorf("a gap after something new: grown %v, %v", isClosed(), err)
	}
}

func TestHasSaysWhetherAnEventIsInTheModel(t *testing.T) {
	m := modelOf(t, numbered(0, posted(1), commented(101, 1), commented(201, 2)))
	for name, c := range map[string]struct {
		e    event.Event
		want bool
	}{
		"its post":                    {posted(1), true},
		"another post":                {posted(3), false},
		"a post with parked comments": {posted(2), false},
		"its comment":                 {commented(101, 1), true},
		"its comment, moderated":      {approved(101, 1), false},
		"another comment":             {commented(102, 1), false},
		"a comment of another post":   {commented(301, 3), false},
		"a parked comment":            {commented(201, 2), true},
	} {
		if got := m.has(c.e); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestResetLeavesNothing(t *testing.T) {
	m := newModel()
	if err := m.apply(someLog()); err != nil {
		t.Fatal(err)
	}
	m.reset()
	wantEmpty(t, m)
	other := numbered(0, posted(50), posted(51))
	if err := m.apply(other); err != nil {
		t.Fatal(err)
	}
	if everything(m) != everything(modelOf(t, other)) {
		t.Error("what is read after a reset is not all that there is")
	}
}

// What is read while the model grows is always a whole page of some number.
func TestPagesAreWholeWhileTheModelGrows(t *testing.T) {
	var log []event.Event
	for i := range 60 {
		log = append(log, posted(i), commented(1000+i, i/2), approved(1000+i, i/2))
	}
	log = numbered(0, log...)
	want := map[uint64]string{} // ETags by number
	single := newModel()
	want[0] = single.postsPage(nil, defaultPosts).etag
	for i := range log {
		if err := single.apply(log[i : i+1]); err != nil {
			t.Fatal(err)
		}
		want[single.at()] = single.postsPage(nil, defaultPosts).etag
	}

	m := modelOf(t, nil)
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for last := uint64(0); last < uint64(len(log)); {
				p := m.postsPage(nil, defaultPosts)
				if p.at.Sequence < last || p.etag != want[p.at.Sequence] || !json.Valid(p.json) {
					t.Errorf("after %d, the page of %d is not the one that it must be", last, p.at.Sequence)
					return
				}
				last = p.at.Sequence
			}
		})
	}
	for i := range log {
		if err := m.apply(log[i : i+1]); err != nil {
			t.Error(err)
		}
	}
	readers.Wait()
}

func TestTheSameBytesHaveTheSameTagAndOtherBytesAnother(t *testing.T) {
	tags, bytes := map[string]string{}, map[string]string{}
	see := func(p *page) {
		if tag, seen := tags[string(p.json)]; seen && tag != p.etag {
			t.Fatalf("%s has the tags %s and %s", p.json, tag, p.etag)
		}
		if json, seen := bytes[p.etag]; seen && json != string(p.json) {
			t.Fatalf("%s is the tag of\n%s\nand of\n%s", p.etag, json, p.json)
		}
		tags[string(p.json)], bytes[p.etag] = p.etag, string(p.json)
	}
	look := func(m *model) {
		for _, limit := range []int{1, 2, defaultPosts, maxLimit} {
			see(m.postsPage(nil, limit))
		}
		cursor := uuid.MustParse(uuid7(3))
		see(m.postsPage(&cursor, 2))
		for i := range 10 {
			for _, limit := range []int{1, 2, defaultComments} {
				if p := m.postPage(uuid.MustParse(uuid7(i)), nil, limit); p != nil {
					see(p)
				}
			}
		}
	}
	// Each state on the way to the same model, by two ways.
	log := someLog()
	one, other := newModel(), newModel()
	for i, e := range slices.Backward(log) {
		look(one)
		look(other)
		if err := one.apply(log[len(log)-1-i : len(log)-i]); err != nil {
			t.Fatal(err)
		}
		if err := other.fold(e); err != nil {
			t.Fatal(err)
		}
		other.mu.Lock()
		other.sequence++ // as apply does, so that no page is taken for current
		other.mu.Unlock()
	}
	look(one)
	look(other)
	if len(tags) < 30 {
		t.Errorf("only %d pages were seen: %v", len(tags), slices.Collect(maps.Values(tags)))
	}
	if a, b := everything(one), everything(other); a != b {
		t.Errorf("one:\n%s\nother:\n%s", a, b)
	}
}

func TestChangesAreKeptAndTheOlderForgotten(t *testing.T) {
	var c changes
	c.from = 10
	const n = 3*changesKept + 5
	for i := range uint64(n) {
		c.add(change{11 + i, strconv.FormatUint(11+i, 10), []byte{byte(i)}})
		if len(c.last) > 2*changesKept {
			t.Fatalf("%d are kept", len(c.last))
		}
	}
	if _, ok := c.after(10); ok {
		t.Error("the first is said to be there still")
	}
	end := uint64(10 + n)
	for _, after := range []uint64{c.from, c.from + 1, end - changesKept, end - 1, end, end + 1} {
		frames, ok := c.after(after)
		if !ok || len(frames) != int(max(end, after)-after) { //nolint:gosec // small
			t.Fatalf("after %d: %d changes, %v; the last is %d", after, len(frames), ok, end)
		}
		for i, f := range frames {
			if f.sequence != after+uint64(i)+1 { //nolint:gosec // never negative
				t.Fatalf("after %d, change %d is %d", after, i, f.sequence)
			}
		}
		if id, known := c.idAt(after); known != (after <= end) || known && id != strconv.FormatUint(after, 10) {
			t.Errorf("the event at %d is %q, %v", after, id, known)
		}
	}
	if _, ok := c.after(c.from - 1); ok {
		t.Error("what was forgotten is said to be there")
	}
	if _, known := c.idAt(c.from - 1); known {
		t.Error("the event before what is kept is said to be there")
	}
	if end-c.from < changesKept {
		t.Errorf("only %d are kept", end-c.from)
	}
}

func TestLargeChangesAreForgottenSooner(t *testing.T) {
	var c changes
	large := make([]byte, changesBytes/8)
	for i := range uint64(100) {
		c.add(change{i + 1, "", large})
		if held := len(c.last) * len(large); held > 2*changesBytes || c.bytes != held {
			t.Fatalf("%d bytes are kept, and counted as %d", held, c.bytes)
		}
	}
	if frames, ok := c.after(96); !ok || len(frames) != 4 {
		t.Errorf("of the last four %d are there, %v", len(frames), ok)
	}
	if _, ok := c.after(c.from - 1); ok {
		t.Error("what was forgotten is said to be there")
	}
	c.add(change{101, "", make([]byte, 3*changesBytes)}) // larger than all that may be kept
	if frames, ok := c.after(100); !ok || len(frames) != 1 {
		t.Errorf("of the last, a huge one, %d are there, %v", len(frames), ok)
	}
}

func TestFramesStopOnceTheyHaveEnough(t *testing.T) {
	frames := func(lengths ...int) (made []change, at uint64) {
		log := []event.Event{posted(1)}
		for i, n := range lengths {
			log = append(log, commentOf(event.CommentCreated, 100+i, 1, 1, strings.Repeat("x", n)), moderated(100+i, 1))
		}
		made, upTo := modelOf(t, numbered(0, log...)).frames(numbered(0, log...)[1:])
		return made, upTo.Sequence
	}
	empty, _ := frames(0)
	enough := framesBytes - len(empty[0].frame) // of content, in one comment
	for name, c := range map[string]struct {
		lengths []int
		made    int
		at      uint64
	}{
		"one that is just enough":      {[]int{enough, 1}, 1, 2},
		"one that is not quite enough": {[]int{enough - 1, 1, 1}, 2, 4},
		"a huge one":                   {[]int{framesBytes, 1}, 1, 2},
		"a huge one at last":           {[]int{enough - 1, framesBytes, 1}, 2, 4},
		"all":                          {[]int{1, 2, 3}, 3, 7},
	} {
		if made, at := frames(c.lengths...); len(made) != c.made || at != c.at || made[len(made)-1].sequence > at {
			t.Errorf("%s: %d frames up to %d, want %d up to %d", name, len(made), at, c.made, c.at)
		}
	}
}

func TestAnEventThatShowsNothingIsNoChange(t *testing.T) {
	m := modelOf(t, nil)
	if err := m.apply(numbered(0, commented(101, 1), moderated(101, 1), posted(1), approved(101, 1))); err != nil {
		t.Fatal(err)
	}
	all, now, ok := m.changesAfter(0)
	frames := slices.DeleteFunc(slices.Clone(all), func(c change) bool { return c.frame == nil })
	if at := now.at.Sequence; !ok || at != 4 || len(frames) != 2 || frames[0].sequence != 3 || frames[1].sequence != 4 || len(chunksOf(all)) != 2 {
		t.Errorf("%d changes at %d, %v", len(frames), at, ok)
	}
}

func TestACommentIsRenderedAsItsStructIsEncoded(t *testing.T) {
	for _, c := range []event.Comment{
		{ID: event.NewID(), Content: "plain", Status: event.Pending, CreatedAt: time.Now().UTC()},
		{ID: event.NewID(), Content: "\"\\/<>&\u2028\n\x00é🎃", Author: "a\tb", Reason: "“orange”", Status: event.Rejected, CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))},
	} {
		want, err := event.Marshal(struct {
			ID        string       `json:"id"`
			Content   string       `json:"content"`
			Status    event.Status `json:"status"`
			Reason    string       `json:"reason,omitempty"`
			Author    string       `json:"author,omitempty"`
			CreatedAt time.Time    `json:"createdAt"`
		}{c.ID, c.Content, c.Status, c.Reason, c.Author, c.CreatedAt})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := renderComment(&c); err != nil || string(got) != string(want) {
			t.Errorf("got %s with error %v, want %s", got, err, want)
		}
	}
	if got, err := renderComment(&event.Comment{Content: "\xff"}); err == nil {
		t.Errorf("what is not UTF-8 becomes %s", got)
	}
}
