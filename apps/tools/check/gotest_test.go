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
	if err := readEvents(strings.NewReader(events), &out); err != nil || out.String() != "| a | b |\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestAPartWithoutAnyTestFails(t *testing.T) {
	for name, events := range map[string]string{
		"no package":            "",
		"a package without any": `{"Action":"pass","Package":"p"}`,
		"nothing but a skip":    `{"Action":"skip","Package":"p","Test":"TestA"}`,
	} {
		if err := readEvents(strings.NewReader(events), &strings.Builder{}); err == nil || err.Error() != "it ran no test" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
