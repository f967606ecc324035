package bookpi

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"time"
)

// testTime is when everything in tests is signed.
var testTime = time.Unix(1_800_000_000, 0).UTC()

// testSigningKey makes the same key for the same arguments.
func testSigningKey(name string, a Algorithm, seed byte) *SigningKey {
	s := sha256.Sum256([]byte{seed})
	k, err := GenerateSigningKey(bytes.NewReader(s[:]), name, a)
	if err != nil {
		panic(err)
	}
	return k
}

// testLogKeys makes the same pair of keys for the same seed.
func testLogKeys(origin string, seed byte) LogKeys {
	a, b := sha256.Sum256([]byte{seed, 1}), sha256.Sum256([]byte{seed, 2})
	k, err := GenerateKeys(bytes.NewReader(append(a[:], b[:]...)), origin)
	if err != nil {
		panic(err)
	}
	return k
}

// ed25519Only is what a log made before ML-DSA has.
func ed25519Only(k LogKeys) LogKeys { return LogKeys{k.keys[:1]} }

// site is a ledger with the keys of its log, three witnesses and a policy that asks
// for two of them.
type site struct {
	*ledger
	keys      LogKeys
	witnesses []*SigningKey // cosignature/v1, ml-dsa-44, cosignature/v1
	policy    Policy
}

func newSite(seed byte, size int) *site {
	s := &site{ledger: newLedger(seed, size), keys: testLogKeys(testOrigin, seed)}
	for _, k := range s.keys.VerifierKeys() {
		s.policy.Logs = append(s.policy.Logs, PolicyLog{Key: k})
	}
	group := PolicyGroup{Name: "outside", Threshold: 2}
	for i, a := range []Algorithm{AlgorithmCosignatureEd25519, AlgorithmMLDSA44, AlgorithmCosignatureEd25519} {
		name := fmt.Sprintf("w%d", i+1)
		k := testSigningKey("witness.test/"+name, a, 50+seed*4+byte(i))
		s.witnesses = append(s.witnesses, k)
		s.policy.Witnesses = append(s.policy.Witnesses, PolicyWitness{Name: name, Key: k.Verifier()})
		group.Members = append(group.Members, name)
	}
	s.policy.Groups = []PolicyGroup{group}
	s.policy.Quorum = group.Name
	return s
}

// current is what the log would sign now.
func (s *site) current() Checkpoint { return Checkpoint{testOrigin, s.tree.Size(), s.tree.Root()} }

// note signs the current checkpoint with keys and has the witnesses cosign it.
func (s *site) note(keys LogKeys, witnesses ...*SigningKey) []byte {
	signed, err := keys.Sign(s.current(), testTime)
	if err != nil {
		panic(err)
	}
	return s.cosign(signed, witnesses...)
}

func (s *site) cosign(signed []byte, witnesses ...*SigningKey) []byte {
	for i, w := range witnesses {
		line, err := Cosign(s.current(), w, testTime.Add(time.Duration(i)*time.Second))
		if err != nil {
			panic(err)
		}
		if signed, err = AddCosignatures(signed, line); err != nil {
			panic(err)
		}
	}
	return signed
}

// request asks a witness that has seen old entries to cosign the current checkpoint.
func (s *site) request(keys LogKeys, old uint64) AddCheckpointRequest {
	proof, err := ConsistencyProof(old, s.tree.Size(), s.tiles)
	if err != nil {
		panic(err)
	}
	return AddCheckpointRequest{OldSize: old, Proof: proof, Checkpoint: s.note(keys), Claimed: s.current()}
}

// tlogProof proves one entry, which the proof carries.
func (s *site) tlogProof(index uint64, checkpoint []byte) TLogProof {
	proof, err := InclusionProof(s.tree.Size(), index, s.tiles)
	if err != nil {
		panic(err)
	}
	return TLogProof{Extra: s.entries[index], Index: index, Proof: proof, Checkpoint: checkpoint}
}
