// Package cli is how the commands of this module speak to the person who types
// them: in English or Spanish, about mistakes in the command line as about
// anything else that failed, in words that need no knowledge of Go.
//
// # Language
//
// [Language] is what the command line or the locale asks for. [Prepare] gives a
// tree of cobra commands its headings, its help and its complaints in that
// language. Error messages of the appliance are English, hints are in both.
//
// # Errors
//
// [Plain] says what failed. A [Reporter] prints it with its code and with what to
// do next, and gives the exit code: that of the error's kind, or [Interrupted]
// when a signal ended the command. [ExitCodes] is the list for the help.
//
// # Output
//
// [Output] remembers that standard output could not be written. A command whose
// answer nobody got must not end with exit code 0.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"

	"tamv.internal/tamv/tap"
)

const (
	// CodeUsage is the code of a mistake in the command line; its kind is Invalid.
	CodeUsage = "usage"
	// CodeOutput is the code of an answer that could not be written; its kind is
	// Unavailable.
	CodeOutput = "output"
	// CodeInterrupted is the code of a command that a signal ended.
	CodeInterrupted = "interrupted"
)

// Interrupted is the exit code of a command that a signal ended: what shells give
// for Ctrl-C.
const Interrupted = 130

// Usage is a mistake in the command line.
func Usage(format string, args ...any) *tap.Error {
	return tap.E("", tap.Invalid, format, args...).WithCode(CodeUsage)
}

// Language is what --lang says, else the locale by POSIX precedence. It is needed
// before the flags are parsed, because it is the language of their descriptions.
func Language(args []string, getenv func(string) string) tap.Lang {
	if given, ok := value(args, "lang", 0); ok {
		return tap.ParseLang(given)
	}
	return tap.LocaleLang(getenv)
}

// OutputForm is the value of --output, for a complaint about a command line that
// could not be parsed as far as there; ok is false when it has none.
func OutputForm(args []string) (form string, ok bool) { return value(args, "output", 'o') }

// value is that of the last flag of this name on a command line that nobody has
// parsed; short is its letter, 0 = none.
func value(args []string, name string, short byte) (found string, ok bool) {
	for i, arg := range args {
		if arg == "--" {
			break
		}
		rest, isLong := strings.CutPrefix(arg, "--"+name)
		isShort := short != 0 && len(arg) > 1 && arg[0] == '-' && arg[1] == short
		if isShort {
			rest = arg[2:]
		}
		switch {
		case !isLong && !isShort:
		case rest == "" && i+1 < len(args):
			found, ok = args[i+1], true
		case strings.HasPrefix(rest, "="):
			found, ok = rest[1:], true
		case isShort && rest != "":
			found, ok = rest, true
		}
	}
	return found, ok
}

// ExitCodes is the paragraph of the help that lists them.
func ExitCodes(lang tap.Lang) string {
	kinds := tap.Kinds()
	slices.SortFunc(kinds, func(a, b tap.Kind) int { return a.Traits().ExitCode - b.Traits().ExitCode })
	names := []string{"0 ok"}
	for _, k := range kinds {
		names = append(names, fmt.Sprintf("%d %s", k.Traits().ExitCode, k))
	}
	names = append(names, fmt.Sprintf("%d %s", Interrupted, CodeInterrupted))
	return wrap(textExitCodes.In(lang)+strings.Join(names, ", ")+".", 80)
}

// wrap breaks a text into lines of at most so many bytes, at spaces.
func wrap(text string, width int) string {
	var b strings.Builder
	line := 0
	for i, word := range strings.Fields(text) {
		if i > 0 {
			if line+1+len(word) > width {
				b.WriteByte('\n')
				line = 0
			} else {
				b.WriteByte(' ')
				line++
			}
		}
		b.WriteString(word)
		line += len(word)
	}
	return b.String()
}

// Output is standard output. It remembers the first error, which fmt.Fprint and
// cobra's help swallow.
type Output struct {
	W   io.Writer
	err error
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	n, err := o.W.Write(p)
	if err != nil && o.err == nil && !errors.Is(err, syscall.EPIPE) { // who closed the pipe has read enough
		o.err = err
	}
	return n, err
}

// Err says that standard output could not be written; nil when it could.
func (o *Output) Err() error {
	if o.err == nil {
		return nil
	}
	return tap.Wrap("", tap.Unavailable, o.err, "standard output cannot be written").WithCode(CodeOutput)
}

// Outcome is the error that a command ends with: its own; when a signal ended it,
// that; and when the answer could not be written, that.
func Outcome(ctx context.Context, err error, out *Output) error {
	switch written := out.Err(); {
	case err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled):
		e := *tap.AsError(err)
		if e.Op == "" { // nobody knew more than that it ended
			e.Message = "ended by a signal before it was done"
		}
		e.Code, e.Err = CodeInterrupted, nil
		return &e
	case written != nil && (err == nil || errors.Is(err, out.err) && tap.AsError(err).Op == ""):
		return written // what knows more says so
	}
	return err
}

// ExitCode is what a program ends with after an error.
func ExitCode(err error) int {
	switch e := tap.AsError(err); {
	case e == nil:
		return 0
	case e.Code == CodeInterrupted:
		return Interrupted
	default:
		return e.Kind.Traits().ExitCode
	}
}

// Reporter prints errors for a person.
type Reporter struct {
	Program string
	Lang    tap.Lang
	// Hint is what to do next where this program knows better than the kind of the
	// error; the zero Text = it does not. nil = it never does.
	Hint func(*tap.Error) tap.Text
}

// Report prints err to w and returns the exit code.
func (r Reporter) Report(w io.Writer, err error) int {
	e := tap.AsError(err)
	var hint tap.Text
	if r.Hint != nil {
		hint = r.Hint(e)
	}
	if hint == (tap.Text{}) {
		hint = Hint(e)
	}
	fmt.Fprintf(w, "%s: %s\n  %s  %s\n%s: %s\n", r.Program, Plain(err), textCode.In(r.Lang), e.StableCode(), textHint.In(r.Lang), hint.In(r.Lang))
	return ExitCode(err)
}

// Hint is what to do after an error: by its code where this package makes it, else
// by its kind.
func Hint(e *tap.Error) tap.Text {
	switch e.Code {
	case CodeUsage:
		return textHintUsage
	case CodeOutput:
		return textHintOutput
	case CodeInterrupted:
		return textHintInterrupted
	}
	return e.Kind.Traits().Hint
}
