package pods

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

func route(method, pattern string, roles ...tap.Role) Route {
	return Route{Method: method, Pattern: pattern, Roles: roles, Run: echo}
}

func TestNewTableRefuses(t *testing.T) {
	for name, routes := range map[string][]Route{
		"no role":                {route("GET", "/a")},
		"anyone and a role":      {route("GET", "/a", tap.Anyone, tap.Citizen)},
		"a role nobody can hold": {route("GET", "/a", "root")},
		"an empty role":          {route("GET", "/a", "")},
		"no function":            {{Method: "GET", Pattern: "/a", Roles: []tap.Role{tap.Citizen}}},
		"relative pattern":       {route("GET", "a", tap.Citizen)},
		"the same route twice":   {route("GET", "/a", tap.Citizen), route("GET", "/a", tap.Operator)},
		"the same requests":      {route("GET", "/a/{x}/b", tap.Citizen), route("GET", "/a/{y}/b", tap.Operator)},
		"the same rests":         {route("GET", "/a/{x...}", tap.Citizen), route("GET", "/a/{y...}", tap.Operator)},
		"a rest in the middle":   {route("GET", "/a/{x...}/b", tap.Citizen)},
		"a rest without a name":  {route("GET", "/a/{...}", tap.Citizen)},
		"a nameless parameter":   {route("GET", "/a/{}", tap.Citizen)},
	} {
		if table, err := NewTable(pod{Name: "p", Routes: routes}); err == nil || table != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	one := pod{Name: "one", Routes: []Route{route("GET", "/a", tap.Citizen)}}
	two := pod{Name: "two", Routes: []Route{route("GET", "/a", tap.Citizen)}}
	if _, err := NewTable(one, two); err == nil || !strings.Contains(err.Error(), "one") || !strings.Contains(err.Error(), "two") {
		t.Errorf("two pods with one route: %v", err)
	}
}

func TestMatch(t *testing.T) {
	table, err := NewTable(pod{Name: "p", Routes: []Route{
		route("GET", "/", tap.Anyone),
		route("GET", "/v1/things", tap.Citizen),
		route("POST", "/v1/things", tap.Citizen),
		route("GET", "/v1/things/{id}", tap.Citizen),
		route("GET", "/v1/things/me", tap.Citizen),
		route("GET", "/v1/things/{id}/parts/{part}", tap.Citizen),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, path, pattern string
		params                map[string]string
	}{
		{"GET", "/", "/", nil},
		{"GET", "/v1/things", "/v1/things", nil},
		{"POST", "/v1/things", "/v1/things", nil},
		{"GET", "/v1/things/7", "/v1/things/{id}", map[string]string{"id": "7"}},
		{"GET", "/v1/things/me", "/v1/things/me", nil},
		{"GET", "/v1/things/ME", "/v1/things/{id}", map[string]string{"id": "ME"}},
		{"GET", "/v1/things/a%2Fb/parts/%C3%B1%20x", "/v1/things/{id}/parts/{part}", map[string]string{"id": "a/b", "part": "ñ x"}},
		{"GET", "/v1/things/a%252Fb", "/v1/things/{id}", map[string]string{"id": "a%2Fb"}},
		{"GET", "/v1/things/..", "/v1/things/{id}", map[string]string{"id": ".."}},
	} {
		row, params, err := table.Match(c.method, c.path)
		if err != nil || row.Pattern != c.pattern || !maps.Equal(params, c.params) {
			t.Errorf("%s %s: %v %v %v", c.method, c.path, row, params, err)
		}
	}
	for _, path := range []string{
		"", "*", "v1/things", "/v1", "/v1/things/", "/v1//things", "/v1/things//parts/1", "/V1/things", "/v1/things/7/parts", "/v1/thing%73",
		"/v1/things/%00", "/v1/things/a%00b", "/v1/things/%0A", "/v1/things/%ff", "/v1/things/%zz", "/v1/things/%", "/v1/things/%7F", "/v1/things/a\nb",
		strings.Repeat("/a", 10_000),
	} {
		if row, _, err := table.Match("GET", path); !tap.IsKind(err, tap.NotFound) || row != nil {
			t.Errorf("%.40q: %v, %v", path, row, err)
		}
	}
	_, _, err = table.Match("DELETE", "/v1/things")
	if e := tap.AsError(err); e.Kind != tap.NotFound || e.Code != "method" || len(e.Details["allowed"].([]string)) != 2 {
		t.Errorf("wrong method: %v", err)
	}
	if rows := table.Rows(); len(rows) != 6 || rows[0].BodyLimit != DefaultBodyLimit || rows[0].Pod != "p" {
		t.Errorf("rows %v", rows)
	}
}

func TestMatchTakesTheRest(t *testing.T) {
	table, err := NewTable(pod{Name: "p", Routes: []Route{
		route("GET", "/log/{path...}", tap.Anyone),
		route("GET", "/log/tile/{path...}", tap.Anyone),
		route("GET", "/log/tile/entries/{index...}", tap.Auditor),
		route("GET", "/log/{one}", tap.Anyone),
		route("GET", "/log/key", tap.Anyone),
	}})
	if err != nil {
		t.Fatal(err)
	}
	longest := "/log" + strings.Repeat("/a", MaxRest)
	for path, want := range map[string][2]string{
		"/log/key":                 {"/log/key", ""},
		"/log/keys":                {"/log/{one}", "keys"},
		"/log/a/b":                 {"/log/{path...}", "a/b"},
		"/log/tile/0/x001/067.p/9": {"/log/tile/{path...}", "0/x001/067.p/9"},
		"/log/tile/entries/000":    {"/log/tile/entries/{index...}", "000"},
		"/log/tile/entries":        {"/log/tile/{path...}", "entries"},
		"/log/%C3%B1/%20":          {"/log/{path...}", "ñ/ "},
		longest:                    {"/log/{path...}", strings.Repeat("a/", MaxRest-1) + "a"},
		"/log/tile" + strings.Repeat("/a", MaxRest): {"/log/tile/{path...}", strings.Repeat("a/", MaxRest-1) + "a"},
	} {
		row, params, err := table.Match("GET", path)
		if err != nil || row.Pattern != want[0] {
			t.Errorf("%s: %v, %v", path, row, err)
			continue
		}
		if got := strings.Join(slices.Collect(maps.Values(params)), "|"); got != want[1] {
			t.Errorf("%s gives %q, want %q", path, got, want[1])
		}
	}
	for _, path := range []string{
		"/log/", "/log", "/log//", "/log/a//b", "/log/a/b/", "/log/a/%2Fb", "/log/a%2Fb/c", "/log/a/..", "/log/./a", "/log/%2e%2E/a",
		"/log/a/%00", "/log/a/%ff", "/log/a/%zz", "/log/tile" + strings.Repeat("/a", MaxRest+1),
	} {
		if row, _, err := table.Match("GET", path); !tap.IsKind(err, tap.NotFound) || row != nil {
			t.Errorf("%.40q: %v, %v", path, row, err)
		}
	}
}

// Feature: tamv-hardened-backend, Property 2: Role-Based Access Control
func TestOnlyTheRolesOfARouteCallIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		needed := rapid.SliceOfNDistinct(rapid.SampledFrom(tap.Roles()), 1, 6, rapid.ID[tap.Role]).Draw(t, "needed")
		held := rapid.SliceOfNDistinct(rapid.SampledFrom(tap.Roles()), 0, 6, rapid.ID[tap.Role]).Draw(t, "held")
		table, err := NewTable(pod{Name: "p", Routes: []Route{route("GET", "/a", needed...)}})
		if err != nil {
			t.Fatal(err)
		}
		g := &gate{as: &tap.Principal{Tenant: "main", Identity: "ana", Roles: held}}
		s := NewServer(ServerConfig{
			Table: table, Gate: g, Writer: &committer{}, View: view{clock: new(int64)}, Now: testClock, Guards: map[string]*Guard{"p": guardOf(0)},
		})
		may := false
		for _, r := range needed {
			for _, h := range held {
				may = may || r == h
			}
		}
		_, err = s.Serve(t.Context(), request("GET", "/a", "", ""))
		if may != (err == nil) || !may && !tap.IsKind(err, tap.Forbidden) {
			t.Fatalf("needed %v, held %v: %v", needed, held, err)
		}
	})
}

func FuzzMatch(f *testing.F) {
	table, err := NewTable(pod{Name: "p", Routes: []Route{route("GET", "/v1/{a}/x/{b}", tap.Citizen), route("GET", "/v1/{a}", tap.Citizen), route("GET", "/log/{a...}", tap.Citizen)}})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"/v1/a", "/v1/a/x/b", "/v1/%00/x/%", "//", "/v1/%C3%B1/x/\xff", "/log/a/b/%2F", "/log/..", "/log/x001/067.p/9"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		row, params, err := table.Match("GET", path)
		if err != nil {
			if !tap.IsKind(err, tap.NotFound) || row != nil {
				t.Fatalf("%v, %v", row, err)
			}
			return
		}
		if len(params) != strings.Count(row.Pattern, "{") {
			t.Fatalf("%q gives %v for %s", path, params, row.Pattern)
		}
		for _, v := range params {
			if v == "" || !isText(v) {
				t.Fatalf("%q lets %q through", path, v)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	var routes []Route
	for _, space := range strings.Fields("a b c d e f g h i j") {
		routes = append(routes, route("GET", "/v1/"+space, tap.Citizen), route("POST", "/v1/"+space, tap.Citizen), route("GET", "/v1/"+space+"/{id}", tap.Citizen))
	}
	table, err := NewTable(pod{Name: "p", Routes: routes})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := table.Match("POST", "/v1/f"); err != nil {
			b.Fatal(err)
		}
	}
}
