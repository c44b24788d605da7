package k8s

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// ignored are the checks of kube-score that do not apply to these manifests, with the
// reasons.
var ignored = map[string]string{
	"container-image-pull-policy": "it asks for Always; the images have fixed tags, and a minikube has nowhere to pull them from",
	"container-security-context-user-group-id": "it asks for ids above 10000, and the official Redis image's user is 999; " +
		"that nobody is root is part of the restricted Pod Security Standard",
	"deployment-has-host-podantiaffinity": "topologySpreadConstraints do it, by node and zone",
	"deployment-replicas":                 "minikube has one of each; production's are checked in apps_test.go",
	"service-type":                        "it warns of NodePort, which minikube's posts-svc is meant to be",
}

// checkPolicy runs kube-score, and checks every pod without its sidecar against
// Kubernetes' restricted Pod Security Standard.
func checkPolicy(t *testing.T, _ string, objects []object) []error {
	var errs []error
	var all bytes.Buffer
	for _, o := range objects {
		raw, err := yaml.Marshal(o)
		if err != nil {
			return []error{err}
		}
		all.WriteString("---\n")
		all.Write(raw)
		if template := at(o, "spec", "template"); template != nil {
			errs = append(errs, restricted(o, template)...)
		}
	}
	return append(errs, scored(t, all.Bytes())...)
}

func restricted(o object, template any) []error {
	var pod corev1.PodTemplateSpec
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(template.(map[string]any), &pod); err != nil { //nolint:forcetypeassert,errcheck // the schema has been checked
		return []error{fmt.Errorf("%s: %w", o, err)}
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		return []error{err}
	}
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}, &pod.ObjectMeta, &pod.Spec))
	if !result.Allowed {
		return []error{fmt.Errorf("%s does not pass the restricted Pod Security Standard: %s (%s)", o, result.ForbiddenReason(), result.ForbiddenDetail())}
	}
	return nil
}

// scored is what kube-score complains of.
func scored(t *testing.T, manifests []byte) []error {
	t.Helper()
	version := kubernetes[strings.Index(kubernetes, "@")+1 : strings.LastIndex(kubernetes, ".")]
	args := []string{"tool", "kube-score", "score", "--kubernetes-version", version, "--output-format", "json"}
	for _, id := range slices.Sorted(maps.Keys(ignored)) {
		args = append(args, "--ignore-test", id)
	}
	cmd := exec.Command("go", append(args, "-")...) //nolint:gosec // the arguments are ours
	cmd.Dir = "score"
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stdin = bytes.NewReader(manifests)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	var scores []struct {
		ObjectName string `json:"object_name"`
		Checks     []struct {
			Check struct {
				Name, ID string
			}
			Grade    int
			Skipped  bool
			Comments []struct{ Path, Summary string }
		}
	}
	// kube-score exits with 1 and prints its findings when something is wrong.
	if jsonErr := json.Unmarshal(out, &scores); jsonErr != nil || len(scores) == 0 {
		return []error{fmt.Errorf("kube-score: %w, %w: %s%s", err, jsonErr, said.Bytes(), out)}
	}
	const warning = 5
	var errs []error
	for _, o := range scores {
		for _, c := range o.Checks {
			if !c.Skipped && c.Grade <= warning {
				errs = append(errs, fmt.Errorf("%s: %s (%s): %v", o.ObjectName, c.Check.Name, c.Check.ID, c.Comments))
			}
		}
	}
	return errs
}
