package bookpi

import "tamv.internal/tamv/pods"

const (
	hashShape    = `{"type": "string", "pattern": "^[0-9a-f]{64}$"}`
	receiptShape = `{"type": "object", "required": ["position", "entries", "leaf", "time"]}`
)

var appendSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["action", "outcome", "data"],
	"properties": {
		"action": {"type": "string", "maxLength": 100, "pattern": "^[a-z0-9][a-z0-9._-]{0,99}$"},
		"outcome": {"type": "string", "maxLength": 64, "pattern": "^[^\\p{C}]+$"},
		"data": true}}`)

var appendedSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["position", "evidenceHash", "receipt"],
	"properties": {"position": {"type": "integer"}, "evidenceHash": ` + hashShape + `, "receipt": ` + receiptShape + `}}`)

const entryShape = `{
	"type": "object", "additionalProperties": false,
	"required": ["position", "evidenceHash", "time", "timestamp", "actor", "action", "outcome", "payloadDigest", "previousHash", "payloadBytes"],
	"properties": {
		"position": {"type": "integer"}, "evidenceHash": ` + hashShape + `, "time": {"type": "string"},
		"timestamp": {"type": "integer"}, "actor": {"type": "string"}, "action": {"type": "string"},
		"outcome": {"type": "string"}, "requestId": {"type": "string"}, "payloadDigest": ` + hashShape + `,
		"previousHash": ` + hashShape + `, "payloadBytes": {"type": "integer"}, "payload": {"type": "string"}, "payloadJson": true}}`

var entrySchema = pods.MustSchema(entryShape)

var listSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["entries"],
	"properties": {"entries": {"type": "array", "items": ` + entryShape + `}, "next": {"type": "integer"}}}`)

var proofSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["position", "size", "proof", "root", "checkpoint"],
	"properties": {
		"position": {"type": "integer"}, "size": {"type": "integer"}, "proof": {"type": "array", "items": ` + hashShape + `},
		"root": ` + hashShape + `, "checkpoint": {"type": "string"}}}`)

var consistencySchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["oldSize", "newSize", "oldRoot", "newRoot", "proof"],
	"properties": {
		"oldSize": {"type": "integer"}, "newSize": {"type": "integer"}, "oldRoot": ` + hashShape + `, "newRoot": ` + hashShape + `,
		"proof": {"type": "array", "items": ` + hashShape + `}}}`)

var keySchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["verifierKey"],
	"properties": {"verifierKey": {"type": "string"}}}`)
