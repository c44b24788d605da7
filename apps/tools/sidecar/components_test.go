// Dapr is lenient with its resources. It skips a file of another kind, ignores an unknown
// field, replaces an unreadable value by the default, and treats a missing policy as no
// policy. Nothing fails, and then the bus loses events. These tests load components/ and
// dapr.yaml with the parsers of the runtime that this module pins, and fail on everything
// that the runtime would accept silently. They need no Redis and no sidecar.
//
// Every check is a function of the files' contents. TestChecksNoticeDamage damages a copy
// of the committed files, to show that each check notices it.
package sidecar_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	redis "github.com/dapr/components-contrib/common/component/redis"
	contribmeta "github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/middleware"
	"github.com/dapr/components-contrib/middleware/http/routerchecker"
	pubsubredis "github.com/dapr/components-contrib/pubsub/redis"
	stateredis "github.com/dapr/components-contrib/state/redis"
	daprhttp "github.com/dapr/dapr/pkg/api/http"
	"github.com/dapr/dapr/pkg/api/http/endpoints"
	compapi "github.com/dapr/dapr/pkg/apis/components/v1alpha1"
	configapi "github.com/dapr/dapr/pkg/apis/configuration/v1alpha1"
	resapi "github.com/dapr/dapr/pkg/apis/resiliency/v1alpha1"
	subapi "github.com/dapr/dapr/pkg/apis/subscriptions/v2alpha1"
	"github.com/dapr/dapr/pkg/components"
	comploader "github.com/dapr/dapr/pkg/components/loader"
	compstate "github.com/dapr/dapr/pkg/components/state"
	"github.com/dapr/dapr/pkg/config"
	"github.com/dapr/dapr/pkg/modes"
	"github.com/dapr/dapr/pkg/resiliency"
	"github.com/dapr/dapr/pkg/runtime/compstore"
	"github.com/dapr/dapr/pkg/runtime/hotreload/loader/disk"
	"github.com/dapr/dapr/pkg/runtime/meta"
	rtpubsub "github.com/dapr/dapr/pkg/runtime/pubsub"
	"github.com/dapr/dapr/pkg/scopes"
	"github.com/dapr/kit/logger"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// The system, stated independently of the files.
var (
	// services receive events.
	services = []string{"posts", "comments", "moderation", "query", "eventlog"}
	// apps are all apps. The client only calls services. The issuer has no use for its sidecar.
	apps = append(slices.Clone(services), "client", "issuer")
	// called are the apps that others call.
	called = []string{"posts", "comments", "query", "eventlog"}
	stores = map[string]string{
		"posts": "posts-store", "comments": "comments-store", "moderation": "moderation-store", "query": "query-store", "eventlog": "eventlog-store",
		"client": "client-store",
	}
	topics = []topic{
		{"PostCreated", []string{"posts"}, []string{"posts", "comments", "query", "eventlog"}},
		{"CommentCreated", []string{"comments"}, []string{"comments", "moderation", "query", "eventlog"}},
		{"CommentModerated", []string{"moderation"}, []string{"comments", "eventlog"}},
		{"CommentUpdated", []string{"comments"}, []string{"query", "eventlog"}},
		{"PolicyChanged", []string{"moderation"}, []string{"eventlog"}},
		{"PostCommentingChanged", []string{"moderation"}, []string{"comments", "query", "eventlog"}},
		{"PersonBlocked", []string{"moderation"}, []string{"posts", "comments", "eventlog"}},
		{"dead-letters", services, []string{"eventlog"}},
	}
)

// byHTTP are the groups of a sidecar's HTTP API in use. Query and the client invoke, the
// CLI and the dashboard read the metadata, and waiting programs read the health.
var byHTTP = []string{"v1.0/invoke", "v1.0/metadata", "v1.0/healthz"}

const (
	// retention is how long the bus keeps a message: for speed and memory alone.
	retention = time.Hour
	// longestOutage is how long an app may be down while its sidecar retries a delivery.
	longestOutage = 7 * 24 * time.Hour
	// The longest time until the messages of a dead sidecar are redelivered.
	slowestRecovery = 30 * time.Second
)

type topic struct {
	name                    string
	publishers, subscribers []string
}

// resourceDirs are the folders that the sidecars read, from the checkout's root. A
// sidecar warns of each file there that is not YAML.
var resourceDirs = []string{"components/shared", "components/redis"}

// kustomization is the file of these folders that Kubernetes' tools read. Sidecars skip it.
const kustomization = "kustomization.yaml"

// files are the contents of these folders and of dapr.yaml, by path.
type files map[string]string

// checks are what must hold. Each returns what is wrong, joined.
var checks = map[string]func(*testing.T, files) error{
	"strict":        checkStrict,
	"loaded":        checkLoaded,
	"metadata":      checkMetadata,
	"stores":        checkStores,
	"bus":           checkBus,
	"scopes":        checkScopes,
	"subscriptions": checkSubscriptions,
	"resiliency":    checkResiliency,
	"configuration": checkConfiguration,
	"names":         checkNames,
	"addresses":     checkAddresses,
	"run file":      checkRunFile,
}

func TestMain(m *testing.M) {
	// Dapr's loaders only log what they skip. The checks find that without the log.
	options := logger.DefaultOptions()
	options.OutputLevel = "fatal"
	if err := logger.ApplyOptionsToLoggers(&options); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestComponents(t *testing.T) {
	committed := readFiles(t)
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		t.Run(name, func(t *testing.T) {
			if err := checks[name](t, committed); err != nil {
				t.Error(err)
			}
		})
	}
}

// waitedFor are the deliveries, by app and topic, with a short wait: readers wait for
// them, or the log must have them before the events that follow from them.
var waitedFor = [][2]string{
	{"moderation", "CommentCreated"}, {"comments", "CommentModerated"},
	{"eventlog", "CommentCreated"}, {"eventlog", "CommentModerated"}, {"eventlog", "CommentUpdated"},
}

func TestChecksNoticeDamage(t *testing.T) {
	const (
		bus    = "components/redis/bus.yaml"
		store  = "components/redis/posts-store.yaml"
		subs   = "components/shared/subscriptions.yaml"
		policy = "components/shared/resiliency.yaml"
		conf   = "components/shared/configuration.yaml"
		paths  = "components/shared/addresses.yaml"
		run    = "dapr.yaml"
	)
	tests := []struct {
		name, check, file string
		old, new          string // if old is empty, new is appended
		want              string
	}{
		{"a kind that Dapr doesn't have", "strict", store, "kind: Component", "kind: Komponent", `no "dapr.io/v1alpha1 Komponent"`},
		{"an apiVersion that Dapr doesn't have", "strict", subs, "dapr.io/v2alpha1", "dapr.io/v3", `no "dapr.io/v3 Subscription"`},
		{"an unknown field at the top", "strict", bus, "\nscopes:", "\nscope:", `unknown field "scope"`},
		{"a field in the wrong case", "strict", bus, "\nscopes:", "\nScopes:", `unknown field "Scopes"`},
		{"an unknown field of a component", "strict", store, "  version: v1", "  verzion: v1", `unknown field "spec.verzion"`},
		{"an unknown field of a subscription", "strict", subs, "    maxAwaitDurationMs: 2", "    maxAwaitDuration: 2", `unknown field "spec.bulkSubscribe.maxAwaitDuration"`},
		{"an unknown field of the resiliency", "strict", policy, "        maxRetries: -1", "        maxRetry: -1", "maxRetry"},
		{"an unknown field of the configuration", "strict", conf, "samplingRate", "sampleRate", `unknown field "spec.tracing.sampleRate"`},
		{"a field twice", "strict", bus, "  version: v1", "  version: v1\n  version: v1", `key "version" already set`},
		{"a value of the wrong type", "strict", subs, "maxMessagesCount: 100", "maxMessagesCount: many", "cannot unmarshal string"},

		{"a file that isn't YAML", "loaded", "components/redis/bus.yml.bak", "", "kind: Component\n", "not a YAML file"},
		{"a component that can't be parsed", "loaded", store, "spec:", "spec: [", "posts-store.yaml"},
		{"a component of another apiVersion", "loaded", store, "dapr.io/v1alpha1", "dapr.io/v1", `Component "posts-store" is in the files 1 times, and Dapr loads it 0 times`},
		{"a component that is scoped to nobody", "loaded", store, "scopes: [posts]", "scopes: [blog]", `Component "posts-store" is in the files 1 times, and Dapr loads it 0 times`},
		{"a name that isn't one", "loaded", store, "name: posts-store", "name: posts/store", `Component "posts/store" is in the files 1 times, and Dapr loads it 0 times`},
		{"a name twice", "loaded", store, "", "\n---\napiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: bus\n", "duplicate definition of Component name bus"},
		{"a subscription's name twice", "loaded", subs, "name: query-post-created", "name: posts-post-created", `Subscription "posts-post-created" is in the files 2 times`},
		{"a policy that isn't a file's first document", "loaded", policy, "apiVersion", "---\n---\napiVersion", `Resiliency "resiliency" is in the files 1 times, and Dapr loads it 0 times`},

		{"a metadata field that Redis doesn't know", "metadata", bus, "redisHost", "redisHots", `pubsub.redis has no metadata field "redisHots"`},
		{"the same in a store", "metadata", store, "redisHost", "redisHots", `state.redis has no metadata field "redisHots"`},
		{"no address", "metadata", store, "- name: redisHost\n      value: localhost:6379", "[]", "no redisHost"},
		{"a field of the bus in a store", "metadata", store, "scopes:", "    - name: streamTTL\n      value: 1h\nscopes:", `state.redis has no metadata field "streamTTL"`},
		{"a field in the wrong case, which Dapr finds and Redis doesn't", "metadata", bus, "redeliverInterval\n", "redeliverinterval\n", `no metadata field "redeliverinterval"`},
		{"a metadata field twice", "metadata", bus, "- name: queueDepth", "- name: concurrency", `"concurrency" more than once`},
		{"a number that isn't one", "metadata", bus, "name: concurrency\n      value: \"100\"", "name: concurrency\n      value: lots", "decode failed"},
		{"a duration that isn't one", "metadata", bus, "value: 1h", "value: an hour", "decode failed"},
		{"an address with two ports", "metadata", store, "scopes:", "    - name: redisPort\n      value: \"6380\"\nscopes:", "already contains port"},
		{"a type that isn't Redis", "metadata", store, "state.redis", "state.rediss", `no "state.rediss"`},
		{"a version that isn't there", "metadata", store, "version: v1\n", "version: v9\n", `no version "v9"`},

		{"a store with a second reader", "stores", store, "scopes: [posts]", "scopes: [posts, query]", "query loads the stores [posts-store query-store]"},
		{"a store that the client reads", "stores", store, "scopes: [posts]", "scopes: [posts, client]", "client loads the stores [client-store posts-store]"},
		{"a store for everybody", "stores", store, "scopes: [posts]", "", "query loads the stores [posts-store query-store]"},
		{"a store that is missing", "stores", store, "state.redis", "pubsub.redis", "posts loads the stores []"},
		{"a store by another name", "stores", store, "posts-store", "posts-state", "posts loads the stores [posts-state], not [posts-store]"},
		{"a store whose keys are another's", "stores", store, "scopes:", "    - name: keyPrefix\n      value: comments\nscopes:", "the same keys"},

		{"an app that doesn't load the bus", "bus", bus, "scopes: [posts, ", "scopes: [", "scopes are"},
		{"the client on the bus", "bus", bus, "scopes: [posts, ", "scopes: [client, posts, ", "scopes are"},
		{"the bus for everybody", "bus", bus, "scopes: [posts, comments, moderation, query, eventlog]", "", "scopes are"},
		{"an interval that is silently ignored", "bus", bus, `"1000"`, `"2s"`, `redeliverInterval "2s"`},
		{"a timeout that isn't in milliseconds", "bus", bus, `"6000"`, `"10s"`, `processingTimeout "10s"`},
		{"an interval that switches redelivery off", "bus", bus, `"1000"`, `"0"`, `redeliverInterval "0"`},
		{"a recovery that takes minutes", "bus", bus, `"6000"`, `"100000"`, "comes back after 1m41s"},
		{"a deep queue", "bus", bus, "name: queueDepth\n      value: \"100\"", "name: queueDepth\n      value: \"1000\"", "queueDepth 1000"},
		{"events that are dropped early", "bus", bus, "value: 1h", "value: 1m", "streamTTL 1m0s"},
		{"events that fill Redis", "bus", bus, "value: 1h", "value: 168h", "streamTTL 168h0m0s"},
		{"events that are kept for ever", "bus", bus, "    - name: streamTTL\n      value: 1h\n", "", "streamTTL 0s"},
		{"events that are dropped by number", "bus", bus, "streamTTL\n      value: 1h", "maxLenApprox\n      value: \"1000\"", "maxLenApprox 1000"},
		{"a read timeout that races with the reading", "bus", bus, "streamTTL\n      value: 1h", "readTimeout\n      value: 3s", "readTimeout"},

		{"a moderator too many", "scopes", bus, "publishingScopes\n      value: posts=PostCreated", "publishingScopes\n      value: posts=PostCreated,CommentModerated", "posts may publish CommentModerated"},
		{"a publisher too few", "scopes", bus, "posts=PostCreated,dead-letters;", "posts=dead-letters;", "posts may not publish PostCreated"},
		{"a client that publishes", "scopes", bus, "publishingScopes\n      value: posts", "publishingScopes\n      value: client=PostCreated;posts", "client may publish PostCreated"},
		{"no dead letters", "scopes", bus, "query=dead-letters;", "", "query may not publish dead-letters"},
		{"an app that receives too much", "scopes", bus, "moderation=CommentCreated;", "moderation=CommentCreated,PostCreated;", "moderation may receive PostCreated"},
		{"an app that receives too little", "scopes", bus, "moderation=CommentCreated;", "", "moderation may not receive CommentCreated"},
		{"an app that nobody knows", "scopes", bus, "query=dead-letters;", "query=dead-letters;mallory=CommentModerated;", "publishingScopes name mallory"},
		{"a topic that isn't allowed", "scopes", bus, "allowedTopics\n      value: PostCreated,", "allowedTopics\n      value: ", "allowedTopics are"},
		{"a topic that isn't protected", "scopes", bus, "protectedTopics\n      value: PostCreated,", "protectedTopics\n      value: ", "protectedTopics are"},
		{"topics that anybody may publish", "scopes", bus, "    - name: protectedTopics\n      value: PostCreated,CommentCreated,CommentModerated,CommentUpdated,PolicyChanged,PostCommentingChanged,PersonBlocked,dead-letters\n", "", "an app without a scope may publish PostCreated"},
		{"a list that isn't found", "scopes", bus, "name: publishingScopes", "name: publishScopes", "moderation may not publish CommentModerated"},

		{"a subscription without a scope", "subscriptions", subs, "scopes: [posts]\n", "", "posts-post-created: scoped to []"},
		{"a subscription of two apps", "subscriptions", subs, "scopes: [posts]", "scopes: [posts, query]", "posts-post-created: scoped to [posts query]"},
		{"a subscription too few", "subscriptions", subs, "scopes: [moderation]", "scopes: [query]", "moderation doesn't subscribe to CommentCreated"},
		{"a subscription too many", "subscriptions", subs, "scopes: [moderation]", "scopes: [posts]", "posts subscribes to CommentCreated, which it may not receive"},
		{"a subscription twice", "subscriptions", subs, "scopes: [moderation]", "scopes: [comments]", "comments subscribes to CommentCreated twice"},
		{"a subscriber that is out of scope", "subscriptions", bus, "moderation=CommentCreated;", "", "moderation subscribes to CommentCreated, which it may not receive"},
		{"another bus", "subscriptions", subs, "pubsubname: bus", "pubsubname: pubsub", `pubsubname "pubsub"`},
		{"single deliveries", "subscriptions", subs, "enabled: true", "enabled: false", "not in bulk"},
		{"a batch that is larger than the workers are many", "subscriptions", subs, "maxMessagesCount: 100", "maxMessagesCount: 101", "maxMessagesCount 101"},
		{"workers that are fewer than a batch is large", "subscriptions", bus, "name: concurrency\n      value: \"100\"", "name: concurrency\n      value: \"10\"", "maxMessagesCount 100 is not from 1 to concurrency, 10"},
		{"a long wait", "subscriptions", subs, "maxAwaitDurationMs: 50", "maxAwaitDurationMs: 51", "maxAwaitDurationMs 51 is not from 1 to 50"},
		{"a wait on the way to readers", "subscriptions", subs, "maxAwaitDurationMs: 1\n", "maxAwaitDurationMs: 3\n", "maxAwaitDurationMs 3 is not from 1 to 2"},
		{"no wait, which means the default of a second", "subscriptions", subs, "    maxAwaitDurationMs: 2\n", "", "maxAwaitDurationMs 0"},
		{"no raw payload", "subscriptions", subs, "  metadata:\n    rawPayload: \"true\"\n", "", "rawPayload"},
		{"a raw payload that isn't", "subscriptions", subs, `rawPayload: "true"`, `rawPayload: "false"`, "rawPayload"},
		{"a dead letter topic", "subscriptions", subs, "  bulkSubscribe:", "  deadLetterTopic: dead-letters\n  bulkSubscribe:", "deadLetterTopic"},
		{"another route", "subscriptions", subs, "/deliver/PostCreated", "/deliver/CommentCreated", `route "/deliver/CommentCreated"`},
		{"a route by rule", "subscriptions", subs, "    default: /deliver/PostCreated", "    default: /deliver/PostCreated\n    rules: [{match: \"true\", path: /x}]", "rules"},

		{"a policy that gives up", "resiliency", policy, "maxRetries: -1", "maxRetries: 1000", "gives up after 1001 tries"},
		{"a retry that gives up on a status", "resiliency", policy, "maxRetries: -1", "maxRetries: -1\n        matching: {httpStatusCodes: \"500\"}", "503"},
		{"a retry that doesn't exist", "resiliency", policy, "retry: untilDelivered", "retry: untilDeliverd", `no retry "untilDeliverd"`},
		{"a timeout that doesn't exist", "resiliency", policy, "timeout: delivery", "timeout: deliver", `no timeout "deliver"`},
		{"a delivery without a timeout", "resiliency", policy, "          timeout: delivery\n", "", "holds a worker for 1h0m0s"},
		{"a circuit breaker that doesn't exist", "resiliency", policy, "timeout: delivery", "timeout: delivery\n          circuitBreaker: fuse", `no circuit breaker "fuse"`},
		{"a duration that isn't one", "resiliency", policy, "duration: 500ms", "duration: soon", "invalid retry configuration"},
		{"a policy for publishing instead of delivering", "resiliency", policy, "inbound:", "outbound:", "holds a worker for 1h0m0s"},
		{"a policy for a component that doesn't exist", "resiliency", policy, "      bus:", "      buss:", `no component "buss"`},
		{"a policy for an app that doesn't exist", "resiliency", policy, "      eventlog:", "      eventlogg:", `no app "eventlogg"`},
		{"a caller that tries again twice", "resiliency", policy, "maxRetries: 0", "maxRetries: 3", "calls of eventlog are repeated"},
		{"a service whose calls are repeated", "resiliency", policy, "      query:\n        retry: never\n", "", "calls of query are repeated"},
		{"a policy for some", "resiliency", policy, "spec:", "scopes: [posts]\nspec:", "comments loads 0"},

		{"a configuration that isn't there", "configuration", run, "configFilePath: ./components/shared/configuration.yaml", "configFilePath: ./components/shared/config.yaml", "config.yaml"},
		{"a configuration that is another thing", "configuration", run, "configFilePath: ./components/shared/configuration.yaml", "configFilePath: ./components/redis/bus.yaml", "holds no Configuration"},
		{"a configuration of another type", "configuration", conf, `enabled: true`, `enabled: sure`, "cannot unmarshal"},
		{"a rate that isn't one", "configuration", conf, `samplingRate: "1"`, `samplingRate: "always"`, `samplingRate "always"`},
		{"an API that is open", "configuration", conf, "    allowed:", "    denied:", "PublishEvent v1.0/publish/{pubsubname}/* is open by HTTP: true"},
		{"a group too many", "configuration", conf, "{ name: healthz, version: v1,", "{ name: state, version: v1,", "SaveState v1.0/state/{storeName} is open by HTTP: true"},
		{"a group in another version", "configuration", conf, "{ name: healthz, version: v1,", "{ name: state, version: v1alpha1,", "QueryStateAlpha1 v1.0-alpha1/state/{storeName}/query is open by HTTP: true"},
		{"a group too few", "configuration", conf, "{ name: invoke, version: v1,", "{ name: call, version: v1,", "InvokeService v1.0/invoke/* is open by HTTP: false"},
		{"a list that ends with this runtime", "configuration", conf, "{ name: healthz, version: v1,", "{ name: later, version: v2,", "an endpoint of a later runtime"},
		{"a rule for gRPC", "configuration", conf, "{ name: metadata, version: v1, protocol: http }", "{ name: metadata, version: v1, protocol: grpc }", "services and tools use all of gRPC"},
		{"a rule for no protocol", "configuration", conf, "{ name: metadata, version: v1, protocol: http }", "{ name: metadata, version: v1 }", `protocol ""`},

		{"names that are asked for on the network", "names", conf, "component: sqlite", "component: mdns", "on the network"},
		{"no word on names", "names", conf, "nameResolution:", "nameResolutions:", "on the network"},
		{"a version of names that isn't there", "names", conf, "version: v1", "version: v2", "sqlite/v1"},
		{"names in another folder", "names", conf, "../.names.db", "../../.names.db", "posts's sidecar finds names in .names.db"},
		{"names for each sidecar alone", "names", conf, "../.names.db", "names.db", "posts's sidecar finds names in apps/posts/names.db"},
		{"names in memory", "names", conf, "../.names.db", "':memory:'", "apps/posts/:memory:"},
		{"names that are kept after a death", "names", conf, "updateInterval: 5s", "updateInterval: 11s", "updateInterval 11s"},
		{"names that are dropped early", "names", conf, "timeout: 3s", "timeout: 1s", "timeout 1s"},
		{"names that are renewed too often", "names", conf, "timeout: 3s", "timeout: 5s", "sqlite refuses it"},
		{"names that the cleanup deletes", "names", conf, `cleanupInterval: "0"`, "cleanupInterval: 1h", "cleanupInterval 1h0m0s"},
		{"the cleanup that is on by default", "names", conf, `cleanupInterval: "0"`, "# none", "cleanupInterval"},
		{"a field of names that isn't there", "names", conf, "updateInterval: 5s", "updateEvery: 5s", `no field "updateEvery"`},

		{"every address", "addresses", paths, `value: '^/v1`, `value: '^/|^/v1`, "/v1.0/invoke/http%3A%2F%2F127.0.0.1%3A4100/method/x passes: true"},
		{"addresses that end in one of ours", "addresses", paths, `value: '^/v1`, `value: '/v1`, "passes: true"},
		{"a dot in an id", "addresses", paths, "A-Za-z0-9-", "A-Za-z0-9.-", "/v1.0/invoke/example.com/method/x passes: true"},
		{"no call", "addresses", paths, "invoke/", "call/", "/v1.0/invoke/query/method/posts?limit=1 passes: false"},
		{"no health", "addresses", paths, "healthz", "health", "/v1.0/healthz passes: false"},
		{"a rule that is none", "addresses", paths, `value: '^/v1`, `value: '(^/v1`, "compile"},
		{"addresses of some apps", "addresses", paths, "spec:", "scopes: [posts]\nspec:", "comments's sidecar takes every address"},
		{"addresses of nobody", "addresses", conf, "name: addresses", "name: address", "posts's sidecar takes every address"},
		{"no pipeline", "addresses", conf, "httpPipeline", "appHttpPipeline", "posts's sidecar takes every address"},

		{"an app that nobody knows", "run file", run, "appID: posts", "appID: blog", `the apps are`},
		{"an app twice", "run file", run, "appID: posts", "appID: query", `the apps are`},
		{"a port twice", "run file", run, "daprHTTPPort: 3501", "daprHTTPPort: 3504", "port 3504"},
		{"a port that is an app's own", "run file", run, `PORT: "4001"`, `PORT: "4100"`, "port 4100"},
		{"a port that isn't pinned", "run file", run, "    daprInternalGRPCPort: 3701\n", "", "comments: daprInternalGRPCPort is not pinned"},
		{"an outgoing connection's port", "run file", run, "metricsPort: 3800", "metricsPort: 33800", "port 33800"},
		{"a setting that the CLI doesn't know", "run file", run, "daprHTTPPort: 3504", "daprHttpPort: 3504", `unknown field "apps[2].daprHttpPort"`},
		{"other components", "run file", run, "./components/redis]", "./components/kafka]", "resourcesPaths"},
		{"an issuer that sidecars call", "run file", run, "daprHTTPPort: 3507", "appPort: 4107\n    daprHTTPPort: 3507", "issuer's appPort is set"},
		{"another app's folder", "run file", run, "./apps/posts", "./apps/query", "appDirPath"},
		{"a command that leaves an orphan", "run file", run, "&& exec ", "&& ", "exec"},
		{"a scheduler to wait for", "run file", run, `schedulerHostAddress: " "`, `schedulerHostAddress: ""`, "schedulerHostAddress"},
	}

	committed := readFiles(t)
	bites := map[string]bool{}
	for _, test := range tests {
		bites[test.check] = true
		t.Run(test.check+"/"+test.name, func(t *testing.T) {
			damaged := maps.Clone(committed)
			if test.old == "" {
				damaged[test.file] += test.new
			} else if damaged[test.file] = strings.Replace(committed[test.file], test.old, test.new, 1); damaged[test.file] == committed[test.file] {
				t.Fatalf("%s has no %q to damage", test.file, test.old)
			}
			err := checks[test.check](t, damaged)
			if err == nil {
				t.Fatal("nothing was noticed")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("noticed:\n%v\nwant: %s", err, test.want)
			}
		})
	}
	for name := range checks {
		if !bites[name] {
			t.Errorf("nothing shows that the check %q bites", name)
		}
	}
}

// checkStrict decodes every document into Dapr's own type as strictly as Kubernetes does.
// Dapr itself ignores unknown fields.
func checkStrict(_ *testing.T, f files) error {
	var p problems
	for _, doc := range f.documents(&p) {
		var into any
		switch doc.APIVersion + " " + doc.Kind {
		case compapi.Component{}.APIVersion() + " Component":
			into = &compapi.Component{}
		case subapi.Subscription{}.APIVersion() + " Subscription":
			into = &subapi.Subscription{}
		case resapi.Resiliency{}.APIVersion() + " Resiliency":
			into = &resapi.Resiliency{}
		case configapi.Configuration{}.APIVersion() + " Configuration":
			into = &configapi.Configuration{}
		default:
			p.add("%s: Dapr has no %q", doc.file, doc.APIVersion+" "+doc.Kind)
			continue
		}
		if err := unmarshalStrict(doc.content, into); err != nil {
			p.add("%s, %s: %w", doc.file, doc.Metadata.Name, err)
		}
	}
	return p.err()
}

// checkLoaded checks that Dapr's own loaders find every document. They skip what they
// cannot read.
func checkLoaded(t *testing.T, f files) error {
	var p problems
	declared := map[[2]string]int{}
	for _, doc := range f.documents(&p) {
		declared[[2]string{doc.Kind, doc.Metadata.Name}]++
	}
	for file := range f {
		if ext := path.Ext(file); ext != ".yaml" && ext != ".yml" {
			p.add("%s: not a YAML file", file)
		}
	}

	r, err := load(t, f)
	if err != nil {
		p.add("%w", err)
		return p.err()
	}
	found := map[[2]string]int{}
	for _, app := range apps {
		for _, c := range r.components[app] {
			found[[2]string{"Component", c.Name}] = 1
		}
		for _, c := range r.resiliencies[app] {
			found[[2]string{"Resiliency", c.Name}] = 1
		}
	}
	for _, s := range r.subscriptions {
		found[[2]string{"Subscription", s.Name}] = 1
	}
	for _, c := range r.configurations {
		found[[2]string{"Configuration", c.Name}] = 1
	}
	for id, n := range declared {
		if n != 1 || found[id] != 1 {
			p.add("%s %q is in the files %d times, and Dapr loads it %d times", id[0], id[1], n, found[id])
		}
	}
	if len(found) == 0 {
		p.add("Dapr loads nothing")
	}
	return p.err()
}

// checkMetadata checks that Dapr has each component, and that the component knows its
// metadata, by name and by value.
func checkMetadata(t *testing.T, f files) error {
	var p problems
	r, err := load(t, f)
	if err != nil {
		return err
	}
	for _, app := range apps {
		for _, c := range r.components[app] {
			known := knownMetadata(c.Spec.Type)
			if known == nil {
				p.add("%s: no %q is known here", c.Name, c.Spec.Type)
				continue
			}
			if !components.IsInitialVersion(c.Spec.Version) {
				p.add("%s: no version %q", c.Name, c.Spec.Version)
			}
			given := map[string]bool{}
			for _, item := range c.Spec.Metadata {
				if !known[item.Name] {
					p.add("%s: %s has no metadata field %q", c.Name, c.Spec.Type, item.Name)
				}
				if given[item.Name] {
					p.add("%s: %q more than once", c.Name, item.Name)
				}
				given[item.Name] = true
			}
			if known["rule"] { // addresses, which checkAddresses checks
				continue
			}
			settings, err := decodeRedis(c, app)
			if err != nil {
				p.add("%s: %w", c.Name, err)
			} else if settings.Host == "" {
				p.add("%s: no redisHost", c.Name)
			}
		}
	}
	return p.err()
}

// checkStores checks that each service has one store, that no other app loads it, and
// that no two stores have common keys in one Redis.
func checkStores(t *testing.T, f files) error {
	var p problems
	r, err := load(t, f)
	if err != nil {
		return err
	}
	keys := map[string]string{}
	for _, app := range apps {
		names, want := []string{}, []string{}
		if stores[app] != "" {
			want = append(want, stores[app])
		}
		for _, c := range r.components[app] {
			if !strings.HasPrefix(c.Spec.Type, "state.") {
				continue
			}
			names = append(names, c.Name)
			if len(c.Scopes) != 1 {
				p.add("%s: scoped to %v, not to one app", c.Name, c.Scopes)
			}
			properties, err := properties(c, app)
			if err != nil {
				p.add("%s: %w", c.Name, err)
				continue
			}
			if err := compstate.SaveStateConfiguration(c.Name, properties); err != nil {
				p.add("%s: %w", c.Name, err)
			}
			key, err := compstate.GetModifiedStateKey("key", c.Name, app)
			if err != nil {
				p.add("%s: %w", c.Name, err)
			}
			if other, ok := keys[key]; ok {
				p.add("%s of %s and %s have the same keys, such as %s", c.Name, app, other, key)
			}
			keys[key] = c.Name
		}
		slices.Sort(names)
		if !slices.Equal(names, want) {
			p.add("%s loads the stores %v, not %v", app, names, want)
		}
	}
	// A key prefix that is the name of another app.
	for key, name := range keys {
		if app, _, _ := strings.Cut(key, "||"); stores[app] != "" && stores[app] != name {
			p.add("%s has the same keys as %s, such as %s", name, stores[app], key)
		}
	}
	return p.err()
}

// checkBus checks that the component itself reads from the bus's settings the figures on
// which its deliveries rest.
func checkBus(t *testing.T, f files) error {
	var p problems
	bus, given, err := theBus(t, f)
	if err != nil {
		return err
	}
	if got := slices.Sorted(slices.Values(bus.Scopes)); !slices.Equal(got, slices.Sorted(slices.Values(services))) {
		p.add("the bus's scopes are %v", got)
	}
	settings, err := effectiveRedis(given)
	if err != nil {
		return err
	}
	for name, effective := range map[string]time.Duration{
		"redeliverInterval": settings.RedeliverInterval,
		"processingTimeout": settings.ProcessingTimeout,
	} {
		ms, err := strconv.ParseUint(given[name], 10, 32)
		if err != nil || ms == 0 || effective != time.Duration(ms)*time.Millisecond {
			p.add("%s %q is not a plain number of milliseconds; the component works with %v", name, given[name], effective)
		}
	}
	if after := settings.ProcessingTimeout + settings.RedeliverInterval; after > slowestRecovery {
		p.add("what a dead sidecar held comes back after %v", after)
	}
	if settings.QueueDepth == 0 || settings.QueueDepth > settings.Concurrency {
		p.add("queueDepth %d is not from 1 to concurrency, %d: what waits would be delivered twice", settings.QueueDepth, settings.Concurrency)
	}
	if settings.StreamTTL != retention {
		p.add("streamTTL %v is not %v, in which a short outage passes and Redis does not fill", settings.StreamTTL, retention)
	}
	if settings.MaxLenApprox != 0 {
		p.add("maxLenApprox %d drops what an absent service has not read", settings.MaxLenApprox)
	}
	if _, ok := given["readTimeout"]; ok {
		p.add("readTimeout is also how long a read of the stream blocks, so the two race")
	}
	return p.err()
}

// checkScopes checks, with the runtime's own function, whether each app may publish and
// receive each topic.
func checkScopes(t *testing.T, f files) error {
	var p problems
	_, given, err := theBus(t, f)
	if err != nil {
		return err
	}

	var names []string
	for _, topic := range topics {
		names = append(names, topic.name)
	}
	slices.Sort(names)
	if got := slices.Sorted(slices.Values(scopes.GetAllowedTopics(given))); !slices.Equal(got, names) {
		p.add("allowedTopics are %v", got)
	}
	if got := slices.Sorted(slices.Values(scopes.GetProtectedTopics(given))); !slices.Equal(got, names) {
		p.add("protectedTopics are %v", got)
	}
	for _, list := range []string{scopes.PublishingScopes, scopes.SubscriptionScopes} {
		for entry := range strings.SplitSeq(given[list], ";") {
			if app, _, _ := strings.Cut(strings.TrimSpace(entry), "="); !slices.Contains(services, app) {
				p.add("%s name %s", list, app)
			}
		}
	}

	all := append(slices.Clone(topics), topic{name: "a topic without a name here"})
	for _, app := range append(slices.Clone(apps), "an app without a scope") {
		for _, topic := range all {
			publishes, receives := allowed(given, app, topic.name)
			p.compare(publishes, slices.Contains(topic.publishers, app), app, "publish", topic.name)
			p.compare(receives, slices.Contains(topic.subscribers, app), app, "receive", topic.name)
		}
	}
	return p.err()
}

// checkSubscriptions checks that every app subscribes to the topics that it may receive,
// in the only way that loses nothing.
func checkSubscriptions(t *testing.T, f files) error {
	var p problems
	bus, given, err := theBus(t, f)
	if err != nil {
		return err
	}
	settings, err := effectiveRedis(given)
	if err != nil {
		return err
	}
	r, err := load(t, f)
	if err != nil {
		return err
	}

	subscribed := map[[2]string]int{}
	for _, s := range r.subscriptions {
		spec := s.Spec
		if len(s.Scopes) != 1 {
			p.add("%s: scoped to %v, not to one app", s.Name, s.Scopes)
		}
		for _, app := range s.Scopes {
			subscribed[[2]string{app, spec.Topic}]++
			if _, receives := allowed(given, app, spec.Topic); !receives {
				p.add("%s: %s subscribes to %s, which it may not receive", s.Name, app, spec.Topic)
			}
		}
		if spec.Pubsubname != bus.Name {
			p.add("%s: pubsubname %q is not the bus", s.Name, spec.Pubsubname)
		}
		if want := "/deliver/" + spec.Topic; spec.Routes.Default != want {
			p.add("%s: route %q, not %q", s.Name, spec.Routes.Default, want)
		}
		if len(spec.Routes.Rules) != 0 {
			p.add("%s: rules, which look into what is raw", s.Name)
		}
		if !spec.BulkSubscribe.Enabled {
			p.add("%s: not in bulk", s.Name)
		}
		if n := spec.BulkSubscribe.MaxMessagesCount; n < 1 || uint(n) > settings.Concurrency {
			p.add("%s: maxMessagesCount %d is not from 1 to concurrency, %d", s.Name, n, settings.Concurrency)
		}
		longest := int32(50)
		for _, app := range s.Scopes {
			if spec.Topic == "PostCreated" && app != "query" || slices.Contains(waitedFor, [2]string{app, spec.Topic}) {
				longest = 2
			}
		}
		if ms := spec.BulkSubscribe.MaxAwaitDurationMs; ms < 1 || ms > longest {
			p.add("%s: maxAwaitDurationMs %d is not from 1 to %d", s.Name, ms, longest)
		}
		// The type of the queue is RabbitMQ's. Over a classic queue of that name the sidecar would
		// receive nothing.
		if raw, err := contribmeta.IsRawPayload(spec.Metadata); err != nil || !raw || len(spec.Metadata) != 2 || spec.Metadata["queueType"] != "quorum" {
			p.add("%s: metadata %v, not rawPayload, true, and queueType, quorum (%v)", s.Name, spec.Metadata, err)
		}
		if spec.DeadLetterTopic != "" {
			p.add("%s: deadLetterTopic %s: a message is gone when its dead letter can't be published", s.Name, spec.DeadLetterTopic)
		}
	}
	for _, topic := range topics {
		for _, app := range services {
			n := subscribed[[2]string{app, topic.name}]
			_, receives := allowed(given, app, topic.name)
			if n == 0 && (receives || slices.Contains(topic.subscribers, app)) {
				p.add("%s doesn't subscribe to %s", app, topic.name)
			}
			if n > 1 {
				p.add("%s subscribes to %s twice", app, topic.name)
			}
		}
	}
	return p.err()
}

// checkResiliency lets the runtime's own policy deliver one message to an app that hangs,
// and one to an app that is down for the longest outage.
func checkResiliency(t *testing.T, f files) error {
	var p problems
	r, err := load(t, f)
	if err != nil {
		return err
	}
	log := logger.NewLogger("test")
	log.SetOutput(io.Discard)
	log.SetOutputLevel(logger.FatalLevel)

	var one *resapi.Resiliency
	for _, app := range apps {
		if n := len(r.resiliencies[app]); n != 1 {
			p.add("%s loads %d resiliency policies, not one", app, n)
		} else {
			one = r.resiliencies[app][0]
		}
	}
	if one == nil {
		return p.err()
	}

	// The name of a policy that does not exist means no policy.
	policies := one.Spec.Policies
	resolve := func(target, timeout, retry, breaker string) {
		if _, ok := policies.Timeouts[timeout]; timeout != "" && !ok {
			p.add("%s: no timeout %q", target, timeout)
		}
		if _, ok := policies.Retries[retry]; retry != "" && !ok {
			p.add("%s: no retry %q", target, retry)
		}
		if _, ok := policies.CircuitBreakers[breaker]; breaker != "" && !ok {
			p.add("%s: no circuit breaker %q", target, breaker)
		}
	}
	known := map[string]bool{}
	for _, app := range apps {
		for _, c := range r.components[app] {
			known[c.Name] = true
		}
	}
	for name, target := range one.Spec.Targets.Components {
		if !known[name] {
			p.add("no component %q", name)
		}
		resolve(name+" inbound", target.Inbound.Timeout, target.Inbound.Retry, target.Inbound.CircuitBreaker)
		resolve(name+" outbound", target.Outbound.Timeout, target.Outbound.Retry, target.Outbound.CircuitBreaker)
	}
	for name, target := range one.Spec.Targets.Apps {
		if !slices.Contains(apps, name) {
			p.add("no app %q", name)
		}
		resolve(name, target.Timeout, target.Retry, target.CircuitBreaker)
	}

	if err := resiliency.New(log).DecodeConfiguration(one); err != nil {
		p.add("%w", err)
	}
	// The runtime would continue without what it cannot resolve, and crash on some of it.
	if p.err() != nil {
		return p.err()
	}

	provider := resiliency.FromConfigurations(log, one)
	for _, app := range called {
		// Without its own policy it has the runtime's built-in one.
		if !provider.PolicyDefined(app, resiliency.EndpointPolicy{}) || provider.EndpointPolicy(app, app).HasRetries() {
			p.add("calls of %s are repeated by the sidecar, besides the caller", app)
		}
	}
	policy := provider.ComponentInboundPolicy("bus", resiliency.Pubsub)
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		_, err := resiliency.NewRunner[any](t.Context(), policy)(func(context.Context) (any, error) {
			if tries++; tries == 1 {
				return nil, resiliency.NewCodeError(503, errors.New("not now"))
			}
			return nil, nil
		})
		if err != nil {
			p.add("the delivery gives up on a 503: the bus loses an event")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		const hang = time.Hour
		start, tries := time.Now(), 0
		var held time.Duration
		_, _ = resiliency.NewRunner[any](t.Context(), policy)(func(ctx context.Context) (any, error) {
			if tries++; tries > 1 {
				return nil, nil
			}
			select {
			case <-ctx.Done():
			case <-time.After(hang):
			}
			held = time.Since(start)
			return nil, ctx.Err()
		})
		synctest.Wait()
		if held >= time.Minute {
			p.add("an app that hangs holds a worker for %v", held)
		}
	})
	if p.err() != nil {
		return p.err() // the outage takes seconds, even with a fake clock
	}
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("the app is down")
		start, tries := time.Now(), 0
		_, err := resiliency.NewRunner[any](t.Context(), policy)(func(context.Context) (any, error) {
			tries++
			if time.Since(start) < longestOutage && tries < 2_000_000 {
				return nil, down
			}
			return nil, nil
		})
		if err != nil {
			p.add("the delivery gives up after %d tries, %v: the bus loses an event", tries, time.Since(start))
		}
	})
	return p.err()
}

// checkConfiguration checks that the runtime reads the configuration that dapr.yaml
// names. The runtime would accept any file.
func checkConfiguration(t *testing.T, f files) error {
	var p problems
	run, err := f.runFile()
	if err != nil {
		return err
	}
	file := path.Clean(run.Common.ConfigFilePath)
	r, err := load(t, f)
	if err != nil {
		return err
	}
	loaded, err := config.LoadStandaloneConfiguration(filepath.Join(r.dir, filepath.FromSlash(file)))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	holds := false
	for _, doc := range f.documents(&p) {
		holds = holds || doc.file == file && doc.Kind == "Configuration" && doc.Metadata.Name == loaded.Name
	}
	if !holds {
		p.add("%s holds no Configuration", file)
	}
	if rate, err := strconv.ParseFloat(loaded.GetTracingSpec().SamplingRate, 64); err != nil || rate < 0 || rate > 1 {
		p.add("samplingRate %q is not from 0 to 1", loaded.GetTracingSpec().SamplingRate)
	}
	checkAPI(&p, loaded.GetAPISpec())
	return p.err()
}

// checkAPI checks that a sidecar offers over HTTP exactly what is used, and over gRPC
// everything. It uses the runtime's own list of endpoints.
func checkAPI(p *problems, spec config.APISpec) {
	allowed, denied := spec.Allowed.GetRulesByProtocol(config.APIAccessRuleProtocolHTTP), spec.Denied.GetRulesByProtocol(config.APIAccessRuleProtocolHTTP)
	for _, e := range daprhttp.NewAPI(daprhttp.APIOpts{}).APIEndpoints() {
		group := e.Version + "/" + strings.Split(e.Route, "/")[0]
		if open, should := e.IsAllowed(allowed, denied), slices.Contains(byHTTP, group); open != should {
			p.add("%s %s is open by HTTP: %t", e.Settings.Name, e.Version+"/"+e.Route, open)
		}
	}
	// An endpoint of a later runtime is closed as well.
	later := endpoints.Endpoint{Route: "later", Version: "v2.0", Group: &endpoints.EndpointGroup{Name: "later", Version: "v2"}}
	if later.IsAllowed(allowed, denied) {
		p.add("an endpoint of a later runtime is open by HTTP")
	}
	for _, rule := range slices.Concat(spec.Allowed, spec.Denied) {
		if !strings.EqualFold(string(rule.Protocol), string(config.APIAccessRuleProtocolHTTP)) {
			p.add("the rule for %s is of protocol %q: services and tools use all of gRPC", rule.Name, rule.Protocol)
		}
	}
}

// checkRunFile checks that dapr.yaml starts each service once, on ports that nothing else
// uses.
func checkRunFile(_ *testing.T, f files) error {
	var p problems
	run, err := f.runFile()
	if err != nil {
		return err
	}
	if run.Version != 1 {
		p.add("version %d", run.Version)
	}
	var read []string
	for _, dir := range run.Common.ResourcesPaths {
		read = append(read, path.Clean(dir))
	}
	if !slices.Equal(read, resourceDirs) {
		p.add("resourcesPaths are %v", run.Common.ResourcesPaths)
	}
	if a := run.Common.PlacementHostAddress; a == nil || *a != "" {
		p.add("placementHostAddress is not empty")
	}
	if a := run.Common.SchedulerHostAddress; a == nil || *a != " " {
		p.add("schedulerHostAddress is not one space: the sidecar would wait for a scheduler")
	}

	var ids []string
	owner := map[int]string{}
	for _, app := range run.Apps {
		ids = append(ids, app.AppID)
		if want := "./apps/" + app.AppID; app.AppDirPath != want {
			p.add("%s: appDirPath %q, not %q", app.AppID, app.AppDirPath, want)
		}
		if n := len(app.Command); n == 0 || !strings.HasSuffix(app.Command[n-1], "&& exec ../../.postbus/bin/"+app.AppID) {
			p.add("%s: command %q doesn't end in an exec of the service", app.AppID, app.Command)
		}
		public, _ := strconv.Atoi(app.Env["PORT"])
		for name, port := range map[string]int{
			"PORT": public, "appPort": app.AppPort, "daprHTTPPort": app.DaprHTTPPort, "daprGRPCPort": app.DaprGRPCPort,
			"daprInternalGRPCPort": app.DaprInternalGRPCPort, "metricsPort": app.MetricsPort,
		} {
			user := app.AppID + "'s " + name
			if app.AppID == "issuer" && name == "appPort" {
				if port != 0 {
					p.add("%s is set: pages could call the issuer through its sidecar", user)
				}
				continue
			}
			if port == 0 {
				p.add("%s: %s is not pinned", app.AppID, name)
				continue
			}
			if other := owner[port]; other != "" {
				p.add("port %d is %s and %s", port, other, user)
			}
			if port < 1024 || port > 32767 {
				p.add("port %d, %s, may belong to the system or to an outgoing connection", port, user)
			}
			owner[port] = user
		}
	}
	slices.Sort(ids)
	if !slices.Equal(ids, slices.Sorted(slices.Values(apps))) {
		p.add("the apps are %v, not %v", ids, apps)
	}
	return p.err()
}

// runFile has the settings of the CLI's run file that are used here. The CLI ignores
// unknown ones.
type runFile struct {
	Version int `json:"version"`
	Common  struct {
		ResourcesPaths     []string `json:"resourcesPaths"`
		ConfigFilePath     string   `json:"configFilePath"`
		APIListenAddresses string   `json:"apiListenAddresses"`
		// The CLI accepts this setting only for a single app, and ignores it here. Its
		// default is the same, 127.0.0.1.
		MaxBodySize          string  `json:"maxBodySize"`
		ReadBufferSize       string  `json:"readBufferSize"`
		LogLevel             string  `json:"logLevel"`
		PlacementHostAddress *string `json:"placementHostAddress"`
		SchedulerHostAddress *string `json:"schedulerHostAddress"`
		DaprdLogDestination  string  `json:"daprdLogDestination"`
		AppLogDestination    string  `json:"appLogDestination"`
	} `json:"common"`
	Apps []struct {
		AppID                string            `json:"appID"`
		AppDirPath           string            `json:"appDirPath"`
		Command              []string          `json:"command"`
		Env                  map[string]string `json:"env"`
		AppPort              int               `json:"appPort"`
		DaprHTTPPort         int               `json:"daprHTTPPort"`
		DaprGRPCPort         int               `json:"daprGRPCPort"`
		DaprInternalGRPCPort int               `json:"daprInternalGRPCPort"`
		MetricsPort          int               `json:"metricsPort"`
		LogLevel             string            `json:"logLevel"`
	} `json:"apps"`
}

func (f files) runFile() (run runFile, err error) {
	if err = unmarshalStrict([]byte(f["dapr.yaml"]), &run); err != nil {
		err = fmt.Errorf("dapr.yaml: %w", err)
	}
	return run, err
}

// A document is one resource of a file.
type document struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	file    string
	content []byte
}

// documents returns all resources, split as Kubernetes splits them.
func (f files) documents(p *problems) (docs []document) {
	for _, file := range slices.Sorted(maps.Keys(f)) {
		if !slices.Contains(resourceDirs, path.Dir(file)) {
			continue
		}
		reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(f[file])))
		for {
			content, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			doc := document{file: file, content: content}
			if err == nil {
				err = yaml.Unmarshal(content, &doc)
			}
			if err != nil {
				p.add("%s: %w", file, err)
				break
			}
			if json, err := yaml.YAMLToJSON(content); err == nil && string(json) == "null" {
				continue // only a comment
			}
			docs = append(docs, doc)
		}
	}
	return docs
}

// unmarshalStrict fails on unknown fields, on fields in another case, and on repeated
// fields.
func unmarshalStrict(content []byte, into any) error {
	json, err := yaml.YAMLToJSONStrict(content)
	if err != nil {
		return err
	}
	strict, err := kjson.UnmarshalStrict(json, into)
	return errors.Join(append(strict, err)...)
}

// resources are what Dapr's loaders find, by app where they filter by app.
type resources struct {
	dir            string
	components     map[string][]compapi.Component
	resiliencies   map[string][]*resapi.Resiliency
	subscriptions  []subapi.Subscription
	configurations []configapi.Configuration
}

// load writes the files to a folder and reads them with the loaders that daprd
// uses when it runs without Kubernetes.
func load(t *testing.T, f files) (resources, error) {
	t.Helper()
	dir := t.TempDir()
	r := resources{
		dir:          dir,
		components:   map[string][]compapi.Component{},
		resiliencies: map[string][]*resapi.Resiliency{},
	}
	for file, content := range f {
		name := filepath.Join(dir, filepath.FromSlash(file))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	var dirs []string
	for _, read := range resourceDirs {
		dirs = append(dirs, filepath.Join(dir, filepath.FromSlash(read)))
	}
	log := logger.NewLogger("test")

	for _, app := range apps {
		components, err := comploader.NewLocalLoader(app, dirs).Load(t.Context())
		if err != nil {
			return r, err
		}
		r.components[app] = components
		r.resiliencies[app] = resiliency.LoadLocalResiliency(log, app, dirs...)
	}

	loaders, err := disk.New(disk.Options{AppID: services[0], Dirs: dirs, ComponentStore: compstore.New()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { // its watch on the folder ends when it has run
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = loaders.Run(ctx)
	}()
	subscriptions, err := loaders.Subscriptions().List(t.Context())
	if err != nil {
		return r, err
	}
	configurations, err := loaders.Configurations().List(t.Context())
	if err != nil {
		return r, err
	}
	r.subscriptions, r.configurations = subscriptions.Remote, configurations.Remote
	return r, nil
}

// configured is the run file, the resources that it starts with, and the configuration as
// the runtime reads it.
func (f files) configured(t *testing.T) (run runFile, r resources, loaded *config.Configuration, err error) {
	t.Helper()
	if run, err = f.runFile(); err != nil {
		return run, r, nil, err
	}
	if r, err = load(t, f); err != nil {
		return run, r, nil, err
	}
	loaded, err = config.LoadStandaloneConfiguration(filepath.Join(r.dir, filepath.FromSlash(path.Clean(run.Common.ConfigFilePath))))
	return run, r, loaded, err
}

// checkAddresses checks, with the component that the runtime runs, that every sidecar
// accepts exactly the addresses in use.
func checkAddresses(t *testing.T, f files) error {
	var p problems
	_, r, loaded, err := f.configured(t)
	if err != nil {
		return err
	}
	for _, app := range apps {
		i := slices.IndexFunc(r.components[app], func(c compapi.Component) bool {
			pipeline := loaded.Spec.HTTPPipelineSpec
			return pipeline != nil && len(pipeline.Handlers) == 1 && pipeline.Handlers[0].Name == c.Name && pipeline.Handlers[0].Type == c.Spec.Type
		})
		if i < 0 {
			p.add("%s's sidecar takes every address", app)
			continue
		}
		given, err := properties(r.components[app][i], app)
		if err != nil {
			return err
		}
		wrap, err := routerchecker.NewMiddleware(logger.NewLogger("test")).GetHandler(t.Context(), middleware.Metadata{Base: contribmeta.Base{Properties: given}})
		if err != nil {
			return err
		}
		handler := wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
		for address, should := range addresses {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, address, http.NoBody))
			if passes := w.Code == http.StatusNoContent; passes != should {
				p.add("%s passes: %t", address, passes)
			}
		}
	}
	return p.err()
}

// addresses are examples, and whether a sidecar must accept them.
var addresses = map[string]bool{
	"/v1.0/invoke/query/method/posts?limit=1":         true,
	"/v1.0/invoke/e2e-1a2b-posts/method/posts/create": true,
	"/v1.0/invoke/query/method/posts/%20":             true,
	"/v1.0/metadata":                                  true,
	"/v1.0/metadata/cliPID":                           true,
	"/v1.0/healthz":                                   true,
	"/v1.0/healthz/outbound":                          true,

	"/v1.0/invoke/http%3A%2F%2F127.0.0.1%3A4100/method/x":  false,
	"/v1.0/invoke/http%3a%2f%2f127.0.0.1%3a4100/method/x":  false,
	"/v1.0/invoke/http://127.0.0.1:4100/method/x":          false,
	"/v1.0/invoke/http:/127.0.0.1:4100/method/x":           false,
	"/v1.0//invoke/http%3A%2F%2F127.0.0.1%3A4100/method/x": false,
	"//v1.0/invoke/http%3A%2F%2F127.0.0.1%3A4100/method/x": false,
	"/x/v1.0/invoke/query/method/posts":                    false,
	"/v1.0/invoke/example.com/method/x":                    false,
	"/v1.0/invoke/query.other/method/x":                    false, // a namespace's
	"/deliver/PostCreated":                                 false, // of the app that the header dapr-app-id names
	"/":                                                    false,
	"/v1.0/publish/bus/PostCreated":                        false,
}

// theBus returns the one component for pub/sub, and its properties.
func theBus(t *testing.T, f files) (compapi.Component, map[string]string, error) {
	t.Helper()
	r, err := load(t, f)
	if err != nil {
		return compapi.Component{}, nil, err
	}
	found := map[string]compapi.Component{}
	for _, app := range apps {
		for _, c := range r.components[app] {
			if c.Spec.Type == "pubsub.redis" {
				found[c.Name] = c
			}
		}
	}
	bus, ok := found["bus"]
	if !ok || len(found) != 1 {
		return bus, nil, fmt.Errorf("the components for pub/sub are %v, not the bus alone", slices.Sorted(maps.Keys(found)))
	}
	given, err := properties(bus, services[0])
	return bus, given, err
}

// knownMetadata returns the names that a component, or the runtime for it, reads, as the
// components list them. It is nil for a component that is not used here.
func knownMetadata(componentType string) map[string]bool {
	var component any
	known := map[string]bool{}
	switch componentType {
	case "pubsub.redis":
		component = pubsubredis.NewRedisStreams(logger.NewLogger("test"))
		for _, name := range []string{scopes.AllowedTopics, scopes.ProtectedTopics, scopes.PublishingScopes, scopes.SubscriptionScopes} {
			known[name] = true
		}
		// It is read, but its tag hides it from the list (dapr/components-contrib#4600).
		// The line can go when the pinned components-contrib is later than 1.18.4.
		known["redeliverInterval"] = true
	case "state.redis":
		component = stateredis.NewRedisStateStore(logger.NewLogger("test"))
		known["keyPrefix"] = true
	case "middleware.http.routerchecker":
		return map[string]bool{"rule": true}
	default:
		return nil
	}
	for name := range component.(interface {
		GetComponentMetadata() contribmeta.MetadataMap
	}).GetComponentMetadata() {
		known[name] = true
	}
	return known
}

// properties returns a component's metadata as the runtime hands it to it.
func properties(c compapi.Component, app string) (map[string]string, error) {
	base, err := meta.New(meta.Options{ID: app, Mode: modes.StandaloneMode}).ToBaseMetadata(c)
	return base.Properties, err
}

// decodeRedis reads a component's metadata with the component's own decoder.
func decodeRedis(c compapi.Component, app string) (settings redis.Settings, err error) {
	given, err := properties(c, app)
	if err != nil {
		return settings, err
	}
	return settings, settings.Decode(given)
}

// effectiveRedis returns the settings that the bus uses, after its defaults and its own
// second reading of its two intervals.
func effectiveRedis(given map[string]string) (*redis.Settings, error) {
	given = maps.Clone(given)
	// The component asks the server for its version, and continues without an answer.
	given["redisHost"], given["redisMaxRetries"] = "127.0.0.1:1", "-1"
	delete(given, "redisPort")
	log := logger.NewLogger("test")
	client, settings, err := redis.ParseClientFromProperties(given, contribmeta.PubSubType, context.Background(), &log)
	if err != nil {
		return nil, err
	}
	return settings, client.Close()
}

// allowed reports whether the runtime lets an app publish and receive a topic.
func allowed(given map[string]string, app, topic string) (publish, receive bool) {
	item := &rtpubsub.PubsubItem{
		ScopedSubscriptions: scopes.GetScopedTopics(scopes.SubscriptionScopes, app, given),
		ScopedPublishings:   scopes.GetScopedTopics(scopes.PublishingScopes, app, given),
		AllowedTopics:       scopes.GetAllowedTopics(given),
		ProtectedTopics:     scopes.GetProtectedTopics(given),
	}
	return rtpubsub.IsOperationAllowed(topic, item, item.ScopedPublishings),
		rtpubsub.IsOperationAllowed(topic, item, item.ScopedSubscriptions)
}

// readFiles reads the committed files.
func readFiles(t *testing.T) files {
	t.Helper()
	root := os.DirFS(filepath.Join("..", "..", ".."))
	f := files{}
	read := func(name string) {
		content, err := fs.ReadFile(root, name)
		if err != nil {
			t.Fatal(err)
		}
		f[name] = string(content)
	}
	for _, dir := range resourceDirs {
		entries, err := fs.ReadDir(root, dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if entry.Name() != kustomization {
				read(dir + "/" + entry.Name()) // fails on a folder, of which Dapr would warn
			}
		}
	}
	beside, err := fs.Glob(root, "components/*.y*ml")
	if err != nil || !slices.Equal(beside, runFiles()) {
		t.Fatalf("beside the folders that sidecars read are %v, %v: no sidecar loads them", beside, err)
	}
	read("dapr.yaml")
	return f
}

// problems collects faults.
type problems []error

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Errorf(format, args...)) }
func (p *problems) err() error                     { return errors.Join(*p...) }

func (p *problems) compare(is, should bool, app, verb, topic string) {
	switch {
	case is && !should:
		p.add("%s may %s %s", app, verb, topic)
	case should && !is:
		p.add("%s may not %s %s", app, verb, topic)
	}
}
