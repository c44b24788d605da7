package k8s

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
)

// checkRedis checks that each component has its own user in Redis, that the user reaches
// exactly what the component needs, and that the cluster's Redis stays below its
// container's limit.
func checkRedis(_ *testing.T, overlay string, objects []object) []error {
	engine := overlays[overlay]
	if engine != "redis" && engine != "redis-ha" {
		return nil
	}
	var errs []error
	var users string
	for _, o := range objects {
		if data, ok := at(o, "data", "users.acl").(string); ok {
			users = data
		}
	}
	for _, o := range objects {
		switch {
		case o.kind() == "Component":
			errs = append(errs, connectsAsItself(o)...)
			if engine == "redis-ha" {
				errs = append(errs, asksSentinels(o)...)
			}
		case o.kind() == "StatefulSet" && o.name() == "redis":
			errs = append(errs, refusesInTime(o)...)
			errs = append(errs, checkUsers(users, objects)...)
		}
	}
	return errs
}

// connectsAsItself checks that a component logs in as the user of its own name.
func connectsAsItself(component object) []error {
	found := fieldsOf(component)
	var errs []error
	if user := at(found["redisUsername"], "value"); user != component.name() {
		errs = append(errs, fmt.Errorf("%s: redisUsername is %v", component, user))
	}
	secret := at(found["redisPassword"], "secretKeyRef")
	if at(secret, "name") != "redis-"+component.name() || at(secret, "key") != "password" {
		errs = append(errs, fmt.Errorf("%s: the password is of the secret %v", component, secret))
	}
	return errs
}

// asksSentinels checks that a component asks Sentinels outside the cluster who the master is: over
// TLS, as their user.
func asksSentinels(component object) []error {
	found := fieldsOf(component)
	var errs []error
	secret := at(found["sentinelPassword"], "secretKeyRef")
	if at(found["sentinelUsername"], "value") != "postbus" || at(secret, "name") != "redis-sentinels" || at(secret, "key") != "password" {
		errs = append(errs, fmt.Errorf("%s: the Sentinels' password is of the secret %v", component, secret))
	}
	if host := fmt.Sprint(at(found["redisHost"], "value")); strings.Contains(host, ".invalid") {
		errs = append(errs, fmt.Errorf("%s: the overlay sets no address, and it is %s", component, host))
	}
	if at(found["enableTLS"], "value") != "true" {
		errs = append(errs, fmt.Errorf("%s: enableTLS is not true", component))
	}
	return errs
}

// fieldsOf are the fields of a component, by name.
func fieldsOf(component object) map[string]any { return named(at(component, "spec", "metadata")) }

// named are the entries of a list, by their names.
func named(list any) map[string]any {
	entries, _ := list.([]any)
	found := map[string]any{}
	for _, e := range entries {
		found[fmt.Sprint(at(e, "name"))] = e
	}
	return found
}

// serverContainer is a server's container, and the script that it runs.
func serverContainer(statefulSet object) (container any, script string) {
	containers, _ := at(statefulSet, "spec", "template", "spec", "containers").([]any)
	command, _ := at(containers[0], "command").([]any)
	return containers[0], fmt.Sprint(command[len(command)-1])
}

var (
	maxmemory = regexp.MustCompile(`(?m)^maxmemory (\d+)mb$`)
	buffers   = regexp.MustCompile(`(?m)^client-output-buffer-limit replica (\d+)mb `)
	digest    = regexp.MustCompile(`^[a-z]+:[0-9.]+(-[a-z]+)?@sha256:[0-9a-f]{64}$`)
)

// isPinned checks that a server runs a certain image, and the script that is written.
func isPinned(container any, script string) (errs []error) {
	if image := fmt.Sprint(at(container, "image")); !digest.MatchString(image) {
		errs = append(errs, fmt.Errorf("the image %s has no digest", image))
	}
	if strings.Contains(script, "$$") {
		errs = append(errs, errors.New("the command has $$, of which Kubernetes makes one $"))
	}
	return errs
}

// refusesInTime checks that Redis refuses writes before the kernel kills it.
func refusesInTime(statefulSet object) []error {
	container, script := serverContainer(statefulSet)
	errs := isPinned(container, script)
	if !strings.Contains(script, "\nmaxmemory-policy noeviction\n") {
		errs = append(errs, fmt.Errorf("the policy is not noeviction, so Redis forgets what is in no other place"))
	}
	data, buffer := maxmemory.FindStringSubmatch(script), buffers.FindStringSubmatch(script)
	limit, err := resource.ParseQuantity(fmt.Sprint(at(container, "resources", "limits", "memory")))
	if data == nil || buffer == nil || err != nil {
		return append(errs, fmt.Errorf("no maxmemory (%v), buffers (%v) or limit (%w)", data, buffer, err))
	}
	mb, err1 := strconv.Atoi(data[1])
	ofBackup, err2 := strconv.Atoi(buffer[1])
	if err1 != nil || err2 != nil {
		return append(errs, err1, err2)
	}
	// The sum in redis.yaml: a fifth of fragmentation, everything twice during a fork,
	// the writes that wait for a backup, and 32 MiB for the rest.
	needed := mb*12/10*2 + ofBackup + 32
	if has := int(limit.Value() >> 20); needed > has {
		errs = append(errs, fmt.Errorf("with a maxmemory of %d MiB Redis may need %d MiB, and the limit is %d", mb, needed, has))
	}
	return errs
}

// everything are rules that only the operator may have.
var everything = []string{"~*", "&*", "allkeys", "allcommands", "+@all", "allchannels", "nopass"}

// checkUsers checks that the users are those of the components, and reach only their own
// apps' keys or the topics.
func checkUsers(users string, objects []object) []error {
	want := map[string][]string{"operator": {"~*"}}
	for _, o := range objects {
		if o.kind() != "Component" {
			continue
		}
		scopes, _ := o["scopes"].([]any)
		want[o.name()] = []string{fmt.Sprint("~", scopes[0], "||*")}
		fields, _ := at(o, "spec", "metadata").([]any)
		for _, f := range fields {
			if at(f, "name") == "allowedTopics" {
				topics := strings.Split(fmt.Sprint(at(f, "value")), ",")
				for i := range topics {
					topics[i] = "~" + topics[i]
				}
				want[o.name()] = topics
			}
		}
	}
	var errs []error
	for line := range strings.Lines(users) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "user" {
			continue
		}
		name, rules := words[1], words[2:]
		keys := slices.DeleteFunc(slices.Clone(rules), func(r string) bool { return !strings.ContainsAny(r[:1], "~%(") && r != "allkeys" })
		if !slices.Equal(keys, want[name]) {
			errs = append(errs, fmt.Errorf("Redis's user %s reaches %v, not %v", name, keys, want[name]))
		}
		delete(want, name)
		for _, rule := range everything {
			if name != "operator" && slices.Contains(rules, rule) {
				errs = append(errs, fmt.Errorf("Redis's user %s has %s", name, rule))
			}
		}
	}
	for name := range want {
		errs = append(errs, fmt.Errorf("Redis has no user %s", name))
	}
	return errs
}

// TestTheSecretsThatAreUsedAreMade runs k8s/secrets with a kubectl that records what is
// made. It runs it again, as an update does.
func TestTheSecretsThatAreUsedAreMade(t *testing.T) {
	for overlay, engine := range map[string]string{
		"minikube": "", "production-redis-ha": "redis-ha", "minikube-postgres-rabbitmq": "postgres-rabbitmq", "minikube-postgres-jetstream": "postgres-jetstream",
	} {
		t.Run(overlay, func(t *testing.T) {
			used := map[string]bool{}
			for _, o := range build(t, filepath.Join(root, "k8s", "overlays", overlay)) {
				secretsOf(map[string]any(o), used)
			}
			delete(used, "redis")         // an older version's, which may exist
			delete(used, "client-secret") // the issuer's
			made, run := recorded(t, "ENGINE="+engine)
			run("secrets")
			passwords := map[string][]byte{}
			entries, err := os.ReadDir(made)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				raw, err := os.ReadFile(filepath.Join(made, e.Name()))
				if err != nil {
					t.Fatal(err)
				}
				if passwords[e.Name()] = raw; !regexp.MustCompile(`^[0-9a-f]{64}$`).Match(raw) {
					t.Errorf("secret %s is %q", e.Name(), raw)
				}
				if !used[e.Name()] {
					t.Errorf("secret %s is made and not used", e.Name())
				}
			}
			for name := range used {
				if passwords[name] == nil {
					t.Errorf("secret %s is used and not made", name)
				}
			}
			run("secrets")
			for name, before := range passwords {
				if after, err := os.ReadFile(filepath.Join(made, name)); err != nil || !bytes.Equal(before, after) {
					t.Errorf("secret %s was made again: %v", name, err)
				}
			}
		})
	}
}

func TestTheSecretOfAnOlderVersionIsNamed(t *testing.T) {
	made, run := recorded(t)
	if said := run("secrets"); strings.Contains(said, "older version") {
		t.Errorf("a new Redis has an old password: %s", said)
	}
	if err := os.WriteFile(filepath.Join(made, "redis"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := run("secrets"); !strings.Contains(said, "delete secret redis") {
		t.Errorf("nothing is said of the old password: %s", said)
	}
}

// recorded returns a function that runs a script of k8s/ with a kubectl that makes each
// secret a file of a folder.
func recorded(t *testing.T, env ...string) (made string, run func(script string) string) {
	t.Helper()
	made = t.TempDir()
	bin := t.TempDir()
	kubectl := fmt.Sprintf("#!/bin/sh\ncd '%s'\ncase \"$1 $2\" in\n'get secret') [ -e \"$3\" ] ;;\n'create secret') [ ! -e \"$4\" ] && cat >\"$4\" ;;\nesac\n", made)
	if err := os.WriteFile(filepath.Join(bin, "kubectl"), []byte(kubectl), 0o700); err != nil {
		t.Fatal(err)
	}
	return made, func(script string) string {
		t.Helper()
		cmd := exec.Command("sh", filepath.Join(root, "k8s", script), "postbus")
		cmd.Env = append(append(os.Environ(), env...), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("k8s/%s: %v\n%s", script, err, out)
		}
		return string(out)
	}
}

// secretsOf collects the names of the secrets that an object reads.
func secretsOf(v any, names map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			switch key {
			case "secretKeyRef":
				names[fmt.Sprint(at(value, "name"))] = true
			case "dapr.io/api-token-secret", "dapr.io/app-token-secret":
				names[fmt.Sprint(value)] = true
			}
			secretsOf(value, names)
		}
	case []any:
		for _, value := range v {
			secretsOf(value, names)
		}
	}
}

// usersScript runs a script that prints the users for a server outside, where the password of
// each secret is password-of- and its name.
func usersScript(t *testing.T, script string) string {
	t.Helper()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "kubectl"), []byte("#!/bin/sh\nprintf %s \"password-of-$3\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", filepath.Join(root, "k8s", script)) //nolint:gosec // the arguments are ours
	cmd.Env = append(os.Environ(), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// TestAnotherRedisGetsTheSameUsers runs k8s/redis-users, the script for a Redis outside.
func TestAnotherRedisGetsTheSameUsers(t *testing.T) {
	out := usersScript(t, "redis-users")
	raw, err := os.ReadFile(filepath.Join(root, "k8s", "redis", "users.acl"))
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for line := range strings.Lines(string(raw)) {
		if name, rules, ok := strings.Cut(strings.TrimPrefix(line, "user "), " "); ok && strings.HasPrefix(line, "user ") && name != "operator" {
			fmt.Fprintf(&want, "ACL SETUSER %s reset >password-of-redis-%[1]s %s", name, rules)
		}
	}
	if out != want.String() || strings.Count(want.String(), "\n") != 7 {
		t.Errorf("got:\n%s\nwant:\n%s", out, want.String())
	}
}

// TestASentinelGetsAUserWhoAsksOnly runs k8s/sentinel-users, the script for Sentinels outside.
func TestASentinelGetsAUserWhoAsksOnly(t *testing.T) {
	words := strings.Fields(usersScript(t, "sentinel-users"))
	want := []string{
		"ACL", "SETUSER", "postbus", "reset", "on", ">password-of-redis-sentinels", "&+switch-master", "&+replica-reconf-done", "-@all", "+@connection", "-@dangerous",
		"+subscribe", "+sentinel|get-master-addr-by-name", "+sentinel|sentinels", "+sentinel|replicas",
	}
	if !slices.Equal(words, want) {
		t.Errorf("got:  %v\nwant: %v", words, want)
	}
}
