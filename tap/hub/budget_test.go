package hub

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tamv.internal/tamv/tap"
)

func TestRequestsShareABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 32 * time.Second
		h := &Hub{limits: Limits{Request: limit, PublishRate: 1}}
		s := newSession(h, nil, &tap.Principal{}, "", nil)
		first := s.budget()
		<-time.After(limit / moment)
		if second := s.budget(); second != first {
			t.Error("requests of one moment have budgets of their own")
		}
		<-time.After(1)
		later := s.budget()
		if later == first {
			t.Fatal("a later request shares the first one's budget")
		}
		s.release(first)
		if first.Err() != nil {
			t.Error("the first budget ended before its last request")
		}
		s.release(first)
		if !errors.Is(first.Err(), context.Canceled) {
			t.Errorf("a budget that nobody uses: %v", first.Err())
		}

		s.release(later)
		if later.Err() != nil {
			t.Error("a budget that others may still share has ended")
		}
		<-time.After(limit/moment + 1)
		last := s.budget()
		if !errors.Is(later.Err(), context.Canceled) {
			t.Errorf("a budget that was replaced: %v", later.Err())
		}
		if until, _ := last.Deadline(); time.Until(until) != limit {
			t.Errorf("%s for a request", time.Until(until))
		}
		<-time.After(limit)
		synctest.Wait()
		if !errors.Is(last.Err(), context.DeadlineExceeded) {
			t.Errorf("after the limit: %v", last.Err())
		}
		next := s.budget()
		s.cancel()
		if !errors.Is(next.Err(), context.Canceled) {
			t.Errorf("after the session: %v", next.Err())
		}
	})
}
