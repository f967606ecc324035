package vector

import (
	"cmp"
	"slices"
	"strings"
)

// topK is a binary heap of the best hits so far with the worst one at the root.
type topK []Hit

// better reports whether (score, id) ranks before h.
func better(score float32, id string, h Hit) bool {
	return score > h.Score || score == h.Score && id < h.ID
}

// offer adds h, dropping the worst hit if there would be more than k.
func (t *topK) offer(h Hit, k int) {
	s := *t
	if len(s) < k {
		s = append(s, h)
		for i := len(s) - 1; i > 0; {
			parent := (i - 1) / 2
			if !better(s[parent].Score, s[parent].ID, s[i]) {
				break
			}
			s[i], s[parent] = s[parent], s[i]
			i = parent
		}
		*t = s
		return
	}
	if !better(h.Score, h.ID, s[0]) {
		return
	}
	s[0] = h
	for i := 0; ; {
		worst := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(s) && better(s[worst].Score, s[worst].ID, s[child]) {
				worst = child
			}
		}
		if worst == i {
			return
		}
		s[i], s[worst] = s[worst], s[i]
		i = worst
	}
}

// sort orders the hits best first.
func (t topK) sort() {
	slices.SortFunc(t, func(a, b Hit) int {
		if c := cmp.Compare(b.Score, a.Score); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
}
