package pods

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"tamv.internal/tamv/tap"
)

// Table is the one route table: what can be asked, who may, what answers.
type Table struct {
	rows []Row
}

// Row is a route with the pod that serves it.
type Row struct {
	Route
	Pod      string
	segments []string
	rest     string // the parameter that takes the rest of the path; empty = none
}

// NewTable builds the table from the pods' manifests. It refuses a route
// without roles, a role that nobody can hold, Anyone beside another role, and
// two routes for the same requests.
//
// A pattern may end in {name...}, which matches the rest of the path: one to
// [MaxRest] parts, none of them empty.
func NewTable(all ...Pod) (*Table, error) {
	t := &Table{}
	for _, pod := range all {
		m := pod.Manifest()
		for _, r := range m.Routes {
			row := Row{Route: r, Pod: m.Name, segments: strings.Split(r.Pattern, "/")}
			last, _ := parameter(row.segments[len(row.segments)-1])
			if name, ok := strings.CutSuffix(last, restMark); ok {
				row.rest = name
			}
			if row.BodyLimit == 0 {
				row.BodyLimit = DefaultBodyLimit
			}
			if row.reads() {
				row.Query = append(slices.Clip(row.Query), consistencyParameter)
			}
			if err := t.check(row); err != nil {
				return nil, err
			}
			t.rows = append(t.rows, row)
		}
	}
	return t, nil
}

func (t *Table) check(row Row) error {
	switch {
	case len(row.Roles) == 0:
		return fmt.Errorf("pods: %s %s of pod %s names no role", row.Method, row.Pattern, row.Pod)
	case len(row.Roles) > 1 && slices.Contains(row.Roles, tap.Anyone):
		return fmt.Errorf("pods: %s %s of pod %s mixes anyone with other roles", row.Method, row.Pattern, row.Pod)
	case !slices.Contains(row.Roles, tap.Anyone) && slices.ContainsFunc(row.Roles, unknownRole):
		return fmt.Errorf("pods: %s %s of pod %s names a role that does not exist", row.Method, row.Pattern, row.Pod)
	case row.Run == nil || !strings.HasPrefix(row.Pattern, "/") || !row.wellFormed():
		return fmt.Errorf("pods: %s %s of pod %s is incomplete", row.Method, row.Pattern, row.Pod)
	}
	for _, other := range t.rows {
		if other.Method == row.Method && other.shape() == row.shape() {
			return fmt.Errorf("pods: %s %s is served by %s and by %s", row.Method, row.Pattern, other.Pod, row.Pod)
		}
	}
	return nil
}

func unknownRole(r tap.Role) bool { return !slices.Contains(tap.Roles(), r) }

// wellFormed says whether every {name} has a name and only the last takes the
// rest of the path.
func (r *Row) wellFormed() bool {
	for i, s := range r.segments {
		name, free := parameter(s)
		if !free {
			continue
		}
		name, rest := strings.CutSuffix(name, restMark)
		if name == "" || rest && i != len(r.segments)-1 {
			return false
		}
	}
	return true
}

// shape is the pattern without the names of its parameters.
func (r *Row) shape() string {
	shape := slices.Clone(r.segments)
	for i, s := range shape {
		if name, free := parameter(s); free {
			shape[i] = "{}"
			if strings.HasSuffix(name, restMark) {
				shape[i] = "{" + restMark + "}"
			}
		}
	}
	return strings.Join(shape, "/")
}

// Rows lists the table in registration order.
func (t *Table) Rows() []Row { return t.rows }

// Match finds the row for a request by its escaped path and returns the values
// of its {name} segments, unescaped. A literal segment wins over a {name}, which
// wins over a {name...}. The error is NotFound, with the allowed methods when only
// the method is wrong, also for a segment that is not text (bad escapes, bad
// UTF-8, control bytes) and for a part of a {name...} that hides a slash.
func (t *Table) Match(method, path string) (*Row, map[string]string, error) {
	segments := strings.Split(path, "/")
	var best *Row
	var allowed []string
	for i := range t.rows {
		row := &t.rows[i]
		if !row.accepts(segments) {
			continue
		}
		if row.Method != method {
			allowed = append(allowed, row.Method)
			continue
		}
		if best == nil || row.rank() > best.rank() {
			best = row
		}
	}
	if best != nil {
		params, ok := best.params(segments)
		if !ok {
			return nil, nil, tap.E("pods.route", tap.NotFound, "a part of the path is not text")
		}
		return best, params, nil
	}
	if len(allowed) > 0 {
		return nil, nil, tap.E("pods.route", tap.NotFound, "this path does not answer %s", method).
			WithCode("method").WithDetail("allowed", allowed)
	}
	return nil, nil, tap.E("pods.route", tap.NotFound, "no such path")
}

func parameter(segment string) (name string, ok bool) {
	if strings.HasPrefix(segment, "{") && strings.HasSuffix(segment, "}") {
		return segment[1 : len(segment)-1], true
	}
	return "", false
}

// MaxRest is the most parts of a path that a {name...} matches.
const MaxRest = 16

// restMark ends the name of a parameter that takes the rest of the path.
const restMark = "..."

func (r *Row) accepts(segments []string) bool {
	fixed := r.segments
	if r.rest != "" {
		fixed = fixed[:len(fixed)-1]
		tail := len(segments) - len(fixed)
		if tail < 1 || tail > MaxRest || slices.Contains(segments[len(fixed):], "") {
			return false
		}
	} else if len(segments) != len(fixed) {
		return false
	}
	for i, want := range fixed {
		if _, free := parameter(want); free && segments[i] != "" {
			continue
		}
		if segments[i] != want {
			return false
		}
	}
	return true
}

// rank orders the rows that accept one path: by their literal segments, and a
// pattern of fixed length before one that takes the rest.
func (r *Row) rank() int {
	n := 0
	for _, s := range r.segments {
		if _, free := parameter(s); !free {
			n += 2
		}
	}
	if r.rest == "" {
		n++
	}
	return n
}

func (r *Row) params(segments []string) (params map[string]string, ok bool) {
	for i, s := range r.segments {
		name, free := parameter(s)
		if !free {
			continue
		}
		if params == nil {
			params = map[string]string{}
		}
		if r.rest != "" && i == len(r.segments)-1 {
			params[r.rest], ok = joined(segments[i:])
			return params, ok
		}
		value, err := url.PathUnescape(segments[i])
		if err != nil || !isText(value) {
			return nil, false
		}
		params[name] = value
	}
	return params, true
}

// joined unescapes the parts of a {name...} and joins them with slashes. A part
// that holds a slash itself, or that walks the tree, would say something else.
func joined(parts []string) (string, bool) {
	values := make([]string, len(parts))
	for i, part := range parts {
		value, err := url.PathUnescape(part)
		if err != nil || !isText(value) || strings.Contains(value, "/") || value == "." || value == ".." {
			return "", false
		}
		values[i] = value
	}
	return strings.Join(values, "/"), true
}

// isText says whether s is UTF-8 without control characters: fit to be part of
// a key, a log line or a message.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
