package meta

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/coordinator/metapb"
)

func TestAStreamsGroupKeepsWhatACommandDoesNotName(t *testing.T) {
	l := newTestLog(t)
	l.topic("t1", 2)
	t1 := topicID("t1")
	active := &metapb.StreamsTasks{Active: []*metapb.StreamsTaskIds{{Subtopology: "0", Partitions: []int32{0, 1}}}}
	first := &metapb.StoreStreamsGroup{
		Group: "g", Reset_: true, Epoch: 1, AssignmentEpoch: 1,
		Topology:   &metapb.StreamsTopology{Epoch: 3, Subtopologies: []*metapb.StreamsSubtopology{{Id: "0", SourceTopics: []string{"t1"}}}},
		SetsTopics: true, Topics: []*metapb.SubscribedTopic{{Name: "t1", TopicId: t1[:], Partitions: 2}},
		Members: []*metapb.StreamsMember{
			{MemberId: "a", Metadata: &metapb.StreamsMetadata{ProcessId: "p"}, Target: active, Current: &metapb.StreamsCurrent{Epoch: 1}},
			{MemberId: "b", Metadata: &metapb.StreamsMetadata{ProcessId: "q"}, Current: &metapb.StreamsCurrent{Epoch: 1}},
		},
	}
	if v := l.do(first); v.Code != OK {
		t.Fatal(v)
	}
	second := &metapb.StoreStreamsGroup{Group: "g", ExpectedVersion: 1, Epoch: 2, AssignmentEpoch: 1, Removed: []string{"b"},
		Members: []*metapb.StreamsMember{{MemberId: "a", Current: &metapb.StreamsCurrent{Epoch: 2, PreviousEpoch: 1, Assigned: active}}}}
	if v := l.do(second); v.Code != OK {
		t.Fatal(v)
	}
	if v := l.do(second); v.Code != WrongSeq {
		t.Errorf("a command on another version: %v", v)
	}
	g := l.s.Group("g").Streams
	if a := g.Members["a"]; len(g.Members) != 1 || g.Epoch != 2 || len(g.Topics) != 1 || g.Topology.Epoch != 3 ||
		a.Metadata.ProcessId != "p" || a.Target == nil || a.Current.Epoch != 2 {
		t.Errorf("group %+v", g)
	}
	hash := l.s.Hash()
	if restored := l.s.reread(t); restored.Hash() != hash || restored.Group("g").Streams.Version != 2 || restored.Group("g").Streams.Topology == nil {
		t.Error("a snapshot does not bring the group back")
	}
	if v := l.do(&metapb.DeleteGroups{Groups: []string{"g"}}); v.Codes[0] != GroupNotEmpty {
		t.Errorf("delete with members: %v", v)
	}
	l.do(&metapb.StoreStreamsGroup{Group: "g", ExpectedVersion: 2, Epoch: 3, AssignmentEpoch: 2, Removed: []string{"a"}})
	if v := l.do(&metapb.DeleteGroups{Groups: []string{"g"}}); v.Codes[0] != OK || l.s.Group("g") != nil {
		t.Errorf("delete without members: %v", v)
	}
	if v := l.do(&metapb.StoreStreamsGroup{Group: "g", Epoch: 4}); v.Code != UnknownGroup {
		t.Errorf("a change of a group that is not there: %v", v)
	}
}

func TestOffsetsOfAStreamsGroupStayWhileItReadsTheTopic(t *testing.T) {
	l := newTestLog(t)
	l.topic("read", 1)
	l.topic("left", 1)
	read, left := topicID("read"), topicID("left")
	l.do(&metapb.StoreStreamsGroup{Group: "g", Reset_: true, Epoch: 1,
		Topology: &metapb.StreamsTopology{Subtopologies: []*metapb.StreamsSubtopology{{Id: "0", SourceTopics: []string{"read"}}}},
		Members:  []*metapb.StreamsMember{{MemberId: "a", Metadata: &metapb.StreamsMetadata{}}}})
	l.do(&metapb.CommitOffsets{Group: "g", Offsets: []*metapb.CommittedOffset{
		{TopicId: read[:], Offset: 1, CommitMillis: l.now}, {TopicId: left[:], Offset: 2, CommitMillis: l.now},
	}})
	l.now += l.s.Cluster().OffsetsRetentionMillis + 1
	l.do(&metapb.Tick{})
	g := l.s.Group("g")
	if _, kept := g.Offset(TopicPartition{read, 0}); !kept {
		t.Error("an offset in a topic that members read has expired")
	}
	if _, kept := g.Offset(TopicPartition{left, 0}); kept {
		t.Error("an offset in a topic that no member reads has not expired")
	}
}

func TestAStreamsGroupHasItsOwnConfiguration(t *testing.T) {
	l := newTestLog(t)
	want := StreamsConfig{HeartbeatMillis: 5000, SessionMillis: 45_000, MaxSize: 1<<31 - 1}
	if got := l.s.StreamsConfig("g"); got != want {
		t.Errorf("by default %+v", got)
	}
	set := func(resource metapb.AlterConfig_Resource, name, key, value string) Code {
		return l.do(&metapb.AlterConfig{Resource: resource, Name: name, Entries: []*metapb.ConfigEntry{{Name: key, Value: value}}}).Code
	}
	set(metapb.AlterConfig_BROKER, "", "group.streams.num.standby.replicas", "1")
	set(metapb.AlterConfig_GROUP, "g", "streams.session.timeout.ms", "50000")
	if got := l.s.StreamsConfig("g"); got.StandbyReplicas != 1 || got.SessionMillis != 50_000 {
		t.Errorf("configured %+v", got)
	}
	if code := set(metapb.AlterConfig_GROUP, "g", "streams.num.standby.replicas", "3"); code != InvalidConfig {
		t.Errorf("more standby tasks than are allowed: %v", code)
	}
}

// TestStreamsGroupsAgainstAModel stores random changes. The state has exactly those that name its version, and a snapshot at any cut goes on to
// the same hash.
func TestStreamsGroupsAgainstAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := newTestLog(t)
		version, members := uint64(0), map[string]int32{}
		cut := rapid.IntRange(1, 12).Draw(rt, "cut")
		var restored *State
		for step := range 12 {
			if step == cut {
				restored = l.s.reread(t)
			}
			c := &metapb.StoreStreamsGroup{
				Group: "g", ExpectedVersion: version, Reset_: version == 0, Epoch: int32(step), StateSinceMillis: int64(step),
			}
			stale := version > 0 && rapid.IntRange(0, 3).Draw(rt, "stale") == 0
			if stale {
				c.ExpectedVersion--
			}
			if version == 0 {
				c.Topology = &metapb.StreamsTopology{Epoch: 7}
			}
			want := maps.Clone(members)
			for i := range 3 {
				id := fmt.Sprint("m", i)
				switch _, there := want[id]; rapid.IntRange(0, 2).Draw(rt, id) {
				case 0:
					change := &metapb.StreamsMember{MemberId: id, Current: &metapb.StreamsCurrent{Epoch: int32(step)}}
					if !there {
						change.Metadata = &metapb.StreamsMetadata{ProcessId: id}
					}
					c.Members, want[id] = append(c.Members, change), int32(step)
				case 1:
					if there {
						c.Removed = append(c.Removed, id)
						delete(want, id)
					}
				}
			}
			v := l.do(c)
			if (v.Code != OK) != stale {
				rt.Fatalf("step %d: %v, stale %t", step, v, stale)
			}
			if !stale {
				version, members = version+1, want
			}
			if restored != nil {
				e := l.entries[len(l.entries)-1]
				if err := restored.Apply(restored.Seq()+1, e, nil); err != nil || restored.Hash() != l.s.Hash() {
					rt.Fatalf("step %d: a restored state goes another way: %v", step, err)
				}
			}
			got := map[string]int32{}
			g := l.s.Group("g").Streams
			for id, m := range g.Members {
				if m.Metadata.GetProcessId() != id {
					rt.Fatalf("%s has lost its metadata", id)
				}
				got[id] = m.Current.GetEpoch()
			}
			if g.Version != version || g.Topology.GetEpoch() != 7 || !maps.Equal(got, members) {
				rt.Fatalf("step %d: version %d and %v, want %d and %v", step, g.Version, got, version, members)
			}
		}
	})
}
