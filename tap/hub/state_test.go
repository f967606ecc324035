package hub_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/hub"
)

// A subscriber that is slow gets the latest value per key, and is not
// disconnected, however much was published meanwhile.
func TestStateConflatesForSlowSubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, hub.Limits{RingFrames: 100, PublishRate: 1e6})
		slow, _ := n.rawDial(t, "ana")
		slow.enter(tap.Subscribe{Room: "plaza"})
		speaker, _ := n.rawDial(t, "beto")
		speaker.enter(tap.Subscribe{Room: "plaza"})
		const values = 1000
		for i := range values {
			speaker.say(state(fmt.Sprintf("beto/%d", i%3), fmt.Sprint(i)))
		}
		latest := map[string]string{}
		var last uint64
		got := 0
		for latest["beto/0"] != "999" || latest["beto/1"] != "997" || latest["beto/2"] != "998" {
			var e tap.Event
			slow.expect(tap.TypeXREvent, &e)
			if e.Sequence <= last {
				t.Fatalf("sequence %d after %d", e.Sequence, last)
			}
			last, latest[e.Key] = e.Sequence, string(e.Data)
			got++
		}
		if got > values/10 {
			t.Errorf("%d of %d values reached a subscriber that did not read", got, values)
		}
		_ = slow.conn.Close(tap.CloseNormal, "")
		_ = speaker.conn.Close(tap.CloseNormal, "")
	})
}

func TestStateOfThosePresentAndGone(t *testing.T) {
	n := newNode(t, hub.Limits{Keys: 2})
	speaker, _ := n.rawDial(t, "beto")
	speaker.enter(tap.Subscribe{Room: "plaza"})
	speaker.say(state("beto/head", "1"))
	speaker.say(state("beto/hand", "2"))
	speaker.say(state("beto/head", "3"))
	speaker.refused(speaker.send(tap.TypePublish, pack(&tap.Publish{Room: "plaza", Class: tap.ClassState, Key: "third"})), tap.Limited, "keys")

	// Who comes later gets the values of before.
	late, _ := n.rawDial(t, "ana")
	late.enter(tap.Subscribe{Room: "plaza"})
	for _, want := range []string{"beto/hand 2", "beto/head 3"} {
		var e tap.Event
		late.expect(tap.TypeXREvent, &e)
		if got := e.Key + " " + string(e.Data); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	_ = speaker.conn.Close(tap.CloseNormal, "")
	for _, want := range []string{"beto/hand", "beto/head"} {
		var e tap.Event
		late.expect(tap.TypeXREvent, &e)
		if e.Key != want || len(e.Data) != 0 || e.Class != tap.ClassState || e.From != "beto" {
			t.Errorf("got %+v, want the withdrawal of %s", e, want)
		}
	}
	// The keys are free again.
	late.say(state("ana/head", "1"))
	late.say(state("ana/hand", "1"))
}

// The values that a room keeps for newcomers are bounded in bytes, whatever they
// were replaced by and whoever left.
func TestStateIsBoundedInBytes(t *testing.T) {
	const limit = 10_000
	n := newNode(t, hub.Limits{RingBytes: limit})
	speaker, _ := n.rawDial(t, "beto")
	speaker.enter(tap.Subscribe{Room: "plaza"})
	value := func(bytes int) string { return strings.Repeat("x", bytes) }
	full := func(key string, bytes int) {
		t.Helper()
		p := state(key, value(bytes))
		speaker.refused(speaker.send(tap.TypePublish, pack(&p)), tap.Limited, "keys")
	}
	speaker.say(state("beto/a", value(4000)))
	speaker.say(state("beto/b", value(4000)))
	full("beto/c", 4000)
	full("beto/b", 6000) // counts without the value that it would replace
	speaker.say(state("beto/b", value(5000)))
	full("beto/c", 1000)
	for range 10 {
		speaker.say(state("beto/b", value(3000))) // each replaces the one before
	}
	speaker.say(state("beto/c", value(2000)))
	full("beto/d", 1000)

	late, _ := n.rawDial(t, "ana")
	late.enter(tap.Subscribe{Room: "plaza"})
	got := map[string]int{}
	for range 3 {
		var e tap.Event
		late.expect(tap.TypeXREvent, &e)
		got[e.Key] = len(e.Data)
	}
	if want := map[string]int{"beto/a": 4000, "beto/b": 3000, "beto/c": 2000}; !maps.Equal(got, want) {
		t.Errorf("a newcomer gets %v, want %v", got, want)
	}
	// Whoever leaves takes the bytes along, in full.
	speaker.send(tap.TypeUnsubscribe, pack(&tap.Unsubscribe{Room: "plaza"}))
	for speaker.next().Type != tap.TypeAck {
	}
	late.say(state("ana/a", value(limit-500)))
}
