package consensus

import (
	"encoding/binary"
	"fmt"
	"slices"

	"tamv.internal/tamv/consensus/snapshot"
)

// The kinds of calls that are about snapshots.
const (
	callPrepare byte = 64 + iota // the leader: pull these files, I am going to install them
	callOffer                    // a member that lost its log: give me a snapshot that covers all I may have acknowledged
)

// prepareRequest announces a snapshot; integers are big-endian:
//
//	 0  8  index
//	 8  8  term of the entry at that index
//	16  1  number of addresses, at least 1
//	17  -  per address its length (2) and its bytes: from where to pull, the leader's own first
//	    -  manifest
type prepareRequest struct {
	index, term uint64
	from        []string
	manifest    []byte
}

func (r prepareRequest) encode() []byte {
	data := make([]byte, 0, 17+64*len(r.from)+len(r.manifest))
	data = binary.BigEndian.AppendUint64(data, r.index)
	data = binary.BigEndian.AppendUint64(data, r.term)
	data = append(data, byte(len(r.from)))
	for _, address := range r.from {
		data = appendBytes(data, address)
	}
	return append(data, r.manifest...)
}

// decodePrepareRequest reads what encode wrote; the manifest is not parsed yet. Errors wrap errCall.
func decodePrepareRequest(data []byte) (r prepareRequest, err error) {
	w := wire{data: data}
	r.index, r.term = w.uint64(), w.uint64()
	count := w.uint8()
	for range count {
		r.from = append(r.from, string(w.bytes(maxAddress)))
	}
	if w.bad || r.index == 0 || r.term == 0 || count == 0 || slices.Contains(r.from, "") || len(w.data) > snapshot.MaxManifest {
		return prepareRequest{}, fmt.Errorf("%w: prepare for index %d, term %d", errCall, r.index, r.term)
	}
	r.manifest = w.data
	return r, nil
}

// maxAddress bounds an address of a member, in bytes; maxFrom the addresses of one request.
const (
	maxAddress = 1 << 10
	maxFrom    = 16
)

// prepareState is what a member answers to prepare.
type prepareState byte

const (
	preparePulling   prepareState = iota // files are on their way
	prepareReady                         // all files are there
	prepareRestoring                     // the snapshot is there and replaces the state at this moment
	prepareInstalled                     // the member has all that the snapshot holds
	prepareOld                           // the member has entries beyond it
	prepareDamaged                       // a file kept arriving with the wrong content

	prepareStates // their number
)

// prepareReply says how far a member is: the state, and the bytes pulled so far (8, big-endian).
type prepareReply struct {
	state prepareState
	bytes int64
}

func (r prepareReply) encode() []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(r.state)}, uint64(r.bytes))
}

// decodePrepareReply reads what encode wrote. Errors wrap errCall.
func decodePrepareReply(data []byte) (r prepareReply, err error) {
	if len(data) != 9 || data[0] >= byte(prepareStates) {
		return r, fmt.Errorf("%w: reply to prepare of %d bytes", errCall, len(data))
	}
	return prepareReply{prepareState(data[0]), int64(binary.BigEndian.Uint64(data[1:]))}, nil
}
