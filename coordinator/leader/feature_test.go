package leader

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
)

// oldLog is a log whose first leader named no feature level.
func oldLog(t *testing.T) metalog.Log {
	t.Helper()
	log := mem.New().Open()
	entry, err := meta.EncodeEntry(&metapb.Entry{
		Format: meta.EntryFormat, LogId: logID[:], LeaderEpoch: 1, TimeMillis: 1,
		Commands: []*metapb.Command{{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: 1}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Append(timeout(t), 1, entry, metalog.Fence); err != nil {
		t.Fatal(err)
	}
	return log
}

func (n *node) featureLevel() (level uint32) {
	n.replica.View(func(s *meta.State) { level = s.FeatureLevel() })
	return level
}

func registerAt(t *testing.T, n *node, disk byte, level uint32) {
	t.Helper()
	id := make([]byte, 16)
	id[0] = disk
	v, err := n.replica.Propose(timeout(t), &metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{
		DiskId: id, Incarnation: []byte{disk, byte(level + 1)}, FeatureLevel: level,
	}}})
	if err != nil || v.Code != meta.OK {
		t.Fatalf("register: %v %v", err, v)
	}
}

// The level rises when the last who does not know it has gone: a node of an older release, then a coordinator of one.
func TestTheFeatureLevelRisesWhenEverybodyKnowsIt(t *testing.T) {
	var peers, asked atomic.Int64
	n := start(t, oldLog(t), nil, func(c *Config) {
		c.NodeTimeout, c.LivenessInterval, c.FeatureHold = time.Hour, time.Millisecond, 20*time.Millisecond
		c.PeersSupport = func() uint32 {
			asked.Add(1)
			return uint32(peers.Load())
		}
	})
	unraised := func(why string) {
		t.Helper()
		looked := asked.Load() + 20
		await(t, func() bool { return asked.Load() > looked })
		if level := n.featureLevel(); level != 0 {
			t.Fatalf("the log is at level %d while %s", level, why)
		}
	}
	registerAt(t, n, 1, meta.FeatureLevel)
	registerAt(t, n, 2, 0)
	unraised("a coordinator and a node know none")
	peers.Store(meta.FeatureLevel + 1)
	unraised("a node knows none")
	registerAt(t, n, 2, meta.FeatureLevel+1)
	await(t, func() bool { return n.featureLevel() == meta.FeatureLevel })
	seq := n.replica.Seq()
	looked := asked.Load() + 20
	await(t, func() bool { return asked.Load() > looked })
	if now := n.replica.Seq(); now != seq {
		t.Errorf("the log grew from %d to %d at the level that this build knows", seq, now)
	}
}

func TestTheFeatureLevelWaitsForAHold(t *testing.T) {
	n := start(t, oldLog(t), nil)
	var r raising
	began := time.Now()
	if c := n.judgeLevel(&r, began); c != nil {
		t.Errorf("raised at once: %v", c)
	}
	if c := n.judgeLevel(&r, began.Add(n.cfg.FeatureHold-1)); c != nil {
		t.Errorf("raised too soon: %v", c)
	}
	c := n.judgeLevel(&r, began.Add(n.cfg.FeatureHold))
	if len(c) != 1 || c[0].GetRaiseFeatureLevel().GetLevel() != meta.FeatureLevel {
		t.Errorf("not raised: %v", c)
	}
	registerAt(t, n, 1, 0)
	if c := n.judgeLevel(&r, began.Add(2*n.cfg.FeatureHold)); c != nil || r != (raising{}) {
		t.Errorf("raised beside a node that knows none: %v", c)
	}
}
