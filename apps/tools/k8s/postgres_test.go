package k8s

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// checkPostgres checks that each store connects to PostgreSQL as its own user, and that the
// cluster's PostgreSQL makes these users, lets in nobody else, and keeps what it commits.
func checkPostgres(_ *testing.T, overlay string, objects []object) []error {
	var errs []error
	var stores []string
	connections := 0
	for _, o := range objects {
		if o.kind() == "Component" && at(o, "spec", "type") == "state.postgresql" {
			stores = append(stores, o.name())
			errs = append(errs, connectsToPostgres(o, overlay)...)
			n, err := strconv.Atoi(fmt.Sprint(at(fieldsOf(o)["maxConns"], "value")))
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: maxConns: %w", o, err))
			}
			connections += n
		}
	}
	for _, o := range objects {
		if o.kind() == "StatefulSet" && o.name() == "postgres" {
			errs = append(errs, servesStores(o, stores, connections)...)
		}
	}
	return errs
}

// connectsToPostgres checks that a store logs in as the user of its own name, and over TLS
// outside the cluster.
func connectsToPostgres(component object, overlay string) []error {
	found := fieldsOf(component)
	var errs []error
	if user := at(found["user"], "value"); user != component.name() {
		errs = append(errs, fmt.Errorf("%s: the user is %v", component, user))
	}
	secret := at(found["password"], "secretKeyRef")
	if at(secret, "name") != "postgres-"+component.name() || at(secret, "key") != "password" {
		errs = append(errs, fmt.Errorf("%s: the password is of the secret %v", component, secret))
	}
	given := map[string]string{}
	for _, field := range strings.Fields(fmt.Sprint(at(found["connectionString"], "value"))) {
		name, value, _ := strings.Cut(field, "=")
		given[name] = value
	}
	for _, name := range []string{"host", "port", "database"} {
		if given[name] == "" {
			errs = append(errs, fmt.Errorf("%s: the connectionString has no %s", component, name))
		}
	}
	want := "disable" // within the cluster
	if isProduction(overlay) {
		want = "verify-full"
	}
	if given["sslmode"] != want {
		errs = append(errs, fmt.Errorf("%s: sslmode is %q, not %s", component, given["sslmode"], want))
	}
	if given["password"] != "" {
		errs = append(errs, fmt.Errorf("%s: the connectionString has a password, and it is committed", component))
	}
	return errs
}

var (
	storesOf       = regexp.MustCompile(`(?m)^stores="(.*)"$`)
	hostBased      = regexp.MustCompile(`(?s)pg_hba.conf" <<EOF\n(.*?)\nEOF\n`)
	maxConnections = regexp.MustCompile(`-c max_connections=(\d+)`)
)

// letIn is who may log in, and how: the superuser from within the container, and the users of
// the stores with their passwords.
const letIn = `local all postgres peer
host postbus $(echo "$stores" | tr ' ' ,) all scram-sha-256`

// servesStores checks the script of the cluster's PostgreSQL. connections are the most of one
// replica of each service.
func servesStores(statefulSet object, stores []string, connections int) []error {
	container, script := serverContainer(statefulSet)
	errs := isPinned(container, script)
	var users []string
	if found := storesOf.FindStringSubmatch(script); found != nil {
		users = strings.Fields(found[1])
	}
	slices.Sort(users)
	slices.Sort(stores)
	if !slices.Equal(users, stores) {
		errs = append(errs, fmt.Errorf("the users are %v, and the stores are %v", users, stores))
	}
	if found := hostBased.FindStringSubmatch(script); found == nil || found[1] != letIn {
		errs = append(errs, fmt.Errorf("pg_hba.conf lets in others: %q", found))
	}
	for _, setting := range []string{"synchronous_commit", "fsync", "full_page_writes"} {
		if strings.Contains(script, setting) {
			errs = append(errs, fmt.Errorf("the script sets %s: a commit may be lost", setting))
		}
	}
	// While all Deployments roll there are two replicas of each, and some are for people.
	most := 0
	if found := maxConnections.FindStringSubmatch(script); found != nil {
		most, _ = strconv.Atoi(found[1])
	}
	if needed := 2*connections + 20; most < needed {
		errs = append(errs, fmt.Errorf("max_connections is %d, and there may be %d", most, needed))
	}
	return errs
}

// TestAnotherPostgresGetsTheSameUsers runs k8s/postgres-users, the script for a PostgreSQL
// outside.
func TestAnotherPostgresGetsTheSameUsers(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "k8s", "postgres", "user.sql"))
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, store := range []string{"posts-store", "comments-store", "moderation-store", "eventlog-store", "query-store", "client-store"} {
		for line := range strings.Lines(string(raw)) {
			if !strings.HasPrefix(line, "--") {
				want.WriteString(strings.ReplaceAll(line, "STORE", store))
			}
		}
		fmt.Fprintf(&want, "ALTER ROLE %q PASSWORD 'password-of-postgres-%s';\n", store, store)
	}
	if out := usersScript(t, "postgres-users"); out != want.String() {
		t.Errorf("got:\n%s\nwant:\n%s", out, want.String())
	}
}
