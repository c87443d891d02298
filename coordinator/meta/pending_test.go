package meta

import (
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// pendingLog is a log at this build's level with a topic of some partitions.
func pendingLog(t *testing.T, partitions int32) (*testLog, TopicID) {
	l := newTestLog(t)
	l.epoch = 1
	l.entry(command(&metapb.LeaderStart{Epoch: 1, FeatureLevel: FeatureLevel}))
	id := TopicID{1}
	if v := l.do(&metapb.CreateTopic{Name: "topic", TopicId: id[:], Partitions: partitions}); v.Code != OK {
		t.Fatal(v)
	}
	return l, id
}

// What a group commits outside of transactions, after a transaction has taken an offset of its, is the later one, as in Kafka: the end of the transaction must not take the group back.
func TestACommitIsNotTakenBackByATransactionThatBeganBefore(t *testing.T) {
	l, id := pendingLog(t, 1)
	tp := TopicPartition{Topic: id}
	at := func(offset int64) []*metapb.CommittedOffset {
		return []*metapb.CommittedOffset{{TopicId: id[:], Offset: offset, CommitMillis: l.now}}
	}
	v := l.do(&metapb.InitTransactionalProducer{TransactionalId: "x", TimeoutMillis: 60_000, ExpectedProducerId: -1, ExpectedProducerEpoch: -1})
	l.do(&metapb.CommitTransactionOffsets{TransactionalId: "x", ProducerId: v.ProducerID, ProducerEpoch: int32(v.ProducerEpoch), Group: "g", Joins: true, Offsets: at(100)})
	l.do(&metapb.CommitOffsets{Group: "g", Offsets: at(150)})
	l.do(&metapb.EndTransaction{TransactionalId: "x", ProducerId: v.ProducerID, ProducerEpoch: int32(v.ProducerEpoch), Commit: true, BumpsEpoch: true})
	if o, _ := l.s.Group("g").Offset(tp); o.Offset != 150 {
		t.Errorf("the group committed 150 last, and is at %d", o.Offset)
	}
}

// Likewise an offset that was deleted meanwhile.
func TestADeletedOffsetIsNotBroughtBackByATransactionThatBeganBefore(t *testing.T) {
	l, id := pendingLog(t, 1)
	tp := TopicPartition{Topic: id}
	at := func(offset int64) []*metapb.CommittedOffset {
		return []*metapb.CommittedOffset{{TopicId: id[:], Offset: offset, CommitMillis: l.now}}
	}
	v := l.do(&metapb.InitTransactionalProducer{TransactionalId: "x", TimeoutMillis: 60_000, ExpectedProducerId: -1, ExpectedProducerEpoch: -1})
	l.do(&metapb.CommitTransactionOffsets{TransactionalId: "x", ProducerId: v.ProducerID, ProducerEpoch: int32(v.ProducerEpoch), Group: "g", Joins: true, Offsets: at(100)})
	l.do(&metapb.DeleteOffsets{Group: "g", Offsets: at(0)})
	l.do(&metapb.EndTransaction{TransactionalId: "x", ProducerId: v.ProducerID, ProducerEpoch: int32(v.ProducerEpoch), Commit: true, BumpsEpoch: true})
	if g := l.s.Group("g"); g != nil {
		if o, there := g.Offset(tp); there {
			t.Errorf("the offset was deleted, and is %d", o.Offset)
		}
	}
}

// A partition that remembers as many producers as it may keeps those that are in a transaction: their repeats would be taken twice.
func TestProducersInATransactionAreForgottenLast(t *testing.T) {
	p := &Partition{}
	a := applier{State: New(testLogID)}
	a.leader.featureLevel = FeatureLevel
	remembers := func(id, now int64) {
		a.timeMillis = now
		a.remember(p, &chunk.Detail{ProducerID: id, Records: 1, Attributes: attrTransactional}, id)
	}
	remembers(1, 1)
	p.begin(1, 1)
	for id := int64(2); id <= MaxPartitionProducers+1; id++ {
		remembers(id, id)
	}
	if code, _ := p.producers.judge(&chunk.Detail{ProducerID: 1, Records: 1, Attributes: attrTransactional}); code != DuplicateSequence {
		t.Errorf("the repeat of a batch of an open transaction: %v", code)
	}
}
