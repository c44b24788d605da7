package k8s

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// secretsOfPeople are the variables with a secret for signing in and moderating, with the secret
// and the only apps that have it.
var secretsOfPeople = map[string]struct {
	secret, key string
	apps        []string
}{
	"SUBJECT_KEY":   {"subject-key", "key", []string{"client", "comments", "moderation", "posts"}},
	"SESSION_KEY":   {"session-key", "key", []string{"client"}},
	"CLIENT_SECRET": {"client-secret", "secret", []string{"client"}},
	"SCORER_SECRET": {"scorer", "secret", []string{"moderation"}},
}

// knowPeople are the apps that know who is signed in.
var knowPeople = secretsOfPeople["SUBJECT_KEY"].apps

// checkPeople checks that the apps that know who is signed in have what they need for it, and no
// others. In production an issuer is named, and guests' comments wait. The development issuer is
// nowhere.
func checkPeople(_ *testing.T, overlay string, objects []object) []error {
	var errs []error
	var settings, outside object
	for _, o := range objects {
		name := o.name()
		switch {
		case o.kind() == "ConfigMap" && strings.HasPrefix(name, "people-"):
			settings = o
		case o.kind() == "NetworkPolicy" && name == "people-outside":
			outside = o
		}
	}
	for _, o := range objects {
		if o.kind() == "Deployment" {
			errs = append(errs, knowsPeople(o, settings)...)
		}
	}
	if !isProduction(overlay) {
		if settings != nil || outside != nil {
			errs = append(errs, fmt.Errorf("people sign in at %v", at(settings, "data", "ISSUER")))
		}
		return errs
	}
	if settings == nil || outside == nil {
		return append(errs, fmt.Errorf("nobody can sign in: %v, %v", settings, outside))
	}
	return append(errs, letsPeopleIn(settings, outside, objects)...)
}

// knowsPeople checks a Deployment's image, settings and secrets.
func knowsPeople(d, settings object) []error {
	var errs []error
	containers, _ := at(d, "spec", "template", "spec", "containers").([]any)
	if image := fmt.Sprint(at(containers[0], "image")); strings.Contains(image, "issuer") {
		errs = append(errs, fmt.Errorf("%s runs %s, where anybody signs in as anybody", d, image))
	}
	given := named(at(containers[0], "env"))
	for _, name := range slices.Sorted(maps.Keys(secretsOfPeople)) {
		want, ref := secretsOfPeople[name], at(given[name], "valueFrom", "secretKeyRef")
		switch {
		case !slices.Contains(want.apps, d.name()):
			if ref != nil {
				errs = append(errs, fmt.Errorf("%s has %s", d, name))
			}
		case at(ref, "name") != want.secret || at(ref, "key") != want.key || at(ref, "optional") != true:
			errs = append(errs, fmt.Errorf("%s has its %s from %v", d, name, ref))
		}
	}
	sources, _ := at(containers[0], "envFrom").([]any)
	if !slices.Contains(knowPeople, d.name()) {
		if len(sources) != 0 {
			errs = append(errs, fmt.Errorf("%s has settings of people", d))
		}
		return errs
	}
	want := "people"
	if settings != nil {
		want = settings.name() // with a digest, so that a change is a rollout
	}
	if len(sources) != 1 || at(sources[0], "configMapRef", "name") != want || at(sources[0], "configMapRef", "optional") != true {
		errs = append(errs, fmt.Errorf("%s has its settings from %v, not from %s", d, sources, want))
	}
	return errs
}

// letsPeopleIn checks the settings of production, and the way to the issuer.
func letsPeopleIn(settings, outside object, objects []object) []error {
	var errs []error
	setting := func(name string) string { return fmt.Sprint(at(settings, "data", name)) }
	for _, name := range []string{"ISSUER", "PUBLIC_URL"} {
		if !strings.HasPrefix(setting(name), "https://") {
			errs = append(errs, fmt.Errorf("%s is %s", name, setting(name)))
		}
	}
	for _, o := range objects {
		rules, _ := at(o, "spec", "rules").([]any)
		if o.kind() == "Ingress" && "https://"+fmt.Sprint(at(rules[0], "host")) != setting("PUBLIC_URL") {
			errs = append(errs, fmt.Errorf("PUBLIC_URL is %s, and browsers see %v", setting("PUBLIC_URL"), at(rules[0], "host")))
		}
	}
	if setting("GUESTS") != "comment" {
		errs = append(errs, fmt.Errorf("guests may %s", setting("GUESTS")))
	}
	var first struct {
		Newcomers struct {
			Comments int
			Action   string
		}
	}
	if err := json.Unmarshal([]byte(setting("DEFAULT_POLICY")), &first); err != nil || first.Newcomers.Comments < 1 || first.Newcomers.Action != "hold" {
		errs = append(errs, fmt.Errorf("the comments of guests do not wait: %s, %w", setting("DEFAULT_POLICY"), err))
	}
	chosen, _ := at(outside, "spec", "podSelector", "matchExpressions").([]any)
	egress, _ := at(outside, "spec", "egress").([]any)
	if len(chosen) != 1 || len(egress) != 1 {
		return append(errs, fmt.Errorf("%s is not of one rule", outside))
	}
	values, _ := at(chosen[0], "values").([]any)
	var names []string
	for _, value := range values {
		names = append(names, fmt.Sprint(value))
	}
	if slices.Sort(names); !slices.Equal(names, knowPeople) {
		errs = append(errs, fmt.Errorf("%v reach the issuer", names))
	}
	if ports := fmt.Sprint(at(egress[0], "ports")); ports != "[map[port:443]]" {
		errs = append(errs, fmt.Errorf("the issuer is reached at %s", ports))
	}
	return errs
}
