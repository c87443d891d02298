package meta

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// pendingLog is a log at this build's level with a topic of one partition.
func pendingLog(t *testing.T) (*testLog, TopicID) {
	l := newTestLog(t)
	l.epoch = 1
	l.entry(command(&metapb.LeaderStart{Epoch: 1, FeatureLevel: FeatureLevel}))
	id := TopicID{1}
	if v := l.do(&metapb.CreateTopic{Name: "topic", TopicId: id[:], Partitions: 1}); v.Code != OK {
		t.Fatal(v)
	}
	return l, id
}

// What a group commits outside of transactions, or deletes, after a transaction has taken an offset of its, comes last, as in Kafka: the end of the transaction must not take it back.
func TestWhatAGroupDecidesOutlastsWhatATransactionTookBefore(t *testing.T) {
	for _, row := range []struct {
		name string
		then func(id TopicID, offsets []*metapb.CommittedOffset) proto.Message
		want int64
	}{
		{"commits", func(id TopicID, offsets []*metapb.CommittedOffset) proto.Message {
			offsets[0].Offset = 150
			return &metapb.CommitOffsets{Group: "g", Offsets: offsets}
		}, 150},
		{"deletes", func(id TopicID, offsets []*metapb.CommittedOffset) proto.Message {
			return &metapb.DeleteOffsets{Group: "g", Offsets: offsets}
		}, -1},
	} {
		t.Run(row.name, func(t *testing.T) {
			l, id := pendingLog(t)
			offsets := func() []*metapb.CommittedOffset {
				return []*metapb.CommittedOffset{{TopicId: id[:], Offset: 100, CommitMillis: l.now}}
			}
			v := l.do(&metapb.InitTransactionalProducer{TransactionalId: "x", TimeoutMillis: 60_000, ExpectedProducerId: -1, ExpectedProducerEpoch: -1})
			l.do(&metapb.CommitTransactionOffsets{TransactionalId: "x", ProducerId: v.ProducerID, ProducerEpoch: int32(v.ProducerEpoch), Group: "g", Joins: true, Offsets: offsets()})
			l.do(row.then(id, offsets()))
			l.do(&metapb.EndTransaction{TransactionalId: "x", ProducerId: v.ProducerID, ProducerEpoch: int32(v.ProducerEpoch), Commit: true, BumpsEpoch: true})
			got := int64(-1)
			if g := l.s.Group("g"); g != nil {
				if o, there := g.Offset(TopicPartition{Topic: id}); there {
					got = o.Offset
				}
			}
			if got != row.want {
				t.Errorf("the group is at %d, want %d", got, row.want)
			}
		})
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
