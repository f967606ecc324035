package tap

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash"

	"github.com/google/uuid"
)

// ProtocolVersion is the version of TAP that a hello names.
const ProtocolVersion = 1

// ALPN is the application protocol of TAP over QUIC.
const ALPN = "tap/1"

// ExporterLabel is the TLS exporter (RFC 8446, 7.5) whose 32 bytes bind a
// session to its TLS connection, where both ends can read it.
const ExporterLabel = "EXPORTER-tamv-tap-v1"

// ExporterLen is the length of the exporter value in bytes.
const ExporterLen = 32

// Domain labels. Each ends in a zero byte and starts what is hashed or signed,
// so that no signature means anything outside its place.
const (
	labelTranscript = "tamv tap transcript v1\x00"
	labelAuth       = "tamv tap auth v1\x00"
	labelKey        = "tamv tap session key v1\x00"
	labelChain      = "tamv tap chain v1\x00"
	labelCheckpoint = "tamv tap checkpoint v1\x00"
)

// Handshake is what both ends know once hello and challenge have crossed. It
// follows the shape of TLS 1.3's CertificateVerify and of SIGMA: an ephemeral
// X25519 exchange whose transcript the client signs with its enrolled Ed25519
// key. The server is authenticated by TLS below; where the client can read the
// TLS exporter the transcript covers it, and a proof made for one connection
// is worth nothing on another.
type Handshake struct {
	Hello     Hello
	Challenge Challenge
	Binding   []byte // the TLS exporter's 32 bytes; empty when the session is not bound
}

// Transcript is SHA-256 over the label and every field in order. Byte fields
// and strings are preceded by their length (u32 big-endian), numbers are u64
// big-endian, the feature list by its count (u32). It covers fields rather than
// encodings, so that MessagePack and JSON clients compute the same.
func (h *Handshake) Transcript() [sha256.Size]byte {
	b := []byte(labelTranscript)
	b = binary.BigEndian.AppendUint64(b, h.Hello.Version)
	b = appendCounted(b, []byte(h.Hello.KeyID))
	b = appendCounted(b, h.Hello.Ephemeral)
	b = binary.BigEndian.AppendUint32(b, uint32(len(h.Hello.Features)))
	for _, f := range h.Hello.Features {
		b = appendCounted(b, []byte(f))
	}
	b = appendCounted(b, h.Challenge.Nonce)
	b = appendCounted(b, []byte(h.Challenge.Node))
	b = binary.BigEndian.AppendUint64(b, h.Challenge.Epoch)
	b = appendCounted(b, h.Challenge.Ephemeral)
	b = appendCounted(b, h.Binding)
	return sha256.Sum256(b)
}

func appendCounted(dst, b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(b))), b...)
}

func (h *Handshake) authMessage() []byte {
	t := h.Transcript()
	return append([]byte(labelAuth), t[:]...)
}

// Sign makes the client's proof.
func (h *Handshake) Sign(key ed25519.PrivateKey) Auth {
	return Auth{Signature: ed25519.Sign(key, h.authMessage()), Bound: len(h.Binding) > 0}
}

// Verify checks the client's proof.
func (h *Handshake) Verify(pub ed25519.PublicKey, a *Auth) bool {
	return len(pub) == ed25519.PublicKeySize && a.Bound == (len(h.Binding) > 0) &&
		ed25519.Verify(pub, h.authMessage(), a.Signature)
}

// SessionKey derives the 32-byte key that authenticates the client's frames:
// HKDF-SHA256 over the X25519 secret, salted with the transcript. The peer's
// key is 32 bytes; a low-order one is refused with Unauthenticated.
func (h *Handshake) SessionKey(own *ecdh.PrivateKey, peer []byte) ([]byte, error) {
	pub, err := ecdh.X25519().NewPublicKey(peer)
	if err != nil {
		return nil, Wrap("tap.handshake", Unauthenticated, err, "the ephemeral key is not valid").WithCode("bad_ephemeral")
	}
	secret, err := own.ECDH(pub)
	if err != nil {
		return nil, Wrap("tap.handshake", Unauthenticated, err, "the ephemeral key is not valid").WithCode("bad_ephemeral")
	}
	t := h.Transcript()
	key, err := hkdf.Key(sha256.New, secret, t[:], labelKey, sha256.Size)
	if err != nil {
		return nil, Wrap("tap.handshake", Internal, err, "the session key cannot be derived")
	}
	return key, nil
}

// TagLen is the length of a session tag: a sequence, u64 big-endian, and the
// first 16 bytes of the MAC.
const (
	TagLen = 8 + macLen
	macLen = 16
)

// frameMAC is what both directions of frame authentication share: the keyed
// hash, its state reused from frame to frame, and the chain of everything
// authenticated so far. It belongs to one goroutine at a time.
type frameMAC struct {
	mac   hash.Hash
	chain hash.Hash
	seq   uint64 // of the last frame
	head  [sha256.Size]byte
	buf   []byte // scratch: the frame's fields before the payload
	sum   []byte // scratch
}

func newFrameMAC(key []byte, transcript [sha256.Size]byte) frameMAC {
	m := frameMAC{mac: hmac.New(sha256.New, key), chain: sha256.New()}
	m.head = sha256.Sum256(append([]byte(labelChain), transcript[:]...))
	return m
}

// next computes the tag of the next frame: HMAC over
//
//	seq u64 | id 16 bytes | len(type) u32 | type | timestamp u64 | len(payload) u32 | payload
//
// all big-endian. The result is valid until the next call.
func (m *frameMAC) next(e *Envelope) []byte {
	m.buf = binary.BigEndian.AppendUint64(m.buf[:0], m.seq+1)
	m.buf = append(m.buf, e.ID[:]...)
	m.buf = binary.BigEndian.AppendUint32(m.buf, uint32(len(e.Type)))
	m.buf = append(m.buf, e.Type...)
	m.buf = binary.BigEndian.AppendUint64(m.buf, e.Timestamp)
	m.buf = binary.BigEndian.AppendUint32(m.buf, uint32(len(e.Payload)))
	m.mac.Reset()
	m.mac.Write(m.buf)
	m.mac.Write(e.Payload)
	m.sum = binary.BigEndian.AppendUint64(m.sum[:0], m.seq+1)
	m.sum = m.mac.Sum(m.sum)
	return m.sum[:TagLen]
}

// advance takes the frame of the last call of next into the chain:
// head = SHA-256(head | the bytes under the MAC).
func (m *frameMAC) advance(e *Envelope) {
	m.seq++
	m.chain.Reset()
	m.chain.Write(m.head[:])
	m.chain.Write(m.buf)
	m.chain.Write(e.Payload)
	m.chain.Sum(m.head[:0])
}

// CheckpointMessage is what a checkpoint signs: the label, the session's id,
// the count as u64 big-endian and the head.
func CheckpointMessage(session uuid.UUID, count uint64, head []byte) []byte {
	b := append([]byte(labelCheckpoint), session[:]...)
	b = binary.BigEndian.AppendUint64(b, count)
	return append(b, head...)
}

// Sealer authenticates the frames that a client sends. Not safe for concurrent
// use: the order of Seal is the order on the wire.
type Sealer struct{ frameMAC }

// NewSealer starts a session's outgoing frames.
func NewSealer(key []byte, transcript [sha256.Size]byte) *Sealer {
	return &Sealer{newFrameMAC(key, transcript)}
}

// Seal sets the tag of the frame and adds it, with its length prefix, to dst.
func (s *Sealer) Seal(dst []byte, e *Envelope) []byte {
	e.Tag = s.next(e)
	s.advance(e)
	dst = e.AppendFrame(dst)
	e.Tag = nil // it aliases the scratch
	return dst
}

// Count is how many frames were sealed.
func (s *Sealer) Count() uint64 { return s.seq }

// Checkpoint signs everything sealed so far.
func (s *Sealer) Checkpoint(session uuid.UUID, key ed25519.PrivateKey) Checkpoint {
	head := append(Data(nil), s.head[:]...)
	return Checkpoint{s.seq, head, ed25519.Sign(key, CheckpointMessage(session, s.seq, head))}
}

// Opener verifies the frames that a server receives. Not safe for concurrent
// use.
type Opener struct {
	frameMAC
	before [sha256.Size]byte // the head before the last frame: what a checkpoint frame speaks about
}

// NewOpener starts a session's incoming frames.
func NewOpener(key []byte, transcript [sha256.Size]byte) *Opener {
	return &Opener{frameMAC: newFrameMAC(key, transcript)}
}

// Open verifies the frame's tag. A replayed, reordered, dropped or altered
// frame is Unauthenticated: code sequence or bad_tag. The session cannot go on
// after that.
func (o *Opener) Open(e *Envelope) error {
	if len(e.Tag) != TagLen {
		return E("tap.open", Unauthenticated, "the frame carries no tag of %d bytes", TagLen).WithCode("bad_tag")
	}
	if binary.BigEndian.Uint64(e.Tag) != o.seq+1 {
		return E("tap.open", Unauthenticated, "the frame is not number %d of the session", o.seq+1).WithCode("sequence")
	}
	if subtle.ConstantTimeCompare(o.next(e), e.Tag) != 1 {
		return E("tap.open", Unauthenticated, "the frame's tag does not match").WithCode("bad_tag")
	}
	o.before = o.head
	o.advance(e)
	return nil
}

// Count is how many frames were opened.
func (o *Opener) Count() uint64 { return o.seq }

// VerifyCheckpoint compares a checkpoint, whose own frame was the last one
// opened, with the frames before it. The error is Unauthenticated with code
// bad_checkpoint.
func (o *Opener) VerifyCheckpoint(session uuid.UUID, pub ed25519.PublicKey, c *Checkpoint) error {
	if c.Count != o.seq-1 || subtle.ConstantTimeCompare(c.Head, o.before[:]) != 1 ||
		!ed25519.Verify(pub, CheckpointMessage(session, c.Count, c.Head), c.Signature) {
		return E("tap.checkpoint", Unauthenticated, "the checkpoint does not match the frames received").WithCode("bad_checkpoint")
	}
	return nil
}
