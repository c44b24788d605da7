package main

import (
	"bytes"
	"slices"
	"testing"
)

func TestFigures(t *testing.T) {
	f := figures{3, 1, 2, 10}
	if f.median() != 2.5 || (figures{3, 1, 2}).median() != 2 {
		t.Errorf("medians %g and %g", f.median(), (figures{3, 1, 2}).median())
	}
	if f.quantile(0.5) != 3 || f.quantile(0.99) != 10 {
		t.Errorf("quantiles %g and %g", f.quantile(0.5), f.quantile(0.99))
	}
	if got := f.over(figures{1, 2, 4}); !slices.Equal(got, figures{3, 0.5, 0.5}) {
		t.Errorf("ratios %v", got)
	}
	if got := (figures{1234.4, 1_000_000, 5}).format("/s"); got != "1,234/s (5.00–1,000,000)" {
		t.Errorf("formatted as %s", got)
	}
	if got := (figures{12.34}).format(" ms"); got != "12.3 ms" {
		t.Errorf("formatted as %s", got)
	}
}

func TestTheTableIsMarkdown(t *testing.T) {
	var out bytes.Buffer
	printTable(&out, []row{{"a", "1/s", "b", "2/s", "0.50", "≥ 0.8", verdict(false)}})
	want := "| figure | measured | reference in the same run | measured | ratio | goal |  |\n|---|---|---|---|---|---|---|\n| a | 1/s | b | 2/s | 0.50 | ≥ 0.8 | **not reached** |\n"
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}

// Otherwise their medians would be of both.
func TestTwoFiguresWithOneNameAreRefused(t *testing.T) {
	c := &comparison{variants: make([]variant, 1), values: map[string][]figures{}}
	round := []measured{{"memory", " MiB", 1}, {"CPU", " µs", 2}}
	for range 2 {
		if err := c.add(0, round); err != nil {
			t.Fatal(err)
		}
	}
	if c.add(0, append(round, measured{"memory", " MiB", 3})) == nil {
		t.Error("nothing was refused")
	}
}
