package sidecar_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	contribmeta "github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/pubsub/jetstream"
	"github.com/dapr/components-contrib/pubsub/rabbitmq"
	postgresql "github.com/dapr/components-contrib/state/postgresql/v2"
	compapi "github.com/dapr/dapr/pkg/apis/components/v1alpha1"
	"github.com/dapr/dapr/pkg/scopes"
	"github.com/dapr/kit/logger"
	"sigs.k8s.io/yaml"
)

// engines can take the place of the default, with their folders of components/.
var engines = map[string][]string{
	"postgres-jetstream": {"postgres", "postgres-jetstream"},
	"postgres-rabbitmq":  {"postgres", "postgres-rabbitmq"},
	"redis-ha":           {"redis-ha"},
}

// runFiles are the run files of the engines, from the checkout's root.
func runFiles() []string {
	var all []string
	for _, engine := range slices.Sorted(maps.Keys(engines)) {
		all = append(all, "components/"+engine+".yaml")
	}
	return all
}

// engineComponents are the components of an engine's folders, by name.
func engineComponents(t *testing.T, folders ...string) map[string]compapi.Component {
	t.Helper()
	var paths []string
	for _, folder := range folders {
		found, err := filepath.Glob(filepath.Join("..", "..", "..", "components", folder, "*"))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s has %d files, error %v", folder, len(found), err)
		}
		paths = append(paths, found...)
	}
	all := map[string]compapi.Component{}
	for _, path := range paths {
		if filepath.Base(path) == kustomization {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err) // a folder, of which Dapr would warn
		}
		var c compapi.Component
		if err := unmarshalStrict(content, &c); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if _, again := all[c.Name]; again || filepath.Ext(path) != ".yaml" {
			t.Errorf("%s: %s comes twice, or the file is no YAML file", path, c.Name)
		}
		all[c.Name] = c
	}
	return all
}

// An engine takes the place of another one: the same names, for the same apps, with the same
// rights.
func TestEnginesDifferInTheirComponentsAlone(t *testing.T) {
	want := engineComponents(t, "redis")
	for engine, folders := range engines {
		t.Run(engine, func(t *testing.T) {
			got := engineComponents(t, folders...)
			if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, slices.Sorted(maps.Keys(want))) {
				t.Fatalf("the components are %v, want %v", names, slices.Sorted(maps.Keys(want)))
			}
			for name, c := range got {
				if !slices.Equal(c.Scopes, want[name].Scopes) {
					t.Errorf("%s is scoped to %v, want %v", name, c.Scopes, want[name].Scopes)
				}
			}
			rights := func(c compapi.Component) map[string]string {
				given, err := properties(c, services[0])
				if err != nil {
					t.Fatal(err)
				}
				maps.DeleteFunc(given, func(name, _ string) bool {
					return !slices.Contains([]string{scopes.AllowedTopics, scopes.ProtectedTopics, scopes.PublishingScopes, scopes.SubscriptionScopes}, name)
				})
				return given
			}
			if is, should := rights(got["bus"]), rights(want["bus"]); !maps.Equal(is, should) {
				t.Errorf("the rights on the bus are %v, want %v", is, should)
			}
		})
	}
}

// The component types of the engines, with the metadata that they, or the runtime for them, read.
func TestEveryComponentOfAnEngineKnowsItsMetadata(t *testing.T) {
	fieldsOf := func(component any) map[string]bool {
		known := map[string]bool{}
		for name := range component.(interface {
			GetComponentMetadata() contribmeta.MetadataMap
		}).GetComponentMetadata() {
			known[name] = true
		}
		return known
	}
	log := logger.NewLogger("test")
	known := map[string]map[string]bool{
		"state.postgresql/v2": fieldsOf(postgresql.NewPostgreSQLStateStore(log)),
		"state.redis/v1":      knownMetadata("state.redis"),
		"pubsub.jetstream/v1": fieldsOf(jetstream.NewJetStream(log)),
		"pubsub.rabbitmq/v1":  fieldsOf(rabbitmq.NewRabbitMQ(log)),
		"pubsub.redis/v1":     knownMetadata("pubsub.redis"),
	}
	for engine, folders := range engines {
		for name, c := range engineComponents(t, folders...) {
			fields, ok := known[c.Spec.Type+"/"+c.Spec.Version]
			if !ok {
				t.Errorf("%s, %s: no %s %s is known here", engine, name, c.Spec.Type, c.Spec.Version)
				continue
			}
			for _, item := range c.Spec.Metadata {
				if !fields[item.Name] && !strings.HasSuffix(item.Name, "Topics") && !strings.HasSuffix(item.Name, "Scopes") {
					t.Errorf("%s, %s: %s has no field %q", engine, name, c.Spec.Type, item.Name)
				}
				// A password in a file that is committed is everybody's.
				if slices.Contains([]string{"connectionString", "natsURL", "redisHost"}, item.Name) && (item.EnvRef == "" || item.HasValue()) {
					t.Errorf("%s, %s: %s is not from the environment", engine, name, item.Name)
				}
			}
		}
	}
}

// By default an exchange and a queue go with their last consumer, and so do the messages. The
// broker refuses such a quorum queue.
func TestRabbitMQKeepsItsQueues(t *testing.T) {
	given, err := properties(engineComponents(t, "postgres-rabbitmq")["bus"], services[0])
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{"deletedWhenUnused": "false", "durable": "true", "deliveryMode": "2", "requeueInFailure": "true"} {
		if given[field] != want {
			t.Errorf("%s is %q, want %q", field, given[field], want)
		}
	}
}

// Otherwise all apps would share one consumer, and each message would go to one of them.
func TestEachAppHasConsumersOfItsOwnInNATS(t *testing.T) {
	c := engineComponents(t, "postgres-jetstream")["bus"]
	for _, app := range services {
		given, err := properties(c, app)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{"durableName", "queueGroupName"} {
			if given[field] != app {
				t.Errorf("%s of %s is %q", field, app, given[field])
			}
		}
	}
}

// The two differ in who finds the master, and in nothing else.
func TestRedisWithSentinelsDiffersInItsAddressAlone(t *testing.T) {
	settings := func(c compapi.Component) map[string]string {
		given, err := properties(c, services[0])
		if err != nil {
			t.Fatal(err)
		}
		delete(given, "redisHost")
		return given
	}
	alone := engineComponents(t, "redis")
	for name, c := range engineComponents(t, "redis-ha") {
		want := settings(alone[name])
		want["failover"], want["sentinelMasterName"] = "true", "mymaster"
		if got := settings(c); !maps.Equal(got, want) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// No two stores have a table in common.
func TestEachStoreOfPostgreSQLHasTablesOfItsOwn(t *testing.T) {
	of := map[string]string{}
	for name, c := range engineComponents(t, "postgres") {
		given, err := properties(c, c.Scopes[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{"tablePrefix", "metadataTableName"} {
			table := given[field]
			if other, taken := of[table]; taken || table == "" {
				t.Errorf("%s of %s is %q, as that of %q", field, name, table, other)
			}
			of[table] = name
		}
	}
}

func TestRunFilesDifferInTheirResourcesAlone(t *testing.T) {
	read := func(path string) (run map[string]any) {
		content, err := os.ReadFile(filepath.Join("..", "..", "..", path))
		if err == nil {
			err = yaml.Unmarshal(content, &run)
		}
		if err != nil {
			t.Fatal(err)
		}
		return run
	}
	// relocate changes a path of the top folder into one of components/.
	relocate := func(run map[string]any, folders []string) {
		common, _ := run["common"].(map[string]any)
		paths := []any{"./shared"}
		for _, folder := range folders {
			paths = append(paths, "./"+folder)
		}
		common["resourcesPaths"] = paths
		common["configFilePath"] = strings.Replace(fmt.Sprint(common["configFilePath"]), "./components/", "./", 1)
		apps, _ := run["apps"].([]any)
		for _, a := range apps {
			app, _ := a.(map[string]any)
			app["appDirPath"] = "." + fmt.Sprint(app["appDirPath"])
		}
	}
	for engine, folders := range engines {
		want := read("dapr.yaml")
		relocate(want, folders)
		if is, should := fmt.Sprint(read("components/"+engine+".yaml")), fmt.Sprint(want); is != should {
			t.Errorf("%s.yaml is\n%s\nwant\n%s", engine, is, should)
		}
	}
}
