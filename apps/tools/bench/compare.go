package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

// measured is one figure of a system.
type measured struct {
	what, unit string
	value      float64
}

// comparison has the figures of several variants.
type comparison struct {
	variants []variant
	// rows name the figures, in the order in which they were measured.
	rows []measured
	// values are by figure, and by variant in their order.
	values map[string][]figures
}

// compare runs the chosen parts on each variant, one system at a time, and prints a table. Each
// round has new systems, without data. Every other round has them in the opposite order, so that a
// machine that becomes slower meanwhile is as slow for all. Whole says that nothing is left out.
func (b *bench) compare(ctx context.Context, variants []variant, chosen []string, out string, whole bool) error {
	start := time.Now()
	dir, err := os.MkdirTemp("", "postbus-bench-")
	if err != nil {
		return err
	}
	if err := b.prepare(ctx, dir); err != nil {
		return err
	}
	c := &comparison{variants: variants, values: map[string][]figures{}}
	for round := range b.rounds {
		for n := range variants {
			if round%2 == 1 {
				n = len(variants) - 1 - n
			}
			v := variants[n]
			say("round %d of %d: %s", round+1, b.rounds, v.name)
			ofRound, err := b.measure(ctx, filepath.Join(dir, fmt.Sprintf("%d-%d", round, n)), v, chosen)
			if err != nil {
				return fmt.Errorf("%s: %w (logs are in %s)", v.name, err, dir)
			}
			if err := c.add(n, ofRound); err != nil {
				return err
			}
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	var table bytes.Buffer
	_, _ = fmt.Fprintf(&table, "%s Behind each figure of a later column is its ratio to the first one.\n\n", b.heading("", time.Since(start)))
	c.print(&table)
	if _, err := os.Stdout.Write(table.Bytes()); err != nil {
		return err
	}
	return b.save(b.folder(out, whole), "engines.md", table.Bytes())
}

// add adds a round of a variant. Two figures with one name are an error.
func (c *comparison) add(variant int, round []measured) error {
	isThere := map[string]bool{}
	for _, m := range round {
		if isThere[m.what] {
			return fmt.Errorf("the figure %q was measured twice in a round", m.what)
		}
		isThere[m.what] = true
		if c.values[m.what] == nil {
			c.rows, c.values[m.what] = append(c.rows, m), make([]figures, len(c.variants))
		}
		c.values[m.what][variant] = append(c.values[m.what][variant], m.value)
	}
	return nil
}

func (c *comparison) print(w io.Writer) {
	head := []string{"figure"}
	for _, v := range c.variants {
		head = append(head, "`"+v.name+"`")
	}
	cells := [][]string{head}
	for _, row := range c.rows {
		line := []string{row.what}
		values := c.values[row.what]
		for i, f := range values {
			cell := f.format(row.unit)
			if i > 0 && !slices.Contains(values[0], 0) {
				cell += "; " + f.over(values[0]).format("")
			}
			line = append(line, cell)
		}
		cells = append(cells, line)
	}
	printCells(w, cells)
}

// startVariant starts a system of a variant.
func (t tools) startVariant(ctx context.Context, dir string, v variant) (*stack, error) {
	made := make([]bool, len(v.settings))
	s, err := t.startOn(ctx, system.Derivation{Into: dir, Engine: v.engine, Edit: func(resource system.Document) { v.edit(resource, made) }})
	if err != nil {
		return nil, err
	}
	if i := slices.Index(made, false); i >= 0 {
		return nil, errors.Join(fmt.Errorf("no resource has the setting %+v", v.settings[i]), s.Stop())
	}
	return s, nil
}
