// Package documents tests the documents: links, commands and cited tests must exist, and
// the line counts of the top README and the versions of Dapr must be right.
package documents
