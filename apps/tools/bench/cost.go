package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

func (b *bench) addCost(w written) { b.costs = append(b.costs, w) }

// costByProcess is the cost of a comment from its request until it is visible, in
// microseconds of CPU, by process and round.
func (b *bench) costByProcess() map[string]figures {
	each := map[string]figures{}
	for _, w := range b.costs {
		for name, spent := range w.cpu {
			each[name] = append(each[name], spent.Seconds()*1e6/float64(w.OK))
		}
	}
	return each
}

func (b *bench) printCosts(out io.Writer) {
	if len(b.costs) == 0 {
		return
	}
	byName := b.costByProcess()
	total := make(figures, len(b.costs))
	for _, f := range byName {
		for i := range f {
			total[i] += f[i]
		}
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return int(1000 * (byName[b].median() - byName[a].median()))
	})
	cells := [][]string{{"process", "CPU a comment, µs", "share"}}
	for _, name := range names {
		f := byName[name]
		cells = append(cells, []string{name, f.format(""), fmt.Sprintf("%.0f %%", 100*f.median()/total.median())})
	}
	cells = append(cells, []string{"all", total.format(""), ""})
	_, _ = fmt.Fprintf(out, "\nCPU of one comment, from its request until readers see it moderated:\n\n")
	printCells(out, cells)

	byCommand := map[string]figures{}
	for _, w := range b.costs {
		for name, n := range w.calls {
			byCommand[name] = append(byCommand[name], n)
		}
	}
	cells = [][]string{{"Redis command", "calls a comment"}}
	for _, name := range slices.Sorted(maps.Keys(byCommand)) {
		if f := byCommand[name]; f.median() >= 0.01 {
			cells = append(cells, []string{"`" + strings.ReplaceAll(name, "|", " ") + "`", f.format("")})
		}
	}
	_, _ = fmt.Fprintf(out, "\nWhat Redis was asked for it:\n\n")
	printCells(out, cells)
}

// profile takes CPU profiles of all apps and sidecars in the first round, if they are
// wanted. The returned function waits for them.
func (b *bench) profile(s *stack, what string, round int) (wait func()) {
	if b.profiles == "" || round > 0 {
		return func() {}
	}
	var all sync.WaitGroup
	for _, a := range s.Apps {
		app, sidecar := profilePort(a)
		for name, port := range map[string]int{a.Name: app, a.Name + "-sidecar": sidecar} {
			if a.Name == reference || name == system.Issuer { // it serves no profiles
				continue
			}
			all.Go(func() {
				if err := fetchProfile(port, max(1, int(b.each/time.Second)), filepath.Join(b.profiles, what+"-"+name+".pprof")); err != nil {
					say("  no profile of %s: %v", name, err)
				}
			})
		}
	}
	return all.Wait
}

func fetchProfile(port, seconds int, into string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds+20)*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/profile?seconds=%d", port, seconds), nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", res.Status)
	}
	if err := os.MkdirAll(filepath.Dir(into), 0o750); err != nil {
		return err
	}
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(into, raw, 0o600)
}
