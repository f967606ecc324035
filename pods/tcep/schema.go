package tcep

import "tamv.internal/tamv/pods"

// What an amount looks like depends on its currency, so the schema only bounds it.
var orderSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["amount", "currency", "source", "purpose"],
	"properties": {
		"amount": {"type": "string", "minLength": 1, "maxLength": 64},
		"currency": {"type": "string", "minLength": 1, "maxLength": 10},
		"source": {"type": "string", "minLength": 1, "maxLength": 255},
		"purpose": {"type": "string", "minLength": 1, "maxLength": 1024}}}`)

var bookedSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false,
	"required": ["id", "amount", "currency", "source", "purpose", "impactAllocation", "operationsAllocation", "impactFundAddress", "actor", "time"],
	"properties": {
		"id": {"type": "string"}, "amount": {"type": "string"}, "currency": {"type": "string"}, "source": {"type": "string"},
		"purpose": {"type": "string"}, "impactAllocation": {"type": "string"}, "operationsAllocation": {"type": "string"},
		"impactFundAddress": {"type": "string"}, "actor": {"type": "string"}, "time": {"type": "string"},
		"evidenceHash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
		"receipt": {"type": "object", "required": ["position", "entries", "leaf", "time"]},
		"repeated": {"type": "boolean"}}}`)

var balancesSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["balances", "asOf"],
	"properties": {"asOf": {"type": "string"}, "balances": {"type": "array", "items": {
		"type": "object", "additionalProperties": false,
		"required": ["currency", "impact", "operations", "sources", "accounts", "sum"],
		"properties": {
			"currency": {"type": "string"}, "impact": {"type": "string"}, "operations": {"type": "string"},
			"sources": {"type": "string"}, "accounts": {"type": "integer"}, "sum": {"type": "string"}}}}}}`)

var currenciesSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["currencies"],
	"properties": {"currencies": {"type": "array", "items": {
		"type": "object", "additionalProperties": false, "required": ["code", "decimals"],
		"properties": {"code": {"type": "string"}, "decimals": {"type": "integer"}}}}}}`)
