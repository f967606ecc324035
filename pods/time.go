package pods

import "time"

// Timestamp renders a time as replies and payloads show it: RFC 3339, UTC,
// microseconds.
func Timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z07:00") }

// TimestampMicros renders a stamp of the ledger or the state, in microseconds
// since the Unix epoch, likewise.
func TimestampMicros(micros int64) string { return Timestamp(time.UnixMicro(micros)) }
