package state

// postgres is state.postgresql v2 (components-contrib 1.18.4, state/postgresql/v2/postgresql.go).
type postgres struct{ portable }

// readsAll is false: BulkGet does not ask its rows for an error (rows.Err). So keys that it could
// not read, because the connection broke, are answered as keys that do not exist. (No issue found.
// It can go when the component asks.)
func (postgres) readsAll() bool { return false }
