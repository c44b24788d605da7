package eventlogtest

import "context"

// Known returns which of the ids the log has, as eventlog.Client does. It recognises all
// events of the log.
func (l *Log) Known(ctx context.Context, ids []string) (map[string]bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, id := range ids {
		if l.ids[id] {
			known[id] = true
		}
	}
	return known, nil
}
