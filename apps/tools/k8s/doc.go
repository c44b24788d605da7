// Package k8s tests k8s/ without a cluster, see manifests_test.go. The images that
// it runs are built by the command in images/.
package k8s
