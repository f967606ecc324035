package consensus

import (
	"strings"
	"testing"
)

func TestConfigValidateNamesEverythingOutOfRange(t *testing.T) {
	good := DefaultConfig()
	good.ID, good.Dir = "n1", "/var/lib/tamv/raft"
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*Config){
		"ID":                 func(c *Config) { c.ID = "" },
		"Dir":                func(c *Config) { c.Dir = "" },
		"MaxPackCommands":    func(c *Config) { c.MaxPackCommands = maxCommands + 1 },
		"MaxPackBytes":       func(c *Config) { c.MaxPackBytes = maxBody + 1 },
		"CompressAbove":      func(c *Config) { c.CompressAbove = -1 },
		"QueueLength":        func(c *Config) { c.QueueLength = 0 },
		"SnapshotInterval":   func(c *Config) { c.SnapshotInterval = 0 },
		"SnapshotThreshold":  func(c *Config) { c.SnapshotThreshold = 0 },
		"SnapshotBytes":      func(c *Config) { c.SnapshotBytes = 1 },
		"RetainSnapshots":    func(c *Config) { c.RetainSnapshots = 0 },
		"LeaderLeaseTimeout": func(c *Config) { c.LeaderLeaseTimeout = 0 },
		"HeartbeatTimeout":   func(c *Config) { c.HeartbeatTimeout = c.LeaderLeaseTimeout - 1 },
		"ElectionTimeout":    func(c *Config) { c.ElectionTimeout = c.HeartbeatTimeout - 1 },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), field+" ") {
			t.Errorf("%s out of range: error %v", field, err)
		}
	}
	err := Config{}.Validate()
	if err == nil || strings.Count(err.Error(), "\n") < 5 {
		t.Errorf("the empty configuration: error %v", err)
	}
}

func TestConsistencyNames(t *testing.T) {
	for c, want := range map[Consistency]string{Local: "local", Leader: "leader", Linearizable: "linearizable", 9: "unknown"} {
		if c.String() != want {
			t.Errorf("%d is %q, want %q", c, c, want)
		}
	}
}
