package consensus

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// levelTrace is below slog's lowest named level, as hclog's Trace is below Debug.
const levelTrace = slog.LevelDebug - 4

// hclogger lets Raft write to an slog.Logger. Raft logs indexes, terms, member ids and addresses, never an entry's data.
type hclogger struct {
	slog    *slog.Logger
	name    string
	implied []any
	repeats *repeats
}

// newHCLogger returns a bridge whose messages carry the attribute component=raft.
func newHCLogger(l *slog.Logger) hclog.Logger {
	return hclogger{slog: l.With("component", "raft"), name: "raft", repeats: &repeats{last: map[string]time.Time{}}}
}

const (
	// repeatAfter is how long a complaint of Raft about a member is not repeated: it makes several a second about one that is
	// away, which Node.Peers tells better.
	repeatAfter = 10 * time.Second
	// maxRepeats bounds the complaints that are remembered.
	maxRepeats = 256
)

// repeats remembers when a complaint was logged last.
type repeats struct {
	mu   sync.Mutex
	last map[string]time.Time // by message and member
}

// fresh says whether a complaint is to be logged, and notes that it is.
func (r *repeats) fresh(complaint string) bool {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, known := r.last[complaint]; known && now.Sub(at) < repeatAfter {
		return false
	}
	if len(r.last) >= maxRepeats {
		clear(r.last)
	}
	r.last[complaint] = now
	return true
}

// aboutMember returns what makes a message a complaint about one member, "" if it is none.
func aboutMember(msg string, args []any) string {
	for i := 0; i+1 < len(args); i += 2 {
		if key := args[i]; key == "peer" || key == "target" || key == "server-id" {
			return fmt.Sprint(msg, args[i+1])
		}
	}
	return ""
}

// slogLevel maps a level; hclog's "off" is above everything, "none" means info.
func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Trace:
		return levelTrace
	case hclog.Debug:
		return slog.LevelDebug
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	case hclog.Off:
		return slog.LevelError + 4
	default:
		return slog.LevelInfo
	}
}

func (h hclogger) enabled(l hclog.Level) bool {
	return h.slog.Enabled(context.Background(), slogLevel(l))
}

// Log implements hclog.Logger.
func (h hclogger) Log(level hclog.Level, msg string, args ...any) {
	if h.enabled(level) {
		if complaint := aboutMember(msg, args); complaint != "" && level >= hclog.Warn {
			// That a member is away is nothing that this one did wrong.
			if level = hclog.Warn; !h.repeats.fresh(complaint) {
				return
			}
		}
		h.slog.Log(context.Background(), slogLevel(level), msg, slogArgs(args)...)
	}
}

// slogArgs replaces hclog's deferred formats by their text.
func slogArgs(args []any) []any {
	out := make([]any, len(args))
	for i, arg := range args {
		if f, ok := arg.(hclog.Format); ok && len(f) > 0 {
			arg = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
		out[i] = arg
	}
	return out
}

func (h hclogger) Trace(msg string, args ...any) { h.Log(hclog.Trace, msg, args...) }
func (h hclogger) Debug(msg string, args ...any) { h.Log(hclog.Debug, msg, args...) }
func (h hclogger) Info(msg string, args ...any)  { h.Log(hclog.Info, msg, args...) }
func (h hclogger) Warn(msg string, args ...any)  { h.Log(hclog.Warn, msg, args...) }
func (h hclogger) Error(msg string, args ...any) { h.Log(hclog.Error, msg, args...) }

func (h hclogger) IsTrace() bool { return h.enabled(hclog.Trace) }
func (h hclogger) IsDebug() bool { return h.enabled(hclog.Debug) }
func (h hclogger) IsInfo() bool  { return h.enabled(hclog.Info) }
func (h hclogger) IsWarn() bool  { return h.enabled(hclog.Warn) }
func (h hclogger) IsError() bool { return h.enabled(hclog.Error) }

func (h hclogger) ImpliedArgs() []any { return h.implied }
func (h hclogger) Name() string       { return h.name }

func (h hclogger) With(args ...any) hclog.Logger {
	implied := append(append([]any(nil), h.implied...), args...)
	return hclogger{slog: h.slog.With(slogArgs(args)...), name: h.name, implied: implied, repeats: h.repeats}
}

func (h hclogger) Named(name string) hclog.Logger { return h.ResetNamed(h.name + "." + name) }

func (h hclogger) ResetNamed(name string) hclog.Logger {
	h.name = name
	return h
}

// SetLevel does nothing: the slog handler decides.
func (h hclogger) SetLevel(hclog.Level) {}

// GetLevel returns the lowest level that the slog handler lets through.
func (h hclogger) GetLevel() hclog.Level {
	for l := hclog.Trace; l < hclog.Off; l++ {
		if h.enabled(l) {
			return l
		}
	}
	return hclog.Off
}

// StandardLogger implements hclog.Logger; lines are logged at info.
func (h hclogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(h.slog.Handler(), slog.LevelInfo)
}

// StandardWriter implements hclog.Logger; lines are logged at info.
func (h hclogger) StandardWriter(o *hclog.StandardLoggerOptions) io.Writer {
	return h.StandardLogger(o).Writer()
}
