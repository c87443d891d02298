package meta

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/share"
)

func joinShare(l *testLog, group string, version uint64, members ...string) Verdict {
	c := &metapb.StoreShareGroup{Group: group, ExpectedVersion: version, Epoch: int32(version) + 1, AssignmentEpoch: int32(version) + 1}
	for _, m := range members {
		c.Members = append(c.Members, &metapb.ShareMember{MemberId: m, Topics: []string{"t"}, Epoch: c.Epoch})
	}
	t := topicID("t")
	c.Partitions = []*metapb.AssignedTopic{{TopicId: t[:], Partitions: []int32{0, 1, 7}}}
	return l.do(c)
}

func TestAShareGroupAndItsPartitions(t *testing.T) {
	l := newTestLog(t)
	l.topic("t", 2)
	id := topicID("t")
	tp := TopicPartition{id, 0}
	if v := joinShare(l, "g", 0, "a"); v.Code != OK {
		t.Fatal(v)
	}
	if v := joinShare(l, "g", 0, "b"); v.Code != WrongSeq {
		t.Errorf("a command on another version: %v", v)
	}
	g := l.s.Group("g").Share
	if got := g.Partitions(); len(got) != 2 || g.Partition(tp).StartOffset != UnknownStart {
		t.Fatalf("share partitions %v", got)
	}
	first := *g.Partition(tp)
	change := func(change *metapb.SharePartitionChange) Code {
		change.TopicId = id[:]
		v := l.do(&metapb.StoreShareState{Group: "g", Partitions: []*metapb.SharePartitionChange{change}})
		return append(v.Codes, v.Code)[0]
	}
	began := &metapb.SharePartitionChange{ExpectedIncarnation: first.Incarnation, ExpectedVersion: 1, StartOffset: 5, Batches: []*metapb.ShareStateBatch{
		{BaseOffset: 7, NextOffset: 9, State: 2, DeliveryCount: 1}, {BaseOffset: 9, NextOffset: 10, State: 0, DeliveryCount: 3},
	}}
	if code := change(began); code != OK {
		t.Fatal(code)
	}
	if code := change(began); code != WrongSeq {
		t.Errorf("the same again: %v", code)
	}
	for _, wrong := range []*metapb.SharePartitionChange{
		{ExpectedIncarnation: first.Incarnation, ExpectedVersion: 2, StartOffset: 4},
		{ExpectedIncarnation: first.Incarnation, ExpectedVersion: 2, StartOffset: 5, Batches: []*metapb.ShareStateBatch{{BaseOffset: 6, NextOffset: 6}}},
		{ExpectedIncarnation: first.Incarnation, ExpectedVersion: 2, StartOffset: 5, Batches: []*metapb.ShareStateBatch{{BaseOffset: 6, NextOffset: 7, State: 1}}},
	} {
		if code := change(wrong); code != Malformed {
			t.Errorf("%v: %v", wrong, code)
		}
	}
	if code := change(&metapb.SharePartitionChange{Partition: 9, ExpectedVersion: 1}); code != UnknownTopic {
		t.Errorf("no such partition: %v", code)
	}
	if p := g.Partition(tp); p.StartOffset != 5 || p.Version != 2 || len(p.Batches) != 2 {
		t.Errorf("%+v", p)
	}
	if again := l.s.reread(t); again.Hash() != l.s.Hash() || again.Group("g").Share.Partition(tp).Batches[1].DeliveryCount != 3 {
		t.Error("a snapshot does not bring the group back")
	}

	reset := &metapb.ResetShareOffsets{Group: "g", Offsets: []*metapb.ShareOffset{{TopicId: id[:], StartOffset: 3}, {TopicId: id[:], Partition: 9}}}
	if v := l.do(reset); v.Code != GroupNotEmpty {
		t.Errorf("with members: %v", v)
	}
	if v := l.do(&metapb.StoreShareGroup{Group: "g", ExpectedVersion: 1, Epoch: 2, Removed: []string{"a"}}); v.Code != OK {
		t.Fatal(v)
	}
	if v := l.do(reset); v.Code != OK || v.Codes[0] != OK || v.Codes[1] != UnknownTopic {
		t.Errorf("reset: %v", v)
	}
	if p := g.Partition(tp); p.StartOffset != 3 || p.Incarnation == first.Incarnation || len(p.Batches) > 0 {
		t.Errorf("%+v", p)
	}
	if v := l.do(&metapb.ResetShareOffsets{Group: "g", RemovedTopics: [][]byte{id[:], id[:], {1}}}); v.Codes[0] != OK || v.Codes[1] != UnknownTopic || v.Codes[2] != UnknownTopic {
		t.Errorf("removed: %v", v)
	}

	for _, other := range []func() Verdict{
		func() Verdict { return l.do(&metapb.StoreGroup{Group: "g", Kind: "classic"}) },
		func() Verdict { return l.do(&metapb.StoreConsumerGroup{Group: "g", Reset_: true}) },
		func() Verdict { return l.do(&metapb.StoreStreamsGroup{Group: "g", Reset_: true}) },
	} {
		if v := other(); v.Code != WrongSeq {
			t.Errorf("another kind in its place: %v", v)
		}
	}
	l.do(&metapb.StoreGroup{Group: "classic", Kind: "classic"})
	if v := joinShare(l, "classic", 0, "a"); v.Code != WrongSeq {
		t.Errorf("in the place of another kind: %v", v)
	}
	if due := l.s.Due(l.now + 1_000_000_000_000); l.s.Group("g") == nil || due.Tick && l.do(&metapb.Tick{}).Code != OK {
		t.Error("a share group expires")
	}
	if l.do(&metapb.Tick{}); l.s.Group("g") == nil {
		t.Error("a share group without members is there until it is deleted")
	}
	l.do(&metapb.DeleteGroups{Groups: []string{"g"}})
	if v := l.do(reset); v.Code != UnknownGroup {
		t.Errorf("of no group: %v", v)
	}
}

func TestAShareGroupForgetsATopicThatIsDeleted(t *testing.T) {
	l := newTestLog(t)
	l.topic("t", 2)
	joinShare(l, "g", 0, "a")
	id := topicID("t")
	l.do(&metapb.DeleteTopic{TopicId: id[:]})
	if got := l.s.Group("g").Share.Partitions(); len(got) != 0 {
		t.Errorf("share partitions %v", got)
	}
	l.s.reread(t)
}

// TestShareReplay: whatever is said of share groups, the state of each share partition is what its changes make of single records, the same
// entries give the same hash, and a snapshot taken anywhere and continued gives it too.
func TestShareReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newTestLog(t)
		l.lead(1)
		l.topic("t", 2)
		id := topicID("t")
		type said struct {
			state share.State
			count int32
		}
		model := map[TopicPartition]map[int64]said{}
		group := rapid.SampledFrom([]string{"g", "h"})
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				name, version := group.Draw(t, "group"), uint64(0)
				if g := l.s.Group(name); g != nil {
					version = g.Share.Version
				}
				joinShare(l, name, version, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "member"))
			},
			"leave": func(t *rapid.T) {
				if g := l.s.Group(group.Draw(t, "group")); g != nil {
					l.do(&metapb.StoreShareGroup{Group: g.Name, ExpectedVersion: g.Share.Version, Epoch: g.Share.Epoch + 1, Removed: g.Share.MemberIDs()})
				}
			},
			"store": func(t *rapid.T) {
				tp := TopicPartition{id, int32(rapid.IntRange(0, 1).Draw(t, "partition"))}
				g := l.s.Group("g")
				if g == nil || g.Share.Partition(tp) == nil {
					return
				}
				p := g.Share.Partition(tp)
				c := &metapb.SharePartitionChange{TopicId: id[:], Partition: tp.Partition, ExpectedIncarnation: p.Incarnation, ExpectedVersion: p.Version}
				c.StartOffset = max(p.StartOffset, 0) + int64(rapid.IntRange(0, 3).Draw(t, "forward"))
				late := rapid.IntRange(0, 5).Draw(t, "late") == 0
				if late {
					c.ExpectedVersion--
				}
				records := model[tp]
				if records == nil {
					records = map[int64]said{}
					model[tp] = records
				}
				for range rapid.IntRange(0, 3).Draw(t, "batches") {
					b := &metapb.ShareStateBatch{BaseOffset: c.StartOffset + int64(rapid.IntRange(0, 9).Draw(t, "base")), State: rapid.SampledFrom([]uint32{0, 2, 4}).Draw(t, "state")}
					b.NextOffset, b.DeliveryCount = b.BaseOffset+int64(rapid.IntRange(1, 5).Draw(t, "length")), int32(rapid.IntRange(0, 3).Draw(t, "count"))
					c.Batches = append(c.Batches, b)
					for offset := b.BaseOffset; offset < b.NextOffset && !late; offset++ {
						records[offset] = said{share.State(b.State), b.DeliveryCount}
					}
				}
				if v := l.do(&metapb.StoreShareState{Group: "g", Partitions: []*metapb.SharePartitionChange{c}}); (v.Codes[0] == WrongSeq) != late {
					t.Fatalf("late %v: %v", late, v)
				}
			},
			"reset": func(t *rapid.T) {
				tp := TopicPartition{id, int32(rapid.IntRange(0, 1).Draw(t, "partition"))}
				c := &metapb.ResetShareOffsets{Group: "g", Offsets: []*metapb.ShareOffset{{TopicId: id[:], Partition: tp.Partition, StartOffset: int64(rapid.IntRange(0, 9).Draw(t, "start"))}}}
				if rapid.Bool().Draw(t, "remove") {
					c.Offsets, c.RemovedTopics = nil, [][]byte{id[:]}
				}
				switch v := l.do(c); {
				case v.Code != OK:
				case c.Offsets == nil:
					clear(model)
				default:
					delete(model, tp)
				}
			},
			"": func(t *rapid.T) {
				g := l.s.Group("g")
				if g == nil {
					return
				}
				for _, tp := range g.Share.Partitions() {
					p, at := g.Share.Partition(tp), int64(-1)
					seen := map[int64]said{}
					for _, b := range p.Batches {
						if b.Base < max(at, p.StartOffset) || b.Base >= b.Next {
							t.Fatalf("batches %v from %d on", p.Batches, p.StartOffset)
						}
						for at = b.Base; at < b.Next; at++ {
							seen[at] = said{b.State, b.DeliveryCount}
						}
					}
					for offset := p.StartOffset; offset < p.StartOffset+40; offset++ {
						if seen[offset] != model[tp][offset] {
							t.Fatalf("offset %d is %v, not %v", offset, seen[offset], model[tp][offset])
						}
					}
				}
			},
		})
		again, cut := New(testLogID), rapid.IntRange(0, len(l.entries)).Draw(t, "cut")
		for i, e := range l.entries {
			if i == cut {
				again = again.reread(t)
			}
			b, err := EncodeEntry(e)
			if err != nil {
				t.Fatal(err)
			}
			decoded, err := DecodeEntry(b)
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Apply(uint64(i+1), decoded, nil); err != nil {
				t.Fatal(err)
			}
		}
		if again.Hash() != l.s.Hash() {
			t.Fatal("another hash after a replay")
		}
	})
}

func TestShareResetIsParsed(t *testing.T) {
	for text, want := range map[string]ShareReset{
		"latest": {}, "earliest": {Earliest: true}, "by_duration:PT1H": {ByTime: true, AgoMillis: 3_600_000},
		"by_duration:P1DT2H3M4.5S": {ByTime: true, AgoMillis: ((26*60+3)*60+4)*1000 + 500}, "by_duration:PT0S": {ByTime: true},
	} {
		if got, err := parseShareReset(text); err != nil || got != want {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "none", "by_duration:", "by_duration:P", "by_duration:PT", "by_duration:1h", "by_duration:-PT1H", "by_duration:P1DT"} {
		if got, err := parseShareReset(text); err == nil {
			t.Errorf("%s: %+v", text, got)
		}
	}
}
