package model

import (
	"context"
	"errors"
	"testing"
)

func TestScoresGet(t *testing.T) {
	s := Scores{{"a", 0.25}, {"b", 1}}
	if s.Get("b") != 1 || s.Get("c") != 0 || Scores(nil).Get("a") != 0 {
		t.Error("Get must find labels and answer 0 for others")
	}
}

func TestAbsentEnginesSayWhichErrorItIs(t *testing.T) {
	ctx := context.Background()
	var engine Absent
	if engine.ID() != "none" {
		t.Errorf("ID %q", engine.ID())
	}
	if _, err := engine.Recognize(ctx, nil); !errors.Is(err, ErrNoEngine) {
		t.Errorf("Recognize: %v", err)
	}
	if _, err := engine.Transcribe(ctx, Audio{}); !errors.Is(err, ErrNoEngine) {
		t.Errorf("Transcribe: %v", err)
	}
	calls := 0
	for piece, err := range engine.Generate(ctx, Prompt{}) {
		calls++
		if piece != "" || !errors.Is(err, ErrNoEngine) {
			t.Errorf("Generate: %q, %v", piece, err)
		}
	}
	if calls != 1 {
		t.Errorf("Generate yielded %d times, want once", calls)
	}
}

func TestLearnedAudit(t *testing.T) {
	audit := LearnedAudit(Scores{
		{LabelHarm, 0.25}, {LabelSelfHarm, 1}, {LabelHate, 0.125}, {LabelHarassment, 0.5},
	})
	if len(audit) != len(Principles) {
		t.Fatalf("%d principles", len(audit))
	}
	want := map[Principle]float32{NonMaleficence: 0.4, Dignity: 0.5, Fairness: 0.875}
	for _, p := range Principles {
		score, learned := want[p]
		basis := BasisLearned
		if !learned {
			score, basis = 1, BasisNone
		}
		if got := audit[p]; got.Score < score-1e-6 || got.Score > score+1e-6 || got.Basis != basis {
			t.Errorf("%s: got %+v, want %g %s", p, got, score, basis)
		}
	}
}

func TestDistressAloneIsNeverRefused(t *testing.T) {
	const refused, held = 0.3, 0.7
	got := LearnedAudit(Scores{{LabelSelfHarm, 1}})[NonMaleficence].Score
	if got < refused || got >= held {
		t.Errorf("distress scores %g, want it held for a person", got)
	}
	if got := LearnedAudit(Scores{{LabelHarm, 1}, {LabelSelfHarm, 1}})[NonMaleficence].Score; got >= refused {
		t.Errorf("a request for means scores %g, want it refused", got)
	}
}
