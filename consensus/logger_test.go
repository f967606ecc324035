package consensus

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestLoggerBridge(t *testing.T) {
	var out bytes.Buffer
	var level slog.LevelVar
	level.Set(levelTrace)
	l := newHCLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: &level})))
	for _, test := range []struct {
		log  func(string, ...any)
		want string
	}{
		{l.Trace, "level=DEBUG-4"},
		{l.Debug, "level=DEBUG"},
		{l.Info, "level=INFO"},
		{l.Warn, "level=WARN"},
		{l.Error, "level=ERROR"},
	} {
		out.Reset()
		test.log("election won", "term", 7, "servers", hclog.Fmt("%d of %d", 2, 3))
		for _, want := range []string{test.want + " ", `msg="election won"`, "component=raft", "term=7", `servers="2 of 3"`} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q lacks %q", out.String(), want)
			}
		}
	}
	if !l.IsTrace() || l.GetLevel() != hclog.Trace {
		t.Errorf("level %v", l.GetLevel())
	}

	level.Set(slog.LevelWarn)
	l.SetLevel(hclog.Trace)
	if l.IsTrace() || l.IsDebug() || l.IsInfo() || !l.IsWarn() || !l.IsError() || l.GetLevel() != hclog.Warn {
		t.Errorf("at warn: level %v", l.GetLevel())
	}
	level.Set(slog.LevelError + 8)
	if l.GetLevel() != hclog.Off {
		t.Errorf("above everything: level %v", l.GetLevel())
	}
	out.Reset()
	l.Error("hidden")
	if out.Len() != 0 {
		t.Errorf("logged %q", out.String())
	}

	level.Set(slog.LevelInfo)
	child := l.With("peer", "n2").Named("net")
	child.Log(hclog.NoLevel, "hello")
	child.StandardLogger(nil).Print("from the standard library")
	if child.Name() != "raft.net" || len(child.ImpliedArgs()) != 2 || strings.Count(out.String(), "peer=n2") != 2 {
		t.Errorf("%s %v %q", child.Name(), child.ImpliedArgs(), out.String())
	}
	if _, err := child.StandardWriter(nil).Write([]byte("line\n")); err != nil || slogLevel(hclog.Off) <= slog.LevelError {
		t.Error(err)
	}
}

// What Raft says about a member that is away is logged once in a while, as a warning; about another one, or something else, at once.
func TestLoggerDoesNotRepeatItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newHCLogger(slog.New(slog.NewTextHandler(&out, nil)))
		for range 100 {
			l.Error("failed to heartbeat to", "peer", "n2:7443", "error", "refused")
			l.Error("failed to heartbeat to", "peer", "n3:7443", "error", "refused")
		}
		<-time.After(repeatAfter)
		l.With("a", 1).Error("failed to heartbeat to", "peer", "n2:7443", "error", "refused")
		if text := out.String(); strings.Count(text, "n2:7443") != 2 || strings.Count(text, "n3:7443") != 1 || strings.Contains(text, "ERROR") {
			t.Errorf("logged %s", text)
		}
		out.Reset()
		l.Error("failed to take snapshot", "error", "a")
		l.Error("failed to take snapshot", "error", "a")
		if strings.Count(out.String(), "ERROR") != 2 {
			t.Errorf("logged %s", out.String())
		}
		for i := range 2 * maxRepeats {
			l.Warn("away", "peer", i)
		}
		if n := len(l.(hclogger).repeats.last); n > maxRepeats {
			t.Errorf("%d complaints are remembered", n)
		}
	})
}
