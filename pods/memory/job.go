package memory

import (
	"context"
	"errors"

	"tamv.internal/tamv/vector"
)

// job makes an index anew after a marker: it freezes the documents that are there,
// builds the index of them on one thread, saves it, brings it up to date with what
// has changed meanwhile and puts it in the place of the one in use.
type job struct {
	pod     *Pod
	tenant  string
	index   *index
	space   vectorSpace
	marker  marker
	version uint64 // of the marker's record; 0 = the index is made at another moment, and no other node has the same
	all     int    // documents
	made    int    // so far
	before  *job   // of the same index, told to end
	end     context.CancelFunc
	done    chan struct{} // closed at the end
}

// buildBatch is how many vectors are added at once. Nodes that are to agree have
// the same one.
const buildBatch = 256

// begin starts the job of a marker. When it returns, the documents are those of
// this moment. It is called from within Apply, or by a load.
func (p *Pod) begin(tenant string, s vectorSpace, m marker, version uint64) {
	t := p.indexes.open(tenant)
	ctx, end := context.WithCancel(p.running)
	j := &job{pod: p, tenant: tenant, index: t, space: s, marker: m, version: version, end: end, done: make(chan struct{})}
	t.mu.Lock()
	v := t.space(s)
	j.before, v.job, v.built = v.job, j, built{}
	t.mu.Unlock()
	if j.before != nil {
		j.before.end()
	}
	began := make(chan struct{})
	p.jobs.Add(1)
	p.background.Go(func() {
		defer p.jobs.Add(-1)
		defer j.uncount()
		defer close(j.done)
		defer end()
		err := j.run(ctx, func() { close(began) })
		j.finish()
		if err != nil && ctx.Err() == nil {
			j.fail(err)
		}
	})
	<-began
}

// finish lets go of the index, unless a later job has it.
func (j *job) finish() {
	t := j.index
	t.mu.Lock()
	defer t.mu.Unlock()
	if v := t.vectors[j.space]; v != nil && v.job == j {
		v.job, v.since = nil, nil
	}
}

// fail is the end of a job that could not do its work. The index in use stays.
func (j *job) fail(err error) {
	t := j.index
	t.mu.Lock()
	if v := t.vectors[j.space]; v != nil {
		v.lost = j.marker.Number
	}
	t.mu.Unlock()
	j.pod.config.Log.Error("an index of memory could not be made anew; the old one stays in use",
		"tenant", j.tenant, "model", j.space.model, "dimensions", j.space.dim, "marker", j.marker.Number, "error", err)
}

func (j *job) run(ctx context.Context, began func()) error {
	p := j.pod
	frozen, err := newSpool(p.config.Dir)
	if err != nil {
		began()
		return err
	}
	defer func() { _ = frozen.close() }() // it has no name: nothing is lost
	err = frozen.freeze(p.view, j.tenant, j.space, j.marker.Own, func() bool { return ctx.Err() == nil }, began)
	if err != nil {
		return err
	}
	if j.before != nil {
		<-j.before.done
	}
	select { // one at a time
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	built, err := j.build(ctx, frozen)
	if err != nil {
		return err
	}
	return j.replace(ctx, built)
}

// count, advance and uncount keep the pod's figures of what its jobs have to do.
func (j *job) count(documents int) {
	j.all = documents
	j.pod.all.Add(int64(documents))
}

func (j *job) advance(documents int) {
	before := j.made
	j.made += documents
	j.pod.made.Add(int64(documents))
	if j.made/jobStep > before/jobStep {
		j.pod.config.Log.Info("an index of memory is being made", "tenant", j.tenant, "model", j.space.model, "documents", j.made, "of", j.all)
	}
}

func (j *job) uncount() {
	j.pod.made.Add(int64(-j.made))
	j.pod.all.Add(int64(-j.all))
}

// jobStep is how many documents pass between two lines about a job in the log.
const jobStep = 50_000

// build makes the index of what was frozen and saves it.
func (j *job) build(ctx context.Context, documents *spool) (built, error) {
	cfg := j.marker.config(j.space.dim)
	cfg.Threads = 1
	x, err := vector.New(cfg)
	if err != nil {
		return built{}, err
	}
	defer x.Close()
	c := &catalogue{kinds: map[string]uint16{}}
	if j.version != 0 {
		c.built = built{number: j.marker.Number, version: j.version}
	}
	j.count(documents.documents)
	batch := make([]vector.Item, 0, buildBatch)
	flush := func() error {
		if err := errors.Join(x.AddBatch(batch), ctx.Err()); err != nil {
			return err
		}
		ids := make([]string, len(batch))
		for i := range batch {
			ids[i] = batch[i].ID
		}
		first := len(c.documents) - len(ids)
		for i, row := range x.Rows(ids) {
			c.documents[first+i].row = row
		}
		j.advance(len(batch))
		batch = batch[:0]
		return nil
	}
	err = documents.each(j.space.dim, func(d *frozen) error {
		c.documents = append(c.documents, d.known)
		batch = append(batch, vector.Item{ID: d.id, Vector: decodeVector(d.vector), Kind: kindNumber(c.kinds, d.kind), Time: d.updated})
		if len(batch) < buildBatch {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return built{}, err
	}
	c.built.documents = len(c.documents)
	err = j.pod.shelf(j.tenant, j.space).save(x, c, func(d vector.Digest) { c.built.digest = d })
	return c.built, err
}

// replace opens what was saved, brings it up to date and lets searches use it.
func (j *job) replace(ctx context.Context, b built) error {
	p, t := j.pod, j.index
	t.mu.Lock()
	if v := t.vectors[j.space]; v != nil {
		v.since = map[string]struct{}{}
	}
	t.mu.Unlock()
	next, err := p.reopen(j.tenant, j.space, j.marker)
	if err != nil {
		return err
	}
	gone, missing := next.compare(t)
	next.index.DeleteBatch(gone)
	for err == nil && ctx.Err() == nil {
		if err = next.fetch(ctx, p, j.tenant, t, missing, func(int) {}); err != nil {
			break
		}
		t.mu.Lock()
		v := t.vectors[j.space]
		if v.job != j {
			t.mu.Unlock()
			break // another marker, or another state
		}
		if missing = takeKeys(v.since); len(missing) == 0 {
			old := v.use(next)
			v.built = b
			t.mu.Unlock()
			old.Close()
			return p.verify(j.tenant, j.space)
		}
		t.mu.Unlock()
		next.changed += len(missing)
	}
	next.index.Close()
	return errors.Join(err, ctx.Err())
}

// verify compares what was built with what is recorded already.
func (p *Pod) verify(tenant string, s vectorSpace) error {
	r, _, err := readRecorded(p.view, tenant, s)
	if err == nil {
		p.compare(tenant, s, &r)
	}
	return err
}

// takeKeys empties a set.
func takeKeys(set map[string]struct{}) []string {
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	clear(set)
	return keys
}
