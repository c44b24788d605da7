package k8s

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
)

// checkNATS checks that the bus connects to NATS with its secret, that the pods make the streams
// where it connects to, and that the cluster's NATS knows the bus alone and keeps what it confirms.
func checkNATS(_ *testing.T, overlay string, objects []object) []error {
	var errs []error
	var conf string
	var bus object
	for _, o := range objects {
		if data, ok := at(o, "data", "nats.conf").(string); ok {
			conf = data
		}
		if o.kind() == "Component" && at(o, "spec", "type") == "pubsub.jetstream" {
			bus = o
			errs = append(errs, connectsToNATS(o, overlay)...)
		}
	}
	for _, o := range objects {
		switch {
		case o.kind() == "Deployment" && bus != nil && o.name() != "client":
			errs = append(errs, makesStreams(o, bus)...)
		case o.kind() == "StatefulSet" && o.name() == "nats":
			errs = append(errs, servesStreams(o, conf)...)
		}
	}
	return errs
}

// ofBus reports whether a reference is to the secret that NATS asks of its clients.
func ofBus(secret any) bool { return at(secret, "name") == "nats-bus" && at(secret, "key") == "token" }

// connectsToNATS checks that the bus has its token, and TLS to each node outside the cluster.
func connectsToNATS(component object, overlay string) (errs []error) {
	found := fieldsOf(component)
	if secret := at(found["token"], "secretKeyRef"); !ofBus(secret) {
		errs = append(errs, fmt.Errorf("%s: the token is of the secret %v", component, secret))
	}
	want := "nats://" // within the cluster
	if isProduction(overlay) {
		want = "tls://"
	}
	for url := range strings.SplitSeq(fmt.Sprint(at(found["natsURL"], "value")), ",") {
		if !strings.HasPrefix(url, want) || strings.Contains(url, "@") {
			errs = append(errs, fmt.Errorf("%s: the natsURL has %s, not %s and an address", component, url, want))
		}
	}
	return errs
}

// makesStreams checks that a pod makes the streams of the bus's topics in the bus's NATS before
// anything else starts.
func makesStreams(deployment, bus object) []error {
	inits, _ := at(deployment, "spec", "template", "spec", "initContainers").([]any)
	if len(inits) != 1 || at(inits[0], "name") != "streams" || at(inits[0], "restartPolicy") != nil {
		return []error{fmt.Errorf("%s makes no streams before its sidecar starts", deployment)}
	}
	var errs []error
	given := named(at(inits[0], "env"))
	found := fieldsOf(bus)
	for name, field := range map[string]string{"NATS": "natsURL", "TOPICS": "allowedTopics"} {
		if got, want := at(given[name], "value"), at(found[field], "value"); got != want || want == nil {
			errs = append(errs, fmt.Errorf("%s makes streams with the %s %v, and the bus has the %s %v", deployment, name, got, field, want))
		}
	}
	if secret := at(given["NATS_TOKEN"], "valueFrom", "secretKeyRef"); !ofBus(secret) {
		errs = append(errs, fmt.Errorf("%s makes streams with the token of the secret %v", deployment, secret))
	}
	return errs
}

// servesStreams checks the cluster's NATS.
func servesStreams(statefulSet object, conf string) []error {
	container, _ := serverContainer(statefulSet)
	errs := isPinned(container, "")
	for what, want := range map[string]*regexp.Regexp{
		"everybody is let in": regexp.MustCompile(`(?m)^authorization \{ token: \$TOKEN \}$`),
		"everybody is a node": regexp.MustCompile(`(?m)^  authorization \{ user: node, password: \$NODES \}$`),
		"what NATS confirms may not be on its disk (sync_interval)": regexp.MustCompile(`(?m)^  sync_interval: always$`),
	} {
		if !want.MatchString(conf) {
			errs = append(errs, fmt.Errorf("nats.conf: %s", what))
		}
	}
	if n := at(statefulSet, "spec", "replicas"); fmt.Sprint(n) != "3" {
		errs = append(errs, fmt.Errorf("%s: %v nodes, and a stream is on 3", statefulSet, n))
	}
	limit := regexp.MustCompile(`(?m)^  max_file_store: (\d+M)$`).FindStringSubmatch(conf)
	volumes, _ := at(statefulSet, "spec", "volumeClaimTemplates").([]any)
	if limit == nil || len(volumes) != 1 {
		return append(errs, fmt.Errorf("nats.conf: no max_file_store (%v), or no volume", limit))
	}
	most, err1 := resource.ParseQuantity(limit[1])
	size, err2 := resource.ParseQuantity(fmt.Sprint(at(volumes[0], "spec", "resources", "requests", "storage")))
	if err1 != nil || err2 != nil || most.Value() > size.Value()*3/4 {
		errs = append(errs, fmt.Errorf("nats.conf: max_file_store %s is more than three quarters of the volume %s", limit[1], size.String()))
	}
	return errs
}
