package faults

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestJournal(t *testing.T) {
	j := NewJournal()
	j.Note(Acknowledged, span(0, 100), true)
	j.Note(Acknowledged, span(150, 160), false) // a read is no service
	j.Note(Unknown, span(150, 0), true)
	j.Note(Refused, span(150, 160), true)
	j.Fault("kill %s", "n1")
	j.expected = []mark{{"one", 90 * time.Millisecond}, {"two", 460 * time.Millisecond}, {"three", 120 * time.Millisecond}}
	j.Note(Acknowledged, span(110, 450), true) // began before "three"
	j.Note(Acknowledged, span(440, 470), true)
	j.Note(Acknowledged, span(465, 480), true)
	j.ended = 500 * time.Millisecond
	if got, want := j.Counts(), (Counts{5, 1, 1}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	if got := j.Faults(); len(got) != 1 || got[0] != "kill n1" {
		t.Errorf("faults %q", got)
	}
	if got, since := j.Interruption(); got != 350*time.Millisecond || !since.After(j.began) {
		t.Errorf("interrupted for %s", got)
	}
	// one: from 90 to 450; two: from 460 to 480; three: from 120 to 470.
	if got, after := j.Recovery(); got != 360*time.Millisecond || after != "one" {
		t.Errorf("recovered in %s from %s", got, after)
	}
	if !j.WrittenSince(465*time.Millisecond) || j.WrittenSince(466*time.Millisecond) {
		t.Error("WrittenSince does not look at the beginning")
	}
}

// What never came back counts until the clients stopped, and the end of the run is
// an end of the pause.
func TestJournalWithoutRecovery(t *testing.T) {
	j := NewJournal()
	j.Note(Acknowledged, span(0, 10), true)
	j.Expect("a thing")
	j.expected[0].at = 20 * time.Millisecond
	j.ended = 100 * time.Millisecond
	if got, _ := j.Recovery(); got != 80*time.Millisecond {
		t.Errorf("recovered in %s", got)
	}
	if got, since := j.Interruption(); got != 90*time.Millisecond || since != j.began.Add(10*time.Millisecond) {
		t.Errorf("interrupted for %s", got)
	}
	j.Finish()
	if j.ended <= 0 || j.ended > j.Now() {
		t.Errorf("finished at %s", j.ended)
	}
}

func TestTable(t *testing.T) {
	rows := []Row{
		{Scenario: "good", Faults: []string{"a", "b"}, Operations: Counts{120, 3, 4}, Interruption: 1500 * time.Millisecond, Recovery: time.Second},
		{Scenario: "bad", Verdict: Verdict{Lost: 7, Findings: []string{"n1 lost it"}}, Failure: "it broke"},
		{Scenario: "absent", Skipped: "no root"},
	}
	if !rows[0].Good() || rows[1].Good() || !rows[2].Good() || (&Row{Failure: "x"}).Good() {
		t.Error("Good is wrong")
	}
	var table, machine bytes.Buffer
	if err := WriteTable(&table, rows); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(table.String(), "\n")
	if got, want := strings.Fields(lines[1]), "good 2 120 4 3 0 0 0 0 0 1.50 s 1.00 s 0.00 s"; strings.Join(got, " ") != want {
		t.Errorf("a row is %q, want %q", got, want)
	}
	for _, sentence := range []string{"bad: n1 lost it\n", "bad: it broke\n", "absent: no root\n"} {
		if !strings.Contains(table.String(), sentence) {
			t.Errorf("the table does not say %q:\n%s", sentence, table.String())
		}
	}
	if err := WriteJSON(&machine, rows); err != nil {
		t.Fatal(err)
	}
	var back []Row
	if err := json.Unmarshal(machine.Bytes(), &back); err != nil || len(back) != 3 || back[1].Verdict.Lost != 7 || back[0].Interruption != 1500*time.Millisecond {
		t.Errorf("%+v, %v", back, err)
	}
}
