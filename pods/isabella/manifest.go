package isabella

import (
	"net/http"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/tap"
)

// Manifest says what the kernel serves.
func (k *Kernel) Manifest() pods.Manifest {
	return pods.Manifest{
		Name: "isabella",
		Summary: tap.Text{
			EN: "Judges intents, serves them with the capabilities and holds the doubtful ones for guardians",
			ES: "Juzga las intenciones, las atiende con las capacidades y retiene las dudosas para los guardianes",
		},
		Budget: k.budget,
		Routes: []pods.Route{
			{
				Method: http.MethodPost, Pattern: "/v1/kernel/intent", Summary: "Ask the appliance for something",
				Roles: []tap.Role{tap.Citizen}, Body: intentSchema, Reply: replySchema, BodyLimit: bodyLimit, Run: k.intent,
			}, {
				Method: http.MethodGet, Pattern: "/v1/kernel/intent/{id}", Summary: "State and answer of a held intent",
				Roles: []tap.Role{tap.Citizen, tap.Guardian, tap.Auditor}, Reply: progressSchema, Run: k.progress,
			}, {
				Method: http.MethodGet, Pattern: "/v1/guardian/reviews", Summary: "List held and decided intents",
				Roles: []tap.Role{tap.Guardian, tap.Auditor}, Reply: listSchema, Run: k.reviews,
				Query: []pods.Parameter{
					{Name: "state", Summary: "held, approved or denied; all when absent"},
					{Name: "limit", Summary: "at most this many, 1 to 200; 50 when absent", Integer: true},
					{Name: "after", Summary: "continue after this ticket"},
				},
			}, {
				Method: http.MethodGet, Pattern: "/v1/guardian/reviews/{ticket}", Summary: "One review, with the intent while it is held",
				Roles: []tap.Role{tap.Guardian, tap.Auditor, tap.Citizen}, Reply: reviewSchema, Run: k.review,
			}, {
				Method: http.MethodPost, Pattern: "/v1/guardian/reviews/{ticket}/decision", Summary: "Approve or deny a held intent",
				Roles: []tap.Role{tap.Guardian}, Body: decisionSchema, Reply: decidedSchema, Run: k.decide,
			},
		},
	}
}

var intentSchema = pods.MustSchema(`{
  "type": "object", "additionalProperties": false,
  "required": ["tenantId", "type", "input", "safetyProfile", "jurisdiction"],
  "properties": {
    "tenantId": {"type": "string", "minLength": 1, "maxLength": 64},
    "type": {"type": "string", "minLength": 1, "maxLength": 64},
    "input": {
      "type": "object", "additionalProperties": false, "required": ["type", "data"],
      "properties": {
        "type": {"enum": ["text", "image", "spatial", "audio", "multimodal"]},
        "data": {"description": "text: a string. image: base64 of PNG, JPEG or WebP. audio: base64 of WAV or Ogg. spatial: {room, object with position}. multimodal: an object with at least two of text, image, spatial, audio. For the intent type payment, a text may be an object {amount, currency, source, purpose}."},
        "context": {"type": "string", "maxLength": 4096}
      }
    },
    "safetyProfile": {"enum": ["STRICT_DEKATEOTL", "STANDARD", "RESEARCH"]},
    "jurisdiction": {"type": "string", "minLength": 2, "maxLength": 32, "pattern": "^[A-Z][A-Z0-9]+(-[A-Z0-9]+)*$"}
  }
}`)

const auditFields = `{
  "type": "object", "required": ["score", "verdict", "principles", "explanation"],
  "properties": {
    "score": {"type": "number", "minimum": 0, "maximum": 1},
    "verdict": {"enum": ["allowed", "held", "refused"]},
    "principles": {
      "type": "object", "minProperties": 8, "maxProperties": 8,
      "additionalProperties": {
        "type": "object", "required": ["score", "basis"],
        "properties": {
          "score": {"type": "number", "minimum": 0, "maximum": 1},
          "basis": {"enum": ["learned", "rule", "none"]},
          "rule": {"type": "string"}
        }
      }
    },
    "rules": {"type": "array", "items": {"type": "string"}},
    "explanation": {"type": "string"},
    "model": {"type": "string"}
  }
}`

const replyFields = `{
  "type": "object", "additionalProperties": false, "required": ["id", "aiResponse", "citations", "audit"],
  "properties": {
    "id": {"type": "string"},
    "aiResponse": {"type": "string"},
    "spatialData": {},
    "economy": {},
    "evidenceHash": {"type": "string", "minLength": 64, "maxLength": 64},
    "receipt": {"type": "object"},
    "citations": {
      "type": "array",
      "items": {
        "type": "object", "required": ["documentId", "quote", "similarity"],
        "properties": {
          "documentId": {"type": "string"}, "title": {"type": "string"},
          "quote": {"type": "string"}, "similarity": {"type": "number"}
        }
      }
    },
    "audit": ` + auditFields + `,
    "degraded": {
      "type": "array",
      "items": {
        "type": "object", "required": ["capability", "reason"],
        "properties": {"capability": {"type": "string"}, "reason": {"type": "string"}}
      }
    },
    "clarification": {
      "type": "object", "required": ["question", "declared", "detected"],
      "properties": {"question": {"type": "string"}, "declared": {"type": "string"}, "detected": {"type": "string"}}
    }
  }
}`

const reviewFields = `
    "ticket": {"type": "string"}, "state": {"enum": ["held", "approved", "denied"]},
    "submitter": {"type": "string"}, "submitted": {"type": "string"},
    "type": {"type": "string"}, "inputType": {"type": "string"}, "inputDigest": {"type": "string"},
    "safetyProfile": {"type": "string"}, "jurisdiction": {"type": "string"}, "audit": ` + auditFields + `,
    "guardian": {"type": "string"}, "decided": {"type": "string"}, "reason": {"type": "string"}`

var (
	replySchema = pods.MustSchema(replyFields)

	progressSchema = pods.MustSchema(`{
  "type": "object", "additionalProperties": false, "required": ["id", "state", "submitted"],
  "properties": {
    "id": {"type": "string"}, "state": {"enum": ["held", "approved", "denied"]}, "submitted": {"type": "string"},
    "decided": {"type": "string"}, "reason": {"type": "string"}, "response": ` + replyFields + `
  }
}`)

	listSchema = pods.MustSchema(`{
  "type": "object", "additionalProperties": false, "required": ["reviews"],
  "properties": {
    "reviews": {"type": "array", "items": {"type": "object", "additionalProperties": false, "properties": {` + reviewFields + `}}},
    "next": {"type": "string"}
  }
}`)

	reviewSchema = pods.MustSchema(`{
  "type": "object", "additionalProperties": false, "required": ["ticket", "state"],
  "properties": {"intent": {"type": "object"}, ` + reviewFields + `}
}`)

	decisionSchema = pods.MustSchema(`{
  "type": "object", "additionalProperties": false, "required": ["decision", "reason"],
  "properties": {
    "decision": {"enum": ["approve", "deny"]},
    "reason": {"type": "string", "minLength": 1, "maxLength": 2000}
  }
}`)

	decidedSchema = pods.MustSchema(`{
  "type": "object", "additionalProperties": false, "required": ["ticket", "state"],
  "properties": {
    "ticket": {"type": "string"}, "state": {"enum": ["approved", "denied"]},
    "response": ` + replyFields + `, "receipt": {"type": "object"}
  }
}`)
)
