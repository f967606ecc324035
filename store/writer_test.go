package store

import (
	"context"
	"errors"
	"sync"
	"testing"

	"tamv.internal/tamv/tap"
)

// proposer applies commands at once, one by one, as a cluster of one would.
type proposer struct {
	mu sync.Mutex
	m  *machine
}

func (p *proposer) Propose(_ context.Context, command []byte) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.m.index++
	p.m.stamp++
	out, err := p.m.Apply(p.m.index, p.m.stamp, [][]byte{command})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

func TestUpdateDecidesAgainUntilItHolds(t *testing.T) {
	m := open(t, t.TempDir())
	w := NewWriter(&proposer{m: m}, m)
	k := key("tally")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				for {
					_, err := w.Update(t.Context(), func(v View) (Batch, error) {
						item, _, err := v.Get(k)
						return batch(Check(k, item.Version), Put(k, append(item.Value, 'x'))), err
					})
					if err == nil {
						break
					}
					if !tap.IsKind(err, tap.Conflict) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if v, _ := m.value(k); len(v) != 100 {
		t.Fatalf("%d of 100 increments survived the races", len(v))
	}
}

func TestUpdateReportsWhatItCannotMend(t *testing.T) {
	m := open(t, t.TempDir())
	w := NewWriter(&proposer{m: m}, m)
	tries := 0
	_, err := w.Update(t.Context(), func(View) (Batch, error) {
		tries++
		return batch(Check(key("absent"), 7)), nil
	})
	var conflict *ConflictError
	if !errors.As(err, &conflict) || tries != MaxAttempts || conflict.Error() == "" {
		t.Fatalf("%v after %d tries", err, tries)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Update(ctx, func(View) (Batch, error) { return batch(Check(key("absent"), 7)), nil }); err == nil {
		t.Fatal("went on after the caller had left")
	}
	undecided := tap.E("test", tap.Forbidden, "no")
	if _, err := w.Update(t.Context(), func(View) (Batch, error) { return Batch{}, undecided }); !errors.Is(err, undecided) {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context(), Batch{}); !tap.IsKind(err, tap.Invalid) {
		t.Fatal(err)
	}
}
