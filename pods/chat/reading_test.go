package chat

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestReaderRemembersWithinItsBound(t *testing.T) {
	r := newReader()
	passage := func(i int) string {
		return fmt.Sprintf("Sensor %d stands at the door. It opens at nine. %s", i, strings.Repeat("Nothing else happens here. ", 200))
	}
	first := r.read(passage(0))
	if len(first) < 2 || first[1].text != "It opens at nine." || len(first[1].stems) == 0 {
		t.Fatalf("read %+v", first[:min(len(first), 2)])
	}
	if again := r.read(passage(0)); &again[0] != &first[0] {
		t.Error("the same passage was taken apart twice")
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 300 {
				if s := r.read(passage(worker*1000 + i)); len(s) == 0 {
					t.Error("a passage without statements")
				}
			}
		})
	}
	wg.Wait()
	kept := 0
	for p := range r.known {
		kept += len(p)
	}
	if kept != r.bytes || r.bytes > maxRead {
		t.Errorf("%d bytes kept, %d counted, %d allowed", kept, r.bytes, maxRead)
	}
	if later := r.read(passage(0)); !slices.EqualFunc(later, first, func(a, b statement) bool { return a.text == b.text }) {
		t.Error("what was forgotten reads differently")
	}
}
