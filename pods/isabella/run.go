package isabella

import (
	"context"
	"slices"
	"strings"
	"sync"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Degradation says what an answer lacks and why, in the caller's language.
type Degradation struct {
	Capability string `json:"capability"`
	Reason     string `json:"reason"`
}

// answer is what came of a task.
type answer struct {
	task      *task
	texts     []string
	citations []pods.Citation
	spatial   any
	economy   any
	ops       []store.Op
	effects   []store.Evidence // of ops, by the capabilities
	degraded  []Degradation
}

func (a *answer) degrade(capability, reason string) {
	a.degraded = append(a.degraded, Degradation{capability, reason})
}

var (
	noClassifierText = tap.Text{
		EN: "no classifier is installed: only rules audited this intent",
		ES: "no hay clasificador instalado: solo reglas auditaron esta intención",
	}
	absentText  = tap.Text{EN: "not installed on this appliance", ES: "no está instalado en este sistema"}
	slowText    = tap.Text{EN: "took longer than its budget", ES: "tardó más de lo permitido"}
	restingText = tap.Text{EN: "is not available now", ES: "no está disponible ahora"}
	failedText  = tap.Text{EN: "failed", ES: "falló"}
	silentText  = tap.Text{EN: "had nothing to contribute to this input", ES: "no tuvo nada que aportar a esta entrada"}
	lengthyText = tap.Text{EN: "answered more than a reply can hold", ES: "respondió más de lo que cabe en una respuesta"}
	foreignText = tap.Text{EN: "wanted effects that it may not have", ES: "pidió efectos que no le corresponden"}
	nothingText = tap.Text{
		EN: "Nothing on this appliance could answer this: see \"degraded\" for the reasons. Nothing was changed.",
		ES: "Nada en este sistema pudo responder: vea los motivos en \"degraded\". No se cambió nada.",
	}
	doneText = tap.Text{EN: "Done.", ES: "Hecho."}
)

// reasonOf says why a part is missing. What a pod says of the request is passed
// on; what went wrong inside it is not.
func reasonOf(err error, lang tap.Lang) string {
	switch e := tap.AsError(err); e.Kind {
	case tap.Timeout:
		return slowText.In(lang)
	case tap.Unavailable:
		return restingText.In(lang)
	case tap.Internal:
		return failedText.In(lang)
	default:
		return e.Message
	}
}

// run calls the plan's capabilities in parallel and joins their parts in the
// plan's order, whoever finished first.
func (k *Kernel) run(ctx context.Context, a *answer) {
	names := a.task.plan.capabilities
	parts, errs := make([]*pods.Part, len(names)), make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		entry, installed := k.capabilities[name]
		if !installed || entry.Manifest.Intent == nil {
			continue
		}
		// Each gets its own copies: one that outlives its budget must not
		// meet the others, or what becomes of the call.
		call, in := *a.task.call, *a.task.intent
		in.Passages = slices.Clone(in.Passages)
		wg.Go(func() { parts[i], errs[i] = entry.Guard.RunIntent(ctx, entry.Manifest.Intent, &call, &in) })
	}
	wg.Wait()
	for i, name := range names {
		a.join(name, parts[i], errs[i])
	}
}

// maxPart bounds one capability's text, in bytes, so that the reply to a held
// intent fits in one record.
const maxPart = 64 << 10

// join adds one capability's part to the answer.
func (a *answer) join(name string, p *pods.Part, err error) {
	c := a.task.call
	switch {
	case err != nil:
		a.degrade(name, reasonOf(err, c.Lang))
		return
	case p == nil:
		a.degrade(name, absentText.In(c.Lang))
		return
	case len(p.Text) > maxPart:
		a.degrade(name, lengthyText.In(c.Lang))
		return
	case !permitted(p.Ops, c.Tenant, len(a.ops)):
		a.degrade(name, foreignText.In(c.Lang))
		return
	}
	switch {
	case p.Degraded != "":
		a.degrade(name, p.Degraded)
	case p.Text == "" && p.Spatial == nil && p.Economy == nil && len(p.Ops) == 0:
		a.degrade(name, silentText.In(c.Lang))
	}
	if p.Text != "" {
		a.texts = append(a.texts, p.Text)
	}
	for _, cited := range p.Citations {
		if !slices.Contains(a.citations, cited) {
			a.citations = append(a.citations, cited)
		}
	}
	if a.spatial == nil {
		a.spatial = p.Spatial
	}
	if a.economy == nil {
		a.economy = p.Economy
	}
	a.ops = append(a.ops, p.Ops...)
	a.effects = append(a.effects, p.Evidence...)
}

// maxOps leaves room in the batch for what the kernel and the gate add.
const maxOps = store.MaxOps - 64

// permitted keeps one pod from spoiling the batch of all: its operations must
// stay in the tenant, away from the kernel's own records, and be few enough.
func permitted(ops []store.Op, tenant string, already int) bool {
	return already+len(ops) <= maxOps && !slices.ContainsFunc(ops, func(op store.Op) bool {
		space := op.Key.Space()
		return op.Key.Tenant() != tenant || space == "" || space == spaceIntent || space == spaceReview
	})
}

// text is aiResponse: the parts' texts, or an honest line when there is none.
func (a *answer) text() string {
	switch {
	case len(a.texts) > 0:
		return strings.Join(a.texts, "\n\n")
	case a.spatial != nil || a.economy != nil || len(a.ops) > 0:
		return doneText.In(a.task.call.Lang)
	}
	return nothingText.In(a.task.call.Lang)
}
