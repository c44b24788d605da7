// Command confusables makes ../confusables.txt of the file with this name that Unicode
// publishes with UTS #39 (in its security data; ICU's sources have it as well): the same
// mappings without their explanations, sorted.
//
//	go run ./confusables PUBLISHED > confusables.txt
package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fail("the path of the published confusables.txt is expected")
	}
	published, err := os.ReadFile(os.Args[1]) //nolint:gosec // the file that its user names
	if err != nil {
		fail(err)
	}
	out := bufio.NewWriter(os.Stdout)
	header, mappings := split(string(published))
	if len(mappings) == 0 {
		fail("there are no mappings in it")
	}
	_, _ = fmt.Fprintf(out, "%s#\n# The mappings without their explanations; made by apps/moderation/seen/confusables.\n", header)
	for _, mapping := range mappings {
		_, _ = fmt.Fprintln(out, mapping)
	}
	if err := out.Flush(); err != nil {
		fail(err)
	}
}

// split returns the comment that the file begins with and its mappings, "source;target"
// in hexadecimal.
func split(published string) (header string, mappings []string) {
	for line := range strings.Lines(strings.TrimPrefix(published, "\ufeff")) {
		if strings.HasPrefix(line, "#") && len(mappings) == 0 {
			header += line
			continue
		}
		fields := strings.Split(line, ";")
		if len(fields) < 3 || strings.HasPrefix(line, "#") {
			continue
		}
		mappings = append(mappings, strings.TrimSpace(fields[0])+";"+strings.Join(strings.Fields(fields[1]), " "))
	}
	slices.Sort(mappings)
	return header, mappings
}

func fail(why any) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}
