package podtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"tamv.internal/tamv/pods"
)

var podName = regexp.MustCompile(`^[a-z][a-z0-9]{1,31}$`)

// manifest holds what a manifest must say.
func (r *report) manifest(m pods.Manifest) {
	if !podName.MatchString(m.Name) {
		r.add("the pod name %q is not a label", m.Name)
	}
	if m.Summary.EN == "" || m.Summary.ES == "" {
		r.add("the summary is missing in a language")
	}
	for _, route := range m.Routes {
		name := route.Method + " " + route.Pattern
		if route.Summary == "" {
			r.add("%s has no summary", name)
		}
		for _, p := range route.Query {
			if p.Name == "" || p.Summary == "" {
				r.add("%s has a query parameter without name or summary", name)
			}
		}
		if route.Body == nil {
			continue
		}
		for _, end := range openEnds(route.Body.Source()) {
			r.add("%s: body schema: %s", name, end)
		}
	}
}

// openEnds lists where a JSON Schema accepts what nobody bounded: objects that
// let unknown fields pass without a largest count, strings without a largest
// length and arrays without a largest count. A schema without a type accepts
// anything on purpose: the body limit bounds it.
func openEnds(source json.RawMessage) []string {
	var root any
	if err := json.Unmarshal(source, &root); err != nil {
		return []string{"no JSON: " + err.Error()}
	}
	return openEndsAt("#", root)
}

func openEndsAt(path string, node any) []string {
	schema, ok := node.(map[string]any)
	if !ok {
		return nil
	}
	var found []string
	if missing := missingBound(schema); missing != "" {
		found = append(found, fmt.Sprintf("%s has no %s", path, missing))
	}
	for _, keyword := range []string{"properties", "$defs"} {
		children, _ := schema[keyword].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(children)) {
			found = append(found, openEndsAt(path+"/"+name, children[name])...)
		}
	}
	for _, keyword := range []string{"items", "additionalProperties"} {
		found = append(found, openEndsAt(path+"/"+keyword, schema[keyword])...)
	}
	return found
}

// missingBound names the bound that a schema of its type lacks.
func missingBound(schema map[string]any) string {
	has := func(keyword string) bool { _, ok := schema[keyword]; return ok }
	switch kind := schema["type"]; {
	case has("enum") || has("const"):
	case kind == "array" && !has("maxItems"):
		return "maxItems"
	case kind == "string" && !has("maxLength"):
		return "maxLength"
	case kind == "object" && !has("additionalProperties"):
		return "additionalProperties"
	case kind == "object" && schema["additionalProperties"] != false && !has("maxProperties"):
		return "maxProperties"
	}
	return ""
}
