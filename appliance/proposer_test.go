package appliance

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tamv.internal/tamv/consensus"
	"tamv.internal/tamv/tap"
)

// cluster answers proposals as a list says; the last answer stays.
type scripted struct {
	answers  []error
	proposed int
	leader   error       // of WaitLeader
	spaces   []diskSpace // as seen before each proposal; the last one stays, none = enough
	asked    int
}

func (s *scripted) space() error {
	n := node{}
	if len(s.spaces) > 0 {
		n.diskSpace.Store(uint32(s.spaces[min(s.asked, len(s.spaces)-1)]))
	}
	s.asked++
	return n.refuseFull()
}

func (s *scripted) Propose(context.Context, []byte) (any, error) {
	err := s.answers[min(s.proposed, len(s.answers)-1)]
	s.proposed++
	return s.proposed, err
}

func (s *scripted) WaitLeader(ctx context.Context) error {
	if s.leader != nil {
		<-ctx.Done()
	}
	return s.leader
}

// A command outlasts the loss of its leader; what it cannot outlast it names.
func TestAProposalOutlastsTheLossOfALeader(t *testing.T) {
	lost, unknown := consensus.ErrNotLeader, consensus.ErrUncertain
	for name, test := range map[string]struct {
		scripted
		proposals int    // at least
		code      string // of the error; empty = none
	}{
		"at once":                        {scripted{answers: []error{nil}}, 1, ""},
		"after an election":              {scripted{answers: []error{lost, lost, nil}}, 3, ""},
		"after a lost reply":             {scripted{answers: []error{unknown, lost, nil}}, 3, ""},
		"busy is the caller's to repeat": {scripted{answers: []error{consensus.ErrBusy, nil}}, 1, "busy"},
		"never a leader":                 {scripted{answers: []error{lost}, leader: context.DeadlineExceeded}, 1, "not_leader"},
		"no leader takes it":             {scripted{answers: []error{lost}}, 5, "not_leader"},
		"unknown once, then no leader":   {scripted{answers: []error{unknown, lost}}, 5, "uncertain"},
		"full disks":                     {scripted{spaces: []diskSpace{siteFull}, answers: []error{nil}}, 0, "disk_full"},
		"a full leader is replaced":      {scripted{spaces: []diskSpace{leaderFull, leaderFull, enough}, answers: []error{nil}}, 1, ""},
		"a full leader is not replaced":  {scripted{spaces: []diskSpace{leaderFull}, answers: []error{nil}}, 0, "disk_full"},
		"unknown, then full disks":       {scripted{spaces: []diskSpace{enough, siteFull}, answers: []error{unknown}}, 1, "uncertain"},
		"halted":                         {scripted{answers: []error{lost, consensus.ErrHalted}}, 2, "stopped"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				_, err := proposer{&test.scripted, test.scripted.space}.Propose(t.Context(), nil)
				if code := codeOf(err); code != test.code || test.scripted.proposed < test.proposals {
					t.Errorf("%v (%q) after %d proposals, want %q after %d", err, code, test.scripted.proposed, test.code, test.proposals)
				}
				if took := time.Since(began); took > patience+longestPause {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// The request's own end comes first.
func TestAProposalEndsWithItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := proposer{&scripted{answers: []error{consensus.ErrNotLeader}}, func() error { return nil }}.Propose(ctx, nil)
		if !errors.Is(err, consensus.ErrNotLeader) || time.Since(began) > 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func codeOf(err error) string {
	if err == nil {
		return ""
	}
	return tap.AsError(err).StableCode()
}
