package pods

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"tamv.internal/tamv/tap"
)

// object is a JSON object; encoding/json writes its keys in order.
type object = map[string]any

// OpenAPI renders the table as an OpenAPI 3.1 document, in JSON: each route
// with its parameters, schemas and security, and the one error body with every
// kind. What OpenAPI has no word for stands in extensions: x-roles (who may
// call), x-pod (who serves), x-body-limit (bytes), x-rest (a path parameter that
// takes the rest of the path, slashes included) and x-kinds (what each error kind
// means). The same table gives the same bytes.
func (t *Table) OpenAPI(title, version string) ([]byte, error) {
	schemas := object{"Error": errorSchema()}
	paths := object{}
	ids := map[string]bool{}
	for _, row := range t.rows {
		id := row.operationID()
		if ids[id] {
			return nil, fmt.Errorf("pods: two routes are named %s in OpenAPI", id)
		}
		ids[id] = true
		operation, err := row.operation(id, schemas)
		if err != nil {
			return nil, err
		}
		path := strings.ReplaceAll(row.Pattern, restMark+"}", "}")
		item, ok := paths[path].(object)
		if !ok {
			item = object{}
			paths[path] = item
		}
		item[strings.ToLower(row.Method)] = operation
	}
	return json.Marshal(object{
		"openapi": "3.1.0",
		"info":    object{"title": title, "version": version},
		"servers": []any{object{"url": "/"}},
		"paths":   paths,
		"components": object{
			"schemas": schemas,
			"parameters": object{"requestId": object{
				"name": "Idempotency-Key", "in": "header", "schema": object{"type": "string", "format": "uuid"},
				"description": "The request's id. A request that is repeated with the same id is applied at most once.",
			}},
			"responses": object{"Error": object{
				"description": "An error. Its kind is one of x-kinds.",
				"headers": object{
					"Retry-After":  object{"description": "Seconds to wait before the same request may succeed.", "schema": object{"type": "integer", "minimum": 0}},
					"X-Request-Id": object{"description": "Names the request in the log and in the ledger.", "schema": object{"type": "string"}},
				},
				"content": jsonContent("Error"),
			}},
			"securitySchemes": object{"httpsig": object{
				"type": "apiKey", "in": "header", "name": "Signature",
				"description": "RFC 9421 HTTP Message Signature with Ed25519: " + tap.AcceptSignature +
					". Content-Digest (RFC 9530, sha-256) is required for empty bodies, too; idempotency-key and tamv-roles are covered when sent.",
			}},
		},
		"x-kinds": kindTable(),
	})
}

// operation describes one row under its id and adds its schemas to the
// document's.
func (r *Row) operation(id string, schemas object) (object, error) {
	success := object{"description": "Success."}
	if r.Reply != nil {
		success["content"] = jsonContent(id + "Reply")
		if err := addSchema(schemas, id+"Reply", r.Reply); err != nil {
			return nil, err
		}
	}
	operation := object{
		"operationId": id,
		"summary":     r.Summary,
		"tags":        []string{r.Pod},
		"parameters":  r.parameters(),
		"responses":   object{"200": success, "default": object{"$ref": "#/components/responses/Error"}},
		"security":    []any{object{"httpsig": []any{}}},
		"x-pod":       r.Pod,
		"x-roles":     r.Roles,
	}
	if slices.Contains(r.Roles, tap.Anyone) {
		operation["security"] = []any{}
	}
	if r.Body != nil {
		operation["requestBody"] = object{"required": true, "content": jsonContent(id + "Body")}
		operation["x-body-limit"] = r.BodyLimit
		if err := addSchema(schemas, id+"Body", r.Body); err != nil {
			return nil, err
		}
	}
	return operation, nil
}

// operationID names the route after its method and path: "getEvidenceByHash".
func (r *Row) operationID() string {
	var id strings.Builder
	id.WriteString(strings.ToLower(r.Method))
	for _, segment := range r.segments {
		name, free := parameter(segment)
		if free {
			id.WriteString("By")
			segment = name
		}
		for word := range strings.FieldsFuncSeq(segment, func(c rune) bool { return !isLetter(c) }) {
			id.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return id.String()
}

// isLetter says whether c can stand in an operation id.
func isLetter(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func (r *Row) parameters() []any {
	list := []any{}
	for _, segment := range r.segments {
		if name, free := parameter(segment); free {
			described := object{"in": "path", "required": true, "schema": object{"type": "string", "minLength": 1}}
			name, rest := strings.CutSuffix(name, restMark)
			if described["name"] = name; rest {
				described["x-rest"] = true
			}
			list = append(list, described)
		}
	}
	for _, p := range r.Query {
		schema := object{"type": "string", "maxLength": maxQueryValue}
		if p.Integer {
			schema = object{"type": "integer", "minimum": 0}
		}
		if len(p.OneOf) > 0 {
			schema = object{"type": "string", "enum": p.OneOf}
		}
		list = append(list, object{"name": p.Name, "in": "query", "description": p.Summary, "schema": schema})
	}
	if r.Method != http.MethodGet {
		list = append(list, object{"$ref": "#/components/parameters/requestId"})
	}
	return list
}

func jsonContent(schema string) object {
	return object{"application/json": object{"schema": object{"$ref": schemaRef(schema)}}}
}

func schemaRef(name string) string { return "#/components/schemas/" + name }

// addSchema puts a schema into the document under a name and points its own
// references at its new place.
func addSchema(schemas object, name string, s *Schema) error {
	value, err := DecodeStrict(s.source)
	if err != nil {
		return err
	}
	schemas[name] = relocated(value, schemaRef(name))
	return nil
}

// relocated rewrites references that start at the schema's root.
func relocated(value any, base string) any {
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = relocated(v[i], base)
		}
	case map[string]any:
		for key, member := range v {
			if target, ok := member.(string); ok && key == "$ref" && strings.HasPrefix(target, "#") {
				v[key] = base + target[1:]
				continue
			}
			v[key] = relocated(member, base)
		}
	}
	return value
}

// errorSchema is the schema of [tap.ErrorBody].
func errorSchema() object {
	var kinds, families []string
	for _, k := range tap.Kinds() {
		traits := k.Traits()
		kinds = append(kinds, traits.Name)
		if family := string(traits.Family); !slices.Contains(families, family) {
			families = append(families, family)
		}
	}
	text := object{"type": "string"}
	return object{
		"type": "object", "required": []string{"error"}, "additionalProperties": false,
		"properties": object{"error": object{
			"type": "object", "additionalProperties": false,
			"required": []string{"type", "code", "kind", "message", "requestId", "timestamp"},
			"properties": object{
				"type":         object{"type": "string", "enum": families},
				"kind":         object{"type": "string", "enum": kinds},
				"code":         object{"type": "string", "description": "Stable, for programs; the kind's name when there is nothing finer."},
				"message":      text,
				"hint":         object{"type": "string", "description": "What to do next, in the language of Accept-Language."},
				"details":      object{"type": "object"},
				"requestId":    text,
				"timestamp":    object{"type": "integer", "description": "Milliseconds since the Unix epoch."},
				"retryAfterMs": object{"type": "integer", "description": "Milliseconds until it makes sense to ask again."},
			},
		}},
	}
}

// kindTable tells what each kind means over HTTP and to a command line.
func kindTable() object {
	table := object{}
	for _, k := range tap.Kinds() {
		t := k.Traits()
		table[t.Name] = object{"status": t.Status, "type": t.Family, "retryable": t.Retryable, "exitCode": t.ExitCode}
	}
	return table
}
