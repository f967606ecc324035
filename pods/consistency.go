package pods

import (
	"net/http"
	"slices"

	"tamv.internal/tamv/tap"
)

// Consistency is how fresh the state is that a GET reads, as the query
// parameter "consistency" names it.
type Consistency string

const (
	// Local is what this node has applied: the fastest, and behind the others
	// by what is on its way. It works without a leader.
	Local Consistency = "local"
	// FromLeader, the default, has everything that any node acknowledged
	// before. It is stale only while a deposed leader has not noticed, at most
	// half a second.
	FromLeader Consistency = "leader"
	// Linearizable has everything acknowledged before the read began, whatever
	// fails: the leader asks a majority first.
	Linearizable Consistency = "linearizable"
)

var consistencyParameter = Parameter{
	Name: "consistency", Summary: "How fresh the state must be; leader when absent",
	OneOf: []string{string(Local), string(FromLeader), string(Linearizable)},
}

// reads says whether the row reads the replicated state and nothing else.
func (r *Row) reads() bool {
	return r.Method == http.MethodGet && !r.AboutNode && !slices.Contains(r.Roles, tap.Anyone)
}

// consistency is what a validated query asks for.
func consistency(query map[string]string) Consistency {
	if sent, ok := query[consistencyParameter.Name]; ok {
		return Consistency(sent)
	}
	return FromLeader
}
