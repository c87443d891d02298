package meta

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
)

// commandLevels pins the feature level that each kind of command needs. A kind that is missing here is new: give it the level after the last
// released one, in needs too, and raise FeatureLevel to it. A level never changes once a release has it.
var commandLevels = map[string]uint32{
	"leader_start": 1, "raise_feature_level": 1, "recovered": 1, "noop": 1, "tick": 1,
	"register_node": 1, "set_node_live": 1, "drain_node": 1, "forget_node": 1,
	"commit_chunk": 1, "seal_container": 1, "local_released": 1, "advance_log_start": 1,
	"create_topic": 1, "delete_topic": 1, "create_partitions": 1, "alter_config": 1,
	"allocate_producer_id": 1, "init_transactional_producer": 1, "add_to_transaction": 1, "commit_transaction_offsets": 1, "end_transaction": 1,
	"store_group": 1, "store_consumer_group": 1, "store_streams_group": 1, "store_share_group": 1, "store_share_state": 1, "reset_share_offsets": 1,
	"commit_offsets": 1, "delete_offsets": 1, "delete_groups": 1,
	"lease_job": 1, "renew_job": 1, "finish_job": 1, "lease_compaction": 1, "compact_range": 1, "forget_garbage": 1,
}

func TestEachKindOfCommandHasItsFeatureLevel(t *testing.T) {
	kinds := (&metapb.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	if kinds.Len() != len(commandLevels) {
		t.Errorf("%d kinds of commands, %d with a pinned level", kinds.Len(), len(commandLevels))
	}
	for i := range kinds.Len() {
		name := string(kinds.Get(i).Name())
		c := &metapb.Command{}
		c.ProtoReflect().Mutable(kinds.Get(i))
		switch level, pinned := commandLevels[name], needs(c); {
		case level == 0:
			t.Errorf("command %s has no pinned feature level", name)
		case level != pinned:
			t.Errorf("command %s needs level %d, pinned is %d", name, pinned, level)
		case level > FeatureLevel:
			t.Errorf("command %s needs level %d, and this build knows %d", name, level, FeatureLevel)
		}
	}
}

// restored is the state as its snapshot has it.
func restored(t *testing.T, s *State) *State {
	t.Helper()
	parts := map[[32]byte][]byte{}
	m, err := s.Snapshot(nil, func(hash [32]byte, part []byte) error {
		parts[hash] = slices.Clone(part)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	again, err := Restore(m, func(hash [32]byte) ([]byte, error) { return parts[hash], nil })
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func TestASnapshotOfALaterLevelIsRefusedByName(t *testing.T) {
	s := New(testLogID)
	s.leader = leaderInfo{epoch: 1, featureLevel: FeatureLevel + 1}
	parts := map[[32]byte][]byte{}
	m, err := s.Snapshot(nil, func(hash [32]byte, part []byte) error {
		parts[hash] = slices.Clone(part)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(m, func(hash [32]byte) ([]byte, error) { return parts[hash], nil }); !errors.Is(err, ErrFeatureLevel) {
		t.Errorf("got %v", err)
	}
}

// laterCommand is a command of a kind that this build does not know: its field is one that no kind has.
func laterCommand(t *testing.T) *metapb.Command {
	t.Helper()
	c := &metapb.Command{}
	if err := proto.Unmarshal([]byte{0xba, 0x3e, 0x00}, c); err != nil { // field 999, empty
		t.Fatal(err)
	}
	return c
}

// A build that knows the kind refuses it too while the log is below its level: both have the same state.
func TestACommandAboveTheLogsLevelChangesNothing(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	twin := newTestLog(t)
	twin.lead(1)
	c := laterCommand(t)
	c.Id = []byte("later")
	if v := l.entry(c); v.Code != Malformed || !strings.Contains(v.Message, fmt.Sprintf("at feature level %d", baseLevel)) {
		t.Errorf("verdict %s %q", v.Code, v.Message)
	}
	twin.do(&metapb.Noop{})
	if l.s.Hash() != twin.s.Hash() {
		t.Error("it changed the state")
	}
}

func TestTheLogsLevelIsTheFirstLeadersUntilItIsRaised(t *testing.T) {
	l := newTestLog(t)
	l.epoch = 1
	l.entry(command(&metapb.LeaderStart{Epoch: 1}))
	if got := l.s.FeatureLevel(); got != 0 {
		t.Fatalf("level %d with a leader that names none", got)
	}
	// A later leader that knows more does not speak for the others.
	l.epoch = 2
	l.entry(command(&metapb.LeaderStart{Epoch: 2, FeatureLevel: FeatureLevel + 1}))
	if got := l.s.FeatureLevel(); got != 0 || l.s.LeaderEpoch() != 2 {
		t.Fatalf("level %d, leader epoch %d", got, l.s.LeaderEpoch())
	}
	l.do(&metapb.RaiseFeatureLevel{Level: FeatureLevel})
	l.do(&metapb.RaiseFeatureLevel{Level: 0})
	if got := l.s.FeatureLevel(); got != FeatureLevel {
		t.Errorf("level %d, raised to %d", got, FeatureLevel)
	}
	if got := restored(t, l.s).FeatureLevel(); got != FeatureLevel {
		t.Errorf("level %d in the snapshot", got)
	}
}

func TestALogThatLaterBuildsBeganIsRefusedByName(t *testing.T) {
	l := newTestLog(t)
	err := l.s.Apply(1, entryOf(1, 1, command(&metapb.LeaderStart{Epoch: 1, FeatureLevel: FeatureLevel + 1})), nil)
	if !errors.Is(err, ErrFeatureLevel) || !strings.Contains(err.Error(), "a later release of varve is needed") {
		t.Errorf("got %v", err)
	}
}

// What a leader that was succeeded says is void, also that the level is raised.
func TestALevelThatASucceededLeaderRaisesIsVoid(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.lead(2)
	l.epoch = 1
	l.entry(command(&metapb.RaiseFeatureLevel{Level: FeatureLevel + 1}))
	if got := l.s.FeatureLevel(); got > FeatureLevel {
		t.Errorf("level %d", got)
	}
}

func TestLiveNodesSayWhatTheyKnow(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	if got := l.s.NodesSupport(); got < FeatureLevel+1 {
		t.Errorf("no node holds the level down to %d", got)
	}
	register := func(disk byte, level uint32) {
		id := make([]byte, 16)
		id[0] = disk
		l.do(&metapb.RegisterNode{DiskId: id, Incarnation: []byte{disk, byte(level)}, FeatureLevel: level})
	}
	register(1, 7)
	register(2, 0)
	if got := l.s.NodesSupport(); got != 0 {
		t.Errorf("a node that says nothing knows %d", got)
	}
	register(2, 5)
	if got, kept := l.s.NodesSupport(), restored(t, l.s).NodesSupport(); got != 5 || kept != 5 {
		t.Errorf("nodes know %d, in a snapshot %d, want 5", got, kept)
	}
	l.do(&metapb.SetNodeLive{NodeId: 2, NodeEpoch: 2})
	if got := l.s.NodesSupport(); got != 7 {
		t.Errorf("with a node gone the others know %d, want 7", got)
	}
}
