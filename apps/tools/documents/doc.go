// Package documents tests what the documents say that a machine can check: that what they
// link to, the commands that they name and the tests that they cite exist, and that the
// line counts of the top README are right.
package documents
