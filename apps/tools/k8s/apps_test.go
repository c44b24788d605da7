package k8s

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// runFile has the fields of dapr.yaml that are used here.
type runFile struct {
	Common struct{ MaxBodySize string }
	Apps   []struct {
		AppID string
		Env   map[string]string
	}
}

// checkApps checks that each app is deployed as the code and dapr.yaml have it.
func checkApps(_ *testing.T, overlay string, objects []object) []error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	raw, err := os.ReadFile(filepath.Join(root, "dapr.yaml"))
	if err != nil {
		return []error{err}
	}
	var run runFile
	if err := yaml.Unmarshal(raw, &run); err != nil {
		return []error{err}
	}
	byName := map[string]object{}
	for _, o := range objects {
		byName[o.String()] = o
		if o.kind() == "Service" && strings.HasSuffix(o.name(), "-dapr") {
			add("Service %s: Dapr's operator makes one of that name for the sidecars", o.name())
		}
	}
	if len(run.Apps) != len(apps)+1 {
		add("dapr.yaml has %d apps, not %d and the issuer", len(run.Apps), len(apps))
	}
	for _, app := range run.Apps {
		if app.AppID == "issuer" { // checkPeople says that nothing runs it here
			continue
		}
		d, ok := byName["Deployment "+app.AppID]
		if !ok {
			add("no Deployment %s", app.AppID)
			continue
		}
		annotations, _ := at(d, "spec", "template", "metadata", "annotations").(map[string]any)
		for name, want := range map[string]string{
			"app-id": app.AppID, "app-port": strconv.Itoa(apps[app.AppID] + 100), "max-body-size": run.Common.MaxBodySize, "enabled": "true", "config": "postbus",
		} {
			if got := fmt.Sprint(annotations["dapr.io/"+name]); got != want {
				add("%s: dapr.io/%s is %s, not %s", app.AppID, name, got, want)
			}
		}
		if annotations["dapr.io/enable-native-sidecar"] != "true" {
			add("%s: not a native sidecar, which ends after the app", app.AppID)
		}
		for _, what := range []string{"cpu-request", "cpu-limit", "memory-request", "memory-limit"} {
			if annotations["dapr.io/sidecar-"+what] == nil {
				add("%s: the sidecar has no %s", app.AppID, what)
			}
		}
		errs = append(errs, endsInTime(d, annotations)...)
		if at(d, "spec", "template", "spec", "shareProcessNamespace") != nil {
			add("%s: the app sees its sidecar's processes, and so its passwords", app.AppID)
		}
		if err := collectsInTime(d); err != nil {
			add("%s: %w", app.AppID, err)
		}
		if host := env(d, "HOST"); host != "*" {
			add("%s listens on HOST %v alone", app.AppID, host)
		}

		port, _ := strconv.Atoi(app.Env["PORT"])
		containers, _ := at(d, "spec", "template", "spec", "containers").([]any)
		ports, _ := at(containers[0], "ports").([]any)
		if got := fmt.Sprint(at(ports[0], "containerPort")); got != strconv.Itoa(port) || port != apps[app.AppID] {
			add("%s: port %s, %s in dapr.yaml, and it is %d", app.AppID, got, app.Env["PORT"], apps[app.AppID])
		}
		for _, kind := range []string{"Service", "PodDisruptionBudget"} {
			if byName[kind+" "+app.AppID] == nil {
				add("%s has no %s", app.AppID, kind)
			}
		}
		if isProduction(overlay) {
			errs = append(errs, scales(app.AppID, d, byName["HorizontalPodAutoscaler "+app.AppID])...)
		}
	}
	tls, _ := at(byName["Ingress postbus"], "spec", "tls").([]any)
	if isProduction(overlay) && len(tls) == 0 {
		add("the Ingress has no TLS")
	}
	if hasSecret := slices.ContainsFunc(objects, func(o object) bool { return o.kind() == "Secret" }); hasSecret {
		add("a Secret is committed")
	}
	return errs
}

// env is the value of a variable of a Deployment's app, or nil.
func env(d object, name string) any {
	containers, _ := at(d, "spec", "template", "spec", "containers").([]any)
	return at(named(at(containers[0], "env"))[name], "value")
}

// stopsWithin bounds the time, in seconds, in which an app stops: 7 for the last requests
// of both listeners, 5 for the log to confirm what was published, 5 for the traces.
const stopsWithin = 17

// endsInTime adds up the time that a pod may take to end.
func endsInTime(d object, annotations map[string]any) []error {
	spec := at(d, "spec", "template", "spec")
	containers, _ := at(spec, "containers").([]any)
	sidecar, err1 := strconv.Atoi(fmt.Sprint(annotations["dapr.io/graceful-shutdown-seconds"]))
	pause, err2 := strconv.Atoi(fmt.Sprint(at(containers[0], "lifecycle", "preStop", "sleep", "seconds")))
	grace, err3 := strconv.Atoi(fmt.Sprint(at(spec, "terminationGracePeriodSeconds")))
	if err1 != nil || err2 != nil || err3 != nil || grace <= pause+stopsWithin+sidecar {
		return []error{fmt.Errorf("%s: terminationGracePeriodSeconds %d is too short for %d s of preStop, %d s of the app and %d s of the sidecar", d, grace, pause, stopsWithin, sidecar)}
	}
	return nil
}

// scales checks that an app has three replicas, or an autoscaler with that minimum.
func scales(app string, deployment, autoscaler object) []error {
	scaled := []string{"posts", "comments", "moderation", "query"}
	replicas := at(deployment, "spec", "replicas")
	if !slices.Contains(scaled, app) {
		if fmt.Sprint(replicas) != "3" {
			return []error{fmt.Errorf("%s: replicas are %v, not 3", app, replicas)}
		}
		return nil
	}
	if autoscaler == nil || fmt.Sprint(at(autoscaler, "spec", "scaleTargetRef", "name")) != app || fmt.Sprint(at(autoscaler, "spec", "minReplicas")) != "3" {
		return []error{fmt.Errorf("%s has no autoscaler that starts with three", app)}
	}
	if replicas != nil {
		return []error{fmt.Errorf("%s has an autoscaler and replicas, which every apply would reset", app)}
	}
	return nil
}

// collectsInTime checks that an app's garbage collector knows its container's limit, and
// leaves room below it for other memory and for bursts.
func collectsInTime(d object) error {
	containers, _ := at(d, "spec", "template", "spec", "containers").([]any)
	has, err := resource.ParseQuantity(fmt.Sprint(at(containers[0], "resources", "limits", "memory")))
	if err != nil {
		return err
	}
	soft := fmt.Sprint(env(d, "GOMEMLIMIT"))
	keeps, err := resource.ParseQuantity(strings.TrimSuffix(soft, "B")) // Go's MiB is Kubernetes' Mi
	if err != nil {
		return fmt.Errorf("GOMEMLIMIT %s: %w", soft, err)
	}
	if share := float64(keeps.Value()) / float64(has.Value()); share < 0.6 || share > 0.8 {
		return fmt.Errorf("GOMEMLIMIT %s is %.2f of the limit, and not 0.6 to 0.8", soft, share)
	}
	return nil
}
