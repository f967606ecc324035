package consensus

import (
	"encoding/binary"
	"fmt"

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
//	16  2  length of the address
//	18  -  address of the sender, from which to pull
//	    -  manifest
type prepareRequest struct {
	index, term uint64
	from        string
	manifest    []byte
}

func (r prepareRequest) encode() []byte {
	data := make([]byte, 0, 18+len(r.from)+len(r.manifest))
	data = binary.BigEndian.AppendUint64(data, r.index)
	data = binary.BigEndian.AppendUint64(data, r.term)
	data = binary.BigEndian.AppendUint16(data, uint16(len(r.from)))
	data = append(data, r.from...)
	return append(data, r.manifest...)
}

// decodePrepareRequest reads what encode wrote; the manifest is not parsed yet. Errors wrap errCall.
func decodePrepareRequest(data []byte) (r prepareRequest, err error) {
	if len(data) < 18 {
		return r, fmt.Errorf("%w: prepare of %d bytes", errCall, len(data))
	}
	r.index, r.term = binary.BigEndian.Uint64(data), binary.BigEndian.Uint64(data[8:])
	n, rest := int(binary.BigEndian.Uint16(data[16:])), data[18:]
	if r.index == 0 || r.term == 0 || n == 0 || n > len(rest) || len(rest)-n > snapshot.MaxManifest {
		return r, fmt.Errorf("%w: prepare for index %d, term %d", errCall, r.index, r.term)
	}
	r.from, r.manifest = string(rest[:n]), rest[n:]
	return r, nil
}

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
