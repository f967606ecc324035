package tap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// The table crosses the wire: each row is fixed, and each code means one kind.
func TestKindTable(t *testing.T) {
	want := []struct {
		kind   Kind
		name   string
		status int
		family Family
		retry  bool
	}{
		{Internal, "internal", 500, FamilySystem, false},
		{Invalid, "invalid", 400, FamilyValidation, false},
		{Unauthenticated, "unauthenticated", 401, FamilySecurity, false},
		{Forbidden, "forbidden", 403, FamilySecurity, false},
		{NotFound, "not_found", 404, FamilyValidation, false},
		{Conflict, "conflict", 409, FamilyValidation, false},
		{Refused, "refused", 403, FamilyEthical, false},
		{Held, "held", 202, FamilyEthical, false},
		{Limited, "limited", 429, FamilySystem, true},
		{Unavailable, "unavailable", 503, FamilySystem, true},
		{Timeout, "timeout", 504, FamilySystem, true},
	}
	if len(Kinds()) != len(want) {
		t.Fatalf("%d kinds, want %d", len(Kinds()), len(want))
	}
	exits := map[int]bool{}
	for i, w := range want {
		traits := w.kind.Traits()
		if int(w.kind) != i || w.kind.String() != w.name || traits.Status != w.status || traits.Family != w.family || traits.Retryable != w.retry {
			t.Errorf("row %d is %+v", i, traits)
		}
		if traits.TAPCode != uint16(100+i) {
			t.Errorf("TAP code %d of %s", traits.TAPCode, w.name)
		}
		if traits.ExitCode == 0 || exits[traits.ExitCode] {
			t.Errorf("exit code %d of %s is success or taken", traits.ExitCode, w.name)
		}
		exits[traits.ExitCode] = true
		if k, ok := KindNamed(w.name); !ok || k != w.kind {
			t.Errorf("KindNamed(%q) = %v", w.name, k)
		}
		if traits.Hint.EN == "" || traits.Hint.ES == "" || traits.Hint.EN == traits.Hint.ES {
			t.Errorf("the hint of %s is not in both languages", w.name)
		}
	}
}

func TestKindsFromNewerPeersReadAsInternal(t *testing.T) {
	if Kind(200).Traits().Name != "internal" {
		t.Error("an unknown kind has traits of its own")
	}
	if k, ok := KindNamed("teapot"); ok || k != Internal {
		t.Errorf("KindNamed of an unknown name is %v, %v", k, ok)
	}
}

func TestAsError(t *testing.T) {
	typed := E("tcep.book", Conflict, "booked already")
	for name, c := range map[string]struct {
		err  error
		kind Kind
	}{
		"itself":          {typed, Conflict},
		"wrapped":         {fmt.Errorf("around: %w", typed), Conflict},
		"deadline":        {fmt.Errorf("x: %w", context.DeadlineExceeded), Timeout},
		"cancelled":       {context.Canceled, Unavailable},
		"anything else":   {errors.New("password is hunter2"), Internal},
		"typed over both": {Wrap("x", Limited, context.Canceled, "busy"), Limited},
	} {
		if got := AsError(c.err); got.Kind != c.kind || KindOf(c.err) != c.kind || !IsKind(c.err, c.kind) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if AsError(nil) != nil || IsKind(nil, Internal) {
		t.Error("no error became one")
	}
	if body := AsError(errors.New("password is hunter2")).Body("id", time.Now(), English); strings.Contains(body.Error.Message, "hunter2") {
		t.Error("an internal text crosses the wire")
	}
}

func TestErrorText(t *testing.T) {
	cause := errors.New("disk")
	err := Wrap("store.apply", Internal, cause, "batch %d failed", 7).WithCode("apply").WithDetail("batch", 7).WithRetryAfter(time.Second)
	if err.Error() != "store.apply: batch 7 failed: disk" || !errors.Is(err, cause) {
		t.Errorf("got %q", err.Error())
	}
	if err.StableCode() != "apply" || E("", NotFound, "none").StableCode() != "not_found" || E("", NotFound, "none").Error() != "none" {
		t.Error("codes")
	}
	if err.Details["batch"] != 7 || err.RetryAfter != time.Second {
		t.Errorf("got %+v", err)
	}
}

func TestErrorBodyRoundTrip(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_123)
	for _, kind := range Kinds() {
		sent := Wrap("op", kind, errors.New("cause"), "what is wrong").WithCode("code").WithDetail("limit", "5")
		raw, err := json.Marshal(sent.Body("0198c1a0", now, Spanish))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "cause") {
			t.Errorf("the cause crosses the wire: %s", raw)
		}
		got, id, ok := ParseErrorBody(raw)
		if !ok || got.Kind != kind || got.Code != "code" || got.Message != "what is wrong" || got.Details["limit"] != "5" || id != "0198c1a0" {
			t.Errorf("%s came back as %+v (%q, %v)", kind, got, id, ok)
		}
	}
	fields := E("op", Limited, "slow").Body("id", now, Spanish).Error
	if fields.Hint != Limited.Traits().Hint.ES || fields.Timestamp != now.UnixMilli() || fields.Type != FamilySystem || fields.Code != "limited" {
		t.Errorf("got %+v", fields)
	}
}

func TestParseErrorBodyRefuses(t *testing.T) {
	for _, bad := range []string{"", "{", "[]", "{}", `{"error":null}`, `{"error":{"kind":"limited"}}`, `{"error":"x"}`} {
		if e, _, ok := ParseErrorBody([]byte(bad)); ok || e != nil {
			t.Errorf("%q is taken for an error body", bad)
		}
	}
	if e, _, ok := ParseErrorBody([]byte(`{"error":{"code":"x","kind":"from a newer peer"}}`)); !ok || e.Kind != Internal {
		t.Errorf("an unknown kind reads as %v", e)
	}
}

// When to come back crosses the wire in milliseconds, within a day.
func TestRetryAfterCrosses(t *testing.T) {
	for sent, want := range map[time.Duration]time.Duration{0: 0, 40 * time.Millisecond: 40 * time.Millisecond, 90 * time.Hour: 24 * time.Hour, -time.Second: 0} {
		raw, err := json.Marshal(E("op", Limited, "busy").WithRetryAfter(sent).Body("id", time.UnixMilli(1), English))
		if err != nil {
			t.Fatal(err)
		}
		if e, _, ok := ParseErrorBody(raw); !ok || e.RetryAfter != want {
			t.Errorf("%v arrives as %v", sent, e.RetryAfter)
		}
	}
}
