// Package sidecar pins the Dapr runtime, and its tests read components/ and
// dapr.yaml with that runtime's own parsers.
package sidecar
