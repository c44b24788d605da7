package model_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/query/internal/querytest"
	"github.com/postbus/postbus/apps/query/model"
)

func TestMain(m *testing.M) { querytest.Main(m) }

func TestAnyOrderAndAnyRepeatsFoldToTheSame(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		log := querytest.AnyLog(r)
		want := model.New()
		if err := want.Apply("", log); err != nil {
			r.Fatal(err)
		}
		shuffled := slices.Clone(log)
		if len(log) > 0 {
			shuffled = append(shuffled, rapid.SliceOfN(rapid.SampledFrom(log), 0, 20).Draw(r, "repeats")...)
		}
		got := model.New()
		for _, e := range rapid.Permutation(shuffled).Draw(r, "order") {
			if err := got.Fold(e); err != nil {
				r.Fatal(err)
			}
		}
		if a, b := querytest.Everything(want), querytest.Everything(got); a != b {
			r.Fatalf("in the log's order:\n%s\nin another:\n%s", a, b)
		}
	})
}

// Beyond its window of ids the event log may have an event twice.
func TestRepeatsAndUnknownTypesShowNothingAnywhere(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		log := querytest.AnyLog(r)
		long, before := querytest.WithRepeats(r, log)
		since := rapid.IntRange(0, len(log)).Draw(r, "since") // when the model is ready
		want, got := querytest.ModelIn(t, querytest.OneLog, log, since), querytest.ModelIn(t, querytest.OneLog, long, before[since])
		if at := querytest.At(got); at != uint64(len(long)) {
			r.Fatalf("the model stands at %d of %d", at, len(long))
		}
		if a, b := querytest.Everything(want), querytest.Everything(got); a != b {
			r.Fatalf("without:\n%s\nwith:\n%s", a, b)
		}
		same := func(a, b []string) {
			r.Helper()
			if !slices.Equal(a, b) {
				r.Fatalf("a stream is sent without:\n%s\nwith:\n%s", strings.Join(a, ""), strings.Join(b, ""))
			}
		}
		same(querytest.Sent(want, log), querytest.Sent(got, long))
		wanted, _, _ := want.ChangesAfter(uint64(since))      //nolint:gosec // never negative
		sent, _, _ := got.ChangesAfter(uint64(before[since])) //nolint:gosec // never negative
		same(querytest.WithoutNumbers(wanted), querytest.WithoutNumbers(sent))
	})
}

// An event of an unknown type may be about an entity that the model has.
func TestEventsOfUnknownTypesCountAndShowNothing(t *testing.T) {
	log := querytest.SomeLog()
	m := querytest.ModelOf(t, log)
	before, at := querytest.Everything(m), querytest.At(m)
	strange := querytest.UnknownOf(querytest.Posted(1))
	strange.Subject = "no id of an entity"
	unknown := []event.Event{querytest.UnknownOf(querytest.Posted(1)), querytest.UnknownOf(querytest.Approved(101, 1)), strange}
	more := querytest.Numbered(len(log), append(unknown, querytest.Posted(90))...)
	if err := m.Apply("", more[:3]); err != nil {
		t.Fatal(err)
	}
	if got := querytest.Everything(m); got != before || querytest.At(m) != at+3 || m.Status().At.Event != strange.ID {
		t.Errorf("at %s the model is\n%s\nwant\n%s", m.Status().At, got, before)
	}
	if err := m.Apply("", more); err != nil {
		t.Fatal(err)
	}
	if frames, _, ok := m.ChangesAfter(at); !ok || len(frames) != 1 || numberOf(t, frames[0]) != at+4 {
		t.Errorf("the changes after %d are %s, %v", at, frames, ok)
	}
	if frames, upTo := m.Frames(more); len(frames) != 1 || upTo.Sequence != at+4 {
		t.Errorf("from the log the changes up to %s are %s", upTo, frames)
	}
	for _, e := range unknown {
		if m.Has(e) || m.Contradicts(e) {
			t.Errorf("the model has, or contradicts, %+v", e)
		}
	}
}

// In no page and in no change of a stream, whether this version knows the status or not.
func TestOfACommentThatIsNotApprovedOnlyTheStatusIsShown(t *testing.T) {
	for _, status := range []event.Status{event.Rejected, event.Held, "quarantined"} {
		withheld := querytest.Withheld(querytest.Approved(101, 1), status)
		withheld.Comment.Author = "Ann"
		m := querytest.ModelIn(t, "", querytest.Numbered(0, querytest.Posted(1), querytest.Commented(101, 1), withheld), 1)
		want := `{"id":"` + querytest.UUID7(101) + `","status":"` + string(status) + `"}`
		if page := m.Posts(model.Newest, 20); !strings.Contains(string(page.JSON), `"comments":[`+want+`],"commentCount":1`) {
			t.Errorf("the page is %s", page.JSON)
		}
		frames, _, _ := m.ChangesAfter(1)
		if len(frames) != 2 || !strings.Contains(string(frames[1]), "\nevent: CommentUpdated\ndata: {\"postId\":\""+querytest.UUID7(1)+"\","+strings.TrimSuffix(want[1:], "}")+",") {
			t.Errorf("a stream is sent %s", frames)
		}
		for _, shown := range append(frames, m.Posts(model.Newest, 20).JSON, m.Post(uuid.MustParse(querytest.UUID7(1)), model.Newest, 20).JSON) {
			for _, secret := range []string{"comment 101", "Ann", "a word"} {
				if strings.Contains(string(shown), secret) {
					t.Errorf("%q is in %s", secret, shown)
				}
			}
		}
		// A later decision shows the comment again.
		approved := querytest.CommentOf(event.CommentUpdated, 101, 1, 3, "comment 101")
		if err := m.Apply("", querytest.Numbered(3, approved)); err != nil {
			t.Fatal(err)
		}
		if page := m.Posts(model.Newest, 20); !strings.Contains(string(page.JSON), `"content":"comment 101","status":"approved"`) {
			t.Errorf("the page is %s", page.JSON)
		}
	}
}

// The model does not have the text of such a comment.
func TestTheTextOfACommentThatIsNotApprovedContradictsNothing(t *testing.T) {
	held := querytest.Quarantined(querytest.Approved(101, 1))
	m := querytest.ModelOf(t, querytest.Numbered(0, querytest.Posted(1), querytest.Commented(101, 1), held, querytest.Approved(102, 1)))
	for name, c := range map[string]struct {
		e    event.Event
		want bool
	}{
		"the comment, pending":            {querytest.Commented(101, 1), false},
		"the comment, held":               {held, false},
		"a later decision":                {querytest.CommentOf(event.CommentUpdated, 101, 1, 3, "comment 101"), false},
		"another decision":                {querytest.Approved(101, 1), true},
		"an approved comment, held later": {querytest.Quarantined(querytest.CommentOf(event.CommentUpdated, 102, 1, 3, "comment 102")), false},
		"an approved comment, held":       {querytest.Quarantined(querytest.Approved(102, 1)), true},
	} {
		if got := m.Contradicts(c.e); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A fold that is right by being simple: of each entity the event that wins.
func TestTheHighestRevisionWinsAndOfEqualOnesTheFirst(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		log := querytest.AnyLog(r)
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
		m := model.New()
		for _, e := range rapid.Permutation(log).Draw(r, "order") {
			if err := m.Fold(e); err != nil {
				r.Fatal(err)
			}
		}
		var got map[string]querytest.Shown
		if err := json.Unmarshal(m.Posts(model.Newest, model.MaxLimit).JSON, &got); err != nil {
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
				text := ""
				if want != nil && want.Status == event.Approved {
					text = want.Content
				}
				if want == nil || c.Content != text || c.Status != string(want.Status) {
					r.Fatalf("comment %+v, want %+v", c, want)
				}
				if i > 0 && c.ID >= got[id].Comments[i-1].ID {
					r.Fatalf("comment %s comes after %s, and is not older", c.ID, got[id].Comments[i-1].ID)
				}
			}
		}
	})
}

func TestCommentsAreInvisibleUntilTheirPostComes(t *testing.T) {
	m := querytest.ModelOf(t, querytest.Numbered(0, querytest.Commented(101, 1), querytest.Approved(101, 1), querytest.Commented(102, 1)))
	if page := m.Posts(model.Newest, 20); string(page.JSON) != "{}" {
		t.Errorf("without its post: %s", page.JSON)
	}
	if m.Post(uuid.MustParse(querytest.UUID7(1)), model.Newest, 20) != nil {
		t.Error("a post that did not come has a page")
	}
	if err := m.Apply("", querytest.Numbered(3, querytest.Posted(1))); err != nil {
		t.Fatal(err)
	}
	var got map[string]querytest.Shown
	if err := json.Unmarshal(m.Posts(model.Newest, 20).JSON, &got); err != nil {
		t.Fatal(err)
	}
	p := got[querytest.UUID7(1)]
	if len(p.Comments) != 2 || p.Comments[0].ID != querytest.UUID7(102) || p.Comments[0].Status != "pending" ||
		p.Comments[1].ID != querytest.UUID7(101) || p.Comments[1].Status != "approved" {
		t.Errorf("with its post: %+v", p)
	}
}

// What has been rendered must not be shown again after a change.
// A page and a change say it, and neither who decided it.
func TestReadersSeeWhetherThePostsCommentsAreOpen(t *testing.T) {
	m := querytest.ModelIn(t, "", querytest.Numbered(0, querytest.Decided(2, 1), querytest.Posted(1), querytest.Posted(2)), 1)
	page := func(i int) string { return string(m.Post(uuid.MustParse(querytest.UUID7(i)), model.Newest, 20).JSON) }
	if strings.Contains(page(1), "commenting") || !strings.Contains(page(2), `,"commenting":"closed","comments":[]`) {
		t.Errorf("the pages are %s and %s", page(1), page(2))
	}
	_ = page(1) // is rendered, and has to be anew
	more := querytest.Numbered(3, querytest.Decided(1, 1), querytest.Decided(2, 2), querytest.Decided(2, 1))
	if err := m.Apply("", more); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page(1), `,"commenting":"closed",`) || !strings.Contains(page(2), `,"commenting":"open",`) {
		t.Errorf("later the pages are %s and %s", page(1), page(2))
	}
	if all := page(1) + page(2); strings.Contains(all, "a-moderator") {
		t.Errorf("the pages are %s", all)
	}
	frames, _, _ := m.ChangesAfter(3)
	sent := string(bytes.Join(frames, nil))
	for _, want := range []string{"event: PostCommentingChanged\ndata: {\"postId\":\"" + querytest.UUID7(1) + "\",\"commenting\":\"closed\"}\n\n", `"commenting":"open"}`} {
		if strings.Count(sent, want) != 1 {
			t.Errorf("the changes are %s, and should have once %s", sent, want)
		}
	}
	if len(frames) != 2 {
		t.Errorf("there are %d changes; the one that came too late is none", len(frames))
	}
	for _, e := range more {
		if !m.Has(e) || m.Contradicts(e) {
			t.Errorf("the model lacks or contradicts %+v", e.Commenting)
		}
	}
	other := querytest.Decided(2, 2)
	other.Commenting.Comments = event.Closed
	if !m.Contradicts(other) || m.Has(querytest.Decided(1, 3)) {
		t.Error("the model has what did not come, or agrees with what it contradicts")
	}
}

func TestAModelThatWasReadShowsWhatOneThatWasNotShows(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		log := querytest.AnyLog(r)
		read := model.New()
		for i := range log {
			if err := read.Apply("", log[i:i+1]); err != nil {
				r.Fatal(err)
			}
			fresh := model.New()
			if err := fresh.Apply("", log[:i+1]); err != nil {
				r.Fatal(err)
			}
			if a, b := querytest.Everything(read), querytest.Everything(fresh); a != b {
				r.Fatalf("at %d, read before:\n%s\nread first:\n%s", i+1, a, b)
			}
		}
	})
}

// Readers see moderation by the CommentUpdated alone.
func TestCommentModeratedChangesNothingThatReadersSee(t *testing.T) {
	m := querytest.ModelOf(t, querytest.Numbered(0, querytest.Posted(1), querytest.Commented(101, 1)))
	before := querytest.Everything(m)
	if err := m.Apply("", querytest.Numbered(2, querytest.Moderated(101, 1), querytest.Moderated(102, 1), querytest.Moderated(103, 9))); err != nil {
		t.Fatal(err)
	}
	if got := querytest.Everything(m); got != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, got)
	}
	if querytest.At(m) != 5 {
		t.Errorf("the model stands at %d, want 5: the events count all the same", querytest.At(m))
	}
}

func TestApplySkipsWhatItHas(t *testing.T) {
	log := querytest.SomeLog()
	m := querytest.ModelOf(t, log[:7])
	for from := range 8 {
		if err := m.Apply("", log[from:7]); err != nil || querytest.At(m) != 7 {
			t.Errorf("the events from %d on again: at %d, %v", from+1, querytest.At(m), err)
		}
	}
	if err := m.Apply("", log[3:]); err != nil { // some again, and some new
		t.Fatal(err)
	}
	if querytest.At(m) != uint64(len(log)) || querytest.Everything(m) != querytest.Everything(querytest.ModelOf(t, log)) {
		t.Errorf("at %d it is another model", querytest.At(m))
	}
}

func TestApplyRefusesAGapAndAllAfterIt(t *testing.T) {
	log := querytest.SomeLog()
	for missing := range len(log) - 1 {
		m := model.New()
		holed := slices.Delete(slices.Clone(log), missing, missing+1)
		if err := m.Apply("", holed); !errors.Is(err, model.ErrGap) {
			t.Errorf("without event %d: %v", missing+1, err)
		}
		if querytest.At(m) != uint64(missing) { //nolint:gosec // never negative
			t.Errorf("without event %d the model stands at %d", missing+1, querytest.At(m))
		}
		if querytest.Everything(m) != querytest.Everything(querytest.ModelOf(t, log[:missing])) {
			t.Errorf("without event %d something after it was applied", missing+1)
		}
		if err := m.Apply("", log); err != nil || querytest.Everything(m) != querytest.Everything(querytest.ModelOf(t, log)) {
			t.Errorf("with event %d at last: %v", missing+1, err)
		}
	}
}

// A batch of a replay begins with the last event of the one before it.
func TestApplyRefusesAnotherEventWhereTheModelStands(t *testing.T) {
	log := querytest.SomeLog()
	m := querytest.ModelOf(t, log[:7])
	other := querytest.Numbered(6, append(querytest.Posts(50, 51), log[7:]...)...)
	if err := m.Apply("", other); !errors.Is(err, eventlog.ErrMisfit) {
		t.Errorf("another event 7: %v", err)
	}
	querytest.WantAt(t, m, log[:7], true)
	if err := m.Apply("", log[6:]); err != nil {
		t.Errorf("the same event 7: %v", err)
	}
	querytest.WantAt(t, m, log, true)
}

func TestChangedIsClosedForWhatIsNewAlone(t *testing.T) {
	log := querytest.SomeLog()
	m := querytest.ModelOf(t, log[:3])
	grown := m.Status().Changed
	isClosed := func() bool {
		select {
		case <-grown:
			return true
		default:
			return false
		}
	}
	if err := m.Apply("", log[:3]); err != nil || isClosed() {
		t.Errorf("repeats: changed %v, %v", isClosed(), err)
	}
	if err := m.Apply("", log[4:]); err == nil || isClosed() {
		t.Errorf("a gap: changed %v, %v", isClosed(), err)
	}
	if err := m.Apply("", append(log[3:5:5], log[7:]...)); err == nil || !isClosed() {
		t.Errorf("a gap after something new: changed %v, %v", isClosed(), err)
	}
}

func TestHasSaysWhetherAnEventIsInTheModel(t *testing.T) {
	m := querytest.ModelOf(t, querytest.Numbered(0, querytest.Posted(1), querytest.Commented(101, 1), querytest.Commented(201, 2)))
	for name, c := range map[string]struct {
		e    event.Event
		want bool
	}{
		"its post":     {querytest.Posted(1), true},
		"another post": {querytest.Posted(3), false},
		"a post that did not come but has comments": {querytest.Posted(2), false},
		"its comment":               {querytest.Commented(101, 1), true},
		"its comment, moderated":    {querytest.Approved(101, 1), false},
		"another comment":           {querytest.Commented(102, 1), false},
		"a comment of another post": {querytest.Commented(301, 3), false},
		"a comment that came first": {querytest.Commented(201, 2), true},
	} {
		if got := m.Has(c.e); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestResetLeavesNothing(t *testing.T) {
	m := model.New()
	if err := m.Apply("", querytest.SomeLog()); err != nil {
		t.Fatal(err)
	}
	m.Reset()
	querytest.WantEmpty(t, m)
	other := querytest.Numbered(0, querytest.Posted(50), querytest.Posted(51))
	if err := m.Apply("", other); err != nil {
		t.Fatal(err)
	}
	if querytest.Everything(m) != querytest.Everything(querytest.ModelOf(t, other)) {
		t.Error("what is read after a reset is not all that there is")
	}
}

// What is read while the model grows is always a whole page of some number.
func TestPagesAreWholeWhileTheModelGrows(t *testing.T) {
	var log []event.Event
	for i := range 60 {
		log = append(log, querytest.Posted(i), querytest.Commented(1000+i, i/2), querytest.Approved(1000+i, i/2))
	}
	log = querytest.Numbered(0, log...)
	want := map[uint64]string{} // ETags by number
	single := model.New()
	want[0] = single.Posts(model.Newest, model.DefaultPosts).ETag
	for i := range log {
		if err := single.Apply("", log[i:i+1]); err != nil {
			t.Fatal(err)
		}
		want[querytest.At(single)] = single.Posts(model.Newest, model.DefaultPosts).ETag
	}

	m := querytest.ModelOf(t, nil)
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for last := uint64(0); last < uint64(len(log)); {
				p := m.Posts(model.Newest, model.DefaultPosts)
				if p.At.Sequence < last || p.ETag != want[p.At.Sequence] || !json.Valid(p.JSON) {
					t.Errorf("after %d, the page of %d is not the one that it must be", last, p.At.Sequence)
					return
				}
				last = p.At.Sequence
			}
		})
	}
	for i := range log {
		if err := m.Apply("", log[i:i+1]); err != nil {
			t.Error(err)
		}
	}
	readers.Wait()
}

func TestTheSameBytesHaveTheSameTagAndOtherBytesAnother(t *testing.T) {
	tags, bytes := map[string]string{}, map[string]string{}
	see := func(p *model.Page) {
		if tag, seen := tags[string(p.JSON)]; seen && tag != p.ETag {
			t.Fatalf("%s has the tags %s and %s", p.JSON, tag, p.ETag)
		}
		if json, seen := bytes[p.ETag]; seen && json != string(p.JSON) {
			t.Fatalf("%s is the tag of\n%s\nand of\n%s", p.ETag, json, p.JSON)
		}
		tags[string(p.JSON)], bytes[p.ETag] = p.ETag, string(p.JSON)
	}
	look := func(m *model.Model) {
		for _, limit := range []int{1, 2, model.DefaultPosts, model.MaxLimit} {
			see(m.Posts(model.Newest, limit))
		}
		cursor := uuid.MustParse(querytest.UUID7(3))
		see(m.Posts(cursor, 2))
		for i := range 10 {
			for _, limit := range []int{1, 2, model.DefaultComments} {
				if p := m.Post(uuid.MustParse(querytest.UUID7(i)), model.Newest, limit); p != nil {
					see(p)
				}
			}
		}
	}
	// Each state on the way to the same model, by two ways.
	log := querytest.SomeLog()
	one, other := model.New(), model.New()
	for i, e := range slices.Backward(log) {
		look(one)
		look(other)
		if err := one.Apply("", log[len(log)-1-i:len(log)-i]); err != nil {
			t.Fatal(err)
		}
		if err := other.Fold(e); err != nil {
			t.Fatal(err)
		}
	}
	look(one)
	look(other)
	if len(tags) < 30 {
		t.Errorf("only %d pages were seen: %v", len(tags), slices.Collect(maps.Values(tags)))
	}
	if a, b := querytest.Everything(one), querytest.Everything(other); a != b {
		t.Errorf("one:\n%s\nother:\n%s", a, b)
	}
}

func TestFramesStopOnceTheyHaveEnough(t *testing.T) {
	frames := func(lengths ...int) (made [][]byte, at uint64) {
		log := []event.Event{querytest.Posted(1)}
		for i, n := range lengths {
			log = append(log, querytest.CommentOf(event.CommentUpdated, 100+i, 1, 2, strings.Repeat("x", n)), querytest.Moderated(100+i, 1))
		}
		made, upTo := querytest.ModelOf(t, querytest.Numbered(0, log...)).Frames(querytest.Numbered(0, log...)[1:])
		return made, upTo.Sequence
	}
	small, _ := frames(1)
	enough := model.FramesBytes - len(small[0]) + 1 // of content, in one comment
	for name, c := range map[string]struct {
		lengths []int
		made    int
		at      uint64
	}{
		"one that is just enough":      {[]int{enough, 1}, 1, 2},
		"one that is not quite enough": {[]int{enough - 1, 1, 1}, 2, 4},
		"a huge one":                   {[]int{model.FramesBytes, 1}, 1, 2},
		"a huge one at last":           {[]int{enough - 1, model.FramesBytes, 1}, 2, 4},
		"all":                          {[]int{1, 2, 3}, 3, 7},
	} {
		if made, at := frames(c.lengths...); len(made) != c.made || at != c.at || numberOf(t, made[len(made)-1]) > at {
			t.Errorf("%s: %d frames up to %d, want %d up to %d", name, len(made), at, c.made, c.at)
		}
	}
}

// numberOf is the number in the id of a frame.
func numberOf(t *testing.T, frame []byte) uint64 {
	t.Helper()
	id, _, _ := strings.Cut(strings.TrimPrefix(string(frame), "id: "), "\n")
	at, err := eventlog.ParsePosition(id)
	if err != nil {
		t.Fatalf("frame %.80s: %v", frame, err)
	}
	return at.Sequence
}

func TestAnEventThatShowsNothingIsNoChange(t *testing.T) {
	m := querytest.ModelOf(t, nil)
	if err := m.Apply("", querytest.Numbered(0, querytest.Commented(101, 1), querytest.Moderated(101, 1), querytest.Posted(1), querytest.Approved(101, 1))); err != nil {
		t.Fatal(err)
	}
	frames, now, ok := m.ChangesAfter(0)
	if at := now.At.Sequence; !ok || at != 4 || len(frames) != 2 || numberOf(t, frames[0]) != 3 || numberOf(t, frames[1]) != 4 {
		t.Errorf("%d changes at %d, %v", len(frames), at, ok)
	}
}

func TestAModelThatBeginsAnewForgetsAll(t *testing.T) {
	m := querytest.ModelIn(t, querytest.OneLog, querytest.SomeLog(), 3)
	_ = m.Posts(model.Newest, model.DefaultPosts)
	m.SawLogEnd(99, time.Now())
	m.Reset()
	querytest.WantEmpty(t, m)
	if now := m.Status(); now.At != (eventlog.Position{}) || now.Ready || now.LogEnd != 0 || !now.LogEndSeen.IsZero() || now.Life.Err() != nil {
		t.Errorf("it stands at %+v", now)
	}
	if changes, _, ok := m.ChangesAfter(0); !ok || len(changes) != 0 {
		t.Errorf("it has %d changes, %v", len(changes), ok)
	}
}

// Readers who are behind get them from the log, as they now stand.
func TestTheFramesOfATextThatIsWithdrawnAreForgotten(t *testing.T) {
	withdrawn := querytest.Withheld(querytest.Approved(101, 1), event.Rejected)
	withdrawn.Comment.Revision = 3
	withdrawn, err := event.OfComment(withdrawn.Type, "comments", *withdrawn.Comment, withdrawn.Time, "")
	if err != nil {
		t.Fatal(err)
	}
	log := querytest.Numbered(0, querytest.Posted(1), querytest.Commented(101, 1), querytest.Approved(101, 1), querytest.Commented(102, 1), withdrawn, querytest.Approved(102, 1))
	m := querytest.ModelIn(t, "", log, 1)
	for since := range uint64(7) {
		frames, _, ok := m.ChangesAfter(since)
		if ok != (since >= 4) || ok && len(frames) != int(6-since) { //nolint:gosec // small
			t.Errorf("after %d there are %d changes, %v", since, len(frames), ok)
		}
		if strings.Contains(string(bytes.Join(frames, nil)), "comment 101") {
			t.Errorf("after %d the text is in %s", since, frames)
		}
	}
	frames, _ := m.Frames(log)
	if all := string(bytes.Join(frames, nil)); strings.Contains(all, "comment 101") || !strings.Contains(all, "comment 102") {
		t.Errorf("from the log there is %s", all)
	}
}
