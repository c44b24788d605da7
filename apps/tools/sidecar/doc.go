// Package sidecar pins the Dapr runtime. Its tests read components/ and dapr.yaml with
// that runtime's own parsers.
package sidecar
