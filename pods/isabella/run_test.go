package isabella

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Feature: tamv-hardened-backend, Property 13: Graceful Degradation on Dependency Failure
func TestFailuresDegrade(t *testing.T) {
	breakages := map[string]Capability{
		"absent": {},
		"error":  capability("x", 0, func(context.Context, *pods.Call, *pods.Intent) (*pods.Part, error) { return nil, errors.New("secret") }),
		"invalid": capability("x", 0, func(context.Context, *pods.Call, *pods.Intent) (*pods.Part, error) {
			return nil, tap.E("x", tap.Invalid, "no such room")
		}),
		"resting": capability("x", 0, func(context.Context, *pods.Call, *pods.Intent) (*pods.Part, error) {
			return nil, tap.E("x", tap.Unavailable, "x")
		}),
		"panic":   capability("x", 0, func(context.Context, *pods.Call, *pods.Intent) (*pods.Part, error) { panic("secret") }),
		"nothing": capability("x", 0, func(context.Context, *pods.Call, *pods.Intent) (*pods.Part, error) { return nil, nil }),
		"silent":  capability("x", 0, func(context.Context, *pods.Call, *pods.Intent) (*pods.Part, error) { return &pods.Part{}, nil }),
		"partial": capability("x", 0, func(context.Context, *pods.Call, *pods.Intent) (*pods.Part, error) {
			return &pods.Part{Degraded: "half"}, nil
		}),
		"wordy":    says("x", strings.Repeat("w", maxPart+1)),
		"foreign":  effects(store.Put(store.K("other", "x", "y"), nil)),
		"kernel's": effects(store.Put(reviewKey("main", "y"), nil)),
		"intent's": effects(store.Put(responseKey("main", "y"), nil)),
		"nowhere":  effects(store.Put("main", nil)),
		"too many": effects(make([]store.Op, maxOps+1)...),
	}
	names := slices.Sorted(maps.Keys(breakages))
	rapid.Check(t, func(t *rapid.T) {
		capabilities := map[string]Capability{}
		broken := []string{}
		for _, name := range []string{capChat, capTranscriber, capPen2PDF, capSpatial} {
			breakage := rapid.SampledFrom(append(names, "works", "works")).Draw(t, name)
			switch breakage {
			case "works":
				capabilities[name] = says(name, "from "+name)
				continue
			case "absent":
			default:
				capabilities[name] = breakages[breakage]
			}
			broken = append(broken, name)
		}
		memory := rapid.SampledFrom([]string{"works", "absent", "fails"}).Draw(t, "memory")
		k := New(Config{Classifier: calm, Memory: map[string]Memory{"works": library, "fails": failing}[memory], Threshold: testThreshold, Capabilities: capabilities})
		in := dataIntent(pods.Multimodal, map[string]any{
			"text": "what is this", "image": b64(pngBytes(2, 2)), "audio": b64(wavBytes(2)), "spatial": spatialData("lobby", 1, 2, 3),
		})
		in.TenantID, in.SafetyProfile, in.Jurisdiction = "main", pods.Standard, "MX"
		result, err := k.intent(context.Background(), callWith(in, tap.Spanish))
		if err != nil {
			t.Fatalf("%v fails the whole: %v", broken, err)
		}
		reply := result.Body.(*Reply)
		got := []string{}
		if memory != "works" {
			broken = append([]string{"memory"}, broken...)
		}
		for _, d := range reply.Degraded {
			got = append(got, d.Capability)
			if d.Reason == "" || strings.Contains(d.Reason, "secret") {
				t.Fatalf("reason %q", d.Reason)
			}
		}
		if !slices.Equal(got, broken) {
			t.Fatalf("broken %v, reply says %v", broken, reply.Degraded)
		}
		if len(capabilities) == 0 && reply.AIResponse != nothingText.ES {
			t.Fatalf("all failed: %q", reply.AIResponse)
		}
		want := "ok"
		if len(reply.Degraded) > 0 {
			want = "degraded"
		}
		if result.Evidence[0].Outcome != want || len(result.Ops) > 0 {
			t.Fatalf("outcome %s, %d ops", result.Evidence[0].Outcome, len(result.Ops))
		}
	})
}

func effects(ops ...store.Op) Capability {
	return capability("x", 0, func(context.Context, *pods.Call, *pods.Intent) (*pods.Part, error) {
		return &pods.Part{Text: "done", Ops: ops}, nil
	})
}

var failing = recall(func(context.Context, string) ([]pods.Passage, error) { return nil, errors.New("disk") })

// Feature: tamv-hardened-backend, Property 31: Dependency Timeout Enforcement
func TestSlowPartsAreCutOff(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		budget := time.Duration(rapid.IntRange(1, 5000).Draw(rt, "budget ms")) * time.Millisecond
		chatTakes := time.Duration(rapid.IntRange(0, 10000).Draw(rt, "chat ms")) * time.Millisecond
		memoryTakes := time.Duration(rapid.IntRange(0, 1000).Draw(rt, "memory ms")) * time.Millisecond
		rt.Logf("budget %s, chat %s, memory %s", budget, chatTakes, memoryTakes)
		if chatTakes == budget || memoryTakes == recallBudget {
			return // either may happen
		}
		synctest.Test(t, func(t *testing.T) {
			wait := func(ctx context.Context, d time.Duration) {
				timer := time.NewTimer(d) // deaf to ctx: the worst kind of pod
				<-timer.C
			}
			slow := capability(capChat, budget, func(ctx context.Context, _ *pods.Call, _ *pods.Intent) (*pods.Part, error) {
				wait(ctx, chatTakes)
				return &pods.Part{Text: "late or not"}, nil
			})
			k := New(Config{
				Classifier: calm, Threshold: testThreshold, Capabilities: map[string]Capability{capChat: slow},
				Memory: recall(func(ctx context.Context, _ string) ([]pods.Passage, error) {
					wait(ctx, memoryTakes)
					return nil, nil
				}),
			})
			began := time.Now()
			reply, _ := processed(t, k, textIntent("what is this", pods.Standard))
			took := time.Since(began)
			if most := min(budget, chatTakes) + min(recallBudget, memoryTakes); took != most {
				t.Errorf("took %s, want %s", took, most)
			}
			if took >= k.Manifest().Budget {
				t.Errorf("the kernel's own budget of %s would have cut the answer", k.Manifest().Budget)
			}
			var want []Degradation
			if memoryTakes > recallBudget {
				want = append(want, Degradation{"memory", slowText.EN})
			}
			if chatTakes > budget {
				want = append(want, Degradation{capChat, slowText.EN})
			}
			if !slices.Equal(reply.Degraded, want) {
				t.Errorf("degraded %v, want %v", reply.Degraded, want)
			}
			<-time.After(time.Minute) // virtual: until the abandoned have ended
		})
	})
}

// Capabilities run in parallel: together they take as long as the slowest.
func TestCapabilitiesRunInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		capabilities := map[string]Capability{}
		for i, name := range []string{capChat, capPen2PDF, capSpatial} {
			capabilities[name] = capability(name, 0, func(context.Context, *pods.Call, *pods.Intent) (*pods.Part, error) {
				<-time.After(time.Duration(3-i) * 300 * time.Millisecond)
				return &pods.Part{Text: name}, nil
			})
		}
		began := time.Now()
		reply, _ := processed(t, kernelWith(calm, capabilities), dataIntent(pods.Multimodal, map[string]any{
			"text": "look at this", "image": b64(pngBytes(2, 2)), "spatial": spatialData("lobby", 1, 2, 3),
		}))
		if took := time.Since(began); took != 900*time.Millisecond {
			t.Errorf("took %s", took)
		}
		if reply.AIResponse != "chat\n\npen2pdf\n\nspatial" {
			t.Errorf("the order depends on who was first: %q", reply.AIResponse)
		}
	})
}
