package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

const (
	// batchBytes is the size of a batch to which no further event is added.
	batchBytes = 4 << 20
	// importTries is how often a batch is sent in all, and importPause the pause after a
	// failure.
	importTries = 10
	importPause = time.Second
)

// importFrom appends the events of a file to the log. The file is checked as a whole before
// anything is appended.
func (l logs) importFrom(ctx context.Context, path string) (done string, err error) {
	file, err := os.Open(path) //nolint:gosec // the user names it
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	var count uint64
	if err := eachLine(file, func(number uint64, _ []byte) error { count = number; return nil }); err != nil {
		return "", err
	}
	had, err := l.compare(ctx, file)
	if err != nil {
		return "", err
	}
	if err := l.appendAfter(ctx, file, had); err != nil {
		return "", err
	}
	switch end, err := l.end(ctx); {
	case err != nil:
		return "", err
	case end.Sequence != count:
		return "", fmt.Errorf("the log ends at event %d, and the file has %d: something else was appended meanwhile", end.Sequence, count)
	default:
		return fmt.Sprintf("log %s has the %d events of %s, %d of them since before", end.Log, count, path, had), nil
	}
}

// eachLine calls do with each event of a file and its JSON. The error names the line.
func eachLine(file io.ReadSeeker, do func(number uint64, line []byte) error) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 2*event.MaxBytes+1)
	number := uint64(0)
	for lines.Scan() {
		number++
		e, err := eventOf(lines.Bytes())
		if err == nil && uint64(e.Sequence) != number {
			err = fmt.Errorf("it has number %d: lines are missing, or not in order", e.Sequence)
		}
		if err == nil {
			err = do(number, lines.Bytes())
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", number+1, err)
	}
	return nil
}

// compare returns how many of the file's events the log has. The error says that it has
// something else.
func (l logs) compare(ctx context.Context, file io.ReadSeeker) (had uint64, err error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 2*event.MaxBytes+1)
	var end eventlog.Position
	err = l.each(ctx, func(number uint64, line []byte) error {
		if lines.Scan() {
			theirs, err := eventOf(lines.Bytes())
			ours, ourErr := eventOf(line)
			if err := errors.Join(err, ourErr); err != nil {
				return err
			}
			if theirs.ID == ours.ID && theirs.Type == ours.Type && bytes.Equal(theirs.Data, ours.Data) {
				return nil
			}
		}
		return fmt.Errorf("the log has another event %d than the file: import into a log that is empty (a new store; on this machine `make clean`, which removes all that is kept)", number)
	}, &end)
	return end.Sequence, errors.Join(err, lines.Err())
}

// appendAfter appends the events after number had.
func (l logs) appendAfter(ctx context.Context, file io.ReadSeeker, had uint64) error {
	progress := newProgress(l.progress, "imported")
	batch, first, n := []byte{}, had+1, 0
	flush := func() error {
		if n == 0 {
			return nil
		}
		err := l.send(ctx, first-1, n, append(batch, ']'))
		first += uint64(n) //nolint:gosec // never negative
		batch, n = batch[:0], 0
		return err
	}
	err := eachLine(file, func(number uint64, line []byte) error {
		if number <= had {
			return nil
		}
		batch = append(append(batch, "[,"[min(n, 1)]), line...)
		if n++; n < eventlog.MaxAppend && len(batch) < batchBytes {
			return nil
		}
		progress.at(number)
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// send appends a batch of n events after a number. A batch whose answer was lost may be in the
// log; one that is there in part is an error, and the next import goes on after it.
func (l logs) send(ctx context.Context, after uint64, n int, batch []byte) error {
	for failures := 0; ; {
		err := l.imports.Import(ctx, after, batch)
		if err == nil {
			return nil
		}
		if end, endErr := l.end(ctx); endErr == nil && end.Sequence == after+uint64(n) { //nolint:gosec // never negative
			return nil
		}
		if failures++; errors.Is(err, eventlog.ErrNotImported) || failures == importTries {
			return fmt.Errorf("after event %d: %w", after, err)
		}
		select {
		case <-time.After(importPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end is where the log ends.
func (l logs) end(ctx context.Context) (eventlog.Position, error) {
	_, end, err := l.events.ReadBatch(ctx, eventlog.Position{}, 0, 0)
	return end, err
}
