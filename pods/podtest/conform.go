package podtest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// promptly bounds how long a cancelled call may go on.
const promptly = 2 * time.Second

// Conform runs the suite and fails the test for every defect. The examples are
// requests that succeed on the given state when they are served in order;
// together they use every route of the pod. Each is inspected, and then
// committed for the next.
func Conform(t *testing.T, state *State, pod pods.Pod, examples []Request) {
	t.Helper()
	for _, defect := range Defects(t, state, pod, examples) {
		t.Error(defect)
	}
}

// Defects is what [Conform] finds, in words.
func Defects(t testing.TB, state *State, pod pods.Pod, examples []Request) []string {
	t.Helper()
	r := &report{where: "manifest"}
	r.manifest(pod.Manifest())
	host := NewHost(t, state, pod)
	used := map[string]bool{}
	for _, example := range examples {
		if example.ID == uuid.Nil {
			example.ID = uuid.NewSHA1(uuid.NameSpaceOID, []byte(example.Method+example.Target+string(example.bytes())))
		}
		path, _, _ := strings.Cut(example.Target, "?")
		row, params, err := host.table.Match(example.Method, path)
		r.where = example.Method + " " + example.Target
		if err != nil {
			r.add("no route answers: %v", err)
			continue
		}
		used[row.Method+" "+row.Pattern] = true
		call := host.call(example, params)
		r.call(host, row, call)
		r.bodies(host, row, example)
		r.cancelled(row, call)
		response, err := host.Do(context.Background(), example, nil)
		if err != nil {
			r.add("the example fails: %v", err)
			continue
		}
		r.reply(row, response)
	}
	for _, row := range host.table.Rows() {
		if r.where = row.Method + " " + row.Pattern; !used[r.where] {
			r.add("the route has no example")
		}
	}
	return r.defects
}

// report collects defects.
type report struct {
	where   string
	defects []string
}

func (r *report) add(format string, args ...any) {
	r.defects = append(r.defects, r.where+": "+fmt.Sprintf(format, args...))
}

// call holds what one call may do.
func (r *report) call(host *Host, row *pods.Row, call *pods.Call) {
	before := host.State.fingerprint()
	first, err := row.Run(context.Background(), call)
	if err != nil {
		r.add("the call fails: %v", err)
		return
	}
	second, err := row.Run(context.Background(), call)
	if err != nil {
		r.add("the same call fails the second time: %v", err)
		return
	}
	if !maps.Equal(before, host.State.fingerprint()) {
		r.add("the call changed the state by itself")
	}
	if !reflect.DeepEqual(first.Ops, second.Ops) || !reflect.DeepEqual(first.Evidence, second.Evidence) {
		r.add("the same call on the same state wants different effects")
	}
	if a, b := r.json(first.Body), r.json(second.Body); a != b || string(first.Raw) != string(second.Raw) {
		r.add("the same call on the same state answers differently: %s and %s", a, b)
	}
	if first.Commits() {
		r.effects(call, first)
	}
}

// effects must be a batch that the store takes, by the caller and nobody else.
func (r *report) effects(call *pods.Call, result *pods.Result) {
	b, _, err := store.Seal(context.Background(), call.View, Sealer{}, store.Batch{
		RequestID: call.RequestID, Tenant: call.Tenant, Ops: result.Ops, Evidence: result.Evidence,
	})
	if err == nil {
		_, err = store.EncodeBatch(b)
	}
	if err != nil {
		r.add("the effects are no valid batch: %v", err)
	}
	for _, e := range result.Evidence {
		if e.Actor != call.Actor() {
			r.add("evidence of %s names the actor %q, the caller is %q", e.Action, e.Actor, call.Actor())
		}
	}
}

func (r *report) json(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		r.add("the reply is no JSON: %v", err)
	}
	return string(b)
}

// bodies sends damaged bodies through the server and wants each refused as
// Invalid, with nothing changed.
func (r *report) bodies(host *Host, row *pods.Row, example Request) {
	before := host.State.fingerprint()
	for _, bad := range damaged(row, example.bytes()) {
		request := example
		request.Body, request.ID = bad.body, uuid.Nil
		if _, err := host.Do(context.Background(), request, nil); !tap.IsKind(err, tap.Invalid) {
			r.add("a body with the damage %q got %v, want an Invalid error", bad.damage, err)
		}
	}
	if !maps.Equal(before, host.State.fingerprint()) {
		r.add("a refused body changed the state")
	}
}

// sample is a body that a route must refuse.
type sample struct {
	damage string
	body   []byte
}

// damaged makes bodies that the route must refuse from one that it accepts.
func damaged(row *pods.Row, good []byte) []sample {
	oversize := sample{"oversize", []byte(strings.Repeat(" ", int(row.BodyLimit)+1))}
	if row.Body == nil || len(good) == 0 {
		return []sample{oversize, {"a body where none is taken", []byte(`{}`)}}
	}
	return []sample{
		oversize,
		{"empty", nil},
		{"null", []byte(`null`)},
		{"array", []byte(`[]`)},
		{"number", []byte(`7`)},
		{"string", []byte(`"x"`)},
		{"unknown field", append([]byte(`{"unknownField":1,`), good[1:]...)},
		{"truncated", good[:len(good)-1]},
		{"trailing byte", append(append([]byte{}, good...), '1')},
		{"bad UTF-8", []byte("{\"\xff\":1}")},
		{"NaN", []byte(`{"x":NaN}`)},
		{"duplicate keys", []byte(`{"a":1,"a":2}`)},
		{"deep nesting", []byte(strings.Repeat(`{"a":`, pods.MaxDepth+1) + "1" + strings.Repeat("}", pods.MaxDepth+1))},
	}
}

// cancelled wants a call with a cancelled context to end soon.
func (r *report) cancelled(row *pods.Row, call *pods.Call) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = row.Run(ctx, call)
	}()
	late := time.NewTimer(promptly)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
		r.add("a cancelled call still runs after %s", promptly)
	}
}

// reply holds that the reply is what the route declares.
func (r *report) reply(row *pods.Row, response *tap.Response) {
	isJSON := response.ContentType == "application/json"
	switch {
	case response.Status < http.StatusOK || response.Status >= http.StatusMultipleChoices:
		r.add("the example answers with status %d", response.Status)
	case isJSON && row.Reply == nil:
		r.add("a JSON reply without a reply schema")
	case isJSON:
		if err := row.Reply.Validate(response.Body); err != nil {
			r.add("the reply does not match its schema: %v %v\n%s", err, tap.AsError(err).Details, response.Body)
		}
	case row.Reply != nil:
		r.add("the route declares JSON and answers %s", response.ContentType)
	}
}
