package bookpi

// Report says what a verified bundle proves.
type Report struct {
	Origin         string // the log that signed
	Size           uint64 // entries in the log when it signed
	Root           Hash   // root of the tree then
	Entries        int    // entries in the bundle, all included in that tree
	Payloads       int    // entries whose payload is present and matches; the others are withheld
	FirstTimestamp int64  // of the first entry in the bundle, microseconds since the Unix epoch
	LastTimestamp  int64  // of the last entry in the bundle

	Openings   int           // payloads that are sealed and that the bundle opens
	CosignedBy []Cosignature // witnesses of the policy; nil without one
	Quorum     string        // what the policy calls the quorum that was reached; empty without one
}

// VerifyBundle checks a bundle's file offline against the log's public key: its form,
// the checkpoint's signature, that each entry is in the signed tree at its position,
// that each payload present is the one its entry commits to, that each opening opens
// its payload, and that entries at neighbouring positions are linked. Entries are checked in the order of the file and
// the first damage is reported.
//
// The error is a [*BrokenError], which names the entry for damage anywhere in its
// lines except the one that states its position, or wraps [ErrKey] if verifierKey is
// unusable.
func VerifyBundle(data []byte, verifierKey string) (Report, error) {
	v, err := newVerifier(verifierKey)
	if err != nil {
		return Report{}, err
	}
	return verifyBundle(data, func(checkpoint []byte) (Checkpoint, []Cosignature, error) {
		cp, err := openCheckpoint(checkpoint, v)
		return cp, nil, err
	})
}

// VerifyBundleWithPolicy is [VerifyBundle] against a policy: the checkpoint must be
// one that [VerifyCheckpoint] accepts, and the report names its cosigners. The error
// wraps [ErrQuorum] if only cosignatures are missing, and [ErrPolicy] if the policy is
// unusable.
func VerifyBundleWithPolicy(data []byte, p Policy) (Report, error) {
	if err := p.Check(); err != nil {
		return Report{}, err
	}
	report, err := verifyBundle(data, func(checkpoint []byte) (Checkpoint, []Cosignature, error) {
		return VerifyCheckpoint(checkpoint, p)
	})
	if err != nil {
		return Report{}, err
	}
	report.Quorum = p.Quorum
	return report, nil
}

// verifyBundle checks a bundle whose checkpoint open believes.
func verifyBundle(data []byte, open func(checkpoint []byte) (Checkpoint, []Cosignature, error)) (Report, error) {
	s, err := newBundleScanner(data)
	if err != nil {
		return Report{}, err
	}
	cp, by, err := open(s.checkpoint)
	if err != nil {
		return Report{}, broken(PartCheckpoint, err.Error(), err)
	}
	verifier := bundleVerifier{report: Report{Origin: cp.Origin, Size: cp.Size, Root: cp.Root, CosignedBy: by}}
	for s.more() {
		it, stated, err := s.next()
		if err != nil {
			return Report{}, err
		}
		if err := verifier.add(&it, stated); err != nil {
			return Report{}, err
		}
	}
	if err := s.end(); err != nil {
		return Report{}, err
	}
	return verifier.report, nil
}

// bundleVerifier remembers what the next entry must fit.
type bundleVerifier struct {
	report       Report
	lastPosition uint64 // of the entry before; meaningful if report.Entries > 0
	lastLeaf     Hash
}

// add checks one entry. Inclusion comes before payload and chain: once the entry is
// known to be the log's, a mismatch is the other side's fault.
func (v *bundleVerifier) add(it *Item, stated Hash) error {
	entry, err := ParseEntry(it.Entry)
	if err != nil {
		return brokenAt(it.Position, PartEntry, err.Error(), err)
	}
	leaf := LeafHash(it.Entry)
	if err := VerifyInclusion(leaf, it.Position, v.report.Size, it.Proof, v.report.Root); err != nil {
		if stated != leaf {
			return brokenAt(it.Position, PartEntry, "the record does not have the stated hash", err)
		}
		return brokenAt(it.Position, PartProof, "record, position and proof do not lead to the signed root", err)
	}
	if stated != leaf {
		return brokenAt(it.Position, PartStructure, "the stated hash is not that of the record, which is in the log", nil)
	}
	if it.HasPayload && PayloadDigest(it.Payload) != entry.PayloadDigest {
		return brokenAt(it.Position, PartPayload, "the payload is not the one the entry commits to", nil)
	}
	if it.Opening != nil {
		if _, err := OpenSealed(it.Payload, *it.Opening); err != nil {
			return brokenAt(it.Position, PartOpening, "it does not open the payload", err)
		}
		v.report.Openings++
	}
	if err := v.link(it.Position, entry.Previous); err != nil {
		return err
	}

	if v.report.Entries == 0 {
		v.report.FirstTimestamp = entry.Timestamp
	}
	v.report.LastTimestamp = entry.Timestamp
	v.report.Entries++
	if it.HasPayload {
		v.report.Payloads++
	}
	v.lastPosition, v.lastLeaf = it.Position, leaf
	return nil
}

// link checks the order of positions and the hash chain where two entries touch.
func (v *bundleVerifier) link(position uint64, previous Hash) error {
	if position == 0 && previous != GenesisHash {
		return brokenAt(0, PartChain, "the first entry names a previous one", nil)
	}
	if v.report.Entries == 0 {
		return nil
	}
	if position <= v.lastPosition {
		return brokenAt(position, PartStructure, "positions do not ascend", nil)
	}
	if position == v.lastPosition+1 && previous != v.lastLeaf {
		return brokenAt(position, PartChain, "its previous hash is not that of the entry before", nil)
	}
	return nil
}
