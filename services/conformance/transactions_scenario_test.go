package conformance

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// concurrentTransactions is what Kafka answers while it still writes markers. Varve never does.
const concurrentTransactions = 51

// txn is one transactional producer as plain requests see it.
type txn struct {
	*session
	id       string
	producer int64
	epoch    int16
	sequence int32
	// The versions asked with: of EndTxn, and of the others as fit it.
	version int16
	topic   target
}

// joins says whether the version goes without announcements (KIP-890).
func (x *txn) joins() bool { return x.version >= 5 }

func (x *txn) init(label string) {
	x.t.Helper()
	r := kmsg.NewPtrInitProducerIDRequest()
	r.TransactionalID, r.TransactionTimeoutMillis = &x.id, 60_000
	answer := until(x.session, label, min(x.version, 4), r, func(r *kmsg.InitProducerIDResponse) bool {
		return r.ErrorCode == 0
	})
	x.producer, x.epoch, x.sequence = answer.ProducerID, answer.ProducerEpoch, 0
}

func (x *txn) produce(label string) {
	x.t.Helper()
	r := produceTo(x.topic, -1, newBatch(records(2, x.now)...).producer(x.producer, x.epoch, x.sequence).with(func(b *batch) { b.attributes = 1 << 4 }).encode())
	r.TransactionID = &x.id
	version := int16(9)
	if x.joins() {
		version = 12
	}
	answer := until(x.session, label, version, r, func(r *kmsg.ProduceResponse) bool {
		code := r.Topics[0].Partitions[0].ErrorCode
		return code != concurrentTransactions && code != 19 // a coordinator that is busy, as older clients are told
	})
	if answer.Topics[0].Partitions[0].ErrorCode == 0 {
		x.sequence += 2
	}
}

func (x *txn) add(label, topic string, partition int32) {
	x.t.Helper()
	if x.joins() {
		return
	}
	r := kmsg.NewPtrAddPartitionsToTxnRequest()
	r.TransactionalID, r.ProducerID, r.ProducerEpoch = x.id, x.producer, x.epoch
	r.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: x.topic.name, Partitions: []int32{0}}}
	switch {
	case topic != x.topic.name:
		r.Topics = append(r.Topics, kmsg.AddPartitionsToTxnRequestTopic{Topic: topic, Partitions: []int32{partition}})
	case partition != 0:
		r.Topics[0].Partitions = append(r.Topics[0].Partitions, partition)
	}
	until(x.session, label, min(x.version, 3), r, func(r *kmsg.AddPartitionsToTxnResponse) bool {
		return len(r.Topics) == 0 || r.Topics[0].Partitions[0].ErrorCode != concurrentTransactions
	})
}

func (x *txn) end(label string, commit bool) {
	x.t.Helper()
	r := kmsg.NewPtrEndTxnRequest()
	r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Commit = x.id, x.producer, x.epoch, commit
	answer := until(x.session, label, x.version, r, func(r *kmsg.EndTxnResponse) bool { return r.ErrorCode != concurrentTransactions })
	if x.joins() && answer.ErrorCode == 0 && answer.ProducerID >= 0 {
		x.producer, x.epoch, x.sequence = answer.ProducerID, answer.ProducerEpoch, 0
	}
}

// settle returns when what was ended can be read: Kafka writes its markers behind the answer.
func (x *txn) settle(next int64) {
	r := kmsg.NewPtrListOffsetsRequest()
	r.IsolationLevel = 1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = x.topic.name
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = -1
	t.Partitions = append(t.Partitions, p)
	r.Topics = append(r.Topics, t)
	until(x.session, "", 7, r, func(r *kmsg.ListOffsetsResponse) bool { return r.Topics[0].Partitions[0].Offset >= next })
}

func (x *txn) fetch(label string) {
	for level, name := range []string{"read_uncommitted", "read_committed"} {
		r := fetchFrom(x.topic, 0)
		r.IsolationLevel = int8(level)
		ask[kmsg.Response](x.session, label+", "+name, 12, r)
	}
}

// askTransactions goes through a transactional producer's life at every version of EndTxn.
func askTransactions(s *session, version int16) {
	s.warm()
	s.producerID() // Kafka begins with 0, which looks like none
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorType, find.CoordinatorKey = 1, s.name("tx") // Kafka makes its topic of transactions when it is first asked
	until(s, "", 3, find, func(r *kmsg.FindCoordinatorResponse) bool { return r.ErrorCode == 0 })
	x := &txn{session: s, id: s.name("tx"), version: version, topic: s.create("topic", 1)}
	nobody := *x
	nobody.id, nobody.producer = s.name("nobody"), 987654321
	nobody.add("of nobody", x.topic.name, 0)
	nobody.end("of nobody", true)

	x.init("first")
	x.end("commit of nothing", true)
	if !x.joins() {
		x.end("abort of nothing", false)
		x.produce("before the partition is added")
	}
	x.add("with an unknown topic", s.name("unknown"), 0)
	x.add("with an unknown partition", x.topic.name, 7)
	x.add("one", x.topic.name, 0)
	x.add("the same again", x.topic.name, 0)
	x.produce("in a transaction")
	x.fetch("while it is open")
	before := *x
	x.end("commit", true)
	x.settle(3)
	again := before
	again.end("commit, again", true)
	opposite := before
	opposite.end("abort what is committed", false)
	x.fetch("committed")

	x.add("for the next", x.topic.name, 0)
	x.produce("in the next transaction")
	before = *x
	x.end("abort", false)
	x.settle(6)
	again = before
	again.end("abort, again", false)
	opposite = before
	opposite.end("commit what is aborted", true)
	x.fetch("aborted")

	zombie := *x
	x.init("")
	zombie.add("fenced", x.topic.name, 0)
	zombie.produce("fenced")
	zombie.end("fenced", true)
	x.add("by the new incarnation", x.topic.name, 0)
	x.produce("by the new incarnation")
	x.end("by the new incarnation", true)
	x.settle(9)
	x.fetch("in the end")
}
