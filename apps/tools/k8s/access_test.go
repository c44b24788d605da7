package k8s

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// calls are the routes that can be invoked, and the only apps that may. (A policy does
// not name the called app. So an app that may read /posts/** may do so at every app that
// has it.)
var calls = []struct {
	method, path, app string
	callers           []string
}{
	{"GET", "/events", "eventlog", []string{"posts", "comments", "moderation", "query"}},
	{"POST", "/events", "eventlog", nil},
	{"GET", "/events/known", "eventlog", []string{"posts", "comments", "moderation", "query"}},
	{"POST", "/import", "eventlog", nil},
	{"POST", "/append/PostCreated", "eventlog", []string{"posts"}},
	{"POST", "/append/CommentCreated", "eventlog", []string{"comments"}},
	{"POST", "/append/CommentModerated", "eventlog", []string{"moderation"}},
	{"POST", "/append/CommentUpdated", "eventlog", []string{"comments"}},
	{"POST", "/append/PolicyChanged", "eventlog", []string{"moderation"}},
	{"POST", "/append/PostCommentingChanged", "eventlog", []string{"moderation"}},
	{"POST", "/append/PersonBlocked", "eventlog", []string{"moderation"}},
	{"GET", "/dead-letters", "eventlog", nil},
	{"GET", "/dead-letters/known", "eventlog", []string{"posts", "comments", "moderation"}},
	{"POST", "/posts/create", "posts", []string{"client"}},
	{"POST", "/posts/1/comments", "comments", []string{"client"}},
	{"GET", "/posts/1/comments", "comments", []string{"client"}},
	{"GET", "/posts/1/comments/2", "comments", []string{"client"}},
	{"GET", "/posts", "query", []string{"client", "comments"}},
	{"HEAD", "/posts", "query", []string{"client"}},
	{"GET", "/posts/1", "query", []string{"client", "comments"}},
	{"GET", "/moderation/queue", "moderation", []string{"client"}},
	{"PUT", "/moderation/policy", "moderation", []string{"client"}},
	{"POST", "/deliver/PostCreated", "comments", nil},
	{"GET", "/readyz", "posts", nil},
	{"GET", "/repairs", "posts", nil},
	{"GET", "/repairs", "comments", nil},
	{"GET", "/repairs", "moderation", nil},
	{"GET", "/repairs", "eventlog", nil},
	{"GET", "/repairs", "query", nil},
}

// checkAccess checks who may call what. A test on a cluster covers what the sidecars make
// of the policies.
func checkAccess(_ *testing.T, _ string, objects []object) []error {
	var errs []error
	i := slices.IndexFunc(objects, func(o object) bool { return o.kind() == "Configuration" })
	if i < 0 {
		return []error{fmt.Errorf("no Configuration")}
	}
	c := objects[i]
	control := at(c, "spec", "accessControl")
	policies, _ := at(control, "policies").([]any)
	for _, p := range policies {
		if at(p, "namespace") != at(c, "metadata", "namespace") {
			errs = append(errs, fmt.Errorf("%s may call from the namespace %v, and they are in %v", at(p, "appId"), at(p, "namespace"), at(c, "metadata", "namespace")))
		}
		if at(p, "trustDomain") != "public" {
			errs = append(errs, fmt.Errorf("%s: trustDomain %v", at(p, "appId"), at(p, "trustDomain")))
		}
	}
	for _, call := range calls {
		for caller := range apps {
			if caller == call.app {
				continue
			}
			may := at(control, "defaultAction") != "deny"
			for _, p := range policies {
				if at(p, "appId") == caller {
					may = operationAllowed(p, call.method, call.path)
				}
			}
			if should := slices.Contains(call.callers, caller); may != should {
				errs = append(errs, fmt.Errorf("%s may %scall %s %s of %s", caller, map[bool]string{false: "not "}[may], call.method, call.path, call.app))
			}
		}
	}
	return errs
}

func operationAllowed(policy any, method, path string) bool {
	operations, _ := at(policy, "operations").([]any)
	for _, o := range operations {
		name := fmt.Sprint(at(o, "name"))
		under := strings.TrimSuffix(name, "/**")
		verbs, _ := at(o, "httpVerb").([]any)
		// Dapr applies a plain name to every path below it, too (acl_trie.go).
		if (path == name || path == under || strings.HasPrefix(path, under+"/")) && slices.Contains(verbs, any(method)) {
			return at(o, "action") == "allow"
		}
	}
	return at(policy, "defaultAction") != "deny"
}
