package system

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Document is one YAML document.
type Document = map[string]any

// Derivation derives a run file and resources from the committed ones. What it does not
// name stays unchanged.
type Derivation struct {
	// Into is the folder for them, as an absolute path. The logs go there too, and the
	// file in which the sidecars find each other.
	Into string
	// Suffix is added to every app id, also in the resources.
	Suffix string
	// Shift is added to every port.
	Shift int
	// Engine is the engine whose resources are derived. It is the default if empty.
	Engine Engine
	// Replicated asks for the engine's replicated form, where the servers are started with it.
	Replicated bool
	// Redis replaces the address of Redis.
	Redis string
	// Binaries is a folder of built services to run instead of building them. People then sign in
	// at the derived development issuer, whatever the environment says.
	Binaries string
	// Env is added to every service's environment.
	Env map[string]string
	// Edit, if set, may change each resource.
	Edit func(resource Document)
	// Extend, if set, may add to the run file and the resources after they are written.
	Extend func(d Derivation, runFile string) error
}

// calls are the services that a service calls by their app ids.
var calls = map[string][]string{
	"posts":      {"eventlog"},
	"comments":   {"query", "eventlog"},
	"moderation": {"eventlog"},
	"query":      {"eventlog"},
	"client":     {"posts", "comments", "query", "moderation"},
}

// signedInAt are the services that know who is signed in.
var signedInAt = []string{"posts", "comments", "moderation", "client"}

// issuerPort is the development issuer's in the committed run files, which have its URL in more
// than one place.
const issuerPort = 4006

// Derive writes the run file and the resources and returns the run file's path.
func (c Checkout) Derive(d Derivation) (string, error) {
	committed := cmp.Or(d.Engine, RedisEngine).RunFile(c.Root)
	docs, err := ReadYAML(committed)
	if err != nil {
		return "", err
	}
	from := filepath.Dir(committed)
	common, ok := docs[0]["common"].(Document)
	if !ok {
		return "", fmt.Errorf("%s has no common", committed)
	}
	dirs, _ := common["resourcesPaths"].([]any)
	for i, dir := range dirs {
		if err := d.resources(from, fmt.Sprint(dir)); err != nil {
			return "", err
		}
		dirs[i] = d.components(filepath.Base(fmt.Sprint(dir)))
	}
	common["configFilePath"] = d.components("shared", "configuration.yaml")
	if err := d.runFile(from, docs[0]); err != nil {
		return "", err
	}
	path := filepath.Join(d.Into, "dapr.yaml")
	if err := WriteYAML(path, docs...); err != nil || d.Extend == nil {
		return path, err
	}
	return path, d.Extend(d, path)
}

// components is the path of what is derived of components/.
func (d Derivation) components(path ...string) string {
	return filepath.Join(append([]string{d.Into, "components"}, path...)...)
}

// resources derives the resources of a folder, relative to that of the run file, into a folder
// with its name.
func (d Derivation) resources(from, dir string) error {
	into := d.components(filepath.Base(dir))
	if err := os.MkdirAll(into, 0o750); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(from, dir, "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range files {
		docs, err := ReadYAML(file)
		if err != nil {
			return err
		}
		for _, doc := range docs {
			d.resource(doc)
			if d.Edit != nil {
				d.Edit(doc)
			}
		}
		if err := WriteYAML(filepath.Join(into, filepath.Base(file)), docs...); err != nil {
			return err
		}
	}
	return nil
}

func (d Derivation) resource(doc Document) {
	if scopes, ok := doc["scopes"].([]any); ok {
		for i, id := range scopes {
			scopes[i] = fmt.Sprint(id) + d.Suffix
		}
	}
	spec, ok := doc["spec"].(Document)
	if !ok {
		return
	}
	if targets, ok := spec["targets"].(Document); ok {
		if apps, ok := targets["apps"].(Document); ok {
			for _, name := range Services {
				if policy, ok := apps[name]; ok {
					delete(apps, name)
					apps[name+d.Suffix] = policy
				}
			}
		}
	}
	if names, ok := spec["nameResolution"].(Document); ok {
		if conf, ok := names["configuration"].(Document); ok {
			// A URL, in which no character of the path has a special meaning.
			file := url.URL{Scheme: "file", Path: filepath.Join(d.Into, "names.db")}
			conf["connectionString"] = file.String()
		}
	}
	fields, ok := spec["metadata"].([]any)
	if !ok {
		return
	}
	for _, f := range fields {
		field, ok := f.(Document)
		if !ok {
			continue
		}
		switch field["name"] {
		case "redisHost":
			if d.Redis != "" {
				field["value"] = d.Redis
			}
		case "publishingScopes", "subscriptionScopes":
			apps := strings.Split(fmt.Sprint(field["value"]), ";")
			for i, app := range apps {
				id, topics, _ := strings.Cut(app, "=")
				apps[i] = id + d.Suffix + "=" + topics
			}
			field["value"] = strings.Join(apps, ";")
		}
	}
}

func (d Derivation) runFile(from string, doc Document) error {
	apps, ok := doc["apps"].([]any)
	if !ok {
		return errors.New("dapr.yaml has no apps")
	}
	for _, a := range apps {
		app, ok := a.(Document)
		if !ok {
			return errors.New("dapr.yaml: an app is no object")
		}
		name := fmt.Sprint(app["appID"])
		app["appID"] = name + d.Suffix
		for _, port := range []string{"appPort", "daprHTTPPort", "daprGRPCPort", "daprInternalGRPCPort", "metricsPort"} {
			if committed, ok := app[port].(int); ok { // the issuer has no appPort
				app[port] = committed + d.Shift
			}
		}
		if err := d.env(name, app); err != nil {
			return err
		}
		if d.Binaries == "" {
			app["appDirPath"] = filepath.Join(from, fmt.Sprint(app["appDirPath"]))
			continue
		}
		app["command"] = []string{filepath.Join(d.Binaries, name)}
		dir := filepath.Join(d.Into, name)
		app["appDirPath"] = dir
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
	}
	return nil
}

// env derives the environment of an app.
func (d Derivation) env(name string, app Document) error {
	env, _ := app["env"].(Document)
	var port int
	if _, err := fmt.Sscan(fmt.Sprint(env["PORT"]), &port); err != nil {
		return fmt.Errorf("dapr.yaml: PORT of %s: %w", name, err)
	}
	port += d.Shift
	env["PORT"] = fmt.Sprint(port)
	for _, called := range calls[name] {
		env[strings.ToUpper(called)+"_APP_ID"] = called + d.Suffix
	}
	if name == Issuer || d.Binaries != "" && slices.Contains(signedInAt, name) {
		env["ISSUER"] = fmt.Sprintf("http://localhost:%d", issuerPort+d.Shift)
	}
	if name == "client" && d.Binaries != "" {
		env["PUBLIC_URL"] = fmt.Sprintf("http://%s:%d", loopback, port)
	}
	for key, value := range d.Env {
		env[key] = value
	}
	return nil
}

// ReadYAML returns the documents of a file.
func ReadYAML(path string) ([]Document, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the caller's file
	if err != nil {
		return nil, err
	}
	var docs []Document
	for dec := yaml.NewDecoder(bytes.NewReader(raw)); ; {
		var doc Document
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return slices.DeleteFunc(docs, func(d Document) bool { return d == nil }), nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		docs = append(docs, doc)
	}
}

// WriteYAML writes the documents to a file.
func WriteYAML(path string, docs ...Document) error {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	for _, doc := range docs {
		if err := enc.Encode(doc); err != nil {
			return err
		}
	}
	return os.WriteFile(path, out.Bytes(), 0o600)
}
