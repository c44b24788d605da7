//go:build k8s

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

// cluster is a namespace of the current kubectl context, which the tests create.
type cluster struct {
	// namespace contains Postbus. host is its name at the Ingress.
	namespace, host string
	// files are copies of components/ and k8s/ with this namespace and host.
	files string
	// engine is what the bus and the stores are in.
	engine system.Engine

	ctx        context.Context
	mu         sync.Mutex
	forwards   map[string]forward // by pod and port
	forwarding sync.WaitGroup
}

// kubectl returns the output of kubectl.
func (k *cluster) kubectl(args ...string) (string, error) {
	cmd := exec.CommandContext(k.ctx, "kubectl", append([]string{"--namespace", k.namespace}, args...)...) //nolint:gosec // the arguments are ours
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, said.Bytes())
	}
	return out.String(), nil
}

// must fails the test if kubectl fails.
func (k *cluster) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := k.kubectl(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// copyFiles copies components/ and k8s/ and sets namespace and host, as a user who wants
// others does.
func (k *cluster) copyFiles(root string) error {
	for _, dir := range []string{"components", "k8s"} {
		if err := os.CopyFS(filepath.Join(k.files, dir), os.DirFS(filepath.Join(root, dir))); err != nil {
			return err
		}
	}
	edited := 0
	pinned := regexp.MustCompile(`image: (\w+):\S+@sha256:\w+`)
	err := filepath.WalkDir(filepath.Join(k.files, "k8s"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		raw, err := os.ReadFile(path) //nolint:gosec // our own copy
		if err != nil {
			return err
		}
		text := strings.ReplaceAll(string(raw), "\nnamespace: postbus\n", "\nnamespace: "+k.namespace+"\n")
		text = strings.ReplaceAll(text, "posts.com", k.host)
		text = pinned.ReplaceAllStringFunc(text, func(line string) string {
			server := pinned.FindStringSubmatch(line)[1]
			if image := serverImages[server]; image != nil && *image != "" {
				return "image: " + *image
			}
			return line
		})
		if text == string(raw) {
			return nil
		}
		edited++
		return os.WriteFile(path, []byte(text), 0o600) //nolint:gosec // as above
	})
	if err == nil && edited == 0 {
		err = errors.New("no file of k8s/ names the namespace")
	}
	return err
}

// overlay is an overlay's folder in the copied files.
func (k *cluster) overlay(name string) string {
	return filepath.Join(k.files, "k8s", "overlays", name)
}

// overlayOf is the folder of an overlay's variant for the engine: minikube or production.
func (k *cluster) overlayOf(name string) string {
	if k.engine == system.RedisEngine {
		return k.overlay(name)
	}
	return k.overlay(name + "-" + string(k.engine))
}

// awaitRollouts waits until every Deployment and StatefulSet has rolled out.
func (k *cluster) awaitRollouts(kinds ...string) error {
	for _, kind := range kinds {
		if _, err := k.kubectl("rollout", "status", kind, "--timeout=4m"); err != nil {
			pods, _ := k.kubectl("get", "pods")
			events, _ := k.kubectl("get", "events", "--sort-by=.lastTimestamp", "--field-selector=type=Warning")
			return fmt.Errorf("%w\n%s\n%s", err, pods, events)
		}
	}
	return nil
}

// awaitRolloutsOnABusyNode is awaitRollouts for when Dapr's injector may be late. It deletes
// the pods that got no sidecar, as the README says.
func (k *cluster) awaitRolloutsOnABusyNode(t *testing.T) {
	t.Helper()
	within(t, 5*time.Minute, func() error {
		bare, err := k.barePods()
		if err != nil {
			return err
		}
		for _, name := range bare {
			fmt.Printf("pod %s got no sidecar, and is made again\n", name)
			if _, err := k.kubectl("delete", "pod", name); err != nil {
				return err
			}
		}
		for _, kind := range []string{"statefulset", "deployment"} {
			if _, err := k.kubectl("rollout", "status", kind, "--timeout=20s"); err != nil {
				return err
			}
		}
		return nil
	})
}

// pod has the fields of a pod that the tests read.
type pod struct {
	Metadata struct {
		Name, DeletionTimestamp string
		Labels                  map[string]string
	}
	Spec struct {
		InitContainers, Containers []struct{ Name string }
	}
	Status struct {
		PodIP      string
		Conditions []struct{ Type, Status string }
	}
}

func (p pod) ready() bool {
	return p.Metadata.DeletionTimestamp == "" && slices.Contains(p.Status.Conditions, struct{ Type, Status string }{"Ready", "True"})
}

// pods returns the pods of an app, or of all apps for "".
func (k *cluster) pods(app string) ([]pod, error) {
	selector := "app"
	if app != "" {
		selector = "app=" + app
	}
	out, err := k.kubectl("get", "pods", "--selector", selector, "--output", "json")
	if err != nil {
		return nil, err
	}
	var list struct{ Items []pod }
	return list.Items, json.Unmarshal([]byte(out), &list)
}

// barePods returns the names of pods without a sidecar. Dapr's injector lets pods pass
// while it is not ready itself, or does not answer in time (dapr/dapr#4270, open).
func (k *cluster) barePods() ([]string, error) {
	all, err := k.pods("")
	if err != nil {
		return nil, err
	}
	var bare []string
	for _, p := range all {
		containers := append(slices.Clone(p.Spec.InitContainers), p.Spec.Containers...)
		if slices.Contains(system.Services, p.Metadata.Labels["app"]) && !slices.Contains(containers, struct{ Name string }{"daprd"}) {
			bare = append(bare, p.Metadata.Name)
		}
	}
	return bare, nil
}

// readyPod returns a pod of an app that is ready.
func (k *cluster) readyPod(t *testing.T, app string) (p pod) {
	t.Helper()
	eventually(t, func() error {
		all, err := k.pods(app)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, pod.ready)
		if i < 0 {
			return fmt.Errorf("no pod of %s is ready", app)
		}
		p = all[i]
		return nil
	})
	return p
}

// evict asks the Eviction API to end a pod, as a drain of its node does, and waits until
// the pod is gone.
func (k *cluster) evict(t *testing.T, pod string) {
	t.Helper()
	uid := k.must(t, "get", "pod", pod, "--output", "jsonpath={.metadata.uid}")
	k.create(t, fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/eviction", k.namespace, pod),
		fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q}}`, pod))
	within(t, 2*time.Minute, func() error { // redis-0 comes back under its name
		now, err := k.kubectl("get", "pod", pod, "--ignore-not-found", "--output", "jsonpath={.metadata.uid}")
		if err == nil && now == uid {
			err = fmt.Errorf("pod %s is still there", pod)
		}
		return err
	})
}

// create posts an object to the API server.
func (k *cluster) create(t *testing.T, path, object string) {
	t.Helper()
	file := filepath.Join(k.files, "object.json") // kubectl takes a comma in a path for two paths
	if err := os.WriteFile(file, []byte(object), 0o600); err != nil {
		t.Fatal(err)
	}
	k.must(t, "create", "--raw", path, "-f", file)
}

// takeCPU runs a pod that keeps one processor busy until it is released. Its request for
// CPU is far above those of the apps, so it has precedence.
func (k *cluster) takeCPU(t *testing.T) (release func()) {
	t.Helper()
	image := k.must(t, "get", "statefulset", "--output", "jsonpath={.items[0].spec.template.spec.containers[0].image}")
	k.create(t, fmt.Sprintf("/api/v1/namespaces/%s/pods", k.namespace), fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"busy"},"spec":{
		"terminationGracePeriodSeconds":0,"automountServiceAccountToken":false,
		"containers":[{"name":"busy","image":%q,"imagePullPolicy":"IfNotPresent","command":["sh","-c","while :; do :; done"],
			"resources":{"requests":{"cpu":"500m"},"limits":{"cpu":"1"}}}]}}`, image))
	release = func() { k.must(t, "delete", "pod", "busy", "--ignore-not-found") }
	t.Cleanup(release) // also when the test fails
	k.must(t, "wait", "pod", "busy", "--for=condition=Ready", "--timeout=1m")
	return release
}

// forward is a local port that leads into the cluster.
type forward struct {
	port int
	stop context.CancelFunc
}

// forward makes a local port for a port of a pod or service. A broken forwarding is
// restarted, to the pod of that moment.
func (k *cluster) forward(target string, port int) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := fmt.Sprint(target, ":", port)
	if f, ok := k.forwards[key]; ok {
		return f.port, nil
	}
	local, err := system.FreePort()
	if err != nil {
		return 0, err
	}
	ctx, stop := context.WithCancel(k.ctx)
	k.forwarding.Go(func() {
		for ctx.Err() == nil {
			cmd := exec.CommandContext(ctx, "kubectl", "--namespace", k.namespace, "port-forward", target, fmt.Sprintf("%d:%d", local, port)) //nolint:gosec // the arguments are ours
			_ = cmd.Run()
			select { // kubectl ends when the pod is gone or replaced
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	k.forwards[key] = forward{local, stop}
	return local, system.Until(ctx, soon, func() error {
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", local), time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
}

// replicas are the ready pods of a service, each at its own local port.
func (k *cluster) replicas(name string, port int) ([]system.App, error) {
	all, err := k.pods(name)
	if err != nil {
		return nil, err
	}
	var apps []system.App
	for _, p := range all {
		if !p.ready() {
			continue
		}
		local, err := k.forward("pod/"+p.Metadata.Name, port)
		if err != nil {
			return nil, err
		}
		apps = append(apps, system.App{Name: name, ID: name, Port: local})
	}
	if len(apps) == 0 {
		return nil, fmt.Errorf("%s has no replica that is ready", name)
	}
	return apps, nil
}

// stopForwards ends all forwarding.
func (k *cluster) stopForwards() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.forwards {
		f.stop()
	}
	k.forwarding.Wait()
}

// reach makes a host name resolve to an address for the tests' clients.
func reach(host, address string) {
	dialer := &net.Dialer{Timeout: 2 * time.Second}
	dial := func(ctx context.Context, network, to string) (net.Conn, error) {
		if name, port, err := net.SplitHostPort(to); err == nil && name == host {
			to = net.JoinHostPort(address, port)
		}
		return dialer.DialContext(ctx, network, to)
	}
	client.Transport = &http.Transport{DialContext: dial}
	loadClient.Transport = &http.Transport{DialContext: dial, MaxIdleConnsPerHost: writers + pageReaders}
}
