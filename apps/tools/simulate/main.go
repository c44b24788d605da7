// Simulate runs many histories of the whole system in a world that fails by a seed, and
// says whether the services keep their promises (README.md).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

var (
	histories = flag.Int("histories", 100_000, "how `many` histories to run")
	first     = flag.Uint64("first", 1, "the `seed` of the first of them")
	seed      = flag.Uint64("seed", 0, "run the history of this `seed` alone, and print all that happens")
	keep      = flag.String("keep", "", "with -seed: the `names` of the commands and faults to keep, separated by commas")
	twice     = flag.Int("twice", 100, "how `many` histories to run twice, to compare their traces")
	mutate    = flag.Int("mutate", 10_000, "within how `many` histories each planted mistake must be found; 0 plants none")
	output    = flag.String("o", "", "build the test binary into a `file`, and run nothing")
	workers   = flag.Int("workers", runtime.NumCPU(), "how `many` processes run histories")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	checkout, err := system.FindCheckout()
	if err == nil {
		err = simulate(ctx, checkout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
}

func simulate(ctx context.Context, checkout system.Checkout) error {
	b, err := newBuilder(ctx, checkout)
	if err != nil {
		return err
	}
	defer b.close()
	fmt.Println("Building the services with a Go runtime whose chance is seeded. (The first time that takes a minute or two.)")
	binary, err := b.build(ctx, nil)
	if err != nil {
		return err
	}
	if *output != "" {
		return os.Rename(binary, *output)
	}
	if *seed != 0 {
		return showOne(ctx, binary, *seed, *keep)
	}
	var errs []error
	if *twice > 0 {
		errs = append(errs, compare(ctx, binary, *first, *twice))
	}
	errs = append(errs, runAll(ctx, binary))
	if *mutate > 0 {
		errs = append(errs, findMutations(ctx, b))
	}
	return errors.Join(errs...)
}

// runAll runs all histories, and prints what happened in them.
func runAll(ctx context.Context, binary string) error {
	began := time.Now()
	var t totals
	shown := began
	failed, err := run(ctx, binary, *first, *histories, nil, func(o outcome) (goOn bool) {
		t.add(o)
		if o.Error != "" {
			fmt.Printf("seed %d FAILED: %s\n", o.Seed, o.Error)
		}
		if now := time.Now(); now.Sub(shown) > time.Minute {
			shown = now
			fmt.Printf("  %d histories, %.1f a second\n", t.histories, float64(t.histories)/now.Sub(began).Seconds())
		}
		return true
	})
	fmt.Print(t.report(time.Since(began)))
	if err != nil {
		return err
	}
	if len(failed) == 0 {
		fmt.Printf("%d histories, and all accounts are right.\n", t.histories)
		return nil
	}
	for _, o := range failed[:min(len(failed), 3)] {
		if err := explain(ctx, binary, o); err != nil {
			return err
		}
	}
	return fmt.Errorf("%d of %d histories failed", len(failed), t.histories)
}

// explain shortens a history that has failed, and says how to repeat it.
func explain(ctx context.Context, binary string, o outcome) error {
	names, err := shrink(ctx, binary, o.Seed)
	if err != nil {
		fmt.Printf("Repeat it:  make simulate SEED=%d\n", o.Seed)
		return err
	}
	fmt.Printf("The shortest history of seed %d that still fails:  make simulate SEED=%d KEEP=%s\n", o.Seed, o.Seed, names)
	return nil
}

// compare runs histories twice, in two processes, and compares their traces.
func compare(ctx context.Context, binary string, first uint64, n int) error {
	traces := map[uint64]string{}
	var different []uint64
	for range 2 {
		_, err := run(ctx, binary, first, n, []string{"-traces"}, func(o outcome) bool {
			if before, again := traces[o.Seed]; again && before != o.Trace {
				different = append(different, o.Seed)
			}
			traces[o.Seed] = o.Trace
			return true
		})
		if err != nil {
			return err
		}
	}
	fmt.Printf("%d histories were run twice: %d of them had the same trace.\n", n, n-len(different))
	if len(different) > 0 {
		return fmt.Errorf("these seeds have other traces each time: %v", different)
	}
	return nil
}

// findMutations plants one mistake after the other, and runs histories until one fails.
func findMutations(ctx context.Context, b *builder) error {
	var errs []error
	for _, m := range mutations {
		binary, err := b.build(ctx, &m)
		if err != nil {
			return err
		}
		began, n := time.Now(), 0
		failed, err := run(ctx, binary, *first, *mutate, nil, func(o outcome) bool {
			n++
			return o.Error == ""
		})
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
		case len(failed) == 0:
			errs = append(errs, fmt.Errorf("planted, and not found in %d histories: %s", n, m.name))
		default:
			fmt.Printf("planted, and found after %d histories (%v): %s\n    seed %d: %s\n", n, time.Since(began).Round(time.Second), m.name, failed[0].Seed, failed[0].Error)
		}
	}
	return errors.Join(errs...)
}
