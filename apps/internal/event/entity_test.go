package event

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestFieldsAreBoundAtTheirEdges(t *testing.T) {
	const emoji = "😀" // four bytes, one character
	post := func(change func(*Post)) error {
		p := aPost()
		change(&p)
		return p.Validate()
	}
	comment := func(change func(*Comment)) error {
		c := aComment()
		change(&c)
		return c.Validate()
	}
	title := func(s string) error { return post(func(p *Post) { p.Title = s }) }
	body := func(s string) error { return post(func(p *Post) { p.Body = s }) }
	content := func(s string) error { return comment(func(c *Comment) { c.Content = s }) }
	author := func(s string) error { return comment(func(c *Comment) { c.Author = s }) }
	for _, test := range []struct {
		name  string
		err   error
		field string // that the error names; empty for none
	}{
		{"a title of 1 character", title("x"), ""},
		{"a title of 200 characters", title(strings.Repeat("x", 200)), ""},
		{"a title of 201 characters", title(strings.Repeat("x", 201)), "title"},
		{"a title of 200 emoji", title(strings.Repeat(emoji, 200)), ""},
		{"a title of 201 emoji", title(strings.Repeat(emoji, 201)), "title"},
		{"an empty title", title(""), "title"},
		{"a blank title", title(" \n\t\u00a0\u3000"), "title"},
		{"a title with a letter among blanks", title("  x  "), ""},
		{"a title that is not UTF-8", title("x\xff"), "title"},
		{"an empty body", body(""), ""},
		{"a blank body", body("  "), ""},
		{"a body of 10,000 emoji", body(strings.Repeat(emoji, 10_000)), ""},
		{"a body of 10,001 characters", body(strings.Repeat("x", 10_001)), "body"},
		{"a body that is not UTF-8", body("\xc3"), "body"},
		{"content of 1 character", content("x"), ""},
		{"content of 10,000 characters", content(strings.Repeat("x", 10_000)), ""},
		{"content of 10,001 characters", content(strings.Repeat("x", 10_001)), "content"},
		{"content of 10,000 emoji", content(strings.Repeat(emoji, 10_000)), ""},
		{"content of 10,001 emoji", content(strings.Repeat(emoji, 10_001)), "content"},
		{"empty content", content(""), "content"},
		{"blank content", content("\n \n"), "content"},
		{"content that is not UTF-8", content("\xed\xa0\x80"), "content"},
		{"an empty author", author(""), ""},
		{"an author of 100 characters", author(strings.Repeat("é", 100)), ""},
		{"an author of 101 characters", author(strings.Repeat("é", 101)), "author"},
		{"a post's author of 100 characters", post(func(p *Post) { p.Author = strings.Repeat("é", 100) }), ""},
		{"a post's author of 101 characters", post(func(p *Post) { p.Author = strings.Repeat("é", 101) }), "author"},
		{"a post's author that is not UTF-8", post(func(p *Post) { p.Author = "\xc3" }), "author"},
		{"a person's post", post(func(p *Post) { p.Author, p.AuthorID = "Ann", strings.Repeat("a1", 32) }), ""},
		{"a post's author with an address", post(func(p *Post) { p.AuthorID = "ann@posts.com" }), "authorId"},
		{"a person's comment", comment(func(c *Comment) { c.AuthorID = strings.Repeat("a1", 32) }), ""},
		{"a pseudonym of 100 characters", comment(func(c *Comment) { c.AuthorID = strings.Repeat("a", 100) }), ""},
		{"a pseudonym of 101 characters", comment(func(c *Comment) { c.AuthorID = strings.Repeat("a", 101) }), "authorId"},
		{"a pseudonym with an address", comment(func(c *Comment) { c.AuthorID = "ann@posts.com" }), "authorId"},
		{"a pseudonym that is not UTF-8", comment(func(c *Comment) { c.AuthorID = "a\xff" }), "authorId"},
		{"a post without id", post(func(p *Post) { p.ID = "" }), "id"},
		{"a post at revision 0", post(func(p *Post) { p.Revision = 0 }), "revision"},
		{"a post without createdAt", post(func(p *Post) { p.CreatedAt = time.Time{} }), "createdAt"},
		{"a comment without id", comment(func(c *Comment) { c.ID = "" }), "id"},
		{"a comment without postId", comment(func(c *Comment) { c.PostID = "" }), "postId"},
		{"a comment that is approved", comment(func(c *Comment) { c.Status = Approved }), ""},
		{"a comment that is rejected", comment(func(c *Comment) { c.Status = Rejected }), ""},
		{"a comment without status", comment(func(c *Comment) { c.Status = "" }), "status"},
		{"a status of a newer version", comment(func(c *Comment) { c.Status = "held-2" }), ""},
		{"a status of 40 characters", comment(func(c *Comment) { c.Status = Status(strings.Repeat("x", 40)) }), ""},
		{"a status of 41 characters", comment(func(c *Comment) { c.Status = Status(strings.Repeat("x", 41)) }), "status"},
		{"a status of two words", comment(func(c *Comment) { c.Status = "held back" }), "status"},
		{"a status with a control character", comment(func(c *Comment) { c.Status = "held\n" }), "status"},
		{"a status that is not ASCII", comment(func(c *Comment) { c.Status = "hëld" }), "status"},
		{"a status that is not UTF-8", comment(func(c *Comment) { c.Status = "held\xff" }), "status"},
		{"a status in another case", comment(func(c *Comment) { c.Status = "Pending" }), "status"},
		{"a comment that is held", comment(func(c *Comment) { c.Status = Held }), ""},
		{"an author whose subject is a name", comment(func(c *Comment) { c.AuthorID = "Ann Other" }), "authorId"},
		{"a decision of nobody with a name", comment(func(c *Comment) { c.DecidedBy = "Ann Other" }), "decidedBy"},
		{"a decision under a version below 0", comment(func(c *Comment) { c.PolicyVersion = -1 }), "policyVersion"},
		{"a comment at revision 0", comment(func(c *Comment) { c.Revision = 0 }), "revision"},
		{"a comment without createdAt", comment(func(c *Comment) { c.CreatedAt = time.Time{} }), "createdAt"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var field *FieldError
			switch {
			case test.field == "" && test.err != nil:
				t.Errorf("is refused: %v", test.err)
			case test.field != "" && !errors.As(test.err, &field):
				t.Errorf("error %v, want a FieldError", test.err)
			case test.field != "" && field.Field != test.field:
				t.Errorf("names %s, want %s", field.Field, test.field)
			case test.field != "" && !strings.HasPrefix(field.Error(), test.field+" "):
				t.Errorf("says %q, which does not begin with the field", field.Error())
			}
		})
	}
}

// What is not approved, also by a status of a newer version, has no text, no name and no
// reason, and nobody sees who decided.
func TestOfACommentThatIsNotApprovedOnlyTheStatusIsPublic(t *testing.T) {
	c := moderated()
	c.Author, c.Reason, c.DecidedBy, c.PolicyVersion = "Ann", "so", "a-moderator", 3
	for _, status := range append([]Status{"quarantined"}, Statuses...) {
		c.Status = status
		got, err := Marshal(c.Public())
		if err != nil {
			t.Fatal(err)
		}
		want := `{"id":"` + commentID + `","status":"` + string(status) + `"}`
		if status == Approved {
			want = `{"id":"` + commentID + `","postId":"` + postID + `","author":"Ann","content":"Hello","status":"approved","createdAt":"2024-11-27T12:00:00.123456789Z","revision":2}`
		}
		if string(got) != want {
			t.Errorf("%s: got\n%s, want\n%s", status, got, want)
		}
	}
}

// A command makes the id itself, after it has checked the text.
func TestValidateTextAsksForNothingButText(t *testing.T) {
	if err := (&Post{Title: "x"}).ValidateText(); err != nil {
		t.Error(err)
	}
	if err := (&Comment{Content: "x"}).ValidateText(); err != nil {
		t.Error(err)
	}
}

// shownNothing are texts of which a reader sees nothing. Every version refused those
// before the bar.
var shownNothing = []string{"", " \n\t\u00a0\u3000", "|", "\u200b", "\u00ad", "\u2800", "\u3164", "\ufeff", "\x00\x1b", " \u200d\u202e\ufe0f ", "\U0001d159"}

// seen are texts that look almost empty, but are not.
var seen = []string{".", "\u200bx", "👨‍👩‍👧‍👦", "🇳🇱", "❤️", "שלום \u200fעולם", "می\u200cخواهم", "\u0301", "\ufffd", "\u202eabc\u202c"}

func TestACommandsTextHasSomethingToSee(t *testing.T) {
	for _, s := range shownNothing {
		if s == "|" {
			continue
		}
		for field, err := range map[string]error{"title": (&Post{Title: s, Body: "x"}).ValidateText(), "content": (&Comment{Content: s}).ValidateText()} {
			var of *FieldError
			if !errors.As(err, &of) || of.Field != field || of.Detail != "must not be empty" {
				t.Errorf("%s %+q: error %v", field, s, err)
			}
		}
		if got := EmptyIfBlank(s); got != "" {
			t.Errorf("%+q is an optional text", s)
		}
	}
	for _, s := range seen {
		if err := errors.Join((&Post{Title: s}).ValidateText(), (&Comment{Content: s}).ValidateText()); err != nil {
			t.Errorf("%+q: %v", s, err)
		}
		if got := EmptyIfBlank(s); got != s {
			t.Errorf("%+q becomes %+q", s, got)
		}
	}
}

// Version 3b4f435 published such events. They are in logs, and no consumer may stop at
// them.
func TestAnEventWithTextThatShowsNothingIsStillRead(t *testing.T) {
	was := slices.Index(shownNothing, "|") + 1
	for _, s := range shownNothing[was:] {
		raw := wire(t, PostCreated, map[string]any{"data.title": s, "data.body": s})
		if e, err := Parse(PostCreated, raw); err != nil || e.Post.Title != s || e.Post.Body != s {
			t.Errorf("a post with %+q: %+v, %v", s, e.Post, err)
		}
		raw = wire(t, CommentCreated, map[string]any{"data.content": s, "data.author": s, "sequence": "00000000000000000001"})
		if e, err := Parse(CommentCreated, raw); err != nil || e.Comment.Content != s || e.Comment.Author != s {
			t.Errorf("a comment with %+q: %+v, %v", s, e.Comment, err)
		}
		if _, err := ParseBatch(fmt.Appendf(nil, "[%s]", raw)); err != nil {
			t.Errorf("%+q in the log: %v", s, err)
		}
	}
}

func TestIDTimeIsTheMillisecondInTheID(t *testing.T) {
	for id, want := range map[string]time.Time{
		"017f22e2-79b0-7cc3-98c4-dc0c0c07398f": time.Date(2022, 2, 22, 19, 22, 22, 0, time.UTC), // RFC 9562's own example
		"00000000-0000-7000-8000-000000000000": time.UnixMilli(0),
		"00000000-0001-7fff-bfff-ffffffffffff": time.UnixMilli(1),
		"ffffffff-ffff-7000-8000-000000000000": time.UnixMilli(1<<48 - 1),
	} {
		got, ok := IDTime(id)
		if !ok || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%s: %v, %v, want %v", id, got, ok, want.UTC())
		}
	}
}

// Two spellings of one id would be two keys in a store.
func TestIDTimeRefusesWhatIsNoCanonicalUUIDv7(t *testing.T) {
	for name, id := range map[string]string{
		"empty":              "",
		"a number":           "7",
		"version 4":          "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",
		"version 6":          "017f22e2-79b0-6cc3-98c4-dc0c0c07398f",
		"version 8":          "017f22e2-79b0-8cc3-98c4-dc0c0c07398f",
		"Microsoft variant":  "017f22e2-79b0-7cc3-d8c4-dc0c0c07398f",
		"NCS variant":        "017f22e2-79b0-7cc3-78c4-dc0c0c07398f",
		"nil":                "00000000-0000-0000-0000-000000000000",
		"max":                "ffffffff-ffff-ffff-ffff-ffffffffffff",
		"upper case":         "017F22E2-79B0-7CC3-98C4-DC0C0C07398F",
		"one capital":        "017f22e2-79b0-7cc3-98c4-dc0c0c07398F",
		"braces":             "{017f22e2-79b0-7cc3-98c4-dc0c0c07398f}",
		"URN":                "urn:uuid:017f22e2-79b0-7cc3-98c4-dc0c0c07398f",
		"no hyphens":         "017f22e279b07cc398c4dc0c0c07398f",
		"hyphens elsewhere":  "017f22e27-9b0-7cc3-98c4-dc0c0c07398f",
		"a space before":     " 017f22e2-79b0-7cc3-98c4-dc0c0c07398f",
		"a newline after":    "017f22e2-79b0-7cc3-98c4-dc0c0c07398f\n",
		"a digit too few":    "017f22e2-79b0-7cc3-98c4-dc0c0c07398",
		"a letter past f":    "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
		"full-width figures": "０17f22e2-79b0-7cc3-98c4-dc0c0c07398f",
	} {
		if at, ok := IDTime(id); ok || !at.IsZero() {
			t.Errorf("%s: %q is taken, made at %v", name, id, at)
		}
	}
}

func TestNewIDIsAUUIDv7OfNow(t *testing.T) {
	before := time.Now().Truncate(time.Millisecond)
	id := NewID()
	after := time.Now()
	// Ids of one process run ahead of the clock when many are made at once.
	if at, ok := IDTime(id); !ok || at.Before(before) || at.After(after.Add(time.Minute)) {
		t.Errorf("%s: made at %v, %v; asked for between %v and %v", id, at, ok, before, after)
	}
}

func TestNewIDsGrow(t *testing.T) {
	last := ""
	for range 10_000 {
		id := NewID()
		if id <= last {
			t.Fatalf("%s comes after %s", id, last)
		}
		last = id
	}
}

func TestNewIDsOfManyGoroutinesDiffer(t *testing.T) {
	const goroutines, each = 8, 1000
	var mu sync.Mutex
	var all sync.WaitGroup
	seen := make(map[string]bool, goroutines*each)
	for range goroutines {
		all.Go(func() {
			ids := make([]string, each)
			for i := range ids {
				ids[i] = NewID()
			}
			mu.Lock()
			defer mu.Unlock()
			for _, id := range ids {
				seen[id] = true
			}
		})
	}
	all.Wait()
	if len(seen) != goroutines*each {
		t.Errorf("%d ids are different, want %d", len(seen), goroutines*each)
	}
}

func TestMarshalEscapesNothingForHTML(t *testing.T) {
	got, err := Marshal(map[string]string{"a": "<b> & \"c\"\n\u2028"})
	if want := "{\"a\":\"<b> & \\\"c\\\"\\n\u2028\"}"; err != nil || string(got) != want {
		t.Errorf("got %s with error %v, want %s", got, err, want)
	}
}

// Documents are compared byte by byte, and segments are split at newlines.
func TestMarshalEndsWithoutNewline(t *testing.T) {
	for _, v := range []any{1, "x\n", []int{}, nil} {
		got, err := Marshal(v)
		if err != nil || len(got) == 0 || got[len(got)-1] == '\n' {
			t.Errorf("%v is %q with error %v", v, got, err)
		}
	}
}

func TestMarshalSaysWhatCannotBeEncoded(t *testing.T) {
	if got, err := Marshal(make(chan int)); err == nil || got != nil {
		t.Errorf("got %q and error %v", got, err)
	}
}
