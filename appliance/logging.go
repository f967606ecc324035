package appliance

import (
	"log"
	"log/slog"
)

// quietly sends net/http's own messages (mostly handshakes that strangers broke
// off) to the debug level: they are counted, and nobody needs to wake up.
func quietly(l *slog.Logger) *log.Logger { return slog.NewLogLogger(l.Handler(), slog.LevelDebug) }
