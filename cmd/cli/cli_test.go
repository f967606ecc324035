package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"tamv.internal/tamv/tap"
)

func TestLanguage(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  map[string]string
		want tap.Lang
	}{
		{nil, nil, tap.English},
		{nil, map[string]string{"LANG": "es_MX.UTF-8"}, tap.Spanish},
		{nil, map[string]string{"LANG": "es_MX.UTF-8", "LC_MESSAGES": "C"}, tap.English},
		{nil, map[string]string{"LC_MESSAGES": "C", "LC_ALL": "es_ES"}, tap.Spanish},
		{[]string{"status", "--lang", "es"}, nil, tap.Spanish},
		{[]string{"--lang=en", "status"}, map[string]string{"LANG": "es"}, tap.English},
		{[]string{"status", "--lang"}, nil, tap.English},
		{[]string{"--", "--lang", "es"}, nil, tap.English},
	} {
		if got := Language(c.args, func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%v %v: %s", c.args, c.env, got)
		}
	}
}

func TestOutputForm(t *testing.T) {
	for line, want := range map[string]string{
		"status": "", "status -o json": "json", "-o=yaml status": "yaml", "-ojson status": "json", "--output json": "json",
		"--output=yaml status": "yaml", "-o json -o yaml": "yaml", "-- -o json": "", "status -o": "", "status -": "", "--out json": "",
	} {
		if got, ok := OutputForm(strings.Fields(line)); got != want || ok != (want != "") {
			t.Errorf("%q: %q %v", line, got, ok)
		}
	}
}

func TestExitCodesAreThoseOfTheKinds(t *testing.T) {
	for _, lang := range []tap.Lang{tap.English, tap.Spanish} {
		all := strings.Join(strings.Fields(ExitCodes(lang)), " ")
		for _, want := range []string{": 0 ok, 1 internal, 2 invalid,", "11 timeout, 130 interrupted."} {
			if !strings.Contains(all, want) {
				t.Errorf("%s: %q lacks %q", lang, all, want)
			}
		}
	}
	for line := range strings.Lines(ExitCodes(tap.English)) {
		if len(line) > 81 {
			t.Errorf("a line of %d bytes: %q", len(line), line)
		}
	}
}

// full is a standard output that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestAnswerThatNobodyGot(t *testing.T) {
	out := &Output{W: full{}}
	if err := Outcome(t.Context(), nil, out); err != nil {
		t.Fatalf("nothing was written, and yet %v", err)
	}
	_, _ = io.WriteString(out, "an answer")
	_, wrote := io.WriteString(out, "the rest")
	for _, err := range []error{nil, wrote} {
		got := Outcome(t.Context(), err, out)
		if e := tap.AsError(got); e == nil || e.Code != CodeOutput || ExitCode(got) != tap.Unavailable.Traits().ExitCode {
			t.Errorf("%v became %v", err, got)
		}
	}
	own := tap.E("x", tap.Conflict, "it exists")
	if got := Outcome(t.Context(), own, out); !errors.Is(got, own) {
		t.Errorf("an error of its own became %v", got)
	}
}

func TestSignalEndsACommand(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := &Output{W: io.Discard}
	if got := Outcome(ctx, context.Canceled, out); ExitCode(got) == Interrupted {
		t.Error("nobody sent a signal")
	}
	cancel()
	if got := Outcome(ctx, nil, out); got != nil {
		t.Errorf("a command that was done: %v", got)
	}
	got := Outcome(ctx, tap.AsError(context.Canceled), out)
	if ExitCode(got) != Interrupted || Plain(got) != "ended by a signal before it was done" {
		t.Errorf("%d: %v", ExitCode(got), got)
	}
	known := tap.Wrap("x.import", tap.Unavailable, context.Canceled, "stopped at line 7")
	if got := Outcome(ctx, known, out); ExitCode(got) != Interrupted || Plain(got) != "stopped at line 7" {
		t.Errorf("%d: %v", ExitCode(got), got)
	}
	if other := Outcome(ctx, io.EOF, out); ExitCode(other) == Interrupted {
		t.Error("an error that is no consequence of the signal counts as one")
	}
}

func TestReport(t *testing.T) {
	err := tap.E("x.y", tap.Conflict, "the folder is taken").WithCode("taken")
	r := Reporter{Program: "tamvx", Lang: tap.Spanish, Hint: func(e *tap.Error) tap.Text {
		if e.Code == "taken" {
			return tap.Text{EN: "Choose another.", ES: "Elija otra."}
		}
		return tap.Text{}
	}}
	var out bytes.Buffer
	if code := r.Report(&out, err); code != 6 || out.String() != "tamvx: the folder is taken\n  código  taken\nconsejo: Elija otra.\n" {
		t.Errorf("%d: %s", code, out.String())
	}
	out.Reset()
	if code := (Reporter{Program: "tamvx"}).Report(&out, Usage("no")); code != 2 || !strings.Contains(out.String(), "hint: Add --help") {
		t.Errorf("%d: %s", code, out.String())
	}
	if ExitCode(nil) != 0 {
		t.Error("no error has an exit code")
	}
	for _, code := range []string{CodeOutput, CodeInterrupted} {
		if Hint(&tap.Error{Code: code}) == tap.Internal.Traits().Hint {
			t.Errorf("%s has no hint", code)
		}
	}
}
