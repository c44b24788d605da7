//go:build k8s

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postbus/postbus/apps/tools/system"
)

var (
	keep    = flag.Bool("keep", false, "leave the namespace as it is in the end")
	ingress = flag.String("ingress", "", "`address` of the ingress controller, if the Ingress doesn't say it (minikube ip)")
)

// serverImages replace the pinned images of the engine's servers, by the server's name, on a
// cluster that can't pull them.
var serverImages = map[string]*string{}

func init() {
	for _, server := range []string{"redis", "postgres", "rabbitmq", "nats"} {
		serverImages[server] = flag.String(server+"-image", "", "`name` of an image to run instead of the pinned one, on a cluster that can't pull it")
	}
}

// k8s is the cluster that the tests are on.
var k8s = &cluster{namespace: "postbus-test", host: "postbus-test.example.com", forwards: map[string]forward{}}

// publicPorts are the services' own.
var publicPorts = map[string]int{"posts": 4000, "comments": 4001, "query": 4002, "moderation": 4003, "eventlog": 4005, "client": 3000}

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if k8s.engine, err = system.EngineOf(string(engine)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	k8s.ctx = ctx
	code := runOnKubernetes(m)
	k8s.stopForwards()
	stop()
	os.Exit(code)
}

func runOnKubernetes(m *testing.M) (code int) {
	files, err := os.MkdirTemp("", "postbus-k8s-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	k8s.files = files
	defer func() { _ = os.RemoveAll(files) }()
	if shared, err = k8s.deploy(); err != nil {
		fmt.Fprintln(os.Stderr, "Postbus can't be deployed:", err)
		code = 1
	} else {
		code = m.Run()
	}
	if *keep || code != 0 {
		fmt.Fprintf(os.Stderr, "the namespace %s is left for you to look; kubectl delete namespace %[1]s\n", k8s.namespace)
		return code
	}
	k8s.ctx = context.Background() // also after Ctrl-C
	if _, err := k8s.kubectl("delete", "namespace", k8s.namespace); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// deploy applies the engine's overlay for a minikube as the README says, and waits.
func (k *cluster) deploy() (*stack, error) {
	name, err := k.kubectl("config", "current-context")
	if err != nil {
		return nil, err
	}
	fmt.Printf("on %s, in the namespace %s, with the engine %s\n", strings.TrimSpace(name), k.namespace, k.engine)
	if _, err := k.kubectl("get", "crd", "components.dapr.io"); err != nil {
		return nil, fmt.Errorf("is Dapr installed (dapr init -k --wait)? %w", err)
	}
	if _, err := k.kubectl("get", "namespace", k.namespace); err == nil {
		fmt.Println("the namespace is there from an earlier run, and is deleted first")
		if _, err := k.kubectl("delete", "namespace", k.namespace); err != nil {
			return nil, err
		}
	}
	checkout, err := system.FindCheckout()
	if err != nil {
		return nil, err
	}
	if err := k.copyFiles(checkout.Root); err != nil {
		return nil, err
	}
	secrets := exec.CommandContext(k.ctx, filepath.Join(k.files, "k8s", "secrets"), k.namespace) //nolint:gosec // our own copy
	if out, err := secrets.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("k8s/secrets: %w\n%s", err, out)
	}
	if _, err := k.kubectl("apply", "-k", k.overlayOf("minikube")); err != nil {
		return nil, err
	}
	if err := k.awaitRollouts("statefulset", "deployment"); err != nil {
		return nil, err
	}
	if err := k.everyAppHasASidecar(); err != nil {
		return nil, err
	}
	if err := k.findIngress(); err != nil {
		return nil, err
	}
	return k.stack()
}

// everyAppHasASidecar finds pods without a sidecar.
func (k *cluster) everyAppHasASidecar() error {
	bare, err := k.barePods()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range bare {
		errs = append(errs, fmt.Errorf("pod %s has no sidecar: it was made before Dapr's injector was ready; kubectl -n %s delete pod %[1]s", name, k.namespace))
	}
	return errors.Join(errs...)
}

func (k *cluster) findIngress() error {
	address := *ingress
	return system.Until(k.ctx, time.Minute, func() error {
		if *ingress == "" {
			out, err := k.kubectl("get", "ingress", "postbus", "--output", "jsonpath={.status.loadBalancer.ingress[0]['ip','hostname']}")
			if err != nil {
				return err
			}
			if address = strings.TrimSpace(out); address == "" {
				return errors.New("the Ingress has no address yet; is there an ingress controller (minikube addons enable ingress)? -ingress names one")
			}
		}
		reach(k.host, address)
		for _, path := range []string{"/posts", "/posts/create", "/healthz", "/posts/x/comments"} {
			r, err := do("GET", "http://"+k.host+path, "")
			if err != nil {
				return err
			}
			if r.status >= 500 {
				return fmt.Errorf("GET %s: %s", path, r)
			}
		}
		return nil
	})
}

// stack is the deployed system as a stack: the public API through the Ingress, the rest
// through forwarded ports.
func (k *cluster) stack() (*stack, error) {
	s := &stack{System: &system.System{}, posts: map[string]bool{}}
	for _, name := range system.Services {
		a := system.App{Name: name, ID: name}
		if slices.Contains([]string{"posts", "comments", "query"}, name) {
			a.Base = "http://" + k.host
		} else {
			port, err := k.forward("service/"+name, publicPorts[name])
			if err != nil {
				return nil, err
			}
			a.Port = port
		}
		s.Apps = append(s.Apps, a)
	}
	if k.engine == system.RedisEngine {
		port, err := k.forward("pod/redis-0", 6379)
		if err != nil {
			return nil, err
		}
		s.redisAt.Addr = fmt.Sprintf("127.0.0.1:%d", port)
		s.redisAt.Username = "operator"
		if s.redisAt.Password, err = k.secret("redis-operator", "password"); err != nil {
			return nil, err
		}
	}
	s.replicasOf = func(name string) []system.App {
		replicas, err := k.replicas(name, publicPorts[name])
		if err != nil {
			panic(err)
		}
		return replicas
	}
	return s, nil
}

func (k *cluster) secret(name, key string) (string, error) {
	return k.kubectl("get", "secret", name, "--output", "go-template={{index .data \""+key+"\" | base64decode}}")
}

// TestOnKubernetes runs in a fixed order: first what works, then what is refused, then
// faults under load. What reads Redis runs on the default engine alone.
func TestOnKubernetes(t *testing.T) {
	onRedis := k8s.engine == system.RedisEngine
	t.Run("through the Ingress", flow)
	t.Run("the posts API has a port of the node", func(t *testing.T) {
		port := k8s.must(t, "get", "service", "posts-svc", "--output", "jsonpath={.spec.ports[0].nodePort}")
		node := k8s.must(t, "get", "nodes", "--output", "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}")
		want(t, 201, "POST", "http://"+net.JoinHostPort(node, port)+"/posts/create", `{"title":"By the node's port"}`)
	})
	if onRedis {
		t.Run("through the HTTPRoutes", throughTheHTTPRoutes)
	}
	t.Run("the production overlay is taken by the API server", func(t *testing.T) {
		k8s.must(t, "apply", "--dry-run=server", "-k", k8s.overlayOf("production"))
	})
	t.Run("sidecars talk by mutual TLS", mutualTLS)
	t.Run("only those who may are let in", accessControl)
	t.Run("nothing but the sidecar reaches the deliveries", deliveriesAreOutOfReach)
	if onRedis {
		t.Run("a store's user of Redis reaches no other store", usersOfRedis)
		t.Run("a full Redis refuses writes and loses nothing", func(t *testing.T) {
			fullRedis(t, shared, func() string {
				return k8s.must(t, "get", "pods", "--output", `jsonpath={range .items[*]}{.metadata.name}{.status['initContainerStatuses','containerStatuses'][*].restartCount} {end}`)
			})
		})
	} else {
		t.Run("a store's user of PostgreSQL reaches no other store", usersOfPostgres)
	}
	if k8s.engine == system.PostgresRabbitMQ {
		t.Run("RabbitMQ knows the bus alone", usersOfRabbitMQ)
	}
	t.Run("a restart of each server loses nothing", serversRestarted)
	if k8s.engine == system.PostgresRabbitMQ {
		t.Run("without RabbitMQ writes go on by the log", withoutRabbitMQ)
	}
	if onRedis {
		t.Run("under load", brokenUnderLoad)
	}
	t.Run("a backup is put back", backedUpAndPutBack)
}

// flow is the same flow test as for the system on one machine.
func flow(t *testing.T) {
	t.Run("a post is shown to readers", TestAPostIsShownToReaders)
	t.Run("a comment is moderated and shown everywhere", TestACommentIsModeratedAndShownEverywhere)
	t.Run("a comment right after its post is taken", TestACommentRightAfterItsPostIsTaken)
	if k8s.engine == system.RedisEngine { // where it reads the bus, too
		t.Run("the log has all events as CloudEvents", TestTheLogHasAllEventsAsCloudEvents)
	}
	t.Run("the log is read from a cursor", TestTheLogIsReadFromACursor)
	t.Run("the client's host is behind everything else", func(t *testing.T) {
		if got := string(want(t, 200, "GET", "http://"+k8s.host+"/healthz", "").body); got != "ok\n" {
			t.Errorf("GET /healthz: %q", got)
		}
		// Each service answers an unknown id in its own words.
		want(t, 404, "GET", "http://"+k8s.host+"/posts/x", "")
		want(t, 404, "GET", "http://"+k8s.host+"/deliver/PostCreated", "")
		want(t, 404, "GET", "http://"+k8s.host+"/events", "")
	})
}

func throughTheHTTPRoutes(t *testing.T) {
	if out, err := k8s.kubectl("get", "gatewayclass", "traefik"); err != nil {
		t.Fatalf("this cluster has no GatewayClass as the overlay names it, so nothing is known of the routes (ARGS=-test.skip=/HTTPRoutes leaves them out): %v%s", err, out)
	}
	k8s.must(t, "delete", "ingress", "postbus")
	k8s.must(t, "apply", "-k", k8s.overlay("gateway"))
	t.Cleanup(func() {
		k8s.must(t, "delete", "httproute,gateway", "postbus")
		k8s.must(t, "apply", "-k", k8s.overlayOf("minikube"))
		if err := k8s.findIngress(); err != nil {
			t.Fatal(err)
		}
	})
	var address string
	within(t, time.Minute, func() error {
		var g struct {
			Status struct{ Addresses []struct{ Value string } }
		}
		var r struct {
			Status struct {
				Parents []struct {
					Conditions []struct{ Type, Status, Message string }
				}
			}
		}
		for what, into := range map[string]any{"gateway": &g, "httproute": &r} {
			out, err := k8s.kubectl("get", what, "postbus", "--output", "json")
			if err == nil {
				err = json.Unmarshal([]byte(out), into)
			}
			if err != nil {
				return err
			}
		}
		if len(g.Status.Addresses) == 0 || len(r.Status.Parents) == 0 {
			return errors.New("the gateway has no address yet, or has not looked at the routes")
		}
		for _, c := range r.Status.Parents[0].Conditions {
			if c.Status != "True" {
				return fmt.Errorf("the HTTPRoute is not %s: %s", c.Type, c.Message)
			}
		}
		address = g.Status.Addresses[0].Value
		reach(k8s.host, address)
		for _, path := range []string{"/posts", "/healthz", "/posts/x/comments"} {
			if r, err := do("GET", "http://"+k8s.host+path, ""); err != nil || r.status >= 500 {
				return fmt.Errorf("GET %s: %s, %w", path, r, err)
			}
		}
		if r, err := do("POST", "http://"+k8s.host+"/posts/create", "x"); err != nil || r.status != 400 {
			return fmt.Errorf("POST /posts/create: %s, %w", r, err)
		}
		return nil
	})
	flow(t)
}

// mutualTLS checks the certificate of a sidecar, and its answer to a client without one.
func mutualTLS(t *testing.T) {
	for _, app := range system.Services {
		port, err := k8s.forward("pod/"+k8s.readyPod(t, app).Metadata.Name, 50002)
		if err != nil {
			t.Fatal(err)
		}
		var identities []string
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{
			InsecureSkipVerify: true, //nolint:gosec // it is looked at below
			NextProtos:         []string{"h2"},
			VerifyConnection: func(state tls.ConnectionState) error {
				for _, uri := range state.PeerCertificates[0].URIs {
					identities = append(identities, uri.String())
				}
				return nil
			},
		})
		if err == nil {
			// With TLS 1.3 the refusal arrives after the handshake.
			_ = conn.SetDeadline(time.Now().Add(soon))
			_, err = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
		if want := "spiffe://public/ns/" + k8s.namespace + "/" + app; !slices.Equal(identities, []string{want}) {
			t.Errorf("%s's sidecar is %v, not %s", app, identities, want)
		}
		if err == nil || !strings.Contains(err.Error(), "certificate required") && !strings.Contains(err.Error(), "bad certificate") {
			t.Errorf("%s's sidecar says to somebody without a certificate: %v", app, err)
		}
	}
}

// invoke calls an app through another app's sidecar.
func invoke(t *testing.T, caller, method, app, path, body string) response {
	t.Helper()
	port, err := k8s.forward("pod/"+k8s.readyPod(t, caller).Metadata.Name, 3500)
	if err != nil {
		t.Fatal(err)
	}
	token, err := k8s.secret("dapr-api-token", "token")
	if err != nil {
		t.Fatal(err)
	}
	r, err := do(method, fmt.Sprintf("http://127.0.0.1:%d/v1.0/invoke/%s/method%s", port, app, path), body, "dapr-api-token: "+token)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func accessControl(t *testing.T) {
	port, err := k8s.forward("pod/"+k8s.readyPod(t, "posts").Metadata.Name, 3500)
	if err != nil {
		t.Fatal(err)
	}
	want(t, 401, "GET", fmt.Sprintf("http://127.0.0.1:%d/v1.0/metadata", port), "") // without the token

	p := shared.createPost(t, "of access control")
	calls := []struct {
		method, app, path string
		allowed           []string // the only callers who may
	}{
		{"GET", "eventlog", "/events?limit=1", []string{"posts", "comments", "moderation", "query"}},
		{"GET", "eventlog", "/events/known?ids=x", []string{"posts", "comments", "moderation", "query"}},
		{"GET", "eventlog", "/dead-letters?limit=1", nil},
		{"GET", "eventlog", "/dead-letters/known?ids=x", []string{"posts", "comments", "moderation"}},
		{"GET", "posts", "/repairs", nil},
		{"GET", "comments", "/repairs", nil},
		{"GET", "moderation", "/repairs", nil},
		{"POST", "posts", "/posts/create", []string{"client"}},
		{"POST", "comments", "/posts/" + p.ID + "/comments", []string{"client"}},
		{"GET", "comments", "/posts/" + p.ID + "/comments", []string{"client"}},
		{"GET", "query", "/posts", []string{"client", "comments"}},
		{"GET", "query", "/posts/" + p.ID, []string{"client", "comments"}},
		{"DELETE", "query", "/posts/" + p.ID, nil},
		{"GET", "query", "/readyz", nil},
	}
	for _, caller := range system.Services {
		for _, c := range calls {
			if caller == c.app {
				continue // it is itself
			}
			body := map[string]string{"/posts/create": `{"title":"Called"}`, "/posts/" + p.ID + "/comments": `{"content":"Called."}`}[c.path]
			if c.method == "GET" {
				body = ""
			}
			r := invoke(t, caller, c.method, c.app, c.path, body)
			switch {
			case slices.Contains(c.allowed, caller) && r.status >= 300:
				t.Errorf("%s calls %s %s of %s: %s", caller, c.method, c.path, c.app, r)
			case !slices.Contains(c.allowed, caller) && r.status != 403:
				t.Errorf("%s calls %s %s of %s, which it may not: %s", caller, c.method, c.path, c.app, r)
			}
		}
	}
	appendsAreForPublishers(t)
	repairsAreForOperators(t)
	// The client's host may call it, as for the page.
	want(t, 201, "POST", shared.ofClient("/posts/create"), `{"title":"By the client"}`)
	want(t, 200, "GET", shared.ofClient("/posts/"+p.ID+"/comments"), "")
	want(t, 200, "GET", shared.ofClient("/posts"), "")
}

// appendsAreForPublishers has each service put each type of event into the log. What reaches
// eventlog is refused there for its media type.
func appendsAreForPublishers(t *testing.T) {
	publishers := map[string]string{"PostCreated": "posts", "CommentCreated": "comments", "CommentModerated": "moderation", "CommentUpdated": "comments"}
	for _, caller := range system.Services {
		for topic, publisher := range publishers {
			status := http.StatusForbidden
			if caller == publisher {
				status = http.StatusUnsupportedMediaType
			}
			if r := invoke(t, caller, "POST", "eventlog", "/append/"+topic, "[]"); caller != "eventlog" && r.status != status {
				t.Errorf("%s appends a %s: %s, want %d", caller, topic, r, status)
			}
		}
	}
}

// repairsAreForOperators reads the repairs as the README says: at the app channel, with its
// token.
func repairsAreForOperators(t *testing.T) {
	t.Helper()
	token, err := k8s.secret("app-api-token", "token")
	if err != nil {
		t.Fatal(err)
	}
	for _, app := range []string{"posts", "comments", "moderation"} {
		p := k8s.readyPod(t, app).Metadata.Name
		channel, err1 := k8s.forward("pod/"+p, publicPorts[app]+100)
		public, err2 := k8s.forward("pod/"+p, publicPorts[app])
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		repairs := fmt.Sprintf("http://127.0.0.1:%d/repairs", channel)
		want(t, 401, "GET", repairs, "")
		if counts := decode[map[string]int](t, want(t, 200, "GET", repairs, "", "dapr-api-token: "+token).body); len(counts) == 0 {
			t.Errorf("%s counts no kind of repairs", app)
		}
		want(t, 404, "GET", fmt.Sprintf("http://127.0.0.1:%d/repairs", public), "")
	}
}

// deliveriesAreOutOfReach tries to deliver an event without being the sidecar.
func deliveriesAreOutOfReach(t *testing.T) {
	for service, topics := range routes {
		p := k8s.readyPod(t, service)
		for _, topic := range topics {
			body, subject := forged(t, topic)
			for _, caller := range system.Services {
				if caller == service {
					continue
				}
				if r := invoke(t, caller, "POST", service, "/deliver/"+topic, body); r.status != 403 {
					t.Errorf("%s calls %s's delivery of %s: %s", caller, service, topic, r)
				}
			}
			replicas, err := k8s.replicas(service, publicPorts[service])
			if err != nil {
				t.Fatal(err)
			}
			want(t, 404, "POST", replicas[0].URL()+"/deliver/"+topic, body)
			if inLog(t, shared, subject) {
				t.Errorf("%s took a forged %s", service, topic)
			}
		}
		// From another pod, over the network: only the pod itself reaches the channel.
		if said := fromAnotherPod(p.Status.PodIP, publicPorts[service]+100); said == "connected" {
			t.Errorf("another pod reaches the app channel of %s", service)
		}
	}
	// A port that is open shows whether the network separates the pods at all.
	said := fromAnotherPod(k8s.readyPod(t, "eventlog").Status.PodIP, publicPorts["eventlog"])
	if said == "connected" {
		fmt.Println("this cluster does NOT enforce network policies: another pod reaches eventlog's port, which they deny")
	} else {
		fmt.Printf("this cluster enforces network policies: another pod can't reach eventlog's port (%s)\n", said)
	}
}

// usersOfRedis logs in with the secrets of the components.
func usersOfRedis(t *testing.T) {
	for _, owner := range system.Services {
		password, err := k8s.secret("redis-"+owner+"-store", "password")
		if err != nil {
			t.Fatal(err)
		}
		c := connect(t, redis.Options{Addr: shared.redisAt.Addr, Username: owner + "-store", Password: password})
		for _, of := range system.Services {
			if err := c.HGetAll(t.Context(), of+"||x").Err(); (of == owner) != (err == nil) || err != nil && !isRefused(err) {
				t.Errorf("%s's user reads a key of %s: %v", owner, of, err)
			}
		}
	}
	if err := connect(t, redis.Options{Addr: shared.redisAt.Addr}).Ping(t.Context()).Err(); err == nil {
		t.Error("nobody in particular may log in to Redis")
	}
}

// backedUpAndPutBack tests what the README says about k8s/backup and k8s/restore. It is
// last, because it loses what was written after the backup.
func backedUpAndPutBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "postbus.backup")
	script := func(name, file string) (string, error) {
		out, err := exec.CommandContext(k8s.ctx, filepath.Join(k8s.files, "k8s", name), file, k8s.namespace).CombinedOutput() //nolint:gosec // our own copy
		return string(out), err
	}
	outside := "http://" + k8s.host
	written := func(title string) post {
		t.Helper()
		p := decode[post](t, want(t, 201, "POST", outside+"/posts/create", fmt.Sprintf(`{"title":%q}`, title)).body)
		eventually(t, statusOf(outside+"/posts/"+p.ID, 200))
		return p
	}
	kept := written("before the backup")
	if out, err := script("backup", file); err != nil {
		t.Fatalf("k8s/backup: %v\n%s", err, out)
	}
	lost := written("after the backup")

	raw, err := os.ReadFile(file) //nolint:gosec // our own
	if err != nil {
		t.Fatal(err)
	}
	for what, content := range map[string][]byte{"half a backup": raw[:len(raw)/2], "no backup of this engine": append([]byte("?"), raw...)} {
		unsuitable := filepath.Join(t.TempDir(), "unsuitable.backup")
		if err := os.WriteFile(unsuitable, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := script("restore", unsuitable); err == nil {
			t.Errorf("%s was put back: %s", what, out)
		}
	}
	want(t, 200, "GET", outside+"/posts/"+lost.ID, "") // nothing has stopped

	if out, err := script("restore", file); err != nil {
		t.Fatalf("k8s/restore: %v\n%s", err, out)
	}
	if err := k8s.awaitRollouts("statefulset", "deployment"); err != nil {
		t.Fatal(err)
	}
	eventually(t, statusOf(outside+"/posts/"+kept.ID, 200))
	want(t, 404, "GET", outside+"/posts/"+lost.ID, "")
	written("after it was put back")
}

// statusOf returns nil once a GET is answered with the status.
func statusOf(url string, status int) func() error {
	return func() error {
		r, err := do("GET", url, "")
		if err == nil && r.status != status {
			err = errors.New(r.String())
		}
		return err
	}
}

func brokenUnderLoad(t *testing.T) {
	apps := system.Services
	delivered := func(t *testing.T) {
		t.Helper()
		if err := k8s.awaitRollouts("statefulset", "deployment"); err != nil {
			t.Fatal(err)
		}
	}
	roll := func(t *testing.T, l *load, what func()) {
		t.Helper()
		readers := startReaders(t)
		what()
		delivered(t)
		if failed := readers(); len(failed) > 0 {
			t.Errorf("%d reads failed, the first: %s", len(failed), failed[0])
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.failed) > 0 {
			t.Errorf("%d writes failed at first, among them one to %s: %v", len(l.failed), l.failed[0].url, l.failed[0].err)
		}
	}
	// The load's books do not contain what earlier tests have written.
	for _, a := range shared.all("query") {
		within(t, time.Minute, func() error {
			before, err := inQuery(a, nil)
			if err == nil {
				for id := range before.posts {
					shared.posts[id] = true
				}
			}
			return err
		})
	}
	restart := func(t *testing.T, rounds int, await func(*testing.T)) {
		t.Helper()
		for range rounds {
			for _, app := range apps {
				k8s.must(t, "rollout", "restart", "deployment/"+app)
				await(t)
			}
		}
	}
	scale := func(app string, to int) { k8s.must(t, "scale", "deployment/"+app, fmt.Sprint("--replicas=", to)) }
	var rows []*row
	for _, f := range []fault{
		{name: "each app's pod deleted in turn", run: func(t *testing.T, _ *stack, _ *load) {
			for _, app := range apps {
				k8s.must(t, "delete", "pod", "--selector", "app="+app)
				delivered(t)
			}
		}},
		{name: "each app's pod killed in turn, without grace", run: func(t *testing.T, _ *stack, _ *load) {
			for _, app := range apps {
				k8s.must(t, "delete", "pod", "--selector", "app="+app, "--grace-period=0", "--force")
				delivered(t)
			}
		}},
		{name: "every Deployment rolled", run: func(t *testing.T, _ *stack, l *load) {
			ends := watchSidecars(t)
			l.afterwards = func() { eventually(t, func() error { return endedWhenAsked(ends()) }) }
			roll(t, l, func() { restart(t, 1, delivered) })
		}},
		{name: "every Deployment rolled 3 times, with a CPU taken", run: func(t *testing.T, _ *stack, _ *load) {
			release := k8s.takeCPU(t)
			restart(t, 3, k8s.awaitRolloutsOnABusyNode)
			release()
		}},
		{name: "each pod evicted in turn, with a CPU taken", run: func(t *testing.T, _ *stack, _ *load) {
			all, err := k8s.pods("")
			if err != nil {
				t.Fatal(err)
			}
			release := k8s.takeCPU(t)
			for _, p := range all {
				k8s.evict(t, p.Metadata.Name)
				k8s.awaitRolloutsOnABusyNode(t)
			}
			release()
		}},
		{name: "query from 1 to 3 to 1", run: func(t *testing.T, s *stack, l *load) {
			roll(t, l, func() {
				scale("query", 3)
				delivered(t)
				if n := len(s.all("query")); n != 3 {
					t.Errorf("query has %d replicas", n)
				}
				scale("query", 1)
			})
		}},
		{name: "comments from 1 to 3", run: func(t *testing.T, _ *stack, l *load) {
			roll(t, l, func() { scale("comments", 3) })
		}},
		{name: "Redis's pod deleted", run: func(t *testing.T, _ *stack, _ *load) {
			k8s.must(t, "delete", "pod", "redis-0")
			delivered(t)
		}},
	} {
		rows = append(rows, runFault(t, f, func(*testing.T) *stack { return shared }))
	}
	scale("comments", 1)
	delivered(t)
	printTable(rows)
}

// watchSidecars returns a function that returns the exit codes, by app, of the sidecars
// that have ended since. (The API server has them only while a pod is ending.)
func watchSidecars(t *testing.T) func() map[string][]string {
	t.Helper()
	watch := exec.CommandContext(t.Context(), "kubectl", "--namespace", k8s.namespace, "get", "pods", "--selector", "app", "--watch", //nolint:gosec // the arguments are ours
		"--output", `jsonpath={.metadata.labels.app} {.metadata.deletionTimestamp} {.status.initContainerStatuses[?(@.name=="daprd")].state.terminated.exitCode}{"\n"}`)
	watch.Stderr = os.Stderr
	lines, err := watch.StdoutPipe()
	if err == nil {
		err = watch.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	ends := map[string][]string{}
	var reading sync.WaitGroup
	reading.Go(func() {
		for in := bufio.NewScanner(lines); in.Scan(); {
			if of := strings.Fields(in.Text()); len(of) == 3 { // app, since when its pod ends, code
				mu.Lock()
				ends[of[0]] = append(ends[of[0]], of[2])
				mu.Unlock()
			}
		}
	})
	t.Cleanup(func() {
		reading.Wait()
		_ = watch.Wait() // ended with the test
	})
	return func() map[string][]string {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(ends)
	}
}

// endedWhenAsked returns nil when a sidecar of each app has ended, and none of them was
// killed. Then they had the chance to lose messages, which the accounts are about. (A
// sidecar ends with 1 when its grace period is over before its deliveries are.)
func endedWhenAsked(ends map[string][]string) error {
	const killed = "137"
	for _, app := range system.Services {
		if len(ends[app]) == 0 || slices.Contains(ends[app], killed) {
			return fmt.Errorf("sidecars of %s ended with %v, and not by themselves", app, ends[app])
		}
	}
	return nil
}

// startReaders reads posts and a page of the client's host until it is stopped, and
// returns what failed.
func startReaders(t *testing.T) (stop func() []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed []string
	for _, path := range []string{"/posts?limit=5", "/healthz"} {
		all.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				if r, err := do("GET", "http://"+k8s.host+path, ""); err != nil || r.status != http.StatusOK {
					mu.Lock()
					failed = append(failed, fmt.Sprintf("%s GET %s: %s, %v", time.Now().Format(time.TimeOnly), path, r, err))
					mu.Unlock()
				}
				<-tick.C
			}
		})
	}
	return func() []string {
		cancel()
		all.Wait()
		return failed
	}
}
