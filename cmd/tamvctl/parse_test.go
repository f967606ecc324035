package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func FuzzVector(f *testing.F) {
	for _, seed := range []string{"1,2,3", "1.50,-0,1e6", "", ",,", "1,2", "1,2,3,4", "NaN,0,0", "0x1,2,3", " 1 , 2 , 3 ", "1,2,\"3\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var v vector
		if v.Set(s) != nil {
			return
		}
		raw, err := json.Marshal(v)
		if err != nil || strings.Count(v.String(), ",") != 2 {
			t.Errorf("%q is accepted and gives %s, %v", s, raw, err)
		}
	})
}

func FuzzDocumentLines(f *testing.F) {
	for _, seed := range []string{`{"content":"x"}`, `{"content":"x"}{"id":"y"}`, `[]`, `{"content":7}`, "\xff", `{"metadata":{"a":"b"}}`, `{"content":"x"} y`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		in := addition{kind: "NOTE", title: "T"}
		documents, err := in.lines(raw)
		if err != nil {
			return
		}
		for _, d := range documents {
			if d.Type == "" || d.Metadata["title"] == "" && !strings.Contains(string(raw), "title") {
				t.Errorf("%q gives %+v", raw, d)
			}
		}
	})
}

// A long text is cut between paragraphs and loses none of them.
func TestPassages(t *testing.T) {
	paragraph := strings.Repeat("x", maxPassage/2-10)
	in := addition{kind: "NOTE", id: "long"}
	got := in.passages("\n\n" + paragraph + "\r\n\r\n" + paragraph + "\n\n\n\n" + paragraph + "\n")
	if len(got) != 2 || got[0].ID != "long-1" || got[1].ID != "long-2" {
		t.Fatalf("%d documents", len(got))
	}
	if len(got[0].Content) > maxPassage || got[1].Content != paragraph {
		t.Errorf("%d and %d bytes", len(got[0].Content), len(got[1].Content))
	}
}

func TestBatches(t *testing.T) {
	many := make([]newDocument, 2*batchDocuments+1)
	if got := batches(many); len(got) != 3 || len(got[0]) != batchDocuments || len(got[2]) != 1 {
		t.Errorf("%d batches", len(got))
	}
	large := newDocument{Content: strings.Repeat("x", batchBytes/2)}
	if got := batches([]newDocument{large, large, large}); len(got) != 2 {
		t.Errorf("%d batches of large documents", len(got))
	}
	if batches(nil) != nil {
		t.Error("a batch of nothing")
	}
}
