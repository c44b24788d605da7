package main

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
)

// series is one line of a plot.
type series struct {
	name   string
	points plotter.XYs
}

func (s *series) add(x, y float64) { s.points = append(s.points, plotter.XY{X: x, Y: y}) }

// plot draws lines into a file. Each axis may be logarithmic.
func (b *bench) plot(file, title, x, y string, logX, logY bool, lines ...series) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	if logX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if logY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	p.Add(plotter.NewGrid())
	p.Legend.Top, p.Legend.Left = true, true
	var args []any
	for _, line := range lines {
		args = append(args, line.name, line.points)
	}
	if err := plotutil.AddLinePoints(p, args...); err != nil {
		return err
	}
	p.X.Max *= 1.1 // room for the last tick's label
	if logX {
		p.X.Max *= 1.5
	}
	if !logY {
		p.Y.Min = 0
		p.Y.Max *= 1.25 // and for the legend
	}
	b.plots[file] = p
	return nil
}
