package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// exportTo writes the log to a new file. A file that is there is complete: until then it has
// another name.
func (l logs) exportTo(ctx context.Context, path string) (done string, err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is there already: name another file", path)
	}
	unfinished := path + ".unfinished"
	file, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // the user names it
	if err != nil {
		return "", err
	}
	end, err := l.write(ctx, file)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(unfinished))
	}
	if err := os.Rename(unfinished, path); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s has the %d events of log %s", path, end.Sequence, end.Log), nil
}

// write writes all events that the log has when it begins, an event a line.
func (l logs) write(ctx context.Context, to io.Writer) (end eventlog.Position, err error) {
	out := bufio.NewWriter(to)
	progress := newProgress(l.progress, "exported")
	err = l.each(ctx, func(number uint64, line []byte) error {
		progress.at(number)
		_, err := out.Write(append(line, '\n'))
		return err
	}, &end)
	return end, errors.Join(err, out.Flush())
}

// each calls do with each event that the log has when it begins, in order, and its JSON. It
// sets end to the position of the last one.
func (l logs) each(ctx context.Context, do func(number uint64, line []byte) error, end *eventlog.Position) error {
	_, last, err := l.events.ReadBatch(ctx, eventlog.Position{}, 0, 0)
	if err != nil {
		return fmt.Errorf("%w (is Postbus running?)", err)
	}
	*end = last
	for from := (eventlog.Position{Log: last.Log}); from.Sequence < last.Sequence; {
		batch, _, err := l.events.ReadBatch(ctx, from, eventlog.DefaultLimit, 0)
		if errors.Is(err, eventlog.ErrMisfit) {
			return fmt.Errorf("the log is another one since this began, or has lost its end; begin again: %w", err)
		}
		if err != nil {
			return err
		}
		var lines []jsontext.Value
		if err := jsonv2.Unmarshal(batch, &lines); err != nil {
			return err
		}
		for _, line := range lines[:min(uint64(len(lines)), last.Sequence-from.Sequence)] {
			e, err := eventOf(line)
			if err == nil && uint64(e.Sequence) != from.Sequence+1 {
				err = fmt.Errorf("it has number %d", e.Sequence)
			}
			if err != nil {
				return fmt.Errorf("event %d of the log: %w", from.Sequence+1, err)
			}
			from = eventlog.Position{Sequence: uint64(e.Sequence), Log: last.Log, Event: e.ID}
			if err := do(from.Sequence, line); err != nil {
				return err
			}
		}
	}
	return nil
}

// eventOf decodes and checks an event of the log.
func eventOf(line []byte) (event.Event, error) {
	batch := append(append([]byte{'['}, line...), ']')
	events, err := event.ParseBatch(batch)
	if err == nil && len(events) != 1 {
		err = errors.New("a line has one event")
	}
	if err != nil {
		return event.Event{}, err
	}
	return events[0], nil
}

// progress says now and then how far something is.
type progress struct {
	to   io.Writer
	what string
	next time.Time
}

func newProgress(to io.Writer, what string) *progress {
	return &progress{to, what, time.Now().Add(progressEvery)}
}

// progressEvery is how often a long step says how far it is.
const progressEvery = 2 * time.Second

func (p *progress) at(number uint64) {
	if now := time.Now(); now.After(p.next) {
		_, _ = fmt.Fprintf(p.to, "transfer: %s %d events ...\n", p.what, number)
		p.next = now.Add(progressEvery)
	}
}
