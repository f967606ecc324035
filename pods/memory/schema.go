package memory

import "tamv.internal/tamv/pods"

const metadataSchema = `{"type": "object", "maxProperties": 16,
	"propertyNames": {"pattern": "^[A-Za-z0-9_.-]{1,64}$"},
	"additionalProperties": {"type": "string", "maxLength": 512}}`

const receiptSchema = `{"type": "object", "required": ["position", "entries", "leaf", "time"]}`

var addSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["documents"],
	"properties": {"documents": {"type": "array", "minItems": 1, "maxItems": 100, "items": {
		"type": "object", "additionalProperties": false, "required": ["documentType", "content"],
		"properties": {
			"id": {"type": "string", "minLength": 1, "maxLength": 64},
			"documentType": {"type": "string", "maxLength": 50, "pattern": "^[A-Z][A-Z0-9_]{0,49}$"},
			"content": {"type": "string", "minLength": 1, "maxLength": 8192},
			"metadata": ` + metadataSchema + `
		}}}}}`)

var addReplySchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["documents", "receipt"],
	"properties": {
		"documents": {"type": "array", "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}},
		"receipt": ` + receiptSchema + `}}`)

const documentShape = `{
	"type": "object", "additionalProperties": false,
	"required": ["id", "documentType", "bytes", "model", "stale", "created", "updated", "author"],
	"properties": {
		"id": {"type": "string"}, "documentType": {"type": "string"}, "content": {"type": "string"},
		"bytes": {"type": "integer"}, "metadata": ` + metadataSchema + `, "model": {"type": "string"},
		"stale": {"type": "boolean"}, "created": {"type": "string"}, "updated": {"type": "string"}, "author": {"type": "string"}}}`

var documentSchema = pods.MustSchema(documentShape)

var listSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["documents"],
	"properties": {"documents": {"type": "array", "items": ` + documentShape + `}, "next": {"type": "string"}}}`)

// The schema leaves the threshold's bounds to the pod: bounds are compared in exact
// arithmetic, which a number like 1e-9999999 is beyond.
var searchSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["query"],
	"properties": {
		"query": {"type": "string", "minLength": 1, "maxLength": 4096},
		"limit": {"type": "integer", "minimum": 1, "maximum": 50},
		"threshold": {"type": "number", "description": "cosine, 0 to 1"},
		"type": {"type": "string", "maxLength": 50, "pattern": "^[A-Z][A-Z0-9_]{0,49}$"}}}`)

var resultsSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["results", "model", "threshold"],
	"properties": {
		"model": {"type": "string"}, "threshold": {"type": "number"},
		"results": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["documentId", "documentType", "content", "similarity", "model"],
			"properties": {
				"documentId": {"type": "string"}, "documentType": {"type": "string"}, "content": {"type": "string"},
				"similarity": {"type": "number"}, "model": {"type": "string"}, "metadata": ` + metadataSchema + `}}}}}`)
