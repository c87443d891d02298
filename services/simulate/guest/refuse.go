package main

import (
	"context"

	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/replica"
)

// refuse starts a process with the bucket of this cluster and a log that lacks what the bucket has a snapshot or archive of, and another with a
// foreign log's identity. Neither may start.
func (c *cluster) refuse() {
	ctx, p := context.Background(), c.w.NewProcess("restored", "restored")
	defer p.Kill()
	store := c.bucket.Open(p)
	known := false
	for _, prefix := range []string{"meta/snapshot/", "meta/archive/"} {
		for range c.bucket.Inner.List(ctx, prefix, "") {
			known = true
		}
	}
	if known {
		c.w.Count("short log refused")
		c.refused("a log that has lost its tail", replica.Config{LogID: logID, Log: mem.New().Open(), Store: store})
	}
	if !c.w.Swarm.MetalogOnBucket {
		c.refused("another cluster's log", replica.Config{LogID: [16]byte{'o'}, Log: c.log.Open(p)})
	}
}

func (c *cluster) refused(what string, config replica.Config) {
	r, err := replica.Open(context.Background(), config)
	if err == nil {
		c.w.Fail("15 the cluster knows itself", "a process starts with %s", what)
		r.Close()
	} else if !final(err) {
		c.w.Fail("15 the cluster knows itself", "a process with %s goes on trying: %v", what, err)
	}
}
