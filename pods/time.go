package pods

import "time"

// Timestamp renders a time as replies and payloads show it: RFC 3339, UTC,
// microseconds.
func Timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z07:00") }
