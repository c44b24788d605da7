package k8s

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
)

// checkRabbitMQ checks that the bus connects to RabbitMQ with its secret, and that the
// cluster's RabbitMQ has this user, stays below its container's limit and drops nothing.
func checkRabbitMQ(_ *testing.T, overlay string, objects []object) []error {
	var errs []error
	var conf string
	for _, o := range objects {
		if data, ok := at(o, "data", "rabbitmq.conf").(string); ok {
			conf = data
		}
	}
	for _, o := range objects {
		switch {
		case o.kind() == "Component" && at(o, "spec", "type") == "pubsub.rabbitmq":
			errs = append(errs, connectsToRabbitMQ(o, overlay)...)
		case o.kind() == "StatefulSet" && o.name() == "rabbitmq":
			errs = append(errs, servesTheBus(o)...)
			errs = append(errs, staysBelowItsLimit(o, conf)...)
		}
	}
	return errs
}

// connectsToRabbitMQ checks that the bus logs in as its user, and over TLS outside the cluster.
func connectsToRabbitMQ(component object, overlay string) []error {
	found := fieldsOf(component)
	var errs []error
	if user := at(found["username"], "value"); user != component.name() {
		errs = append(errs, fmt.Errorf("%s: the user is %v", component, user))
	}
	secret := at(found["password"], "secretKeyRef")
	if at(secret, "name") != "rabbitmq-"+component.name() || at(secret, "key") != "password" {
		errs = append(errs, fmt.Errorf("%s: the password is of the secret %v", component, secret))
	}
	want := "amqp" // within the cluster
	if isProduction(overlay) {
		want = "amqps"
	}
	if protocol := at(found["protocol"], "value"); protocol != want {
		errs = append(errs, fmt.Errorf("%s: the protocol is %v, not %s", component, protocol, want))
	}
	return errs
}

var (
	definitionsOf = regexp.MustCompile(`(?s)definitions.json <<EOF\n(.*?)\nEOF\n`)
	watermark     = regexp.MustCompile(`(?m)^vm_memory_high_watermark.absolute = (\d+)MiB$`)
	writeAhead    = regexp.MustCompile(`(?m)^raft.wal_max_size_bytes = (\d+)$`)
	timeout       = regexp.MustCompile(`(?m)^consumer_timeout = (\d+)$`)
)

// servesTheBus checks the definitions that RabbitMQ reads at its start.
func servesTheBus(statefulSet object) []error {
	container, script := serverContainer(statefulSet)
	errs := isPinned(container, script)
	found := definitionsOf.FindStringSubmatch(script)
	if found == nil {
		return append(errs, errors.New("the script writes no definitions"))
	}
	var definitions struct {
		Users       []struct{ Name, Password string }
		Permissions []struct{ User string }
		Policies    []struct{ Definition map[string]int }
	}
	if err := json.Unmarshal([]byte(found[1]), &definitions); err != nil {
		return append(errs, fmt.Errorf("definitions: %w", err))
	}
	if u, p := definitions.Users, definitions.Permissions; len(u) != 1 || u[0].Name != "bus" || !strings.HasPrefix(u[0].Password, "${BUS") || len(p) != 1 || p[0].User != "bus" {
		errs = append(errs, fmt.Errorf("definitions: the users are %v with %v, and not the bus", u, p))
	}
	if p := definitions.Policies; len(p) != 1 || p[0].Definition["delivery-limit"] < 1_000_000 {
		errs = append(errs, fmt.Errorf("definitions: the delivery-limit is low, so messages are dropped: %v", p))
	}
	return errs
}

// staysBelowItsLimit checks that RabbitMQ refuses publishes before the kernel kills it, and that
// it waits for slow consumers.
func staysBelowItsLimit(statefulSet object, conf string) []error {
	container, _ := serverContainer(statefulSet)
	limit, err := resource.ParseQuantity(fmt.Sprint(at(container, "resources", "limits", "memory")))
	if err != nil {
		return []error{err}
	}
	number := func(of *regexp.Regexp) (n int) {
		if found := of.FindStringSubmatch(conf); found != nil {
			n, _ = strconv.Atoi(found[1])
		}
		return n
	}
	var errs []error
	// The sum in rabbitmq.conf: twice the watermark, and the code.
	if has, needed := int(limit.Value()>>20), 2*number(watermark)+64; number(watermark) == 0 || needed > has {
		errs = append(errs, fmt.Errorf("RabbitMQ may need %d MiB, and the limit is %d", needed, has))
	}
	if n := number(writeAhead); n == 0 || n > 64_000_000 {
		errs = append(errs, fmt.Errorf("wal_max_size_bytes is %d: the log of the queues grows", n))
	}
	if n := number(timeout); n < 7*24*60*60*1000 {
		errs = append(errs, fmt.Errorf("consumer_timeout is %d ms, so deliveries that wait end", n))
	}
	return errs
}
