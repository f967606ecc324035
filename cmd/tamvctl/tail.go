package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// maxEntryLine is the longest line of a stream or an export, in bytes: a payload in JSON
// and in base64 beside its entry.
const maxEntryLine = 8 << 20

// tailFlags is what evidence tail is told.
type tailFlags struct {
	after, from, actor, action string
	limit                      uint64
}

func (a *app) evidenceTail() *cobra.Command {
	var in tailFlags
	c := a.verb("tail [--after N | --from N] [flags]", textEvidenceTail, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return a.tail(ctx, in)
	})
	c.Flags().StringVar(&in.after, "after", "", textFlagTailAfter.In(a.lang))
	c.Flags().StringVar(&in.from, "from", "", textFlagFromPosition.In(a.lang))
	c.Flags().StringVar(&in.actor, "actor", "", textFlagActor.In(a.lang))
	c.Flags().StringVar(&in.action, "action", "", textFlagAction.In(a.lang))
	c.Flags().Uint64Var(&in.limit, "limit", 0, textFlagTailLimit.In(a.lang))
	c.MarkFlagsMutuallyExclusive("after", "from")
	return c
}

// tail prints entries as they come, and goes on where it was after a lost connection.
// An interrupt is its ordinary end.
func (a *app) tail(ctx context.Context, in tailFlags) error {
	query := filled("actor", in.actor, "action", in.action, "after", in.after, "from", in.from)
	if a.output == asTable {
		fmt.Fprintln(a.out, strings.ToUpper(strings.Join([]string{
			textPosition.In(a.lang), textTime.In(a.lang), textActor.In(a.lang), textAction.In(a.lang), textOutcome.In(a.lang), textEvidence.In(a.lang),
		}, "  ")))
	}
	var printed uint64
	err := a.follow(ctx, func() (progress bool, err error) {
		stream, err := a.openStream(ctx, evidencePath+"/stream", query)
		if err != nil {
			return false, err
		}
		defer stream.Close()
		err = readEvents(stream, func(e event) error {
			if e.hasNext {
				progress = true
				query.Del("after")
				query.Set("from", strconv.FormatUint(e.next, 10))
			}
			if e.data == nil {
				return nil
			}
			if err := a.printEvent(e.data); err != nil {
				return err
			}
			if printed++; in.limit > 0 && printed == in.limit {
				return io.EOF
			}
			return nil
		})
		return progress, err
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// printEvent prints one entry: a line for a person, a line of JSON, or a YAML document.
func (a *app) printEvent(data []byte) error {
	switch a.output {
	case asJSON:
		_, err := a.out.Write(append(data, '\n'))
		return err
	case asYAML:
		if _, err := io.WriteString(a.out, "---\n"); err != nil {
			return err
		}
		return encodeYAML(a.out, data)
	}
	var e ledgerEntry
	if err := json.Unmarshal(data, &e); err != nil {
		return tap.Wrap("tamvctl.tail", tap.Internal, err, "an event is not an entry").WithCode(client.CodeReply)
	}
	_, err := fmt.Fprintln(a.out, oneLine(fmt.Sprintf("%8d  %s  %s  %s  %s  %s", e.Position, e.Time, e.Actor, e.Action, e.Outcome, e.EvidenceHash)))
	return err
}

// event is one of server-sent events: an entry, or only how far the ledger was looked at.
type event struct {
	data    []byte // nil when there is no entry
	next    uint64 // position to go on with
	hasNext bool
}

// readEvents reads a stream of events (HTML standard, section 9.2) as the appliance
// sends them. fn ends it with an error, without one with io.EOF; else it ends when the
// stream breaks, which is an error of kind Unavailable.
func readEvents(r io.Reader, fn func(event) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxEntryLine)
	var e event
	for lines.Scan() {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if line == "" {
			if e.data != nil || e.hasNext {
				if err := fn(e); err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
			}
			e = event{}
			continue
		}
		e.field(line)
	}
	err := lines.Err()
	if err == bufio.ErrTooLong {
		return tap.E("tamvctl.tail", tap.Internal, "an event is longer than %d bytes", maxEntryLine).WithCode(client.CodeReply)
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return streamError(err)
}

// field takes a line into the event. Unknown fields are ignored, as the standard says.
func (e *event) field(line string) {
	const following = ": following from "
	name, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch {
	case strings.HasPrefix(line, following): // the appliance's first line: where it begins
		e.position(strings.TrimPrefix(line, following), 0)
	case name == "id":
		e.position(value, 1)
	case name == "data":
		if e.data != nil {
			e.data = append(e.data, '\n')
		}
		e.data = append(e.data, value...)
	}
}

func (e *event) position(text string, step uint64) {
	if n, err := strconv.ParseUint(text, 10, 62); err == nil {
		e.next, e.hasNext = n+step, true
	}
}
