package k8s

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// engines are all engines, with their folders of components/.
var engines = map[string][]string{
	"redis": {"redis"}, "redis-ha": {"redis-ha"},
	"postgres-rabbitmq": {"postgres", "postgres-rabbitmq"}, "postgres-jetstream": {"postgres", "postgres-jetstream"},
}

// overlays are all overlays, with the engine of each.
var overlays = map[string]string{
	"minikube": "redis", "gateway": "redis", "production": "redis",
	"production-redis-ha":        "redis-ha",
	"minikube-postgres-rabbitmq": "postgres-rabbitmq", "production-postgres-rabbitmq": "postgres-rabbitmq",
	"minikube-postgres-jetstream": "postgres-jetstream", "production-postgres-jetstream": "postgres-jetstream",
}

// isProduction reports whether an overlay is for production, on any engine.
func isProduction(overlay string) bool { return strings.HasPrefix(overlay, "production") }

// apps are the apps and their public ports, stated independently of the files.
var apps = map[string]int{"posts": 4000, "comments": 4001, "query": 4002, "moderation": 4003, "eventlog": 4005, "client": 3000}

// object is an object of a manifest.
type object map[string]any

func (o object) kind() string { s, _ := o["kind"].(string); return s }
func (o object) name() string { return fmt.Sprint(at(o, "metadata", "name")) }
func (o object) String() string {
	return fmt.Sprint(o.kind(), " ", o.name())
}

// at follows the keys of nested maps. A missing key gives nil.
func at(v any, keys ...string) any {
	for _, key := range keys {
		switch m := v.(type) {
		case object:
			v = m[key]
		case map[string]any:
			v = m[key]
		default:
			return nil
		}
	}
	return v
}

// checks are what must hold for an overlay. Each returns what is wrong.
var checks = map[string]func(t *testing.T, overlay string, objects []object) []error{
	"schema": checkSchema,
	"drift":  checkDrift,
	"policy": checkPolicy,
	"apps":   checkApps,
	"access": checkAccess,
	"people": checkPeople,
	"redis":  checkRedis,

	"postgres": checkPostgres,
	"rabbitmq": checkRabbitMQ,
	"nats":     checkNATS,
}

func TestOverlays(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join(root, "k8s", "overlays"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if overlays[e.Name()] == "" {
			t.Errorf("the overlay %s is not tested", e.Name())
		}
	}
	for _, overlay := range slices.Sorted(maps.Keys(overlays)) {
		objects := build(t, filepath.Join(root, "k8s", "overlays", overlay))
		for _, name := range slices.Sorted(maps.Keys(checks)) {
			t.Run(overlay+"/"+name, func(t *testing.T) {
				for _, err := range checks[name](t, overlay, objects) {
					t.Error(err)
				}
			})
		}
	}
}

// root is the checkout's.
const root = "../../.."

// build builds a kustomization with kubectl's library, in the version of that Kubernetes'
// kubectl.
func build(t *testing.T, dir string) []object {
	t.Helper()
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified // the overlays have their own sortOptions
	resources, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var objects []object
	for _, r := range resources.Resources() {
		raw, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		var o object
		if err := yaml.UnmarshalStrict(raw, &o); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	return objects
}

// TestChecksNoticeDamage damages a copy of the committed files, to show that each check
// notices it.
func TestChecksNoticeDamage(t *testing.T) {
	const (
		minikube, production, gateway  = "minikube", "production", "gateway"
		onPostgres, productionPostgres = "minikube-postgres-rabbitmq", "production-postgres-rabbitmq"
		onNATS, productionNATS         = "minikube-postgres-jetstream", "production-postgres-jetstream"
		productionSentinels            = "production-redis-ha"
	)
	tests := []struct {
		name, check, overlay, file string
		old, new                   string
		want                       string
	}{
		{"a field that Kubernetes doesn't have", "schema", minikube, "k8s/base/app.yaml", "enableServiceLinks:", "enableServiceLink:", `unknown field "spec.template.spec.enableServiceLink"`},
		{"a value of the wrong type", "schema", minikube, "k8s/base/posts.yaml", "containerPort: 4000", "containerPort: http", "containerPort"},
		{"an apiVersion that is gone", "schema", production, "k8s/sizes/production/autoscaling.yaml", "autoscaling/v2\n", "autoscaling/v2beta2\n", "autoscaling/v2beta2"},
		{"a required field that is missing", "schema", minikube, "k8s/sizes/minikube/nodeport.yaml", "port: 4000, ", "", "port"},
		{"a field that Dapr doesn't have", "schema", minikube, "k8s/base/access-control.yaml", "httpVerb: [GET], ", "httpVerbs: [GET], ", "httpVerbs"},
		{"a value that Dapr's schema refuses", "schema", minikube, "k8s/base/access-control.yaml", "defaultAction: deny", "defaultAction: 1", "defaultAction"},
		{"a match that the Gateway API doesn't have", "schema", gateway, "k8s/overlays/gateway/routes.yaml", "RegularExpression", "Regex", "Regex"},
		{"a path that the Gateway API refuses", "schema", gateway, "k8s/overlays/gateway/routes.yaml", "value: / }", "value: posts }", "absolute path"},
		{"an annotation that the injector doesn't know", "schema", minikube, "k8s/base/app.yaml", "dapr.io/config:", "dapr.io/configuration:", "dapr.io/configuration"},

		{"a setting of the bus that is another on Kubernetes", "drift", minikube, "k8s/engines/redis/kustomization.yaml", "value: \"redis:6379\" }\n", "value: \"redis:6379\" }\n      - { op: add, path: /spec/metadata/1, value: { name: concurrency, value: \"1\" } }\n", "drifted"},
		{"a file of components/ that isn't used", "drift", minikube, "components/shared/kustomization.yaml", "  - subscriptions.yaml\n", "", "Subscription"},
		{"one machine's name resolution", "drift", minikube, "k8s/base/access-control.yaml", "  nameResolution: null\n", "", "Configuration postbus has drifted"},
		{"one machine's addresses", "drift", minikube, "k8s/base/access-control.yaml", "  httpPipeline: null\n", "", "Configuration postbus has drifted"},
		{"a resource that is changed", "drift", production, "k8s/overlays/production/kustomization.yaml", "patches:\n", "patches:\n  - target: { kind: Subscription, name: query-post-created }\n    patch: |\n      - { op: replace, path: /spec/topic, value: Other }\n", "query-post-created"},
		{"a resource that isn't from components/", "drift", minikube, "k8s/sizes/minikube/nodeport.yaml", "apiVersion: v1\n", "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: { name: another }\nspec: { type: state.redis, version: v1, metadata: [{ name: redisHost, value: x }] }\n---\napiVersion: v1\n", "another"},

		{"the latest tag", "policy", minikube, "k8s/sizes/minikube/kustomization.yaml", "postbus/posts, newTag: dev", "postbus/posts, newTag: latest", "Image Tag"},
		{"no tag", "policy", minikube, "k8s/sizes/minikube/kustomization.yaml", "  - { name: postbus/posts, newTag: dev }\n", "", "Image Tag"},
		{"root", "policy", minikube, "k8s/base/app.yaml", "runAsNonRoot: true\n        runAsUser: 65532", "runAsUser: 0", "runAsNonRoot"},
		{"a collector that knows no limit", "apps", minikube, "k8s/base/posts.yaml", "name: GOMEMLIMIT", "name: GOMAXMEM", "posts: GOMEMLIMIT"},
		{"a collector that begins too late", "apps", minikube, "k8s/base/query.yaml", "value: 800MiB", "value: 900MiB", "query: GOMEMLIMIT 900MiB"},
		{"no limits", "policy", minikube, "k8s/base/query.yaml", "            limits: { cpu: \"2\", memory: 1Gi, ephemeral-storage: 64Mi }\n", "", "Container Resources"},
		{"no readiness probe", "policy", minikube, "k8s/base/app.yaml", "readinessProbe:", "startupProbe:", "Pod Probes"},
		{"a privileged container", "policy", minikube, "k8s/base/app.yaml", "allowPrivilegeEscalation: false", "privileged: true", "rivileged"},
		{"capabilities", "policy", minikube, "k8s/redis/redis.yaml", "            capabilities: { drop: [ALL] }\n", "", "unrestricted capabilities"},
		{"a file system that can be written", "policy", minikube, "k8s/base/app.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "ReadOnlyRootFilesystem"},

		{"another port than dapr.yaml's", "apps", minikube, "k8s/base/posts.yaml", `dapr.io/app-port: "4100"`, `dapr.io/app-port: "4000"`, "app-port"},
		{"another app id", "apps", minikube, "k8s/base/posts.yaml", "dapr.io/app-id: posts", "dapr.io/app-id: post", "app-id"},
		{"another body size than dapr.yaml's", "apps", minikube, "k8s/base/app.yaml", "max-body-size: 16Mi", "max-body-size: 4Mi", "max-body-size"},
		{"a Service of Dapr's own name", "apps", minikube, "k8s/sizes/minikube/nodeport.yaml", "name: posts-svc", "name: posts-dapr", "posts-dapr"},
		{"a sidecar that ends before the app", "apps", minikube, "k8s/base/app.yaml", `enable-native-sidecar: "true"`, `enable-native-sidecar: "false"`, "native"},
		{"a sidecar that its app sees", "apps", minikube, "k8s/base/app.yaml", "enableServiceLinks: false", "enableServiceLinks: false\n      shareProcessNamespace: true", "sees its sidecar's processes"},
		{"an app that only its pod reaches", "apps", minikube, "k8s/base/app.yaml", "{ name: HOST, value: \"*\" }", "{ name: HOST, value: 127.0.0.1 }", "HOST"},
		{"no time to end in", "apps", minikube, "k8s/base/app.yaml", "terminationGracePeriodSeconds: 40", "terminationGracePeriodSeconds: 20", "terminationGracePeriodSeconds"},
		{"an autoscaler too few", "apps", production, "k8s/sizes/production/autoscaling.yaml", "name: query }", "name: posts }", "query"},
		{"a replica too few", "apps", production, "k8s/sizes/production/kustomization.yaml", "path: /spec/replicas, value: 3", "path: /spec/replicas, value: 2", "replicas"},
		{"no TLS", "apps", production, "k8s/sizes/production/kustomization.yaml", "path: /spec/tls", "path: /metadata/annotations/tls", "TLS"},

		{"access for all", "access", minikube, "k8s/base/access-control.yaml", "  accessControl:\n    defaultAction: deny", "  accessControl:\n    defaultAction: allow", "eventlog may call GET /posts/1 of query"},
		{"access to the log for the client", "access", minikube, "k8s/base/access-control.yaml", "name: /posts/**, httpVerb: [GET, HEAD, POST]", "name: /**, httpVerb: [GET, HEAD, POST]", "client may call GET /events"},
		{"access to everything for comments", "access", minikube, "k8s/base/access-control.yaml", "name: /posts/**, httpVerb: [GET],", "name: /**, httpVerb: [GET],", "comments may call GET /repairs of posts"},
		{"no access to query for comments", "access", minikube, "k8s/base/access-control.yaml", "name: /posts/**, httpVerb: [GET],", "name: /post/**, httpVerb: [GET],", "comments may not call GET /posts/1 of query"},
		{"access to commands for comments", "access", minikube, "k8s/base/access-control.yaml", "name: /posts/**, httpVerb: [GET],", "name: /posts/**, httpVerb: [GET, POST],", "comments may call POST /posts/create"},
		{"no access to the log for query", "access", minikube, "k8s/base/access-control.yaml", "appId: query", "appId: queries", "query may not call GET /events"},
		{"no access to the log for posts", "access", minikube, "k8s/base/access-control.yaml", "name: /events", "name: /event", "posts may not call GET /events"},
		{"no access to the dead letters for posts", "access", minikube, "k8s/base/access-control.yaml", "name: /dead-letters/known", "name: /dead-letters/knows", "posts may not call GET /dead-letters/known"},
		{"the dead letters for query", "access", minikube, "k8s/base/access-control.yaml", "appId: query\n        namespace: postbus\n        trustDomain: public\n        defaultAction: deny\n        operations:\n          - { name: /events,", "appId: query\n        namespace: postbus\n        trustDomain: public\n        defaultAction: deny\n        operations:\n          - { name: /dead-letters/known,", "query may call GET /dead-letters/known"},
		{"the log's readers as writers", "access", minikube, "k8s/base/access-control.yaml", "name: /events, httpVerb: [GET]", "name: /events, httpVerb: [GET, POST]", "posts may call POST /events"},
		{"the operator's page for an app", "access", minikube, "k8s/base/access-control.yaml", "name: /dead-letters/known", "name: /repairs", "posts may call GET /repairs of eventlog"},
		{"the dead letters for query", "access", minikube, "k8s/base/access-control.yaml", "      - appId: query\n        namespace: postbus\n        trustDomain: public\n        defaultAction: deny", "      - appId: query\n        namespace: postbus\n        trustDomain: public\n        defaultAction: allow", "query may call GET /dead-letters of eventlog"},
		{"the dead letters' content for services", "access", minikube, "k8s/base/access-control.yaml", "name: /dead-letters/known", "name: /dead-letters", "posts may call GET /dead-letters of eventlog"},
		{"the development issuer", "people", production, "k8s/base/eventlog.yaml", "image: postbus/eventlog", "image: postbus/issuer", "anybody signs in as anybody"},
		{"an app that does not know who is signed in", "people", minikube, "k8s/base/kustomization.yaml", "name: (posts|comments|moderation|client)", "name: (posts|comments|client)", "Deployment moderation has its SUBJECT_KEY from <nil>"},
		{"a key of subjects for the log", "people", minikube, "k8s/base/kustomization.yaml", "name: (posts|comments|moderation|client)", "name: (posts|comments|moderation|client|eventlog)", "Deployment eventlog has SUBJECT_KEY"},
		{"a key of sessions that must exist", "people", minikube, "k8s/base/client.yaml", "name: session-key, key: key, optional: true", "name: session-key, key: key", "Deployment client has its SESSION_KEY"},
		{"another secret for the scorer", "people", production, "k8s/base/moderation.yaml", "name: scorer,", "name: client-secret,", "Deployment moderation has its SCORER_SECRET"},
		{"settings that no app reads", "people", production, "k8s/base/people.yaml", "name: people, optional", "name: persons, optional", "Deployment posts has its settings"},
		{"an issuer without TLS", "people", production, "k8s/people/kustomization.yaml", "ISSUER=https://", "ISSUER=http://", "ISSUER is http://"},
		{"another host than the Ingress's", "people", production, "k8s/ingress/ingress.yaml", "host: posts.com", "host: blog.example.com", "PUBLIC_URL is https://posts.com"},
		{"guests who post", "people", production, "k8s/people/kustomization.yaml", "GUESTS=comment", "GUESTS=post,comment", "guests may post,comment"},
		{"guests whose comments do not wait", "people", productionNATS, "k8s/people/kustomization.yaml", `"action":"hold"`, `"action":"approve"`, "do not wait"},
		{"no way to the issuer", "people", productionPostgres, "k8s/people/egress.yaml", "moderation, client] }]", "moderation] }]", "reach the issuer"},
		{"a way to everything", "people", productionSentinels, "k8s/people/egress.yaml", "port: 443", "port: 80", "reached at"},
		{"an issuer of nobody's on a minikube", "people", minikube, "k8s/overlays/minikube/kustomization.yaml", "../../redis,", "../../redis, ../../people,", "people sign in at https://id.example.com"},

		{"no limit of Redis's own", "redis", minikube, "k8s/redis/redis.yaml", "              maxmemory 384mb\n", "", "no maxmemory"},
		{"a limit that is too near", "redis", minikube, "k8s/redis/redis.yaml", "maxmemory 384mb", "maxmemory 388mb", "may need"},
		{"a container that is too small", "redis", minikube, "k8s/redis/redis.yaml", "memory: 1Gi", "memory: 1015Mi", "may need"},
		{"eviction", "redis", minikube, "k8s/redis/redis.yaml", "noeviction", "allkeys-lru", "noeviction"},
		{"a dollar that Kubernetes takes", "redis", minikube, "k8s/redis/redis.yaml", "\\${$(echo \"$name\" | tr a-z- A-Z_)}", "\\$$(echo \"$name\" | tr a-z- A-Z_)", "one $"},
		{"an image by its tag", "redis", minikube, "k8s/redis/redis.yaml", "@sha256:", "-", "no digest"},
		{"another's user", "redis", production, "k8s/engines/redis-users/kustomization.yaml", "redisUsername, value: posts-store", "redisUsername, value: query-store", "redisUsername"},
		{"another's password", "redis", production, "k8s/engines/redis-users/kustomization.yaml", "name: redis-posts-store", "name: redis-query-store", "of the secret"},
		{"no user", "redis", minikube, "k8s/engines/redis-users/kustomization.yaml", "{ op: add, path: /spec/metadata/1, value: { name: redisUsername, value: bus } }", "{ op: test, path: /spec/version, value: v1 }", "bus: redisUsername"},
		{"a user who is missing", "redis", minikube, "k8s/redis/users.acl", "user bus ", "# user bus ", "no user bus"},
		{"a user for all", "redis", minikube, "k8s/redis/users.acl", "user operator on ~*", "user all on ~* +@all\nuser operator on ~*", "user all reaches"},
		{"another's keys", "redis", minikube, "k8s/redis/users.acl", "~posts||*", "~posts||* ~query||*", "posts-store reaches"},
		{"keys of all", "redis", minikube, "k8s/redis/users.acl", "~posts||*", "allkeys", "posts-store reaches"},
		{"commands of all", "redis", minikube, "k8s/redis/users.acl", "~posts||* -@all", "~posts||* +@all", "posts-store has +@all"},
		{"no password", "redis", minikube, "k8s/redis/users.acl", "~posts||*", "nopass ~posts||*", "posts-store has nopass"},
		{"a topic that the bus's user doesn't reach", "redis", minikube, "k8s/redis/users.acl", " ~dead-letters", "", "bus reaches"},
		{"a topic that is new", "redis", minikube, "components/redis/bus.yaml", "value: PostCreated,", "value: PostRead,PostCreated,", "bus reaches"},

		{"another's password", "redis", productionSentinels, "k8s/engines/redis-users/kustomization.yaml", "name: redis-posts-store", "name: redis-query-store", "of the secret"},
		{"the operator's password for the Sentinels", "redis", productionSentinels, "k8s/engines/redis-ha/kustomization.yaml", "name: redis-sentinels", "name: redis-operator", "Sentinels' password"},
		{"no TLS", "redis", productionSentinels, "k8s/overlays/production-redis-ha/kustomization.yaml", "enableTLS, value: \"true\"", "enableTLS, value: \"false\"", "enableTLS"},
		{"no address", "redis", productionSentinels, "k8s/overlays/production-redis-ha/kustomization.yaml", "      - { op: replace, path: /spec/metadata/0/value, ", "      - { op: add, path: /spec/none, ", "no address"},
		{"another master", "drift", productionSentinels, "k8s/engines/redis-ha/kustomization.yaml", "{ op: add, path: /spec/metadata/1, value: { name: sentinelUsername, value: postbus } }", "{ op: replace, path: /spec/metadata/4/value, value: another }", "drifted"},

		{"a setting of another engine's bus that is another on Kubernetes", "drift", onPostgres, "k8s/engines/postgres-rabbitmq/kustomization.yaml", "      - { op: add, path: /auth,", "      - { op: replace, path: /spec/metadata/4/value, value: \"false\" }\n      - { op: add, path: /auth,", "Component bus has drifted"},
		{"a file of another engine that isn't used", "drift", onPostgres, "components/postgres/kustomization.yaml", "  - query-store.yaml\n", "", "Component query-store of components/ is missing"},
		{"a secret that Dapr doesn't find", "drift", onPostgres, "k8s/engines/postgres/kustomization.yaml", "      - { op: add, path: /auth, value: { secretStore: kubernetes } }\n", "", "no secret store"},
		{"a replica too few on another engine", "apps", productionPostgres, "k8s/sizes/production/kustomization.yaml", "path: /spec/replicas, value: 3", "path: /spec/replicas, value: 2", "replicas"},

		{"another's user", "postgres", productionPostgres, "k8s/engines/postgres/kustomization.yaml", "user, value: posts-store", "user, value: query-store", "the user is query-store"},
		{"another's password", "postgres", onPostgres, "k8s/engines/postgres/kustomization.yaml", "name: postgres-posts-store", "name: postgres-query-store", "of the secret"},
		{"a password that is committed", "postgres", onPostgres, "k8s/engines/postgres/kustomization.yaml", "database=postbus", "database=postbus password=x", "password"},
		{"no TLS", "postgres", productionPostgres, "k8s/overlays/production-postgres-rabbitmq/kustomization.yaml", "sslmode=verify-full", "sslmode=require", "sslmode"},
		{"no address", "postgres", productionPostgres, "k8s/overlays/production-postgres-rabbitmq/kustomization.yaml", "host=postgres.example.com ", "", "no host"},
		{"a user who is missing", "postgres", onPostgres, "k8s/postgres/postgres.yaml", "eventlog-store query-store client-store\"", "eventlog-store client-store\"", "the users are"},
		{"an image by its tag", "postgres", onPostgres, "k8s/postgres/postgres.yaml", "@sha256:", "-", "no digest"},
		{"a dollar that Kubernetes takes", "postgres", onPostgres, "k8s/postgres/postgres.yaml", "\\${$(echo \"$store\" | tr a-z- A-Z_)}", "\\$$(echo \"$store\" | tr a-z- A-Z_)", "one $"},
		{"a superuser who logs in", "postgres", onPostgres, "k8s/postgres/postgres.yaml", "local all postgres peer", "host all all all trust", "pg_hba.conf"},
		{"users of all", "postgres", onPostgres, "k8s/postgres/postgres.yaml", "host postbus $(echo \"$stores\" | tr ' ' ,) all scram-sha-256", "host postbus all all scram-sha-256", "pg_hba.conf"},
		{"commits that are not on the disk", "postgres", onPostgres, "k8s/postgres/postgres.yaml", "-c max_connections=200", "-c max_connections=200 -c synchronous_commit=off", "synchronous_commit"},
		{"too few connections", "postgres", onPostgres, "k8s/postgres/postgres.yaml", "-c max_connections=200", "-c max_connections=90", "max_connections"},

		{"another's user", "rabbitmq", onPostgres, "k8s/engines/postgres-rabbitmq/kustomization.yaml", "name: username, value: bus", "name: username, value: guest", "the user is guest"},
		{"another's password", "rabbitmq", onPostgres, "k8s/engines/postgres-rabbitmq/kustomization.yaml", "name: rabbitmq-bus", "name: rabbitmq-cookie", "of the secret"},
		{"no TLS", "rabbitmq", productionPostgres, "k8s/overlays/production-postgres-rabbitmq/kustomization.yaml", "value: amqps", "value: amqp", "protocol"},
		{"an image by its tag", "rabbitmq", onPostgres, "k8s/rabbitmq/rabbitmq.yaml", "@sha256:", "-", "no digest"},
		{"a container that is too small", "rabbitmq", onPostgres, "k8s/rabbitmq/rabbitmq.yaml", "memory: 768Mi", "memory: 512Mi", "may need"},
		{"a container whose log grows", "rabbitmq", onPostgres, "k8s/rabbitmq/rabbitmq.conf", "raft.wal_max_size_bytes = 32000000\n", "", "wal_max_size_bytes"},
		{"deliveries that end too soon", "rabbitmq", onPostgres, "k8s/rabbitmq/rabbitmq.conf", "consumer_timeout = 604800000\n", "", "consumer_timeout"},
		{"another user in the server", "rabbitmq", onPostgres, "k8s/rabbitmq/rabbitmq.yaml", "{ \"name\": \"bus\",", "{ \"name\": \"guest\",", "definitions"},
		{"messages that are dropped", "rabbitmq", onPostgres, "k8s/rabbitmq/rabbitmq.yaml", "\"delivery-limit\": 1000000", "\"delivery-limit\": 20", "delivery-limit"},

		{"another's token", "nats", onNATS, "k8s/engines/postgres-jetstream/kustomization.yaml", "name: nats-bus", "name: nats-nodes", "of the secret"},
		{"no TLS", "nats", productionNATS, "k8s/overlays/production-postgres-jetstream/kustomization.yaml", ",tls://nats-2", ",nats://nats-2", "natsURL"},
		{"streams in another NATS", "nats", productionNATS, "k8s/overlays/production-postgres-jetstream/kustomization.yaml", "- select: { kind: Deployment }\n        reject: [{ name: client }]", "- select: { kind: Deployment, name: posts }", "makes streams with the NATS"},
		{"streams of other topics", "nats", onNATS, "k8s/engines/postgres-jetstream/kustomization.yaml", "[name=allowedTopics]", "[name=publishingScopes]", "makes streams with the TOPICS"},
		{"a sidecar that does not wait for the streams", "nats", onNATS, "k8s/engines/postgres-jetstream/streams.yaml", "image: postbus/streams", "restartPolicy: Always\n          image: postbus/streams", "query makes no streams"},
		{"another's token for the streams", "nats", onNATS, "k8s/engines/postgres-jetstream/streams.yaml", "name: nats-bus", "name: nats-nodes", "of the secret"},
		{"an image by its tag", "nats", onNATS, "k8s/nats/nats.yaml", "@sha256:", "-", "no digest"},
		{"a node too few", "nats", onNATS, "k8s/nats/nats.yaml", "replicas: 3", "replicas: 1", "nodes"},
		{"clients of all", "nats", onNATS, "k8s/nats/nats.conf", "authorization { token: $TOKEN }\n", "", "everybody is let in"},
		{"nodes of all", "nats", onNATS, "k8s/nats/nats.conf", "  authorization { user: node, password: $NODES }\n", "", "everybody is a node"},
		{"messages that are not on the disk", "nats", onNATS, "k8s/nats/nats.conf", "  sync_interval: always\n", "", "sync_interval"},
		{"a volume that is too small", "nats", onNATS, "k8s/nats/nats.yaml", "storage: 2Gi", "storage: 1Gi", "max_file_store"},

		{"another namespace", "access", minikube, "k8s/base/kustomization.yaml", "spec.accessControl.policies.*.namespace", "spec.accessControl.policies.1.trustDomain", "trustDomain"},
	}
	bites := map[string]bool{}
	for _, test := range tests {
		bites[test.check] = true
		t.Run(test.check+"/"+test.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"components", "k8s"} {
				if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(root, name))); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(dir, filepath.FromSlash(test.file))
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			damaged := strings.Replace(string(raw), test.old, test.new, 1)
			if damaged == string(raw) {
				t.Fatalf("%s has no %q to damage", test.file, test.old)
			}
			if err := os.WriteFile(file, []byte(damaged), 0o600); err != nil {
				t.Fatal(err)
			}
			var said []string
			for _, err := range checks[test.check](t, test.overlay, build(t, filepath.Join(dir, "k8s", "overlays", test.overlay))) {
				said = append(said, err.Error())
			}
			if !strings.Contains(strings.Join(said, "\n"), test.want) {
				t.Errorf("noticed: %q\nwant: %s", said, test.want)
			}
		})
	}
	for name := range checks {
		if !bites[name] {
			t.Errorf("nothing shows that the check %q bites", name)
		}
	}
}
