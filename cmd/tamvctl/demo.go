package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// demo is one run of the demonstration, step by step, with identities that
// are enrolled for it and revoked at the end.
type demo struct {
	app      *app
	config   client.Config // as the context says
	operator *client.Client
	run      string // what makes the names of this run its own
	people   map[string]*person
	nodes    int // of the site; more than 1 = its leader is killed, too
	report   demoReport
}

// demoReport is what the demonstration came to.
type demoReport struct {
	Memory   memoryStep   `json:"memory"`
	Intent   intentStep   `json:"intent"`
	Guardian guardianStep `json:"guardian"`
	Money    moneyStep    `json:"money"`
	Rooms    roomsStep    `json:"rooms"`
	Evidence evidenceStep `json:"evidence"`
	Witness  witnessStep  `json:"witness"`
	Refusals refusalsStep `json:"refusals"`
	Failover failoverStep `json:"failover,omitzero"` // of a site of several nodes

	Identities int     `json:"identities"` // enrolled for this run, and revoked at its end
	OK         bool    `json:"ok"`
	TookMs     float64 `json:"tookMs"`
}

// outcome is what every step has besides its figures.
type outcome struct {
	OK     bool             `json:"ok"`
	TookMs float64          `json:"tookMs"`
	Error  *tap.ErrorFields `json:"error,omitempty"`

	lang  tap.Lang
	lines []string // for a person
}

func (o *outcome) base() *outcome { return o }

// say adds a line for a person.
func (o *outcome) say(text tap.Text, args ...any) {
	o.lines = append(o.lines, fmt.Sprintf(text.In(o.lang), args...))
}

// step is one of them: eight, and a ninth where there are several nodes.
type step struct {
	title   tap.Text
	figures interface{ base() *outcome }
	do      func(ctx context.Context) error
}

func (d *demo) steps() []step {
	r := &d.report
	steps := []step{
		{textStepMemory, &r.Memory, d.memory},
		{textStepIntent, &r.Intent, d.intent},
		{textStepGuardian, &r.Guardian, d.guardian},
		{textStepMoney, &r.Money, d.money},
		{textStepRooms, &r.Rooms, d.rooms},
		{textStepEvidence, &r.Evidence, d.evidence},
		{textStepWitness, &r.Witness, d.witness},
		{textStepRefusals, &r.Refusals, d.refusals},
	}
	if d.nodes > 1 {
		steps = append(steps, step{textStepFailover, &r.Failover, d.failover})
	}
	return steps
}

func (a *app) demoCommand() *cobra.Command {
	var nodes int
	c := a.verb("demo", textDemo, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		if nodes < 1 || nodes > 5 {
			return usage("--nodes %d is not from 1 to 5", nodes)
		}
		return a.demonstrate(ctx, nodes)
	})
	c.Flags().IntVar(&nodes, "nodes", 1, textFlagNodes.In(a.lang))
	return c
}

// demonstrate goes through the steps. One that fails does not stop those that can
// do without it; the error is of the first one's kind.
func (a *app) demonstrate(ctx context.Context, nodes int) error {
	began := time.Now()
	d, err := a.newDemo(ctx)
	if err != nil {
		return err
	}
	d.nodes = nodes
	defer d.leave()
	var first error
	failed := 0
	for i, s := range d.steps() {
		if ctx.Err() != nil {
			break // the rest would only repeat it
		}
		if err := d.perform(ctx, i, s); err != nil {
			failed++
			if first == nil {
				first = err
			}
		}
	}
	if first == nil {
		first = ctx.Err()
	}
	d.report.Identities, d.report.OK = len(d.people), first == nil
	if err := d.retire(ctx); err != nil && first == nil {
		d.report.OK, first = false, err
	}
	d.report.TookMs = millis(time.Since(began))
	if err := d.conclude(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if first != nil {
		return tap.E("tamvctl.demo", tap.KindOf(first), textDemoFailed.In(a.lang), failed, len(d.steps())).WithCode("demo_failed")
	}
	return nil
}

// perform does one step within the time allowed and reports it to a person at
// once.
func (d *demo) perform(ctx context.Context, i int, s step) error {
	a, o := d.app, s.figures.base()
	o.lang = a.lang
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	began := time.Now()
	a.progress("%d/%d  %s …", i+1, len(d.steps()), s.title.In(a.lang))
	err := s.do(ctx)
	a.progress("")
	o.TookMs, o.OK = millis(time.Since(began)), err == nil
	if err != nil {
		o.Error = d.fields(err)
	}
	if a.output == asTable {
		return errors.Join(err, d.draw(i, s.title, o))
	}
	return err
}

// fields is an error as the report shows it.
func (d *demo) fields(err error) *tap.ErrorFields {
	e := tap.AsError(err)
	f := e.Body("", time.Now(), d.app.lang).Error
	f.Message = message(e)
	var reply *replyError
	if errors.As(err, &reply) {
		f.RequestID = reply.requestID
	}
	return &f
}

// draw prints a step for a person.
func (d *demo) draw(i int, title tap.Text, o *outcome) error {
	verdict := textOK
	if !o.OK {
		verdict = textFailed
	}
	t := newTable(d.app.out, d.app.lang)
	t.line(fmt.Sprintf("%d/%d  %-12s %-7s %6.0f ms", i+1, len(d.steps()), title.In(d.app.lang), verdict.In(d.app.lang), o.TookMs))
	t.indent = "     "
	for _, line := range o.lines {
		t.line(line)
	}
	if o.Error != nil {
		t.line(fmt.Sprintf("%s (%s)", o.Error.Message, o.Error.Code))
	}
	return t.flush()
}

// conclude prints the whole: as the report, or as one last line.
func (d *demo) conclude() error {
	last := textDemoDone
	if !d.report.OK {
		last = textDemoNotDone
	}
	return d.app.printValue(d.report, func(t *table) {
		t.line("")
		t.line(fmt.Sprintf(last.In(t.lang), d.report.TookMs/1000, d.report.Identities))
	})
}

// millis is a duration in milliseconds, to a tenth.
func millis(d time.Duration) float64 {
	return float64(d.Round(100*time.Microsecond)) / float64(time.Millisecond)
}

// wrong is a step that did not go as it must.
func wrong(format string, args ...any) error {
	return tap.E("tamvctl.demo", tap.Internal, format, args...).WithCode("unexpected")
}

// refused returns nil if err is the refusal that was to come.
func refused(err error, kind tap.Kind, code string) error {
	if err == nil {
		return wrong("accepted, but had to be refused as %s", code)
	}
	if e := tap.AsError(err); e.Kind != kind || e.StableCode() != code {
		return wrong("refused as %s/%s, but had to be as %s/%s: %s", e.Kind, e.StableCode(), kind, code, e.Message)
	}
	return nil
}

// newDemo makes sure that the context can enrol identities.
func (a *app) newDemo(ctx context.Context) (*demo, error) {
	d := &demo{app: a, people: map[string]*person{}}
	var err error
	if d.config, err = a.config(); err != nil {
		return nil, err
	}
	if d.operator, err = a.client(); err != nil {
		return nil, err
	}
	reply, err := a.request(ctx, ask{path: "/v1/identities/me"})
	if err != nil {
		return nil, err
	}
	var me identity
	if err := reply.Decode(&me); err != nil {
		return nil, err
	}
	if !slices.Contains(me.Roles, tap.Operator) {
		return nil, tap.E("tamvctl.demo", tap.Forbidden, "%s", textDemoOperator.In(a.lang)).WithCode("role")
	}
	var unique [4]byte
	if _, err := rand.Read(unique[:]); err != nil {
		return nil, err
	}
	d.run = hex.EncodeToString(unique[:])
	return d, nil
}
