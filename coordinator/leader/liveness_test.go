package leader

import (
	"slices"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
)

const (
	testRound   = 100 * time.Millisecond
	testTimeout = time.Second
	testHold    = time.Second
)

// hearer is a leader's hearing over a state with one node, in steps of a round.
type hearer struct {
	hearing
	t     *testing.T
	state *meta.State
	now   time.Time
	count int // rounds that were judged
}

func newHearer(t *testing.T) *hearer {
	h := &hearer{hearing: hearing{signs: map[meta.NodeID]*sign{}}, t: t, state: meta.New(logID)}
	h.apply(&metapb.Command{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: 1}}})
	h.register(1)
	h.round()
	return h
}

func (h *hearer) apply(commands ...*metapb.Command) {
	h.t.Helper()
	entry := &metapb.Entry{Format: meta.EntryFormat, LogId: logID[:], LeaderEpoch: 1, Commands: commands}
	if h.state.Seq() > 0 {
		entry.PreviousHash = make([]byte, 32)
	}
	if err := h.state.Apply(h.state.Seq()+1, entry, nil); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hearer) register(incarnation byte) {
	h.apply(&metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{DiskId: make([]byte, 16), Incarnation: []byte{incarnation}}}})
}

func (h *hearer) node() *meta.Node { return h.state.Node(1) }

// round lets the time of a round pass, and applies what is decided where one was due.
func (h *hearer) round() {
	if h.now = h.now.Add(testRound); h.now.Before(h.due) {
		return
	}
	h.count++
	h.look(h.now, testRound)
	h.apply(h.judge(h.state, testTimeout, testHold, nil)...)
	h.due = h.now.Add(h.rest(h.state, testTimeout, testRound))
}

// succeed has another leader begin.
func (h *hearer) succeed() {
	h.hearing = hearing{signs: map[meta.NodeID]*sign{}, looked: h.now, due: h.now}
}

func (h *hearer) ping(epoch uint64) {
	h.look(h.now, testRound)
	if h.hearing.ping(1, epoch, testTimeout) {
		h.due = h.now
	}
}

// after lets rounds pass, with a ping in every second one or none, and returns after how long the node's liveness became want; -1 for never.
func (h *hearer) after(d time.Duration, pings, want bool) time.Duration {
	became := time.Duration(-1)
	for at := time.Duration(0); at < d; at += testRound {
		if pings && at%(2*testRound) == 0 {
			h.ping(h.node().Epoch)
		}
		h.round()
		if became < 0 && h.node().Live == want {
			became = at + testRound
		}
	}
	return became
}

func TestASilentNodeIsNotLiveAfterASecond(t *testing.T) {
	h := newHearer(t)
	if h.after(time.Minute, true, false) >= 0 {
		t.Fatal("a node that pings is not live")
	}
	if perSecond := h.count / 60; perSecond > 3 {
		t.Errorf("%d rounds a second with nothing to judge", perSecond)
	}
	if after := h.after(3*time.Second, false, false); after < 800*time.Millisecond || after > 1200*time.Millisecond {
		t.Errorf("silent after %v", after)
	}
	if after := h.after(5*time.Second, true, true); after < time.Second || after > 1200*time.Millisecond {
		t.Errorf("back after %v", after)
	}
}

func TestANodeThatComesAndGoesStaysAwayLonger(t *testing.T) {
	h := newHearer(t)
	var waits []time.Duration
	for range 7 {
		h.after(1500*time.Millisecond, false, false)
		waits = append(waits, h.after(20*time.Second, true, true).Round(time.Second)/time.Second)
	}
	if want := []time.Duration{1, 2, 4, 8, 16, 16, 16}; !slices.Equal(waits, want) {
		t.Errorf("back after %d seconds, want %d", waits, want)
	}
	h.after(2*time.Minute, true, true)
	h.after(1500*time.Millisecond, false, false)
	if after := h.after(20*time.Second, true, true).Round(time.Second); after != time.Second {
		t.Errorf("after two good minutes it was back after %v", after)
	}
	// A process that registers is a new one: nothing is held against it.
	h.after(1500*time.Millisecond, false, false)
	h.register(2)
	if h.after(10*time.Second, true, false) >= 0 {
		t.Error("a node that has registered is not live")
	}
}

func TestALeaderThatWasPausedFindsNobodySilent(t *testing.T) {
	h := newHearer(t)
	h.ping(1)
	h.now = h.now.Add(time.Hour)
	if h.round(); !h.node().Live {
		t.Error("an hour of sleep counts as a node's silence")
	}
}

func TestANewLeaderGivesNodesTheWholeTimeout(t *testing.T) {
	h := newHearer(t)
	h.succeed()
	if after := h.after(3*time.Second, false, false); after < testTimeout || after > testTimeout+3*testRound {
		t.Errorf("silent after %v", after)
	}
	h.succeed()
	if h.after(time.Minute, false, true) >= 0 {
		t.Error("a new leader takes a dead node for live")
	}
	if h.after(time.Minute, true, true) < 0 {
		t.Error("a node that pings stays away")
	}
}

func TestADrainingNodeDoesNotComeBackByPinging(t *testing.T) {
	h := newHearer(t)
	h.apply(&metapb.Command{Kind: &metapb.Command_DrainNode{DrainNode: &metapb.DrainNode{NodeId: 1, NodeEpoch: 1}}},
		&metapb.Command{Kind: &metapb.Command_SetNodeLive{SetNodeLive: &metapb.SetNodeLive{NodeId: 1, NodeEpoch: 1}}})
	if after := h.after(time.Minute, true, true); after >= 0 {
		t.Errorf("it was live after %v", after)
	}
}

func TestANodeThatWasSeenToDieIsNotLiveAtOnce(t *testing.T) {
	n := start(t, mem.New().Open(), nil, func(c *Config) {
		c.NodeTimeout, c.LivenessInterval, c.NodeReturn = time.Hour, time.Millisecond, time.Millisecond
	})
	v := register(t, n)
	live := func() (live bool) {
		n.replica.View(func(s *meta.State) { live = s.Node(v.NodeID).Live })
		return live
	}
	ping := func(epoch uint64) *metapb.PingResponse {
		answer, err := n.replica.Ping(timeout(t), &metapb.PingRequest{NodeId: int32(v.NodeID), NodeEpoch: epoch})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	die := func() {
		await(t, func() bool { // until its epoch is known
			n.NodeGone(v.NodeID, v.NodeEpoch)
			return !live()
		})
	}
	die()
	if ping(v.NodeEpoch).Away {
		t.Error("the only node is told that its clients were sent to another")
	}
	await(t, live)
	second := &metapb.RegisterNode{DiskId: []byte("disk-disk-disk-2"), Incarnation: make([]byte, 16), KafkaHost: "h", KafkaPort: 2, InternalAddress: "h:3"}
	if _, err := n.replica.Propose(timeout(t), &metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: second}}); err != nil {
		t.Fatal(err)
	}
	die()
	if !ping(v.NodeEpoch).Away {
		t.Error("who is not live is not told")
	}
	await(t, live)
	if ping(v.NodeEpoch).Away {
		t.Error("who is live again is told otherwise")
	}
	register(t, n)
	n.NodeGone(v.NodeID, v.NodeEpoch) // which is another's
	if !ping(v.NodeEpoch).Fenced {
		t.Error("a ping of an old epoch is not told that it is fenced")
	}
	if !live() {
		t.Error("the death of an old epoch counts")
	}
}
