package appliance

import (
	"testing"

	"tamv.internal/tamv/consensus"
)

func TestJudgeSpace(t *testing.T) {
	three := []consensus.Member{{ID: "a", Voter: true}, {ID: "b", Voter: true}, {ID: "c", Voter: true}, {ID: "observer"}}
	for name, test := range map[string]struct {
		members []consensus.Member
		leader  string
		low     []string
		want    diskSpace
	}{
		"all have room":              {three, "a", nil, enough},
		"an observer is full":        {three, "a", []string{"observer"}, enough},
		"a follower is full":         {three, "a", []string{"b"}, enough},
		"the leader is full":         {three, "a", []string{"a"}, leaderFull},
		"two followers are full":     {three, "a", []string{"b", "c"}, siteFull},
		"the leader and another":     {three, "a", []string{"a", "c"}, siteFull},
		"two full, nobody leads":     {three, "", []string{"a", "c"}, siteFull},
		"the only one":               {three[:1], "a", []string{"a"}, siteFull},
		"one of two":                 {three[:2], "a", []string{"b"}, siteFull},
		"not yet a member of a site": {nil, "", []string{"a"}, enough},
	} {
		low := map[string]bool{}
		for _, id := range test.low {
			low[id] = true
		}
		if got := judgeSpace(test.members, test.leader, low); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}
