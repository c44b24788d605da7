package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// figures are one measurement's values, by round.
type figures []float64

func (f figures) median() float64 {
	if len(f) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(f))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// quantile is the value that the share q (0 to 1) of the values does not exceed.
func (f figures) quantile(q float64) float64 {
	sorted := slices.Sorted(slices.Values(f))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// over is the ratio to a reference, by round.
func (f figures) over(reference figures) figures {
	ratios := make(figures, min(len(f), len(reference)))
	for i := range ratios {
		ratios[i] = f[i] / reference[i]
	}
	return ratios
}

// format is the median, with the least and the most in parentheses.
func (f figures) format(unit string) string {
	if len(f) == 1 {
		return short(f[0]) + unit
	}
	return fmt.Sprintf("%s%s (%s–%s)", short(f.median()), unit, short(slices.Min(f)), short(slices.Max(f)))
}

// delays are the times that 50 % and 99 % of the measured times do not exceed, in
// milliseconds, by round.
type delays struct{ p50, p99 figures }

func (d *delays) add(round figures) {
	d.p50, d.p99 = append(d.p50, round.quantile(0.5)), append(d.p99, round.quantile(0.99))
}

func (d *delays) format() string {
	return fmt.Sprintf("p50 %s, p99 %s", d.p50.format(" ms"), d.p99.format(" ms"))
}

// short shows at least three digits, and separates thousands.
func short(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// row is one line of the table.
type row struct {
	figure, value, reference, referenceValue, ratio, goal, reached string
}

const (
	reached    = "reached"
	notReached = "**not reached**"
)

func verdict(ok bool) string {
	if ok {
		return reached
	}
	return notReached
}

func printTable(w io.Writer, rows []row) {
	cells := [][]string{{"figure", "measured", "reference in the same run", "measured", "ratio", "goal", ""}}
	for _, r := range rows {
		cells = append(cells, []string{r.figure, r.value, r.reference, r.referenceValue, r.ratio, r.goal, r.reached})
	}
	printCells(w, cells)
}

// printCells prints a table in Markdown; the first line is its head.
func printCells(w io.Writer, cells [][]string) {
	for i, line := range cells {
		_, _ = fmt.Fprintf(w, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			_, _ = fmt.Fprintln(w, "|"+strings.Repeat("---|", len(line)))
		}
	}
}
