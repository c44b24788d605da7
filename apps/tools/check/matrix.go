package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

// matrix runs the end-to-end tests and the whole fault suite on each engine that is not the
// default, and prints a table of that.
func matrix(ctx context.Context, c system.Checkout) error {
	if err := prepareEndToEnd(ctx, c); err != nil {
		return err
	}
	var errs []error
	table := []string{
		"| engine | servers | day | end-to-end tests passed | left out | cases of the fault suite | lost | repeated | verdict |",
		"|---|---|---|---|---|---|---|---|---|",
	}
	for _, e := range system.Engines()[1:] {
		versions, err := e.Versions(ctx)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		env := []string{"ENGINE=" + string(e)}
		tests, err1 := goTestReport(ctx, c, "e2e-"+string(e), endToEndTests(c), env, "-count=1", "-timeout", "60m", ".")
		faults, err2 := goTestReport(ctx, c, "faults-"+string(e), endToEndTests(c), env, "-count=1", "-timeout", "4h", "-run", "TestFaults", ".", "-args", "-all-faults")
		verdict := "passed"
		if err := errors.Join(err1, err2); err != nil {
			errs, verdict = append(errs, fmt.Errorf("%s: %w", e, err)), "**FAILED**"
		}
		cases, lost, repeated := sums(faults.table)
		table = append(table, fmt.Sprintf("| `%s` | %s | %s | %d | %d | %d | %d | %d | %s |",
			e, versions, time.Now().Format(time.DateOnly), tests.passed, len(tests.leftOut), cases, lost, repeated, verdict))
	}
	fmt.Println(strings.Join(table, "\n"))
	return errors.Join(errs...)
}

// sums counts the cases in the table of the fault suite, and what they lost and repeated.
func sums(table []string) (cases, lost, repeated int) {
	var columns []string
	for _, line := range table {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case cells[0] == "case":
			columns = cells
			continue
		case len(cells) != len(columns) || strings.HasPrefix(cells[0], "---"):
			continue
		}
		cases++
		for i, column := range columns {
			n, _ := strconv.Atoi(cells[i])
			switch column {
			case "lost":
				lost += n
			case "repeated":
				repeated += n
			}
		}
	}
	return cases, lost, repeated
}
