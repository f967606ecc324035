package cluster

import "tamv.internal/tamv/pods"

const (
	nameSchema    = `{"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-z0-9][a-z0-9._-]*$"}`
	idSchema      = `{"type": "string", "maxLength": 16, "pattern": "^[0-9a-f]{16}$"}`
	addressSchema = `{"type": "string", "minLength": 3, "maxLength": 255, "description": "HOST:PORT"}`
	timeSchema    = `{"type": "string", "maxLength": 40, "format": "date-time"}`
	textSchema    = `{"type": "string", "maxLength": 65536}`
	shortSchema   = `{"type": "string", "maxLength": 64}`
	countSchema   = `{"type": "integer", "minimum": 0}`
	receiptSchema = `{"type": "object", "required": ["position", "entries", "leaf", "time"], "additionalProperties": false, "properties": {
		"position": {"type": "integer"}, "entries": {"type": "integer"}, "time": {"type": "integer"},
		"leaf": {"type": "string", "maxLength": 64}, "duplicate": {"type": "boolean"},
		"appended": {"type": "array", "maxItems": 4096, "items": {"type": "integer"}}}}`
	versionSchema = `{"type": "integer", "minimum": 0, "maximum": 4294967295}`
	nodeSchema    = `{"type": "object", "additionalProperties": false,
		"required": ["id", "address", "role", "voter", "reachable", "applied", "lag", "release", "version", "clockOffsetMicros", "roundTripMicros", "conditions"],
		"properties": {
		"id": {"type": "string", "maxLength": 64}, "address": {"type": "string", "maxLength": 255},
		"role": {"enum": ["leader", "follower", "observer", "joining", "leaving"]},
		"voter": {"type": "boolean"}, "reachable": {"type": "boolean"}, "applied": ` + countSchema + `, "lag": ` + countSchema + `,
		"ledger": {"type": "object", "required": ["size", "root"], "additionalProperties": false,
			"properties": {"size": ` + countSchema + `, "root": ` + shortSchema + `}},
		"release": ` + shortSchema + `, "version": ` + versionSchema + `,
		"clockOffsetMicros": {"type": "integer"}, "roundTripMicros": {"type": "integer"},
		"disk": {"type": "object", "required": ["free", "total", "low"], "additionalProperties": false,
			"properties": {"free": ` + countSchema + `, "total": ` + countSchema + `, "low": {"type": "boolean"}}},
		"unfit": {"type": "string", "maxLength": 255},
		"conditions": {"type": "array", "maxItems": 32, "items": {"type": "object", "required": ["name", "ok"], "additionalProperties": false,
			"properties": {"name": ` + shortSchema + `, "ok": {"type": "boolean"}, "message": {"type": "string", "maxLength": 160}}}},
		"joined": ` + timeSchema + `, "heard": ` + timeSchema + `}}`
	invitationSchema = `{"type": "object", "required": ["id", "state", "expires", "observer", "by"], "additionalProperties": false, "properties": {
		"id": ` + idSchema + `, "token": {"type": "string", "maxLength": 8192}, "state": {"enum": ["open", "used"]}, "expires": ` + timeSchema + `,
		"observer": {"type": "boolean"}, "node": ` + nameSchema + `, "by": {"type": "string", "maxLength": 64}, "usedBy": ` + nameSchema + `,
		"receipt": ` + receiptSchema + `}}`
)

var (
	statusSchema = pods.MustSchema(`{"type": "object", "additionalProperties": false,
		"required": ["node", "term", "commit", "version", "voters", "quorum", "answer", "nodes"], "properties": {
		"node": ` + nameSchema + `, "leader": ` + nameSchema + `, "term": ` + countSchema + `, "commit": ` + countSchema + `, "version": ` + versionSchema + `,
		"voters": ` + countSchema + `, "quorum": ` + countSchema + `, "answer": ` + countSchema + `,
		"nodes": {"type": "array", "maxItems": 64, "items": ` + nodeSchema + `}}}`)

	inviteSchema = pods.MustSchema(`{"type": "object", "additionalProperties": false, "properties": {
		"expiresSeconds": {"type": "integer", "minimum": 60, "maximum": 86400, "description": "3600 unless given"},
		"observer": {"type": "boolean", "description": "the machine will not vote"}, "node": ` + nameSchema + `}}`)
	invitedSchema     = pods.MustSchema(invitationSchema)
	invitationsSchema = pods.MustSchema(`{"type": "object", "required": ["invitations"], "additionalProperties": false, "properties": {
		"invitations": {"type": "array", "maxItems": 64, "items": ` + invitationSchema + `}}}`)
	withdrawnSchema = pods.MustSchema(`{"type": "object", "required": ["id", "receipt"], "additionalProperties": false, "properties": {
		"id": ` + idSchema + `, "receipt": ` + receiptSchema + `}}`)

	joinSchema = pods.MustSchema(`{"type": "object", "required": ["secret", "node", "address", "release", "version", "csr"], "additionalProperties": false,
		"properties": {
		"secret": {"type": "string", "minLength": 22, "maxLength": 44, "pattern": "^[A-Za-z0-9+/]+={0,2}$", "description": "base64 of the invitation's secret"},
		"node": ` + nameSchema + `, "address": ` + addressSchema + `, "version": ` + versionSchema + `,
		"release": {"type": "string", "maxLength": 64, "pattern": "^[!-~]*$"},
		"csr": {"type": "string", "minLength": 4, "maxLength": 8192, "pattern": "^[A-Za-z0-9+/]+={0,2}$", "description": "base64 of a PKCS#10 request in DER"}}}`)
	joinedSchema = pods.MustSchema(`{"type": "object", "additionalProperties": false,
		"required": ["site", "node", "observer", "certificate", "authorityKey", "ledgerKey", "members"], "properties": {
		"site": ` + nameSchema + `, "node": ` + nameSchema + `, "observer": {"type": "boolean"},
		"certificate": ` + textSchema + `, "authorityKey": ` + textSchema + `, "ledgerKey": ` + textSchema + `,
		"members": {"type": "array", "maxItems": 64, "items": {"type": "object", "required": ["node", "address"], "additionalProperties": false,
			"properties": {"node": ` + nameSchema + `, "address": ` + addressSchema + `}}}}}`)

	removedSchema = pods.MustSchema(`{"type": "object", "required": ["id", "removed", "forced", "receipt"], "additionalProperties": false, "properties": {
		"id": ` + nameSchema + `, "removed": ` + timeSchema + `, "forced": {"type": "boolean"}, "receipt": ` + receiptSchema + `}}`)
	promotedSchema = pods.MustSchema(`{"type": "object", "required": ["id", "receipt"], "additionalProperties": false, "properties": {
		"id": ` + nameSchema + `, "receipt": ` + receiptSchema + `}}`)
	transferSchema    = pods.MustSchema(`{"type": "object", "additionalProperties": false, "properties": {"to": ` + nameSchema + `}}`)
	transferredSchema = pods.MustSchema(`{"type": "object", "required": ["from", "leader", "receipt"], "additionalProperties": false, "properties": {
		"from": {"type": "string", "maxLength": 64}, "leader": {"type": "string", "maxLength": 64}, "receipt": ` + receiptSchema + `}}`)
)
