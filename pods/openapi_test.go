package pods

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"tamv.internal/tamv/tap"
)

// openAPIRules are the structural rules of the OpenAPI 3.1.0 specification for
// the objects that a document of ours can hold, closed against misspelt
// fields. Schema Objects are JSON Schema 2020-12 and checked as such.
//
//go:embed testdata/openapi-3.1.json
var openAPIRules string

func openAPITable(t *testing.T) *Table {
	t.Helper()
	reply := MustSchema(`{"type": "object", "properties": {"next": {"$ref": "#/$defs/cursor"}}, "$defs": {"cursor": {"type": "string", "maxLength": 9}}}`)
	table, err := NewTable(
		pod{Name: "things", Routes: []Route{
			{
				Method: "GET", Pattern: "/v1/things", Summary: "List things", Roles: []tap.Role{tap.Citizen, tap.Auditor}, Run: echo, Reply: reply,
				Query: []Parameter{{Name: "limit", Summary: "at most", Integer: true}, {Name: "after", Summary: "continue"}},
			},
			{Method: "POST", Pattern: "/v1/things", Summary: "Make a thing", Roles: []tap.Role{tap.Citizen}, Run: echo, Body: sample, BodyLimit: 4096},
			{Method: "GET", Pattern: "/v1/things/{id}", Summary: "One thing", Roles: []tap.Role{tap.Citizen}, Run: echo},
			{Method: "DELETE", Pattern: "/v1/things/{id}/sub-parts/{part}", Summary: "Drop a part", Roles: []tap.Role{tap.Operator}, Run: echo},
		}},
		pod{Name: "open", Routes: []Route{{Method: "GET", Pattern: "/openapi.json", Summary: "This", Roles: []tap.Role{tap.Anyone}, Run: echo}}},
		pod{Name: "files", Routes: []Route{{Method: "GET", Pattern: "/files/{path...}", Summary: "A file", Roles: []tap.Role{tap.Anyone}, Run: echo}}},
	)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// checkOpenAPI holds a document against the rules and the table it was made of.
func checkOpenAPI(t *testing.T, raw []byte, table *Table) object {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := MustSchema(openAPIRules).compiled.Validate(document); err != nil {
		t.Errorf("the document breaks OpenAPI 3.1: %v", err)
	}
	root := document.(object)
	schemas := root["components"].(object)["schemas"].(object)

	// Each schema must compile where it stands, with its references.
	c := jsonschema.NewCompiler()
	if err := c.AddResource("openapi.json", document); err != nil {
		t.Fatal(err)
	}
	for name := range schemas {
		if _, err := c.Compile("openapi.json#/components/schemas/" + name); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
	}
	eachRef(document, func(ref string) {
		if resolve(root, ref) == nil {
			t.Errorf("%s leads nowhere", ref)
		}
	})

	ids := map[string]bool{}
	operations := 0
	for _, item := range root["paths"].(object) {
		operations += len(item.(object))
	}
	if operations != len(table.Rows()) {
		t.Errorf("%d operations for %d routes", operations, len(table.Rows()))
	}
	for _, row := range table.Rows() {
		pattern := strings.ReplaceAll(row.Pattern, restMark, "")
		operation, ok := resolve(root, "#/paths/"+strings.ReplaceAll(pattern, "/", "~1")+"/"+strings.ToLower(row.Method)).(object)
		if !ok {
			t.Errorf("%s %s is missing", row.Method, row.Pattern)
			continue
		}
		id := operation["operationId"].(string)
		if ids[id] {
			t.Errorf("two operations are %s", id)
		}
		ids[id] = true
		var declared []string
		for _, p := range operation["parameters"].([]any) {
			if p := p.(object); p["in"] == "path" {
				declared = append(declared, "{"+p["name"].(string)+"}")
			}
		}
		if len(declared) != strings.Count(pattern, "{") || slices.ContainsFunc(declared, func(p string) bool { return !strings.Contains(pattern, p) }) {
			t.Errorf("%s declares %v", row.Pattern, declared)
		}
		if signed := len(operation["security"].([]any)) > 0; signed == slices.Contains(row.Roles, tap.Anyone) {
			t.Errorf("%s %s: signed is %v", row.Method, row.Pattern, signed)
		}
		if len(operation["x-roles"].([]any)) != len(row.Roles) || (operation["requestBody"] != nil) != (row.Body != nil) {
			t.Errorf("%s %s: roles or body", row.Method, row.Pattern)
		}
	}
	return root
}

func eachRef(value any, fn func(string)) {
	switch v := value.(type) {
	case []any:
		for _, member := range v {
			eachRef(member, fn)
		}
	case object:
		for key, member := range v {
			if ref, ok := member.(string); ok && key == "$ref" {
				fn(ref)
			}
			eachRef(member, fn)
		}
	}
}

// resolve follows a JSON pointer in a fragment; nil when it leads nowhere.
func resolve(root object, ref string) any {
	var at any = root
	for _, part := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		o, ok := at.(object)
		if !ok {
			return nil
		}
		at = o[part]
	}
	return at
}

func TestOpenAPIDocument(t *testing.T) {
	table := openAPITable(t)
	raw, err := table.OpenAPI("TAMV", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	root := checkOpenAPI(t, raw, table)
	if got := resolve(root, "#/info/version"); got != "1.2.3" {
		t.Errorf("version %v", got)
	}
	for ref, want := range map[string]any{
		"#/paths/~1v1~1things/post/operationId":                                        "postV1Things",
		"#/paths/~1v1~1things~1{id}~1sub-parts~1{part}/delete/operationId":             "deleteV1ThingsByIdSubPartsByPart",
		"#/paths/~1v1~1things/post/x-body-limit":                                       json.Number("4096"),
		"#/paths/~1v1~1things/post/x-pod":                                              "things",
		"#/components/schemas/getV1ThingsReply/properties/next/$ref":                   "#/components/schemas/getV1ThingsReply/$defs/cursor",
		"#/components/schemas/postV1ThingsBody/properties/amount/maximum":              json.Number("10"),
		"#/x-kinds/held/status":                                                        json.Number("202"),
		"#/paths/~1v1~1things/get/responses/default/$ref":                              "#/components/responses/Error",
		"#/components/responses/Error/content/application~1json/schema/$ref":           "#/components/schemas/Error",
		"#/paths/~1v1~1things/get/responses/200/content/application~1json/schema/$ref": "#/components/schemas/getV1ThingsReply",
	} {
		if got := resolve(root, ref); got != want {
			t.Errorf("%s is %v, want %v", ref, got, want)
		}
	}
	for range 20 {
		if again, err := openAPITable(t).OpenAPI("TAMV", "1.2.3"); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("the same table gives other bytes, %v", err)
		}
	}
}

// The checks above must be able to fail.
func TestOpenAPIRulesRefuse(t *testing.T) {
	table := openAPITable(t)
	raw, err := table.OpenAPI("TAMV", "1")
	if err != nil {
		t.Fatal(err)
	}
	rules := MustSchema(openAPIRules)
	for _, change := range [][2]string{
		{`"openapi":"3.1.0"`, `"openapi":"3.0.0"`},
		{`"description":"Success."`, `"descripton":"Success."`},
		{`"in":"path"`, `"in":"route"`},
		{`"required":true,"schema"`, `"required":false,"schema"`},
		{`"/v1/things":`, `"v1/things":`},
		{`"post":`, `"push":`},
		{`"type":"string"`, `"type":"text"`},
		{`"application/json":`, `"json":`},
	} {
		if !bytes.Contains(raw, []byte(change[0])) {
			t.Errorf("%s does not occur", change[0])
		}
		if rules.Validate(bytes.ReplaceAll(raw, []byte(change[0]), []byte(change[1]))) == nil {
			t.Errorf("%s in place of %s is accepted", change[1], change[0])
		}
	}
}

// Every error that can be sent matches the schema that the document promises.
func TestErrorBodiesMatchTheirSchema(t *testing.T) {
	source, err := json.Marshal(errorSchema())
	if err != nil {
		t.Fatal(err)
	}
	schema := MustSchema(string(source))
	for _, kind := range tap.Kinds() {
		for _, e := range []*tap.Error{tap.E("op", kind, "text"), tap.E("op", kind, "text").WithCode("c").WithDetail("k", []int{1})} {
			body, err := json.Marshal(e.Body("id", testClock(), tap.Spanish))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(body); err != nil {
				t.Errorf("%s: %v", body, err)
			}
		}
	}
	if schema.Validate([]byte(`{"error":{"kind":"teapot"}}`)) == nil {
		t.Error("the schema accepts anything")
	}
}

func TestOpenAPIRefusesEqualNames(t *testing.T) {
	table, err := NewTable(pod{Name: "p", Routes: []Route{route("GET", "/a/by/x", tap.Citizen), route("GET", "/a/{x}", tap.Citizen)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.OpenAPI("TAMV", "1"); err == nil {
		t.Error("two operations got one name")
	}
}
