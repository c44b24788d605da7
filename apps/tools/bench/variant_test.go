package main

import (
	"reflect"
	"testing"

	"github.com/postbus/postbus/apps/tools/system"
)

func TestVariantsAreParsed(t *testing.T) {
	got, err := parseVariants("redis,postgres-rabbitmq+bus.prefetchCount=50+*-store.maxConns=")
	want := []variant{
		{name: "redis", engine: system.RedisEngine},
		{name: "postgres-rabbitmq+bus.prefetchCount=50+*-store.maxConns=", engine: system.PostgresRabbitMQ,
			settings: []setting{{"bus", "prefetchCount", "50"}, {"*-store", "maxConns", ""}}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	all, err := parseVariants(everyEngine)
	if err != nil || len(all) != len(system.Engines()) || all[0].engine != system.Engines()[0] {
		t.Errorf("%v, %v", all, err)
	}
	for _, wrong := range []string{"mongodb", "redis+bus", "redis+bus=1", "redis+bus.concurrency", "redis+[.a=1"} {
		if _, err := parseVariants(wrong); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}

func TestASettingChangesWhatItNames(t *testing.T) {
	field := func(name, value string) any { return system.Document{"name": name, "value": value} }
	component := func(name string, fields ...any) system.Document {
		return system.Document{"kind": "Component", "metadata": system.Document{"name": name}, "spec": system.Document{"metadata": fields}}
	}
	subscription := func(count int, queue string) system.Document {
		return system.Document{"kind": "Subscription", "metadata": system.Document{"name": "posts-post-created"}, "spec": system.Document{
			"bulkSubscribe": system.Document{"enabled": true, "maxMessagesCount": count}, "metadata": system.Document{"queueType": queue}}}
	}
	for what, c := range map[string]struct {
		setting        setting
		resource, want system.Document
		isFor          bool
	}{
		"another value":          {setting{"bus", "a", "2"}, component("bus", field("a", "1"), field("b", "1")), component("bus", field("b", "1"), field("a", "2")), true},
		"a new field":            {setting{"*-store", "a", "2"}, component("posts-store", field("b", "1")), component("posts-store", field("b", "1"), field("a", "2")), true},
		"no field":               {setting{"bus", "a", ""}, component("bus", field("a", "1"), field("b", "1")), component("bus", field("b", "1")), true},
		"another component":      {setting{"bus", "a", "2"}, component("posts-store", field("a", "1")), component("posts-store", field("a", "1")), false},
		"a batch":                {setting{"*-created", "maxMessagesCount", "9"}, subscription(1, "quorum"), subscription(9, "quorum"), true},
		"a subscription's queue": {setting{"*-created", "queueType", "classic"}, subscription(1, "quorum"), subscription(1, "classic"), true},
		"another kind":           {setting{"*", "a", "2"}, system.Document{"kind": "Configuration", "metadata": system.Document{"name": "a"}}, system.Document{"kind": "Configuration", "metadata": system.Document{"name": "a"}}, false},
	} {
		if isFor := c.setting.edit(c.resource); isFor != c.isFor || !reflect.DeepEqual(c.resource, c.want) {
			t.Errorf("%s: %v, %v", what, isFor, c.resource)
		}
	}
}
