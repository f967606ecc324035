package hub

import (
	"context"
	"sync"
	"time"
)

// budget is the context of the requests of a session that began within a moment
// of each other. It ends with the session, or Limits.Request after the first of
// them began. A timer for each request would cost a fortieth of serving it.
type budget struct {
	context.Context
	cancel context.CancelFunc
	began  time.Time
	users  int // guarded by budgets.mu
}

// moment is the part of Limits.Request by which a request may be cut short
// because others began before it.
const moment = 32

// budgets are those of one session.
type budgets struct {
	mu     sync.Mutex
	latest *budget // may be nil, and without users
}

// budget is that of a request which begins now, until release.
func (s *session) budget() *budget {
	s.budgets.mu.Lock()
	defer s.budgets.mu.Unlock()
	limit := s.hub.limits.Request
	latest := s.budgets.latest
	if latest == nil || time.Since(latest.began) > limit/moment {
		if latest != nil && latest.users == 0 {
			latest.cancel()
		}
		ctx, cancel := context.WithTimeout(s.ctx, limit)
		latest = &budget{Context: ctx, cancel: cancel, began: time.Now()}
		s.budgets.latest = latest
	}
	latest.users++
	return latest
}

func (s *session) release(b *budget) {
	s.budgets.mu.Lock()
	defer s.budgets.mu.Unlock()
	if b.users--; b.users == 0 && b != s.budgets.latest {
		b.cancel()
	}
}
