package subject

import "tamv.internal/tamv/pods"

const receiptShape = `{"type": "object", "required": ["position", "entries", "leaf", "time"]}`

var eraseSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["reason"],
	"properties": {"reason": {"type": "string", "minLength": 1, "maxLength": 1024, "pattern": "^[^\\p{C}]+$"}}}`)

var setPolicySchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["approvals"],
	"properties": {"approvals": {"type": "integer", "minimum": 0, "maximum": 5}}}`)

var outcomeSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["id", "kind", "state", "approvedBy", "needed"],
	"properties": {
		"id": {"type": "string", "format": "uuid"}, "kind": {"enum": ["erasure", "policy"]}, "state": {"enum": ["done", "pending", "withdrawn"]},
		"subject": {"type": "string"}, "generation": {"type": "integer"}, "approvals": {"type": "integer"},
		"approvedBy": {"type": "array", "items": {"type": "string"}}, "needed": {"type": "integer"},
		"expires": {"type": "string"}, "withdrawnBy": {"type": "string"}, "remains": {"type": "string"}, "receipt": ` + receiptShape + `}}`)

var shownSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["subject", "generation"],
	"properties": {
		"subject": {"type": "string"}, "generation": {"type": "integer"}, "erasedAt": {"type": "string"},
		"pending": {"type": "string"}, "keysHere": {"type": "integer"}}}`)

var listSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["pending", "erased"],
	"properties": {
		"pending": {"type": "array", "items": {
			"type": "object", "additionalProperties": false,
			"required": ["id", "kind", "reason", "by", "at", "expires", "approvedBy"],
			"properties": {
				"id": {"type": "string"}, "kind": {"enum": ["erasure", "policy"]}, "subject": {"type": "string"},
				"approvals": {"type": "integer"}, "reason": {"type": "string"}, "by": {"type": "string"}, "at": {"type": "string"},
				"expires": {"type": "string"}, "approvedBy": {"type": "array", "items": {"type": "string"}}}}},
		"erased": {"type": "array", "items": {
			"type": "object", "additionalProperties": false, "required": ["subject", "generation", "erasedAt", "requestedBy", "approvedBy"],
			"properties": {
				"subject": {"type": "string"}, "generation": {"type": "integer"}, "erasedAt": {"type": "string"},
				"requestedBy": {"type": "string"}, "approvedBy": {"type": "array", "items": {"type": "string"}}}}},
		"next": {"type": "string"}}}`)

var policySchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["approvals"],
	"properties": {"approvals": {"type": "integer"}, "changedBy": {"type": "string"}, "changedAt": {"type": "string"}}}`)
