package anubis

import "tamv.internal/tamv/pods"

const (
	nameSchema = `{"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-z0-9][a-z0-9._-]*$"}`
	roleSchema = `{"type": "array", "minItems": 1, "maxItems": 6, "uniqueItems": true,
		"items": {"enum": ["citizen", "device", "curator", "guardian", "auditor", "operator"]}}`
	keySchema     = `{"type": "string", "maxLength": 44, "pattern": "^[A-Za-z0-9+/]{43}=$", "description": "base64 of the raw 32 bytes of an Ed25519 key"}`
	stateSchema   = `{"enum": ["active", "revoked"]}`
	timeSchema    = `{"type": "string", "maxLength": 40, "format": "date-time"}`
	receiptSchema = `{"type": "object", "required": ["position", "entries", "leaf", "time"], "additionalProperties": false, "properties": {
		"position": {"type": "integer"}, "entries": {"type": "integer"}, "time": {"type": "integer"},
		"leaf": {"type": "string", "maxLength": 64}, "duplicate": {"type": "boolean"},
		"appended": {"type": "array", "maxItems": 4096, "items": {"type": "integer"}}}}`
	recordSchema = `{"type": "object", "required": ["name", "keyId", "publicKey", "roles", "state", "enrolled"],
		"additionalProperties": false, "properties": {
		"name": ` + nameSchema + `, "keyId": {"type": "string", "maxLength": 129}, "publicKey": ` + keySchema + `,
		"roles": ` + roleSchema + `, "state": ` + stateSchema + `, "enrolled": ` + timeSchema + `, "revoked": ` + timeSchema + `,
		"reason": {"type": "string", "maxLength": 500}}}`
)

var (
	enrolSchema = pods.MustSchema(`{"type": "object", "required": ["name", "publicKey", "roles"], "additionalProperties": false,
		"properties": {"name": ` + nameSchema + `, "publicKey": ` + keySchema + `, "roles": ` + roleSchema + `}}`)
	enrolReplySchema = pods.MustSchema(`{"type": "object", "required": ["name", "keyId", "roles", "receipt"], "additionalProperties": false,
		"properties": {"name": ` + nameSchema + `, "keyId": {"type": "string", "maxLength": 129}, "roles": ` + roleSchema + `,
		"receipt": ` + receiptSchema + `}}`)
	revokeSchema = pods.MustSchema(`{"type": "object", "required": ["reason"], "additionalProperties": false,
		"properties": {"reason": {"type": "string", "minLength": 1, "maxLength": 500}}}`)
	revokeReplySchema = pods.MustSchema(`{"type": "object", "required": ["name", "state", "receipt"], "additionalProperties": false,
		"properties": {"name": ` + nameSchema + `, "state": ` + stateSchema + `, "receipt": ` + receiptSchema + `}}`)
	identitySchema = pods.MustSchema(recordSchema)
	listSchema     = pods.MustSchema(`{"type": "object", "required": ["identities"], "additionalProperties": false,
		"properties": {"identities": {"type": "array", "maxItems": 1000, "items": ` + recordSchema + `}, "next": ` + nameSchema + `}}`)
)
