package meta

import (
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
)

func TestAConsumerGroupKeepsWhatACommandDoesNotName(t *testing.T) {
	l := newTestLog(t)
	l.topic("t1", 2)
	t1 := topicID("t1")
	first := &metapb.StoreConsumerGroup{
		Group: "g", Reset_: true, Epoch: 1, AssignmentEpoch: 1, SetsTopics: true, Topics: []*metapb.SubscribedTopic{{Name: "t1", TopicId: t1[:], Partitions: 2}},
		Members: []*metapb.ConsumerMember{
			{MemberId: "a", Subscription: &metapb.ConsumerSubscription{Topics: []string{"t1"}}, Target: &metapb.ConsumerAssignment{}, Current: &metapb.ConsumerCurrent{Epoch: 1}},
			{MemberId: "b", Subscription: &metapb.ConsumerSubscription{}, Current: &metapb.ConsumerCurrent{Epoch: 1}},
		},
	}
	if v := l.do(first); v.Code != OK {
		t.Fatal(v)
	}
	second := &metapb.StoreConsumerGroup{Group: "g", ExpectedVersion: 1, Epoch: 2, AssignmentEpoch: 1, Removed: []string{"b"},
		Members: []*metapb.ConsumerMember{{MemberId: "a", Current: &metapb.ConsumerCurrent{Epoch: 2, PreviousEpoch: 1}}}}
	if v := l.do(second); v.Code != OK {
		t.Fatal(v)
	}
	if v := l.do(second); v.Code != WrongSeq {
		t.Errorf("a command on another version: %v", v)
	}
	g := l.s.Group("g").Consumer
	if a := g.Members["a"]; len(g.Members) != 1 || g.Epoch != 2 || len(g.Topics) != 1 || a.Subscription.Topics[0] != "t1" || a.Target == nil || a.Current.Epoch != 2 {
		t.Errorf("group %+v", g)
	}
	hash := l.s.Hash()
	if restored := l.s.reread(t); restored.Hash() != hash || restored.Group("g").Consumer.Version != 2 {
		t.Error("a snapshot does not bring the group back")
	}
	if v := l.do(&metapb.DeleteGroups{Groups: []string{"g"}}); v.Codes[0] != GroupNotEmpty {
		t.Errorf("delete with members: %v", v)
	}
	l.do(&metapb.StoreGroup{Group: "g", Kind: "classic"})
	if l.s.Group("g").Consumer != nil {
		t.Error("a classic group in its place leaves it there")
	}
	if v := l.do(&metapb.StoreConsumerGroup{Group: "g", Epoch: 3}); v.Code != UnknownGroup {
		t.Errorf("a change of a group that is classic: %v", v)
	}
}
