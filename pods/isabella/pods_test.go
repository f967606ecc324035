package isabella

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/chat"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/pods/spatial"
	"tamv.internal/tamv/pods/tcep"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// The pods that ship take their part in an intent: money is booked, an object is
// put into its room, and what cannot be done is said.
func TestShippedPods(t *testing.T) {
	capabilities := map[string]Capability{}
	all := []pods.Pod{chat.New(), spatial.New(), tcep.New()}
	for _, p := range all {
		capabilities[p.Manifest().Name] = Capability{Manifest: p.Manifest()}
	}
	k := kernelWith(calm, capabilities)
	host := podtest.NewHost(t, podtest.NewState(), append(all, k)...)
	send := func(kind string, input map[string]any) Reply {
		t.Helper()
		in := body("")
		in["type"], in["input"] = kind, input
		var reply Reply
		_, err := host.Do(t.Context(), podtest.Request{As: ana, Method: "POST", Target: "/v1/kernel/intent", Body: in}, &reply)
		if err != nil {
			t.Fatal(err)
		}
		if reply.Receipt == nil || reply.EvidenceHash != reply.Receipt.Leaf.String() || uuid.Validate(reply.ID) != nil {
			t.Errorf("no proof in the reply: %+v", reply)
		}
		return reply
	}
	order := map[string]any{"amount": "100.00", "currency": "EUR", "source": "stall-7", "purpose": "tickets for tonight"}
	for _, data := range []any{order, string(encode(order))} {
		reply := send("payment", map[string]any{"type": "text", "data": data})
		economy, _ := reply.Economy.(map[string]any)
		if economy["impactFundAllocation"] != "75.00" || len(reply.Degraded) > 0 || reply.AIResponse != doneText.EN {
			t.Errorf("payment as %T: %+v", data, reply)
		}
	}
	if reply := send("payment", map[string]any{"type": "text", "data": "a hundred euros"}); reply.Economy != nil || len(reply.Degraded) != 1 {
		t.Errorf("payment in words: %+v", reply)
	}
	place := map[string]any{"type": "spatial", "data": spatialData("lobby", 1, 2, 3)}
	if reply := send("scene", place); reply.SpatialData != nil || len(reply.Degraded) != 1 || reply.AIResponse != nothingText.EN {
		t.Errorf("no such room: %+v", reply)
	}
	_, err := host.Do(t.Context(), podtest.Request{
		As: ana, Method: "POST", Target: "/v1/dreamspaces", Body: map[string]string{"id": "lobby", "name": "Lobby"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if reply := send("scene", place); reply.SpatialData == nil || len(reply.Degraded) > 0 {
		t.Errorf("scene: %+v", reply)
	}
	if item, ok, _ := host.State.Get(store.K(tap.DefaultTenant, "object", "lobby", "chair-1")); !ok || !strings.Contains(string(item.Value), "chair") {
		t.Error("the object is not in its room")
	}
	reply := send("scene", map[string]any{"type": "text", "data": "Move the chair next to the table"})
	if len(reply.Degraded) != 1 || reply.Degraded[0].Capability != capSpatial {
		t.Errorf("words alone cannot move: %+v", reply)
	}
}
