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
		"subject": {
			"type": "string", "maxLength": 64, "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$",
			"description": "the person whom the data concerns: it is sealed under that person's key, and erased with it"},
		"data": true}}`)

var appendedSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["position", "evidenceHash", "receipt"],
	"properties": {"position": {"type": "integer"}, "evidenceHash": ` + hashShape + `, "receipt": ` + receiptShape + `}}`)

const entryShape = `{
	"type": "object", "additionalProperties": false,
	"required": ["position", "evidenceHash", "time", "timestamp", "tenant", "actor", "action", "outcome", "payloadDigest", "previousHash", "payloadBytes"],
	"properties": {
		"position": {"type": "integer"}, "evidenceHash": ` + hashShape + `, "time": {"type": "string"},
		"timestamp": {"type": "integer"}, "tenant": {"type": "string"}, "actor": {"type": "string"}, "action": {"type": "string"},
		"outcome": {"type": "string"}, "requestId": {"type": "string"}, "payloadDigest": ` + hashShape + `,
		"previousHash": ` + hashShape + `, "payloadBytes": {"type": "integer"}, "payload": {"type": "string"}, "payloadJson": true,
		"sealed": {"enum": ["opened", "erased", "closed"]}}}`

var entrySchema = pods.MustSchema(entryShape)

var listSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["entries"],
	"properties": {"entries": {"type": "array", "items": ` + entryShape + `}, "next": {"type": "integer"}, "archived": {"type": "boolean"}}}`)

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
	"type": "object", "additionalProperties": false, "required": ["verifierKey", "verifierKeys", "history", "rotating"],
	"properties": {
		"verifierKey": {"type": "string"}, "verifierKeys": {"type": "array", "items": {"type": "string"}},
		"history": {"type": "string"}, "rotating": {"type": "boolean"}}}`)

var rotationSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["number", "expires"],
	"properties": {"number": {"type": "integer"}, "expires": {"type": "string"}}}`)

var witnessKeySchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["key"],
	"properties": {"key": {"type": "string", "maxLength": 4096, "pattern": "^[^\\p{C}]+$"}}}`)

const witnessShape = `{
	"type": "object", "additionalProperties": false, "required": ["name", "keys", "size", "entriesSince"],
	"properties": {
		"name": {"type": "string"}, "keys": {"type": "array", "items": {"type": "string"}}, "size": {"type": "integer"},
		"time": {"type": "string"}, "entriesSince": {"type": "integer"}}}`

var witnessSchema = pods.MustSchema(witnessShape)

const anchorShape = `"size": {"type": "integer"}, "root": ` + hashShape + `, "witnesses": {"type": "array", "items": {"type": "string"}}`

var anchorsSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["size", "quorum", "anchored", "witnesses", "anchors"],
	"properties": {
		"size": {"type": "integer"}, "quorum": {"type": "integer"}, "anchored": {"type": "integer"},
		"witnesses": {"type": "array", "items": ` + witnessShape + `},
		"anchors": {"type": "array", "items": {
			"type": "object", "additionalProperties": false, "required": ["size", "root", "witnesses"],
			"properties": {` + anchorShape + `}}}}}`)

var anchorSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["cosignatures"],
	"properties": {
		"checkpoint": {"type": "string", "maxLength": 65536}, "cosignatures": {"type": "string", "minLength": 1, "maxLength": 65536}}}`)

var anchoredSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["size", "root", "witnesses", "new"],
	"properties": {` + anchorShape + `,
		"new": {"type": "array", "items": {"type": "string"}}, "duplicate": {"type": "boolean"}}}`)

const segmentShape = `
	"number": {"type": "integer"}, "first": {"type": "integer"}, "last": {"type": "integer"}, "sha256": ` + hashShape + `,
	"bytes": {"type": "integer"}, "archived": {"type": "boolean"}`

var segmentsSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["sealed", "archived", "bytes", "segments"],
	"properties": {
		"sealed": {"type": "integer"}, "archived": {"type": "integer"}, "next": {"type": "integer"},
		"bytes": {
			"type": "object", "additionalProperties": false, "required": ["entries", "leaves", "archived"],
			"properties": {"entries": {"type": "integer"}, "leaves": {"type": "integer"}, "archived": {"type": "integer"}}},
		"segments": {"type": "array", "items": {"type": "object", "additionalProperties": false, "properties": {` + segmentShape + `}}}}}`)

var archiveSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["sha256", "target"],
	"properties": {
		"sha256": {"type": "string", "maxLength": 64, "pattern": "^[0-9a-f]{64}$"},
		"target": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[^\\p{C}]+$"}}}`)

var archivedSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["number", "sha256", "target", "archived"],
	"properties": {` + segmentShape + `, "target": {"type": "string"}}}`)
