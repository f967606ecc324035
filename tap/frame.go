package tap

// Frame types. A client's frame is answered by exactly one ack, error, busy or
// pong with the same id.
const (
	TypeHello     = "hello"     // client: who wants in; [Hello]
	TypeChallenge = "challenge" // server: prove it; [Challenge]
	TypeAuth      = "auth"      // client: the proof; [Auth]
	TypeReady     = "ready"     // server: the session and its limits; [Ready]

	TypeSubscribe      = "subscribe"       // [Subscribe]
	TypeUnsubscribe    = "unsubscribe"     // [Unsubscribe]
	TypePublish        = "publish"         // [Publish]
	TypeXREvent        = "xr_event"        // client: a publish of class event or state; server: [Event]
	TypeDreamSpaceSync = "dreamspace_sync" // client: a publish of class durable; server: [Event]
	TypeIntentRequest  = "intent_request"  // [VirtualRequest], signed by itself
	TypeEvidenceRecord = "evidence_record" // payload: the JSON body of POST /v1/evidence
	TypeCheckpoint     = "checkpoint"      // [Checkpoint]
	TypePing           = "ping"            // empty payload, answered by pong

	TypeAck      = "ack"      // [Ack]
	TypeError    = "error"    // [ErrorFrame], always JSON
	TypeBusy     = "busy"     // [Busy]: too many requests in flight, or too fast
	TypePong     = "pong"     // empty payload
	TypeSnapshot = "snapshot" // [Snapshot]
	TypeGap      = "gap"      // [Gap]
)

// internType returns the constant for a known type, without allocating.
func internType(t []byte) string {
	switch string(t) {
	case TypeHello:
		return TypeHello
	case TypeChallenge:
		return TypeChallenge
	case TypeAuth:
		return TypeAuth
	case TypeReady:
		return TypeReady
	case TypeSubscribe:
		return TypeSubscribe
	case TypeUnsubscribe:
		return TypeUnsubscribe
	case TypePublish:
		return TypePublish
	case TypeXREvent:
		return TypeXREvent
	case TypeDreamSpaceSync:
		return TypeDreamSpaceSync
	case TypeIntentRequest:
		return TypeIntentRequest
	case TypeEvidenceRecord:
		return TypeEvidenceRecord
	case TypeCheckpoint:
		return TypeCheckpoint
	case TypePing:
		return TypePing
	case TypeAck:
		return TypeAck
	case TypeError:
		return TypeError
	case TypeBusy:
		return TypeBusy
	case TypePong:
		return TypePong
	case TypeSnapshot:
		return TypeSnapshot
	case TypeGap:
		return TypeGap
	}
	return string(t)
}

// newPayload is an empty payload of the struct that frames of this type carry;
// nil when the payload is not one of ours.
func newPayload(typ string) Payload {
	switch typ {
	case TypeHello:
		return new(Hello)
	case TypeChallenge:
		return new(Challenge)
	case TypeAuth:
		return new(Auth)
	case TypeReady:
		return new(Ready)
	case TypeSubscribe:
		return new(Subscribe)
	case TypeUnsubscribe:
		return new(Unsubscribe)
	case TypePublish:
		return new(Publish)
	case TypeXREvent, TypeDreamSpaceSync:
		return new(Event)
	case TypeIntentRequest:
		return new(VirtualRequest)
	case TypeCheckpoint:
		return new(Checkpoint)
	case TypeAck:
		return new(Ack)
	case TypeBusy:
		return new(Busy)
	case TypeSnapshot:
		return new(Snapshot)
	case TypeGap:
		return new(Gap)
	}
	return nil
}

// Class says how a publication is treated when it meets a slow subscriber.
const (
	ClassState   = "state"   // the latest value per key wins; never a reason to disconnect
	ClassEvent   = "event"   // ordered; a subscriber that fell too far behind gets a gap and a snapshot
	ClassDurable = "durable" // committed first, then fanned out in the order of commitment
)

// Hello opens the handshake.
type Hello struct {
	Version   uint64   // ProtocolVersion
	KeyID     string   // "TENANT/NAME"
	Ephemeral Data     // X25519 public key, 32 bytes, fresh for this session
	Features  []string // at most 16 names of at most 32 bytes; unknown ones are ignored
}

func (p *Hello) fields() []field {
	return []field{{"version", &p.Version}, {"keyid", &p.KeyID}, {"ephemeral", &p.Ephemeral}, {"features", &p.Features}}
}

func (p *Hello) check() error {
	if p.KeyID == "" || len(p.KeyID) > 160 || len(p.Ephemeral) != 32 || len(p.Features) > 16 {
		return badPayload("hello needs version, keyid (at most 160 bytes) and ephemeral (32 bytes)")
	}
	for _, f := range p.Features {
		if len(f) > 32 {
			return badPayload("a feature name is longer than 32 bytes")
		}
	}
	return nil
}

// Challenge is the server's answer to a hello.
type Challenge struct {
	Nonce     Data   // 32 random bytes
	Node      string // the node's name
	Epoch     uint64 // grows with every start of the node
	Ephemeral Data   // X25519 public key, 32 bytes
}

func (p *Challenge) fields() []field {
	return []field{{"nonce", &p.Nonce}, {"node", &p.Node}, {"epoch", &p.Epoch}, {"ephemeral", &p.Ephemeral}}
}

func (p *Challenge) check() error {
	if len(p.Nonce) != 32 || len(p.Ephemeral) != 32 {
		return badPayload("challenge needs nonce and ephemeral of 32 bytes each")
	}
	return nil
}

// Auth proves possession of the key that the hello named.
type Auth struct {
	Signature Data // Ed25519, 64 bytes, see [Handshake]
	Bound     bool // the transcript covers the TLS exporter
}

func (p *Auth) fields() []field { return []field{{"signature", &p.Signature}, {"bound", &p.Bound}} }

func (p *Auth) check() error {
	if len(p.Signature) != 64 {
		return badPayload("auth needs a signature of 64 bytes")
	}
	return nil
}

// Ready opens the session.
type Ready struct {
	Session    string   // UUID
	Identity   string   // the principal's name
	Roles      []string // what the principal may be
	Frame      uint64   // limit of a frame in bytes
	Credit     uint64   // requests that may be in flight at once
	Checkpoint uint64   // a checkpoint is due after so many frames
}

func (p *Ready) fields() []field {
	return []field{
		{"session", &p.Session},
		{"identity", &p.Identity},
		{"roles", &p.Roles},
		{"frame", &p.Frame},
		{"credit", &p.Credit},
		{"checkpoint", &p.Checkpoint},
	}
}

func (p *Ready) check() error {
	if p.Session == "" || p.Frame == 0 || p.Credit == 0 || p.Checkpoint == 0 {
		return badPayload("ready needs session, frame, credit and checkpoint")
	}
	return nil
}

// Subscribe asks for a room: an ack, then a snapshot unless the stream can
// resume, then every later frame of the room once, in order.
type Subscribe struct {
	Room  string
	Epoch uint64 // with After: the room epoch that After belongs to; 0 = from the snapshot
	After uint64 // the last sequence the client has
}

func (p *Subscribe) fields() []field {
	return []field{{"room", &p.Room}, {"epoch", &p.Epoch}, {"after", &p.After}}
}

func (p *Subscribe) check() error { return checkRoom(p.Room) }

// Unsubscribe ends a subscription.
type Unsubscribe struct{ Room string }

func (p *Unsubscribe) fields() []field { return []field{{"room", &p.Room}} }

func (p *Unsubscribe) check() error { return checkRoom(p.Room) }

// Publish says something to a room.
type Publish struct {
	Room  string
	Class string // ClassState, ClassEvent or ClassDurable
	Key   string // what the state describes, 1 to 64 bytes of printable ASCII; only with ClassState
	Data  Data   // the application's bytes; JSON for ClassDurable
}

func (p *Publish) fields() []field {
	return []field{{"room", &p.Room}, {"class", &p.Class}, {"key", &p.Key}, {"data", &p.Data}}
}

func (p *Publish) check() error {
	switch p.Class {
	case "", ClassEvent, ClassDurable:
		if p.Key != "" {
			return badPayload("only class %s has a key", ClassState)
		}
	case ClassState:
		if !validKey(p.Key) {
			return badPayload("class %s needs a key of 1 to 64 bytes of printable ASCII", ClassState)
		}
	default:
		return badPayload("class is %s, %s or %s", ClassState, ClassEvent, ClassDurable)
	}
	return checkRoom(p.Room)
}

func validKey(k string) bool {
	for i := range len(k) {
		if k[i] < ' ' || k[i] > '~' {
			return false
		}
	}
	return k != "" && len(k) <= 64
}

func checkRoom(room string) error {
	if !ValidName(room) {
		return badPayload("room is not a valid name")
	}
	return nil
}

// Ack says that the request with its id was done.
type Ack struct {
	Status   uint64 // HTTP status of a request through the route table; 0 otherwise
	Room     string // of a subscription or publication
	Epoch    uint64 // the room's epoch
	Sequence uint64 // where a publication stands in the room, or where a subscription begins
	Durable  uint64 // the durable sequence of a durable publication
	Resumed  bool   // the subscription continues after the sequence asked for; no snapshot follows
	Type     string // media type of Body; empty = application/json
	Body     Data   // the reply
}

func (p *Ack) fields() []field {
	return []field{
		{"status", &p.Status},
		{"room", &p.Room},
		{"epoch", &p.Epoch},
		{"sequence", &p.Sequence},
		{"durable", &p.Durable},
		{"resumed", &p.Resumed},
		{"type", &p.Type},
		{"body", &p.Body},
	}
}

func (p *Ack) check() error { return nil }

// Busy refuses a request that may be repeated later.
type Busy struct{ RetryMs uint64 }

func (p *Busy) fields() []field { return []field{{"retryMs", &p.RetryMs}} }

func (p *Busy) check() error { return nil }

// Snapshot is the durable state of a room. Frames with a higher sequence
// follow it.
type Snapshot struct {
	Room     string
	Epoch    uint64
	Sequence uint64 // position in the room's stream
	Durable  uint64 // durable actions that State contains
	More     bool   // State goes on in the next snapshot frame
	State    Data
}

func (p *Snapshot) fields() []field {
	return []field{
		{"room", &p.Room},
		{"epoch", &p.Epoch},
		{"sequence", &p.Sequence},
		{"durable", &p.Durable},
		{"more", &p.More},
		{"state", &p.State},
	}
}

func (p *Snapshot) check() error { return checkRoom(p.Room) }

// Gap says that the frames From to To (inclusive) were lost to this subscriber.
// A snapshot follows.
type Gap struct {
	Room     string
	Epoch    uint64
	From, To uint64
}

func (p *Gap) fields() []field {
	return []field{{"room", &p.Room}, {"epoch", &p.Epoch}, {"from", &p.From}, {"to", &p.To}}
}

func (p *Gap) check() error { return checkRoom(p.Room) }

// Event is a publication on its way to a subscriber.
type Event struct {
	Room     string
	Sequence uint64 // position in the room's stream
	Class    string
	Key      string // class state
	From     string // identity of the publisher
	Durable  uint64 // durable sequence, class durable
	Data     Data   // as published; empty for a state whose publisher left
}

func (p *Event) fields() []field {
	return []field{
		{"room", &p.Room},
		{"sequence", &p.Sequence},
		{"class", &p.Class},
		{"key", &p.Key},
		{"from", &p.From},
		{"durable", &p.Durable},
		{"data", &p.Data},
	}
}

func (p *Event) check() error { return checkRoom(p.Room) }

// Checkpoint is the client's signature over everything it sent so far.
type Checkpoint struct {
	Count     uint64 // frames covered, from the session's first
	Head      Data   // head of the hash chain after Count frames, 32 bytes
	Signature Data   // Ed25519, 64 bytes, see [CheckpointMessage]
}

func (p *Checkpoint) fields() []field {
	return []field{{"count", &p.Count}, {"head", &p.Head}, {"signature", &p.Signature}}
}

func (p *Checkpoint) check() error {
	if len(p.Head) != 32 || len(p.Signature) != 64 {
		return badPayload("checkpoint needs head (32 bytes) and signature (64 bytes)")
	}
	return nil
}

// VirtualRequest is a signed HTTP request inside a frame. The same gate
// verifies the same RFC 9421 signature as if it had come over HTTPS.
type VirtualRequest struct {
	Method string            // m
	Path   string            // p
	Query  string            // q
	Header map[string]string // h, names in lower case
	Body   Data              // b
}

func (p *VirtualRequest) fields() []field {
	return []field{{"m", &p.Method}, {"p", &p.Path}, {"q", &p.Query}, {"h", &p.Header}, {"b", &p.Body}}
}

// virtualHeaders are the fields a VirtualRequest may carry.
var virtualHeaders = map[string]bool{
	"content-digest": true, "signature-input": true, "signature": true, "idempotency-key": true,
	"tamv-roles": true, "content-type": true, "accept-language": true,
}

func (p *VirtualRequest) check() error {
	if p.Method == "" || len(p.Method) > 16 || len(p.Path) == 0 || p.Path[0] != '/' || len(p.Path) > 2048 || len(p.Query) > 4096 {
		return badPayload("a virtual request needs m (at most 16 bytes) and p, a path of at most 2048 bytes; q has at most 4096")
	}
	for name, value := range p.Header {
		if !virtualHeaders[name] || len(value) > 4096 {
			return badPayload("a header of the virtual request is unknown or longer than 4096 bytes")
		}
	}
	return nil
}
