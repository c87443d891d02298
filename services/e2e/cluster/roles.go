package cluster

import (
	"path/filepath"
	"testing"
)

// Roles is a cluster whose roles run in processes of their own.
type Roles struct {
	// Coordinator is the only one, or the first of several.
	Coordinator, Tiering *Node
	Coordinators         []*Node
	Ingest               []*Node
}

// RolesConfig says what to start.
type RolesConfig struct {
	// Bucket is the URL of the bucket; a directory of the test's where empty.
	Bucket string
	// NATSURL is a server that is not the coordinator's.
	NATSURL string
	// Ingest is the number of ingest nodes; 2 where zero.
	Ingest int
	// Coordinators is the number of coordinators, which form a group where there are several; 1 where zero.
	Coordinators int
	// Flags are given to every process, and FlagsOf's to one of the ingest nodes, unless nil.
	Flags   []string
	FlagsOf func(ingest int) []string
}

// StartRoles starts a coordinator, ingest nodes and a tiering worker, and returns when all are ready.
func StartRoles(t testing.TB, c RolesConfig) *Roles {
	t.Helper()
	if c.Bucket == "" {
		c.Bucket = "file://" + filepath.Join(t.TempDir(), "bucket")
	}
	flags := append([]string{"--bucket", c.Bucket}, c.Flags...)
	nats := func(url string) []string { return append([]string{"--nats-url", url}, flags...) }
	r := &Roles{}
	var own []string
	if c.NATSURL != "" {
		own = []string{"--nats-url", c.NATSURL}
	}
	if c.Coordinators > 1 {
		r.Coordinators = NewGroup(t, c.Coordinators, append(own, flags...)...)
		StartAll(t, r.Coordinators...)
		flags = append(flags, "--peers", r.Coordinators[0].Peers)
	} else {
		r.Coordinators = []*Node{New(t, "coordinator", append(own, flags...)...)}
		r.Coordinators[0].Start()
	}
	r.Coordinator = r.Coordinators[0]
	if c.NATSURL == "" {
		c.NATSURL = NATSURL(r.Coordinators)
	}
	if c.Ingest == 0 {
		c.Ingest = 2
	}
	for i := range c.Ingest {
		own := nats(c.NATSURL)
		if c.FlagsOf != nil {
			own = append(own, c.FlagsOf(i)...)
		}
		n := New(t, "ingest", own...)
		n.Start()
		r.Ingest = append(r.Ingest, n)
	}
	r.Tiering = New(t, "tiering", nats(c.NATSURL)...)
	r.Tiering.Start()
	return r
}
