package spatial

import "tamv.internal/tamv/pods"

const receiptShape = `{"type": "object", "required": ["position", "entries", "leaf", "time"]}`

var createSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["name"],
	"properties": {
		"id": {"type": "string", "minLength": 1, "maxLength": 64},
		"name": {"type": "string", "minLength": 1, "maxLength": 255}}}`)

var createdSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["room", "receipt"],
	"properties": {"room": {"type": "string"}, "receipt": ` + receiptShape + `}}`)

var listSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["dreamspaces"],
	"properties": {"next": {"type": "string"}, "dreamspaces": {"type": "array", "items": {
		"type": "object", "additionalProperties": false, "required": ["id", "name", "creator", "created"],
		"properties": {
			"id": {"type": "string"}, "name": {"type": "string"}, "creator": {"type": "string"},
			"created": {"type": "string"}, "request": {"type": "string"}}}}}}`)

var stateSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false,
	"required": ["id", "name", "creator", "created", "objects", "sequence"],
	"properties": {
		"id": {"type": "string"}, "name": {"type": "string"}, "creator": {"type": "string"}, "created": {"type": "string"},
		"sequence": {"type": "integer"}, "objects": {"type": "array", "items": ` + objectShape + `}}}`)

var historySchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["actions"],
	"properties": {"next": {"type": "integer"}, "actions": {"type": "array", "items": {
		"type": "object", "additionalProperties": false, "required": ["sequence", "actor", "time", "action", "object"],
		"properties": {
			"sequence": {"type": "integer"}, "actor": {"type": "string"}, "time": {"type": "string"},
			"action": {"enum": ["put", "remove"]}, "object": {"type": "object", "required": ["id"]}}}}}}`)

// What an object must be depends on the action and is checked with it.
var actSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["action", "object"],
	"properties": {
		"action": {"enum": ["put", "remove"]},
		"object": {"type": "object", "maxProperties": 8, "additionalProperties": true}}}`)

var actedSchema = pods.MustSchema(`{
	"type": "object", "additionalProperties": false, "required": ["receipt"],
	"properties": {"sequence": {"type": "integer"}, "receipt": ` + receiptShape + `}}`)
