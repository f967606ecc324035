package memory

import "tamv.internal/tamv/pods"

const metadataSchema = `{"type": "object", "maxProperties": 16,
	"propertyNames": {"pattern": "^[A-Za-z0-9_.-]{1,64}$"},
	"additionalProperties": {"type": "string", "maxLength": 256}}`

// A vector is an array of numbers, or base64 of float32, little-endian.
const vectorSchema = `{"type": ["array", "string"], "minItems": 1, "maxItems": 4096, "maxLength": 21848, "items": {"type": "number"}}`

const (
	typeSchema  = `{"type": "string", "maxLength": 50, "pattern": "^[A-Z][A-Z0-9_]{0,49}$"}`
	modelSchema = `{"type": "string", "maxLength": 100, "pattern": "^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,99}$"}`
)

// newDocumentFields are what a document has on its way in.
const newDocumentFields = `
	"documentType": ` + typeSchema + `,
	"content": {"type": "string", "minLength": 1, "maxLength": 8192},
	"metadata": ` + metadataSchema + `,
	"vector": ` + vectorSchema + `,
	"model": ` + modelSchema

const receiptSchema = `{"type": "object", "required": ["position", "entries", "leaf", "time"]}`

var addSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["documents"],
	"properties": {"documents": {"type": "array", "minItems": 1, "maxItems": 100, "items": {
		"type": "object", "additionalProperties": false, "required": ["documentType", "content"],
		"properties": {"id": {"type": "string", "minLength": 1, "maxLength": 64},` + newDocumentFields + `}}}}}`)

// What the documents of a batch must be is judged one by one, so that a wrong one
// does not stop the others.
var batchSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["documents"],
	"properties": {"documents": {"type": "array", "minItems": 1, "maxItems": 64}}}`)

var batchReplySchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["results", "created", "replaced", "unchanged", "refused"],
	"properties": {
		"results": {"type": "array", "items": {
			"type": "object", "additionalProperties": false, "required": ["outcome"],
			"properties": {
				"id": {"type": "string"}, "outcome": {"enum": ["created", "replaced", "unchanged", "refused"]},
				"error": {"type": "object", "required": ["code", "message"], "properties": {"code": {"type": "string"}, "message": {"type": "string"}}}}}},
		"created": {"type": "integer"}, "replaced": {"type": "integer"}, "unchanged": {"type": "integer"}, "refused": {"type": "integer"},
		"receipt": ` + receiptSchema + `}}`)

var replaceSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["documentType", "content"],
	"properties": {"ifVersion": {"type": "integer", "minimum": 0, "maximum": 9223372036854775807},` + newDocumentFields + `}}`)

var replaceReplySchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["id", "outcome", "receipt"],
	"properties": {"id": {"type": "string"}, "outcome": {"enum": ["created", "replaced"]}, "receipt": ` + receiptSchema + `}}`)

var exportSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["documents"],
	"properties": {
		"next": {"type": "string"},
		"documents": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["id", "documentType", "content", "version", "created", "updated", "author"],
			"properties": {"id": {"type": "string"}, "version": {"type": "integer"}, "created": {"type": "string"}, "updated": {"type": "string"},
				"author": {"type": "string"},` + newDocumentFields + `}}}}}`)

var addReplySchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["documents", "receipt"],
	"properties": {
		"documents": {"type": "array", "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}},
		"receipt": ` + receiptSchema + `}}`)

const documentShape = `{
	"type": "object", "additionalProperties": false,
	"required": ["id", "documentType", "bytes", "model", "stale", "version", "created", "updated", "author"],
	"properties": {
		"id": {"type": "string"}, "documentType": {"type": "string"}, "content": {"type": "string"},
		"bytes": {"type": "integer"}, "metadata": ` + metadataSchema + `, "model": {"type": "string"},
		"stale": {"type": "boolean"}, "ownVector": {"type": "boolean"}, "version": {"type": "integer"}, "created": {"type": "string"}, "updated": {"type": "string"}, "author": {"type": "string"}}}`

var documentSchema = pods.MustSchema(documentShape)

var listSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["documents"],
	"properties": {"documents": {"type": "array", "items": ` + documentShape + `}, "next": {"type": "string"}}}`)

// The schema leaves the threshold's bounds to the pod: bounds are compared in exact
// arithmetic, which a number like 1e-9999999 is beyond.
var searchSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false,
	"properties": {
		"query": {"type": "string", "minLength": 1, "maxLength": 4096},
		"vector": ` + vectorSchema + `,
		"model": ` + modelSchema + `,
		"ranking": {"enum": ["hybrid", "rrf", "meaning", "words"], "description": "by meaning and words together (hybrid), by reciprocal rank fusion of both (rrf), or by one of them"},
		"limit": {"type": "integer", "minimum": 1, "maximum": 50},
		"threshold": {"type": "number", "description": "similarity, 0 to 1"},
		"recall": {"type": "number", "description": "share of the true nearest that a search by vectors should find, above 0 to 1; 1 compares all"},
		"type": ` + typeSchema + `,
		"metadata": ` + metadataSchema + `,
		"createdFrom": {"type": "string", "maxLength": 40}, "createdTo": {"type": "string", "maxLength": 40},
		"updatedFrom": {"type": "string", "maxLength": 40}, "updatedTo": {"type": "string", "maxLength": 40}}}`)

var resultsSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["results", "model", "ranking", "threshold"],
	"properties": {
		"model": {"type": "string"}, "ranking": {"type": "string"}, "threshold": {"type": "number"},
		"results": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["documentId", "documentType", "content", "similarity", "model", "score", "foundBy"],
			"properties": {
				"documentId": {"type": "string"}, "documentType": {"type": "string"}, "content": {"type": "string"},
				"similarity": {"type": "number"}, "score": {"type": "number"}, "foundBy": {"enum": ["meaning", "words"]},
				"model": {"type": "string"}, "metadata": ` + metadataSchema + `}}}}}`)
