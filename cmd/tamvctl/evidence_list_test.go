package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// A search in which little matches comes in pages that are short or empty; who asks gets
// them as one.
func TestListGoesOnUntilThePageIsFull(t *testing.T) {
	pages := map[string]string{ // by what they continue and how many they may have
		"/2":     `{"entries":[],"next":5000}`,
		"5000/2": `{"entries":[{"position":4000,"actor":"rare"}],"next":3000}`,
		"3000/1": `{"entries":[{"position":2999,"actor":"rare"}],"next":2999}`,
		"2999/2": `{"entries":[],"archived":true}`,
	}
	asked := 0
	context := strangeServer(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		q := r.URL.Query()
		page, ok := pages[q.Get("after")+"/"+q.Get("limit")]
		if !ok || q.Get("actor") != "rare" {
			t.Errorf("asked for %s", r.URL)
		}
		fmt.Fprint(w, page)
	})
	list := []string{"evidence", "list", "--actor", "rare", "--limit", "2", "--context", context}
	r := tamvctl(t, list...)
	if r.code != 0 || asked != 3 || strings.Count(r.out, "rare") != 2 || !strings.Contains(r.out, "--after 2999") {
		t.Errorf("%d requests, exit code %d: %s%s", asked, r.code, r.out, r.errOut)
	}
	r = tamvctl(t, append(list, "--after", "2999")...)
	if r.code != 0 || !strings.Contains(r.out, "evidence segments") || strings.Contains(r.out, "--after") {
		t.Errorf("exit code %d: %s%s", r.code, r.out, r.errOut)
	}
	r = tamvctl(t, append(list, "--after", "2999", "-o", "json")...)
	if r.code != 0 || !strings.Contains(r.out, `"archived": true`) || !strings.Contains(r.out, `"entries": []`) {
		t.Errorf("exit code %d: %s%s", r.code, r.out, r.errOut)
	}
	pages["5000/2"] = `{"entries":[7]}`
	if r := tamvctl(t, list...); r.code == 0 {
		t.Errorf("an entry that is none: %s", r.out)
	}
}
