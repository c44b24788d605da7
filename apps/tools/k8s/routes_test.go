package k8s

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// id is the id of a post.
const id = "01a209f1-ac07-7043-aaf8-031a57533787"

// routed are the routes of the API and the page, with the service that answers each.
var routed = []struct{ method, path, service string }{
	{"POST", "/posts/create", "client"},
	{"POST", "/posts/" + id + "/comments", "client"},
	{"GET", "/posts/" + id + "/comments", "client"},
	{"GET", "/posts/" + id + "/comments/" + id, "client"},
	{"GET", "/auth/callback", "client"},
	{"PUT", "/moderation/policy", "client"},
	{"GET", "/posts", "query"},
	{"GET", "/posts/" + id, "query"},
	{"GET", "/", "client"},
	{"GET", "/assets/index.js", "client"},
	{"GET", "/p/" + id, "client"},
	{"GET", "/favicon.ico", "client"},
	{"GET", "/events", "client"}, // the client answers 404
	{"POST", "/deliver/PostCreated", "client"},
}

func TestTheIngressAndTheHTTPRoutesRouteTheAPI(t *testing.T) {
	byIngress := ingressRoutes(t, build(t, filepath.Join(root, "k8s", "overlays", "minikube")))
	gateway := build(t, filepath.Join(root, "k8s", "overlays", "gateway"))
	routers := map[string]func(method, path string) string{"Ingress": byIngress}
	// Envoy's regular expressions match the whole path, and Traefik's any part of it.
	for name, whole := range map[string]string{"HTTPRoute of Envoy": "^(%s)$", "HTTPRoute of Traefik": "%s"} {
		routers[name] = gatewayRoutes(t, gateway, whole)
	}
	for _, r := range routed {
		for what, route := range routers {
			if got := route(r.method, r.path); got != r.service {
				t.Errorf("the %s leads %s %s to %s, not %s", what, r.method, r.path, got, r.service)
			}
		}
	}
}

func TestTheGatewayOverlayHasNoIngress(t *testing.T) {
	for _, o := range build(t, filepath.Join(root, "k8s", "overlays", "gateway")) {
		if o.kind() == "Ingress" {
			t.Errorf("both an Ingress and HTTPRoutes answer for one host")
		}
	}
}

// ingressRoutes routes as ingress-nginx does for an Ingress with regular expressions.
// Each expression matches from the start of the path, in any case, and the longest is
// tried first
// (https://kubernetes.github.io/ingress-nginx/user-guide/ingress-path-matching/).
func ingressRoutes(t *testing.T, objects []object) func(method, path string) string {
	t.Helper()
	i := slices.IndexFunc(objects, func(o object) bool { return o.kind() == "Ingress" })
	ingress := objects[i]
	annotations, _ := at(ingress, "metadata", "annotations").(map[string]any)
	if annotations["nginx.ingress.kubernetes.io/use-regex"] != "true" {
		t.Fatal("the paths are no regular expressions")
	}
	rules, _ := at(ingress, "spec", "rules").([]any)
	if len(rules) != 1 || at(rules[0], "host") != "posts.com" {
		t.Fatalf("rules: %v", rules)
	}
	paths, _ := at(rules[0], "http", "paths").([]any)
	paths = slices.Clone(paths)
	slices.SortStableFunc(paths, func(a, b any) int {
		return cmp.Compare(len(fmt.Sprint(at(b, "path"))), len(fmt.Sprint(at(a, "path"))))
	})
	return func(_, path string) string {
		for _, p := range paths {
			if regexp.MustCompile("(?i)^" + fmt.Sprint(at(p, "path"))).MatchString(path) {
				return fmt.Sprint(at(p, "backend", "service", "name"))
			}
		}
		return "nobody"
	}
}

// gatewayRoutes routes as the Gateway API specifies for an HTTPRoute. An exact path has
// precedence, then the longest. What a regular expression matches is the implementation's
// business: whole is the format of the one that it tries.
func gatewayRoutes(t *testing.T, objects []object, whole string) func(method, path string) string {
	t.Helper()
	i := slices.IndexFunc(objects, func(o object) bool { return o.kind() == "HTTPRoute" })
	route := objects[i]
	type match struct {
		method, kind, value, service string
	}
	var matches []match
	rules, _ := at(route, "spec", "rules").([]any)
	for _, rule := range rules {
		backends, _ := at(rule, "backendRefs").([]any)
		all, _ := at(rule, "matches").([]any)
		for _, m := range all {
			method, _ := at(m, "method").(string)
			matches = append(matches, match{method, fmt.Sprint(at(m, "path", "type")), fmt.Sprint(at(m, "path", "value")), fmt.Sprint(at(backends[0], "name"))})
		}
	}
	rank := map[string]int{"Exact": 0, "RegularExpression": 1, "PathPrefix": 2}
	slices.SortStableFunc(matches, func(a, b match) int { return cmp.Compare(rank[a.kind], rank[b.kind]) })
	return func(method, path string) string {
		var found []string
		for _, m := range matches {
			if m.method != "" && m.method != method {
				continue
			}
			ok := false
			switch m.kind {
			case "Exact":
				ok = path == m.value
			case "RegularExpression":
				ok = regexp.MustCompile(fmt.Sprintf(whole, m.value)).MatchString(path)
			case "PathPrefix":
				ok = m.value == "/" || path == m.value || strings.HasPrefix(path, m.value+"/")
			}
			if ok {
				found = append(found, m.service)
				if m.kind == "Exact" {
					break
				}
			}
		}
		if len(found) == 0 {
			return "nobody"
		}
		return found[0]
	}
}
