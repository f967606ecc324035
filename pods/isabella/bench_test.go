package isabella

import (
	"testing"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/chat"
	"tamv.internal/tamv/tap"
)

func BenchmarkIntent(b *testing.B) {
	k := kernelWith(calm, map[string]Capability{capChat: {Manifest: chat.New().Manifest()}})
	in := textIntent("How much of every transaction does the impact fund receive, and who decides that?", pods.Standard)
	c := callWith(in, tap.English)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.intent(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAudit(b *testing.B) {
	in := textIntent("¿Cuánto de cada transacción recibe el fondo de impacto y quién lo decide?", pods.Standard)
	j := judge{calm}
	texts := []string{"¿Cuánto de cada transacción recibe el fondo de impacto y quién lo decide?"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := j.audit(b.Context(), in, texts, tap.English); err != nil {
			b.Fatal(err)
		}
	}
}
