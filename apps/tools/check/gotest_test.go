package main

import (
	"strings"
	"testing"
)

func TestOnlyTablesArePrintedOfTestsThatPass(t *testing.T) {
	const events = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"| a | b |\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p"}
`
	var out strings.Builder
	if r, err := readEvents(strings.NewReader(events), &out); err != nil || out.String() != "| a | b |\n" || r.passed != 1 {
		t.Errorf("%q, %+v, %v", out.String(), r, err)
	}
}

func TestATestThatIsLeftOutIsNamedWithTheReason(t *testing.T) {
	const passed, with, without = `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA/part"}
`, `{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: left out on e, which has no r: why\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
`, `{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:7: not today\n"}
{"Action":"skip","Package":"p","Test":"TestC"}
`
	var out strings.Builder
	r, err := readEvents(strings.NewReader(passed+with), &out)
	if want := "TestB: left out on e, which has no r: why\n1 tests were left out\n"; err != nil || out.String() != want || r.passed != 1 || len(r.leftOut) != 1 {
		t.Errorf("%q, %+v, %v; want %q", out.String(), r, err, want)
	}
	if _, err := readEvents(strings.NewReader(passed+with+without), &out); err == nil || err.Error() != "TestC is skipped, and does not say why" {
		t.Error(err)
	}
}

func TestAPartWithoutAnyTestFails(t *testing.T) {
	for name, events := range map[string]string{
		"no package":            "",
		"a package without any": `{"Action":"pass","Package":"p"}`,
		"nothing but a skip":    `{"Action":"skip","Package":"p","Test":"TestA"}`,
	} {
		if _, err := readEvents(strings.NewReader(events), &strings.Builder{}); err == nil || !strings.Contains(err.Error(), "it ran no test") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
