package isabella

import (
	"context"
	"maps"
	"slices"
	"time"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Memory recalls what is known about a text. The memory pod is one.
type Memory interface {
	// Recall returns at most limit passages of the tenant with a similarity of
	// at least threshold, best first.
	Recall(ctx context.Context, view store.View, tenant, text string, limit int, threshold float32) ([]pods.Passage, error)
}

// Capability is a pod that takes part in intents.
type Capability struct {
	Manifest pods.Manifest // with Intent set
	Guard    *pods.Guard   // the one that also guards the pod's routes; nil = one of its own
}

// Config is what the kernel joins.
type Config struct {
	// Classifier judges texts for the audit. With nil, an intent that the
	// rules cannot clear is held.
	Classifier model.Classifier
	// Memory may be nil: answers then say that nothing could be recalled.
	Memory Memory
	// Threshold is the similarity that recalled passages have at least, as
	// calibrated for the embedder behind Memory.
	Threshold float32
	// Capabilities by name: chat, spatial, tcep, pen2pdf, study, transcriber.
	Capabilities map[string]Capability
	// Active says whether a principal may still act. It is asked before a
	// guardian's approval runs an intent in its submitter's name; nil = always.
	Active func(*tap.Principal) bool
}

// Budgets of what the kernel waits for besides its capabilities.
const (
	recallLimit  = 5
	recallBudget = 500 * time.Millisecond
	ownBudget    = 500 * time.Millisecond
)

// Kernel is the pod that serves intents and guardian reviews.
type Kernel struct {
	judge        judge
	memory       Memory
	recallGuard  *pods.Guard
	threshold    float32
	capabilities map[string]Capability
	budget       time.Duration
	active       func(*tap.Principal) bool
}

// New makes the kernel. Its budget is what its slowest capability may take and
// its own share, so that a slow capability degrades an answer and does not
// time the whole intent out.
func New(c Config) *Kernel {
	k := &Kernel{
		judge: judge{c.Classifier}, memory: c.Memory, threshold: c.Threshold,
		recallGuard:  pods.NewGuard(pods.Manifest{Name: "memory.recall", Budget: recallBudget}),
		capabilities: maps.Clone(c.Capabilities), active: c.Active,
	}
	if k.active == nil {
		k.active = func(*tap.Principal) bool { return true }
	}
	slowest := pods.DefaultBudget
	for _, name := range slices.Sorted(maps.Keys(k.capabilities)) {
		entry := k.capabilities[name]
		if entry.Guard == nil {
			entry.Guard = pods.NewGuard(entry.Manifest)
			k.capabilities[name] = entry
		}
		slowest = max(slowest, entry.Manifest.Budget)
	}
	k.budget = recallBudget + slowest + ownBudget
	return k
}

// intent serves POST /v1/kernel/intent.
func (k *Kernel) intent(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	t, err := readTask(c, c.Body)
	if err != nil {
		return nil, err
	}
	if t.audit, err = k.judge.audit(ctx, t.intent, t.input.texts, c.Lang); err != nil {
		return nil, err
	}
	switch {
	case t.audit.Verdict == Refused:
		return t.refuse(), nil
	case t.input.detected != "":
		return t.clarify(), nil
	case t.audit.Verdict == Held:
		return t.hold()
	}
	answer, err := k.serve(ctx, t)
	if err != nil {
		return nil, err
	}
	return answer.result(), nil
}

// serve recalls, plans, runs and fuses. The audit, or a guardian, has allowed
// the task.
func (k *Kernel) serve(ctx context.Context, t *task) (*answer, error) {
	a := &answer{task: t}
	if t.audit.Model == "" && len(t.input.texts) > 0 {
		a.degrade("audit", noClassifierText.In(t.call.Lang))
	}
	t.plan = planFor(t)
	if t.plan.recall {
		k.recall(ctx, a)
	}
	k.run(ctx, a)
	// What a cancelled caller no longer waits for must not be committed.
	if err := ctx.Err(); err != nil {
		return nil, tap.AsError(err)
	}
	return a, nil
}

// recall asks memory within its budget. Without it the answer is degraded.
func (k *Kernel) recall(ctx context.Context, a *answer) {
	c, text := a.task.call, a.task.input.parsed.Text
	if k.memory == nil {
		a.degrade("memory", absentText.In(c.Lang))
		return
	}
	ask := func(ctx context.Context, c *pods.Call) (*pods.Result, error) {
		found, err := k.memory.Recall(ctx, c.View, c.Tenant, text, recallLimit, k.threshold)
		return &pods.Result{Body: found}, err
	}
	result, err := k.recallGuard.Run(ctx, ask, c)
	if err != nil {
		a.degrade("memory", reasonOf(err, c.Lang))
		return
	}
	found, _ := result.Body.([]pods.Passage)
	a.task.intent.Passages = found[:min(len(found), recallLimit)]
}
