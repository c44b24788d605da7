package model_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/query/internal/querytest"
	"github.com/postbus/postbus/apps/query/model"
)

func summaryOf(t *testing.T, m *model.Model, post int) querytest.Summary {
	t.Helper()
	var got map[string]querytest.Summary
	if err := json.Unmarshal(m.Summaries(model.Newest, 20).JSON, &got); err != nil {
		t.Fatal(err)
	}
	return got[querytest.UUID7(post)]
}

func TestASummaryHasAnExcerptAndCountsAndNoComments(t *testing.T) {
	post := querytest.PostOf(1, 1, "Title \"<1>\"")
	post.Post.Body, post.Post.Author = "one\n\n two\tthree ", "Ann"
	m := querytest.ModelOf(t, querytest.Numbered(0, post, querytest.Decided(1, 1), querytest.Commented(101, 1),
		querytest.Commented(102, 1), querytest.Approved(102, 1), querytest.Withheld(querytest.Approved(103, 1), event.Held)))
	page := string(m.Summaries(model.Newest, 20).JSON)
	for _, want := range []string{`"title":"Title \"<1>\""`, `"excerpt":"one two three"`, `"author":"Ann"`, `"commenting":"closed"`, `"createdAt":"2026-11-23T12:00:00Z"`,
		`"commentCount":3,"commentCounts":{"pending":1,"approved":1,"held":1}}`} {
		if strings.Count(page, want) != 1 {
			t.Errorf("%s is not once in %s", want, page)
		}
	}
	for _, other := range []string{`"body"`, `"comments"`, "comment 102", querytest.UUID7(102)} {
		if strings.Contains(page, other) {
			t.Errorf("%s is in %s", other, page)
		}
	}
}

// Whatever came before, also when it was read in between.
func TestCountsAreThoseOfTheCommentsThatAreShown(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		log := querytest.AnyLog(r)
		m := model.New()
		for i := range log {
			if err := m.Apply("", log[i:i+1]); err != nil {
				r.Fatal(err)
			}
			for post := range 4 {
				page := m.Post(uuid.MustParse(querytest.UUID7(post)), model.Newest, model.MaxLimit)
				if page == nil {
					continue
				}
				var shown querytest.Shown
				if err := json.Unmarshal(page.JSON, &shown); err != nil {
					r.Fatal(err)
				}
				want := map[string]int{}
				for _, c := range shown.Comments {
					want[c.Status]++
				}
				summary := summaryOf(t, m, post)
				if !maps.Equal(shown.CommentCounts, want) || !maps.Equal(summary.CommentCounts, want) || summary.CommentCount != len(shown.Comments) {
					r.Fatalf("post %d counts %v, and in the list %d, %v; it has %v", post, shown.CommentCounts, summary.CommentCount, summary.CommentCounts, want)
				}
			}
		}
	})
}

// A comment with a status of a newer version is one of all, and counted under no other.
func TestACommentOfAnUnknownStatusCountsAmongAllAlone(t *testing.T) {
	m := querytest.ModelOf(t, querytest.Numbered(0, querytest.Posted(1), querytest.Commented(101, 1), querytest.Quarantined(querytest.Approved(101, 1))))
	if got := summaryOf(t, m, 1); got.CommentCount != 1 || len(got.CommentCounts) != 0 {
		t.Errorf("the post counts %d, %v", got.CommentCount, got.CommentCounts)
	}
}

// So readers of a stream know the counts whatever they missed.
func TestAChangeOfACommentHasTheCountsOfItsPost(t *testing.T) {
	m := querytest.ModelIn(t, "", querytest.Numbered(0, querytest.Posted(1), querytest.Commented(101, 1), querytest.Approved(101, 1)), 1)
	frames, _, _ := m.ChangesAfter(1)
	for i, want := range []string{
		`"status":"pending","commentCount":1,"commentCounts":{"pending":1}}`,
		`"commentCount":1,"commentCounts":{"approved":1}}`,
	} {
		if !strings.HasSuffix(string(frames[i]), want+"\n\n") {
			t.Errorf("the change is %s, and should end with %s", frames[i], want)
		}
	}
}

func TestAnExcerptIsCutBetweenGraphemeClusters(t *testing.T) {
	const family = "👨‍👩‍👧‍👦" // seven code points, one cluster
	for name, c := range map[string]struct{ body, want string }{
		"empty":                {"", ""},
		"short":                {"a  b\r\n\tc", "a b c"},
		"blank":                {" \n\t ", ""},
		"just short enough":    {strings.Repeat("é", 600), strings.Repeat("é", 600)},
		"one too many":         {strings.Repeat("é", 601), strings.Repeat("é", 600) + "…"},
		"families":             {strings.Repeat(family, 100), strings.Repeat(family, 85) + "…"},
		"cut within a family":  {strings.Repeat("x", 599) + family, strings.Repeat("x", 599) + "…"},
		"a letter and accents": {strings.Repeat("x", 599) + "e\u0301\u0302", strings.Repeat("x", 599) + "…"},
		"a space at the end":   {strings.Repeat("x", 599) + " y", strings.Repeat("x", 599) + "…"},
		"one endless cluster":  {"e" + strings.Repeat("\u0301", 5_000), "e" + strings.Repeat("\u0301", 599) + "…"},
		"only line breaks":     {"a" + strings.Repeat("\n", 9_000) + "b", "a b"},
		"flags":                {strings.Repeat("🇳🇱", 301), strings.Repeat("🇳🇱", 300) + "…"},
	} {
		post := querytest.PostOf(1, 1, "t")
		post.Post.Body = c.body
		m := querytest.ModelOf(t, querytest.Numbered(0, post))
		if got := summaryOf(t, m, 1).Excerpt; got != c.want {
			t.Errorf("%s: %d code points: %q", name, utf8.RuneCountInString(got), got)
		}
	}
}
