package tap

import (
	"context"
	"strings"
	"testing"
)

func TestPrincipal(t *testing.T) {
	var nobody *Principal
	if nobody.Has(Citizen) || nobody.Actor() != "anonymous" {
		t.Error("no principal holds a role or has a name")
	}
	p := &Principal{Tenant: DefaultTenant, Identity: "ana", Roles: []Role{Citizen, Auditor}}
	if !p.Has(Guardian, Auditor) || p.Has(Guardian, Operator) || p.Has() || p.Actor() != "ana" {
		t.Errorf("roles of %+v", p)
	}
	for _, r := range Roles() {
		if r == Anyone {
			t.Error("anyone is no role that an identity holds")
		}
	}
}

func TestValidName(t *testing.T) {
	for _, good := range []string{"a", "7", "main", "ana.b-c_d", strings.Repeat("a", 64)} {
		if !ValidName(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{
		"", ".a", "-a", "_a", "Ana", "a b", "a/b", "a\x00b", "a\nb", "ñ", "a\xff", "../etc", strings.Repeat("a", 65),
	} {
		if ValidName(bad) {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestQuery(t *testing.T) {
	q, err := (&Request{RawQuery: "a=1&a=2&b=%20"}).Query()
	if err != nil || len(q["a"]) != 2 || q.Get("b") != " " {
		t.Errorf("got %v, %v", q, err)
	}
	for _, bad := range []string{"a=%zz", "a;b", "%"} {
		if _, err := (&Request{RawQuery: bad}).Query(); !IsKind(err, Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestHandlerFunc(t *testing.T) {
	h := HandlerFunc(func(_ context.Context, r *Request) (*Response, error) { return &Response{Status: len(r.Body)}, nil })
	if got, err := h.Serve(t.Context(), &Request{Body: []byte("abc")}); err != nil || got.Status != 3 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestLanguages(t *testing.T) {
	for s, want := range map[string]Lang{
		"": English, "es": Spanish, "es-MX,es;q=0.9,en;q=0.8": Spanish, "es_ES.UTF-8": Spanish, "fr, es;q=0.5": Spanish,
		"en-US,es": English, "fr": English, " ES": Spanish, "\xff,,": English,
	} {
		if got := ParseLang(s); got != want {
			t.Errorf("%q is %s, want %s", s, got, want)
		}
	}
	both := Text{EN: "yes", ES: "sí"}
	if both.In(Spanish) != "sí" || both.In(English) != "yes" || both.In("fr") != "yes" || (Text{EN: "yes"}).In(Spanish) != "yes" {
		t.Error("a text in the wrong language")
	}
}
