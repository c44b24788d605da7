// Bench measures Postbus as a whole on this machine and prints one table. Each figure
// stands beside a reference of the same run.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	pscpu "github.com/shirou/gopsutil/v4/cpu"
	psmem "github.com/shirou/gopsutil/v4/mem"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"

	"github.com/postbus/postbus/apps/tools/terminal"
)

// bench is one run.
type bench struct {
	tools
	rounds int
	// commit is that of the checkout at the start, and whether the checkout has changes.
	commit string
	// each is how long one measurement of a rate takes.
	each time.Duration
	rows []row
	// plots are keyed by file name.
	plots map[string]*plot.Plot
	costs []written
	// filler filled the log of the reading stack, or is nil before that.
	filler *filler
}

// part is a measurement that makes some rows. The parts of one stack share a system.
type part struct {
	name, what, stack string
	run               func(*bench, context.Context, *stack) error
}

// The stacks. One is written to. In the others the log is filled, to a million events or
// a million comments.
const (
	writing   = "writing"
	replaying = "replaying"
	reading   = "reading"
)

var parts = []part{
	{"idle", "the whole system idle", writing, (*bench).idle},
	{"accepted", "comments accepted, and moderated and visible, a second", writing, (*bench).accepted},
	{"people", "what a signed-in person's comment costs, beside a guest's", writing, (*bench).people},
	{"latency", "a comment's way to its readers", writing, (*bench).latency},
	{"stream", "a change's way to 1,000 connected readers", writing, (*bench).stream},
	{"load", "latency over load (a plot)", writing, (*bench).latencyOverLoad},
	{"replay", "query started empty, at a million events", replaying, (*bench).replay},
	{"size", "reads over data size, up to a million comments (a plot)", reading, (*bench).readsOverSize},
	{"snapshot", "query started with a snapshot, and its memory, at a million comments", reading, (*bench).snapshot},
}

// say prints a line for the user. Text of others cannot affect the terminal.
func say(format string, args ...any) {
	fmt.Fprintln(os.Stderr, "bench:", terminal.Lines(fmt.Sprintf(format, args...)))
}

func main() {
	b := &bench{plots: map[string]*plot.Plot{}}
	flag.Usage = help
	engines := flag.String("engines", "", "measure these engines one beside the other: `names` with commas between them, or all.\nSettings may follow a name, as in postgres-rabbitmq+bus.prefetchCount=50+*-store.maxConns=5")
	only := flag.String("only", "", "which `parts` to run, with commas between them; if empty, all")
	flag.IntVar(&b.rounds, "rounds", 3, "how many interleaved `rounds`")
	flag.DurationVar(&b.each, "each", 4*time.Second, "how long one measurement of a rate takes")
	out := flag.String("out", "", "the `folder` for the table and the plots; if empty, apps/tools/bench/results for a whole run, and otherwise one for temporary files")
	flag.StringVar(&b.profiles, "profiles", "", "also write CPU profiles of the apps and sidecars under load to this `folder`, and print what a comment costs by hop")
	flag.Parse()
	chosen, err := choose(*only, *engines != "")
	variants, err2 := parseVariants(*engines)
	if err := errors.Join(err, err2); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(variants) > 0 {
		err = b.compare(ctx, variants, chosen, *out, *engines == everyEngine && *only == "")
	} else {
		err = b.run(ctx, chosen, *out)
	}
	if err != nil {
		say("%v", err)
		os.Exit(1)
	}
}

func help() {
	fmt.Fprint(os.Stderr, "Bench measures Postbus on this machine and prints a table (Markdown) to stdout.\n\nParts, with the default engine:\n")
	for _, p := range parts {
		fmt.Fprintf(os.Stderr, "  %-9s %s\n", p.name, p.what)
	}
	fmt.Fprint(os.Stderr, "\nParts with -engines, in this order:\n")
	for _, p := range enginesParts {
		fmt.Fprintf(os.Stderr, "  %-9s %s\n", p.name, p.what)
	}
	fmt.Fprint(os.Stderr, "\nFlags:\n")
	flag.PrintDefaults()
}

// choose returns the names of the parts in a list, or all. They are parts of the default engine or
// of engines.
func choose(list string, ofEngines bool) ([]string, error) {
	var names []string
	if ofEngines {
		for _, p := range enginesParts {
			names = append(names, p.name)
		}
	} else {
		for _, p := range parts {
			names = append(names, p.name)
		}
	}
	if list == "" {
		return names, nil
	}
	chosen := strings.Split(list, ",")
	for _, name := range chosen {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("there is no part %q; there are %s", name, strings.Join(names, ", "))
		}
	}
	return chosen, nil
}

func (b *bench) run(ctx context.Context, chosen []string, out string) (err error) {
	start := time.Now()
	dir, err := os.MkdirTemp("", "postbus-bench-")
	if err != nil {
		return err
	}
	if err := b.prepare(ctx, dir); err != nil {
		return err
	}
	for _, name := range []string{writing, replaying, reading} {
		if err := b.runOn(ctx, filepath.Join(dir, name), name, chosen); err != nil {
			return fmt.Errorf("%w (logs are in %s)", err, dir)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	var table bytes.Buffer
	if err := b.print(&table, time.Since(start)); err != nil {
		return err
	}
	if _, err := os.Stdout.Write(table.Bytes()); err != nil {
		return err
	}
	return b.save(b.folder(out, len(chosen) == len(parts)), "table.md", table.Bytes())
}

// folder is where results are written, unless the user has named a folder. What is not whole does
// not replace the last whole run.
func (b *bench) folder(out string, whole bool) string {
	switch {
	case out != "":
		return out
	case whole:
		return filepath.Join(b.checkout.Root, "apps/tools/bench/results")
	default:
		return filepath.Join(os.TempDir(), "postbus-bench")
	}
}

// prepare gets all programs, and says which commit they are of.
func (b *bench) prepare(ctx context.Context, dir string) (err error) {
	profiles := b.profiles
	if b.tools, err = prepare(ctx, dir); err != nil {
		return err
	}
	b.profiles = profiles
	b.commit = command("git", "-C", b.checkout.Root, "describe", "--always", "--dirty", "--exclude=*")
	return nil
}

// save writes a table with that name and the plots, all of one run.
func (b *bench) save(out, name string, table []byte) error {
	if err := os.MkdirAll(out, 0o750); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, name), table, 0o600); err != nil {
		return err
	}
	for file, p := range b.plots {
		if err := p.Save(20*vg.Centimeter, 11*vg.Centimeter, filepath.Join(out, file)); err != nil {
			return err
		}
	}
	say("the results are in %s", out)
	return nil
}

// runOn runs the chosen parts of one stack.
func (b *bench) runOn(ctx context.Context, dir, name string, chosen []string) (err error) {
	var s *stack
	for _, p := range parts {
		if p.stack != name || !slices.Contains(chosen, p.name) {
			continue
		}
		if s == nil {
			say("starting a system")
			if s, err = b.start(ctx, dir); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Stop()) }()
		}
		say("%s: %s", p.name, p.what)
		start := time.Now()
		if err := p.run(b, ctx, s); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		say("%s: done in %s", p.name, time.Since(start).Round(time.Second))
	}
	return nil
}

func (b *bench) add(r row) { b.rows = append(b.rows, r) }

// heading says what was measured. More is said of the rounds.
func (b *bench) heading(more string, took time.Duration) string {
	return fmt.Sprintf("On %s (%s), %s, commit %s; %d rounds%s, %s in all. Each figure is the median of its rounds (least–most). "+
		"A ratio is the median of the rounds' own ratios, which need not be the ratio of the medians.",
		machine(), b.versions(), time.Now().UTC().Format(time.DateOnly), b.commit, b.rounds, more, took.Round(time.Second))
}

func (b *bench) print(w io.Writer, took time.Duration) error {
	_, _ = fmt.Fprintf(w, "%s\n\n", b.heading(fmt.Sprintf(" (of reads, %d)", b.rounds+moreReads), took))
	printTable(w, b.rows)
	b.printCosts(w)
	return b.printHops(w)
}

// command is the first line of a command's output.
func command(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output() //nolint:gosec // the arguments are ours
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// machine is the CPU's name and the size of the memory.
func machine() string {
	model := "unknown"
	if cpus, err := pscpu.Info(); err == nil && len(cpus) > 0 {
		model = cpus[0].ModelName
	}
	var bytes uint64 // 0 where it is unknown
	if memory, err := psmem.VirtualMemory(); err == nil {
		bytes = memory.Total
	}
	return fmt.Sprintf("%d cores of %s with %.0f GiB", runtime.NumCPU(), model, float64(bytes)/(1<<30))
}

// versions are those of the measured programs.
func (b *bench) versions() string {
	redis := regexp.MustCompile(`v=(\S+)`).FindStringSubmatch(command("redis-server", "--version"))
	if redis == nil {
		redis = []string{"", "unknown"}
	}
	return fmt.Sprintf("%s, Dapr %s, Redis %s", strings.Replace(runtime.Version(), "go", "Go ", 1), command(b.dapr.Daprd, "--version"), redis[1])
}
