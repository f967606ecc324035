package anubis

import "tamv.internal/tamv/pods"

const (
	patternSchema = `{"enum": ["guessing", "hammering", "spray", "spread"]}`
	addressSchema = `{"type": "string", "maxLength": 45}`
	alertMembers  = `"id": {"type": "string", "maxLength": 36}, "pattern": ` + patternSchema + `, "state": {"enum": ["open", "acknowledged"]},
		"identity": ` + nameSchema + `, "address": ` + addressSchema + `, "count": {"type": "integer"}, "windowSeconds": {"type": "integer"},
		"times": {"type": "integer"}, "first": ` + timeSchema + `, "last": ` + timeSchema + `, "blockedUntil": ` + timeSchema + `,
		"acknowledgedAt": ` + timeSchema + `, "acknowledgedBy": ` + nameSchema
	alertRequired = `"id", "pattern", "state", "count", "windowSeconds", "times", "first", "last"`
	blockMembers  = `"address": ` + addressSchema + `, "network": {"type": "string", "maxLength": 49}, "pattern": ` + patternSchema + `,
		"since": ` + timeSchema + `, "until": ` + timeSchema + `, "times": {"type": "integer"}`
	blockRequired  = `"address", "network", "pattern", "since", "until", "times"`
	windowSchema   = `{"type": "integer", "minimum": 60, "maximum": 3600}`
	failuresSchema = `{"type": "object", "required": ["count", "windowSeconds"], "additionalProperties": false, "properties": {
		"count": {"type": "integer", "minimum": 3, "maximum": 10000}, "windowSeconds": ` + windowSchema + `}}`
	othersSchema = `{"type": "object", "required": ["count", "windowSeconds"], "additionalProperties": false, "properties": {
		"count": {"type": "integer", "minimum": 2, "maximum": 64}, "windowSeconds": ` + windowSchema + `}}`
	policyText = `{"type": "object", "additionalProperties": false,
		"required": ["guessing", "hammering", "spray", "spread", "blockSeconds", "longestBlockSeconds", "keepAlertsSeconds"], "properties": {
		"guessing": ` + failuresSchema + `, "hammering": ` + failuresSchema + `, "spray": ` + othersSchema + `, "spread": ` + othersSchema + `,
		"blockSeconds": {"type": "integer", "minimum": 0, "maximum": 86400, "description": "0 blocks nobody"},
		"longestBlockSeconds": {"type": "integer", "minimum": 0, "maximum": 86400, "description": "at least blockSeconds"},
		"keepAlertsSeconds": {"type": "integer", "minimum": 3600, "maximum": 2592000}}}`
)

var (
	alertsSchema = pods.MustSchema(`{"type": "object", "required": ["open", "alerts"], "additionalProperties": false, "properties": {
		"open": {"type": "integer"}, "alerts": {"type": "array", "maxItems": 1000, "items": {"type": "object",
		"required": [` + alertRequired + `], "additionalProperties": false, "properties": {` + alertMembers + `}}}}}`)
	acknowledgedSchema = pods.MustSchema(`{"type": "object", "required": [` + alertRequired + `, "receipt"], "additionalProperties": false,
		"properties": {` + alertMembers + `, "receipt": ` + receiptSchema + `}}`)
	blocksSchema = pods.MustSchema(`{"type": "object", "required": ["blocked", "blocks"], "additionalProperties": false, "properties": {
		"blocked": {"type": "integer"}, "blocks": {"type": "array", "maxItems": 1000, "items": {"type": "object",
		"required": [` + blockRequired + `], "additionalProperties": false, "properties": {` + blockMembers + `}}}}}`)
	liftedSchema = pods.MustSchema(`{"type": "object", "required": [` + blockRequired + `, "receipt"], "additionalProperties": false,
		"properties": {` + blockMembers + `, "receipt": ` + receiptSchema + `}}`)
	policySchema    = pods.MustSchema(policyText)
	policySetSchema = pods.MustSchema(`{"type": "object", "required": ["policy", "receipt"], "additionalProperties": false,
		"properties": {"policy": ` + policyText + `, "receipt": ` + receiptSchema + `}}`)
)
