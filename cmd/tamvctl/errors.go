package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tamv.internal/tamv/cmd/cli"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// Codes of errors that tamvctl makes itself.
const (
	codeContext   = "context"         // any kind: the context file, or one that it names, cannot be used
	codeFile      = "file"            // any kind: a file cannot be used
	codeNoSpace   = "no_space"        // Unavailable: there is no room for what was to be written
	codeNoContext = "no_context"      // Invalid: nobody said which appliance
	codeInput     = "input"           // Invalid: a value or a file has the wrong form
	codeBroken    = "broken_evidence" // Unauthenticated: evidence does not verify
	codeKeyPerms  = "key_permissions" // Forbidden: others can read the private key
)

// usage is a mistake in the command line.
func usage(format string, args ...any) *tap.Error { return cli.Usage(format, args...) }

// coded gives an error that has no code of its own this one.
func coded(err error, code string) error {
	var e *tap.Error
	if errors.As(err, &e) && e.Code == "" {
		e.Code = code
	}
	return err
}

// badInput is a value or a file that does not have its form.
func badInput(format string, args ...any) *tap.Error {
	return tap.E("tamvctl", tap.Invalid, format, args...).WithCode(codeInput)
}

// replyError is what the appliance answered, with the request it was about.
type replyError struct {
	err       *tap.Error
	requestID string
}

func (e *replyError) Error() string { return e.err.Error() }
func (e *replyError) Unwrap() error { return e.err }

// hints are better than a kind's own where a code says more.
var hints = map[string]tap.Text{
	codeFile:               textHintFile,
	codeNoSpace:            textHintNoSpace,
	codeContext:            textHintContext,
	"unsigned":             textHintUnsigned,
	codeNoContext:          textHintNoContext,
	codeInput:              textHintInput,
	codeBroken:             textHintBroken,
	codeKeyPerms:           textHintKeyPerms,
	client.CodeUnreachable: textHintUnreachable,
	client.CodeCertificate: textHintCertificate,
	"own_intent":           textHintOwnIntent,
	"not_own":              textHintNotOwn,
	"expired":              textHintExpired,
	"revoked":              textHintRevoked,
	"currency":             textHintCurrency,
	codeQuorum:             textHintQuorum,
	codeSplitView:          textHintSplitView,
	codeRolledBack:         textHintRolledBack,
	codeOtherLog:           textHintOtherLog,
	codeUnknownLog:         textHintUnknownLog,
	codeStale:              textHintStale,
	codeLocked:             textHintLocked,
	codeWitness:            textHintWitness,
	codeFrames:             textHintFrames,
	"unknown_witness":      textHintUnknownWitness,
	"checkpoint_needed":    textHintCheckpointNeeded,
	"not_anchored":         textHintNotAnchored,
	"blocked":              textHintBlocked,
	codeArchived:           textHintArchived,
}

// fail reports an error and returns its exit code.
func (a *app) fail(err error) int {
	e := explained(err)
	body := e.Body("", time.Now(), a.lang)
	body.Error.Message = message(e)
	var reply *replyError
	answered := errors.As(err, &reply)
	if answered {
		body.Error.RequestID = reply.requestID
	}
	body.Error.Hint = hint(e, answered).In(a.lang)
	if a.output == asTable {
		a.failTable(&body.Error)
	} else if raw, err := json.Marshal(body); err == nil {
		_ = a.encode(a.errOut, raw) // there is nowhere left to report to
	}
	return cli.ExitCode(e)
}

// hint is what to do next; answered says that the error is the appliance's.
func hint(e *tap.Error, answered bool) tap.Text {
	if e.Kind == tap.Timeout && !answered {
		return textHintNoAnswer
	}
	if text, ok := hints[e.StableCode()]; ok {
		return text
	}
	if e.Kind == tap.Invalid && e.Code != cli.CodeUsage {
		return textHintInput
	}
	return cli.Hint(e)
}

// explained is the error with its kind; what has none is cobra's complaint about
// the command line.
func explained(err error) *tap.Error {
	var e *tap.Error
	if errors.As(err, &e) {
		return e
	}
	return usage("%v", err)
}

// message is what a person is told: of an error made on this side, its cause
// too.
func message(e *tap.Error) string { return cli.Plain(e) }

// failTable prints an error for a person: message, facts, what to do next.
func (a *app) failTable(f *tap.ErrorFields) {
	fmt.Fprintf(a.errOut, "tamvctl: %s\n", oneLine(f.Message))
	t := newTable(a.errOut, a.lang)
	t.indent = "  "
	t.field(textCode, f.Code)
	if f.RequestID != "" {
		t.field(textRequest, f.RequestID)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Details)) {
		switch v := f.Details[name].(type) {
		case string, bool, float64, int, uint64:
			t.row(name, fmt.Sprint(v))
		}
	}
	for _, v := range violations(f.Details) {
		t.row(v.place, v.message)
	}
	_ = t.flush()
	fmt.Fprintf(a.errOut, "%s: %s\n", textHint.In(a.lang), f.Hint)
}

// violation is one place where a request does not have the form of its route.
type violation struct{ place, message string }

// violations are those that the details of an error list.
func violations(details map[string]any) []violation {
	list, _ := details["violations"].([]any)
	var all []violation
	for _, one := range list {
		fields, _ := one.(map[string]any)
		place, _ := fields["path"].(string)
		text, _ := fields["message"].(string)
		if place = strings.Trim(place, "/"); place == "" {
			place = "body"
		}
		all = append(all, violation{place, text})
	}
	return all
}
