package policy

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestTheFirstPolicyIsTheConfiguredOneOrTheDefault(t *testing.T) {
	scorer := NewScorer("http://127.0.0.1:1", "secret", time.Now)
	scored := `{"scorer":{"holdFrom":0.5,"rejectFrom":0.9,"timeoutMs":100}}`
	for _, test := range []struct {
		text   string
		scorer *Scorer
		want   Rules
	}{
		{"", nil, Default},
		{"{}", nil, Rules{}},
		{`{"newcomers":{"comments":1,"action":"hold"}}`, nil, Rules{Newcomers: &NewcomersRule{Comments: 1, Action: Hold}}},
		{scored, scorer, Rules{Scorer: &ScorerRule{HoldFrom: 0.5, RejectFrom: 0.9, TimeoutMS: 100}}},
	} {
		if got, err := First(test.text, test.scorer); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %v", test.text, got, err)
		}
	}
	for text, want := range map[string]string{
		"{": "no policy", "[]": "no policy", "null": "no policy", `{"newcomers":{"comments":"1","action":"hold"}}`: "/newcomers/comments",
		`{"newcomer":{"comments":1,"action":"hold"}}`:                                               `"newcomer"`,
		`{"newcomers":{"comments":1,"action":"keep"}}`:                                              "newcomers.action",
		`{"words":[{"text":"x","match":"part","action":"hold"},{"text":"y","match":"everywhere"}]}`: "words[1]",
		scored: "SCORER_URL",
	} {
		if got, err := First(text, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %s", text, got, err, want)
		}
	}
}
