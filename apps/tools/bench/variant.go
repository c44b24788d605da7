package main

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/postbus/postbus/apps/tools/system"
)

// variant is an engine, with other settings than components/ has if there are any.
type variant struct {
	name     string // as the user wrote it
	engine   system.Engine
	settings []setting
}

// setting is a value of a field of all resources whose names match a pattern (path.Match). The
// field is one of a component, or of a subscription. An empty value takes a component's field away.
type setting struct{ names, field, value string }

// everyEngine stands for all engines in a list of variants.
const everyEngine = "all"

// parseVariants parses a list of engines with commas between them. Each may be followed by
// settings: postgres-rabbitmq+bus.prefetchCount=50+*-store.maxConns=5. An empty list has none.
func parseVariants(list string) ([]variant, error) {
	if list == "" {
		return nil, nil
	}
	names := strings.Split(list, ",")
	if list == everyEngine {
		names = nil
		for _, e := range system.Engines() {
			names = append(names, string(e))
		}
	}
	variants := make([]variant, len(names))
	for i, name := range names {
		engine, settings, _ := strings.Cut(name, "+")
		found, err := system.EngineOf(engine)
		if err != nil {
			return nil, err
		}
		variants[i] = variant{name: name, engine: found}
		for text := range strings.SplitSeq(settings, "+") {
			if text == "" {
				continue
			}
			field, value, ok := strings.Cut(text, "=")
			names, field, ok2 := strings.Cut(field, ".")
			if _, err := path.Match(names, ""); err != nil || !ok || !ok2 {
				return nil, fmt.Errorf("%q is no setting: write NAMES.FIELD=VALUE, as in bus.prefetchCount=50", text)
			}
			variants[i].settings = append(variants[i].settings, setting{names, field, value})
		}
	}
	return variants, nil
}

// edit makes the settings in a resource. It marks the settings that were for it.
func (v variant) edit(resource system.Document, made []bool) {
	for i, s := range v.settings {
		if s.edit(resource) {
			made[i] = true
		}
	}
}

// edit reports whether the setting is for the resource.
func (s setting) edit(resource system.Document) bool {
	metadata, _ := resource["metadata"].(system.Document)
	name, _ := metadata["name"].(string)
	if matches, _ := path.Match(s.names, name); !matches {
		return false
	}
	spec, _ := resource["spec"].(system.Document)
	switch resource["kind"] {
	case "Component":
		fields, _ := spec["metadata"].([]any)
		fields = slices.DeleteFunc(fields, func(f any) bool { return f.(system.Document)["name"] == s.field }) //nolint:errcheck,forcetypeassert // the committed files have such fields
		if s.value != "" {
			fields = append(fields, system.Document{"name": s.field, "value": s.value})
		}
		spec["metadata"] = fields
	case "Subscription":
		bulk, _ := spec["bulkSubscribe"].(system.Document)
		if _, ok := bulk[s.field]; ok {
			var value any // a number or a bool
			if err := yaml.Unmarshal([]byte(s.value), &value); err != nil {
				return false
			}
			bulk[s.field] = value
			return true
		}
		spec["metadata"].(system.Document)[s.field] = s.value //nolint:errcheck,forcetypeassert // as above
	default:
		return false
	}
	return true
}
