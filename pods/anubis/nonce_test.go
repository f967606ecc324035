package anubis

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

// Against a model that remembers everything for ever: within the window the
// memory is exact, whatever the clock does, but for signatures from minutes
// that it forgot, and those it refuses.
func TestNoncesExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := newNonces(1 << 20)
		used := map[string]time.Time{} // nonce -> last moment it counts
		signatures := map[string]bool{}
		now := time.Unix(1_767_225_600, 0)
		for range rapid.IntRange(1, 120).Draw(rt, "requests") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int64{0, 1, 30, 61, 299, 301, 900, 90_000, -1, -30, -301, -90_000}).Draw(rt, "step")) * time.Second)
			created := now.Add(time.Duration(rapid.Int64Range(-300, 300).Draw(rt, "age")) * time.Second)
			nonce := fmt.Sprint("nonce", rapid.IntRange(0, 5).Draw(rt, "nonce"))
			signature := fmt.Sprint(nonce, created.Unix())
			id := idOfNonce("main/ana", nonce)
			looked, got := n.look(id, created, now), nonceFresh
			if rapid.Bool().Draw(rt, "spend") {
				got = n.spend(id, created, now)
				if looked != got && got != nonceForgotten {
					rt.Fatalf("look said %d, spend %d", looked, got)
				}
			} else {
				got = looked
				looked = -1
			}
			switch {
			case got == nonceFresh && signatures[signature]:
				rt.Fatal("a signature was admitted twice")
			case got == nonceUsed && !used[nonce].After(now.Add(-time.Second)):
				rt.Fatalf("the nonce is free since %s", now.Sub(used[nonce]))
			}
			if got == nonceFresh && looked != -1 {
				signatures[signature] = true
				if until := created.Add(tap.SignatureWindow); until.After(used[nonce]) {
					used[nonce] = until
				}
			}
		}
	})
}

func TestASpentNonceIsUsed(t *testing.T) {
	n, now := newNonces(1<<20), time.Unix(1_767_225_600, 0)
	id := idOfNonce("main/ana", "nonce")
	for _, want := range []verdict{nonceFresh, nonceUsed} {
		if got := n.spend(id, now, now); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
}

func TestForgottenSpans(t *testing.T) {
	var s nonceShard
	for _, minute := range []int64{1000, 1001, 1060, 500, 440} {
		s.forget(minute)
	}
	if len(s.forgotten) != 2 || s.forgotten[0] != (span{440, 500}) || s.forgotten[1] != (span{1000, 1060}) {
		t.Fatalf("%v", s.forgotten)
	}
	for i := range int64(1000) {
		s.forget(2000 + i*(spanGap+1))
	}
	if n := len(s.forgotten); n != maxSpans || s.forgotten[0].from != 440 || s.forgotten[n-1].to != 2000+999*(spanGap+1) {
		t.Fatalf("%d spans, %v ... %v", n, s.forgotten[0], s.forgotten[n-1])
	}
	for i, f := range s.forgotten[1:] {
		if f.from <= s.forgotten[i].to {
			t.Fatal("the spans are not in order")
		}
	}
}

// No key and nonce can be cut another way into the same bytes.
func TestNonceIDs(t *testing.T) {
	if idOfNonce("main/an", "a-nonce-of-length") == idOfNonce("main/ana", "-nonce-of-length") {
		t.Fatal("two keys share a nonce")
	}
}
