package bookpi

import (
	"testing"
	"time"
)

func BenchmarkCosign(b *testing.B) {
	cp := Checkpoint{testOrigin, 1 << 20, Hash{1}}
	for _, a := range []Algorithm{AlgorithmCosignatureEd25519, AlgorithmMLDSA44} {
		b.Run(a.String(), func(b *testing.B) {
			k := testSigningKey("witness.test/a", a, 1)
			for b.Loop() {
				if _, err := Cosign(cp, k, time.Unix(1_800_000_000, 0)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerifyCosignature(b *testing.B) {
	cp := Checkpoint{testOrigin, 1 << 20, Hash{1}}
	for _, a := range []Algorithm{AlgorithmCosignatureEd25519, AlgorithmMLDSA44} {
		b.Run(a.String(), func(b *testing.B) {
			k := testSigningKey("witness.test/a", a, 1)
			line, err := Cosign(cp, k, time.Unix(1_800_000_000, 0))
			if err != nil {
				b.Fatal(err)
			}
			known := []VerifierKey{k.Verifier()}
			for b.Loop() {
				if _, _, err := VerifyCosignatures(cp, line, known); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
