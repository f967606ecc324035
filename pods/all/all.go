// Package all is the registry: the one place that lists the appliance's pods.
// Adding a pod means a folder and a line here; nothing registers itself.
package all

import (
	"tamv.internal/tamv/model"
	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/anubis"
	"tamv.internal/tamv/pods/bookpi"
	"tamv.internal/tamv/pods/chat"
	"tamv.internal/tamv/pods/cluster"
	"tamv.internal/tamv/pods/isabella"
	"tamv.internal/tamv/pods/memory"
	"tamv.internal/tamv/pods/spatial"
	"tamv.internal/tamv/pods/subject"
	"tamv.internal/tamv/pods/tcep"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Deps is what the pods need besides their calls.
type Deps struct {
	Memory     *memory.Pod               // loaded, and fed by the store
	Classifier model.Classifier          // for the ethical audit; nil = rules only
	Threshold  float32                   // similarity from which a passage counts as recalled
	Active     func(*tap.Principal) bool // whether an identity still stands
	Ledger     store.Ledger
	Evidence   bookpi.Config // Ledger and Tenant come from here
	Cluster    cluster.Config
	Tenant     string                                  // of the site, which its policies belong to
	Held       func(tenant, subject string) (keys int) // how many keys of a subject this node has
	// Guards receives the guard of every pod that takes part in intents, by
	// name, so that its routes and its part of an intent share one breaker.
	Guards map[string]*pods.Guard
}

// Pods returns every pod, in the order of the route table.
func Pods(d Deps) []pods.Pod {
	d.Evidence.Ledger, d.Evidence.Tenant = d.Ledger, d.Tenant
	capable := []pods.Pod{
		chat.New(),
		spatial.New(),
		tcep.New(),
	}
	capabilities := map[string]isabella.Capability{}
	for _, p := range capable {
		m := p.Manifest()
		d.Guards[m.Name] = pods.NewGuard(m)
		capabilities[m.Name] = isabella.Capability{Manifest: m, Guard: d.Guards[m.Name]}
	}
	return append(capable,
		isabella.New(isabella.Config{
			Classifier: d.Classifier, Memory: d.Memory, Threshold: d.Threshold, Capabilities: capabilities, Active: d.Active,
		}),
		anubis.Pod{Tenant: d.Tenant},
		subject.New(subject.Config{Standing: anubis.Standing, Held: d.Held}),
		cluster.New(d.Cluster),
		d.Memory,
		bookpi.New(d.Evidence),
	)
}
