// Package documents tests the documents: links, commands and cited tests must exist, and
// the line counts of the top README must be right.
package documents
