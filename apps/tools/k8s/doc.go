// Package k8s tests k8s/ without a cluster (manifests_test.go). The command in images/
// builds its images.
package k8s
