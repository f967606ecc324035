package consensus

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
)

// What Raft answers decides whether a caller may send a command again, so the translation is fixed here.
func TestRaftErrorsKeepTheirMeaning(t *testing.T) {
	other := errors.New("disk full")
	for _, test := range []struct {
		raft            error
		propose, member error
	}{
		{raft.ErrNotLeader, ErrNotLeader, ErrNotLeader},
		{raft.ErrLeadershipTransferInProgress, ErrNotLeader, ErrNotLeader},
		{raft.ErrLeadershipLost, ErrUncertain, ErrUncertain},
		{raft.ErrRaftShutdown, ErrUncertain, raft.ErrRaftShutdown},
		{other, ErrUncertain, other},
	} {
		if got := proposeError(test.raft); !errors.Is(got, test.propose) {
			t.Errorf("propose: %v became %v", test.raft, got)
		}
		if got := memberError(test.raft); !errors.Is(got, test.member) {
			t.Errorf("membership: %v became %v", test.raft, got)
		}
	}
	if err := memberError(nil); err != nil {
		t.Error(err)
	}
}
