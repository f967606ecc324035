package pods

import (
	"encoding/json"

	"tamv.internal/tamv/store"
)

// InputType is what an intent's data is.
type InputType string

// The input types.
const (
	Text       InputType = "text"
	Image      InputType = "image"
	Spatial    InputType = "spatial"
	Audio      InputType = "audio"
	Multimodal InputType = "multimodal"
)

// Intent is what a citizen asks of the kernel.
type Intent struct {
	TenantID      string  `json:"tenantId"`
	Type          string  `json:"type"` // what kind of wish, free text of at most 64 bytes: "question", "scene", "payment"
	Input         Input   `json:"input"`
	SafetyProfile Profile `json:"safetyProfile"`
	Jurisdiction  string  `json:"jurisdiction"`

	// Parsed is the input after parsing; Passages is what was recalled for
	// it. The kernel sets both before a pod sees the intent.
	Parsed   ParsedInput `json:"-"`
	Passages []Passage   `json:"-"`
}

// Input is the intent's data.
type Input struct {
	Type    InputType       `json:"type"`
	Data    json.RawMessage `json:"data"`
	Context string          `json:"context,omitempty"`
}

// Profile is the safety profile that the audit applies.
type Profile string

// The safety profiles.
const (
	Strict   Profile = "STRICT_DEKATEOTL"
	Standard Profile = "STANDARD"
	Research Profile = "RESEARCH"
)

// ParsedInput is an intent's data in the forms that pods use. Fields that the
// input does not have are empty.
type ParsedInput struct {
	Text    string
	Image   []byte
	Audio   []byte
	Spatial *SpatialInput
}

// SpatialInput asks for a change of a room: one object and where it goes.
type SpatialInput struct {
	Room   string          `json:"room"`
	Object json.RawMessage `json:"object"`
}

// Passage is one piece of memory that is relevant to an intent.
type Passage struct {
	DocumentID   string            `json:"documentId"`
	DocumentType string            `json:"documentType"`
	Content      string            `json:"content"`
	Similarity   float32           `json:"similarity"` // cosine in the space of Model, -1 to 1
	Model        string            `json:"model"`      // the embedder that made the vector
	Metadata     map[string]string `json:"metadata,omitempty"`
}

// Part is one pod's share of an intent's answer.
type Part struct {
	Text      string     // joins aiResponse
	Citations []Citation // where the text comes from
	Spatial   any        // becomes spatialData
	Economy   any        // becomes economy
	Ops       []store.Op
	// Evidence is what the ledger shall say about Ops beyond the kernel's own
	// entry, which follows it in the same batch.
	Evidence []store.Evidence
	// Degraded says what the pod could not do, empty when it did everything.
	Degraded string
}

// Citation points into memory.
type Citation struct {
	DocumentID string  `json:"documentId"`
	Title      string  `json:"title,omitempty"`
	Quote      string  `json:"quote"`
	Similarity float32 `json:"similarity"`
}
