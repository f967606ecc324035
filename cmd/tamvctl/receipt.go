package main

import (
	"strconv"
	"time"
)

// receipt is where the ledger has what was done.
type receipt struct {
	Position  uint64 `json:"position"`
	Entries   int    `json:"entries"`
	Leaf      string `json:"leaf"`
	Time      int64  `json:"time"` // microseconds
	Duplicate bool   `json:"duplicate"`
}

// draw adds the receipt to a record; a nil one adds nothing.
func (r *receipt) draw(t *table) {
	if r == nil {
		return
	}
	t.field(textEvidence, r.Leaf)
	t.field(textPosition, strconv.FormatUint(r.Position, 10))
	t.field(textTime, stamp(r.Time))
	if r.Duplicate {
		t.field(textDuplicate, textYes.In(t.lang))
	}
}

// stamp writes microseconds as the appliance writes times.
func stamp(micros int64) string {
	return time.UnixMicro(micros).UTC().Format("2006-01-02T15:04:05.000000Z07:00")
}

func yesNo(t *table, yes bool) string {
	if yes {
		return textYes.In(t.lang)
	}
	return textNo.In(t.lang)
}
