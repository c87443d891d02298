package kafka

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// transactionalBatch is a batch of one record of a transactional producer.
func transactionalBatch(value string, producerID int64, epoch int16, sequence int32) []byte {
	b := testBatch(value)
	b[22] |= 1 << 4
	binary.BigEndian.PutUint64(b[43:], uint64(producerID))
	binary.BigEndian.PutUint16(b[51:], uint16(epoch))
	binary.BigEndian.PutUint32(b[53:], uint32(sequence))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// transactor is a transactional producer in plain requests.
type transactor struct {
	*rawClient
	id         string
	producerID int64
	epoch      int16
	sequence   int32
	topicID    meta.TopicID
}

func newTransactor(t *testing.T, client *rawClient, id string, topicID meta.TopicID) *transactor {
	t.Helper()
	r := kmsg.NewPtrInitProducerIDRequest()
	r.Version, r.TransactionalID, r.TransactionTimeoutMillis = 5, &id, 60_000
	answer := client.request(r).(*kmsg.InitProducerIDResponse)
	if answer.ErrorCode != 0 {
		t.Fatal(kerr.ErrorForCode(answer.ErrorCode))
	}
	return &transactor{rawClient: client, id: id, producerID: answer.ProducerID, epoch: answer.ProducerEpoch, topicID: topicID}
}

func (x *transactor) produce(version int16) *kerr.Error {
	x.t.Helper()
	r := produceRequestOf(version, "topic", x.topicID, transactionalBatch("record", x.producerID, x.epoch, x.sequence))
	r.TransactionID = &x.id
	code := produced(x.rawClient, r).ErrorCode
	if code == 0 {
		x.sequence++
	}
	return kerr.TypedErrorForCode(code)
}

func (x *transactor) addPartition(version int16, topic string) *kerr.Error {
	x.t.Helper()
	r := kmsg.NewPtrAddPartitionsToTxnRequest()
	r.Version, r.TransactionalID, r.ProducerID, r.ProducerEpoch = version, x.id, x.producerID, x.epoch
	r.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: []int32{0}}}
	return kerr.TypedErrorForCode(x.request(r).(*kmsg.AddPartitionsToTxnResponse).Topics[0].Partitions[0].ErrorCode)
}

func (x *transactor) end(version int16, commit bool) *kerr.Error {
	x.t.Helper()
	r := kmsg.NewPtrEndTxnRequest()
	r.Version, r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Commit = version, x.id, x.producerID, x.epoch, commit
	answer := x.request(r).(*kmsg.EndTxnResponse)
	if version >= 5 && answer.ErrorCode == 0 {
		x.producerID, x.epoch, x.sequence = answer.ProducerID, answer.ProducerEpoch, 0
	}
	return kerr.TypedErrorForCode(answer.ErrorCode)
}

func expectCode(t *testing.T, what string, got, want *kerr.Error) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestTransactionsAskedTheOldWay(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	x := newTransactor(t, dial(t, addr), "x", id)
	expectCode(t, "produce v9 before the partition is added", x.produce(9), kerr.InvalidTxnState)
	expectCode(t, "produce v11 before the partition is added", x.produce(11), kerr.TransactionAbortable)
	expectCode(t, "add an unknown topic", x.addPartition(3, "other"), kerr.UnknownTopicOrPartition)
	expectCode(t, "add", x.addPartition(3, "topic"), nil)
	expectCode(t, "add again", x.addPartition(0, "topic"), nil)
	expectCode(t, "produce", x.produce(9), nil)
	expectCode(t, "commit", x.end(3, true), nil)
	expectCode(t, "commit again", x.end(3, true), nil)
	expectCode(t, "abort what is committed", x.end(3, false), kerr.InvalidTxnState)
	zombie := *x
	x = newTransactor(t, x.rawClient, "x", id)
	expectCode(t, "add, fenced", zombie.addPartition(3, "topic"), kerr.ProducerFenced)
	expectCode(t, "add v1, fenced", zombie.addPartition(1, "topic"), kerr.InvalidProducerEpoch)
	expectCode(t, "end, fenced", zombie.end(4, true), kerr.ProducerFenced)
	expectCode(t, "produce, fenced", zombie.produce(9), kerr.InvalidProducerEpoch)
	expectCode(t, "commit nothing", x.end(3, true), kerr.InvalidTxnState)
}

func TestTransactionsWithoutAnnouncement(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	client := dial(t, addr)
	x := newTransactor(t, client, "x", id)
	expectCode(t, "produce", x.produce(12), nil)
	fetch := func(isolation int8) kmsg.FetchResponseTopicPartition {
		r := fetchRequestOf(12, "topic", id, 0)
		r.IsolationLevel = isolation
		return client.request(r).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	}
	if p := fetch(1); p.LastStableOffset != 0 || p.HighWatermark != 1 {
		t.Errorf("last stable offset %d, high watermark %d", p.LastStableOffset, p.HighWatermark)
	}
	list := func(isolation int8) int64 {
		r := kmsg.NewPtrListOffsetsRequest()
		r.Version, r.IsolationLevel = 7, isolation
		r.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "topic", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{CurrentLeaderEpoch: -1, Timestamp: -1}}}}
		return client.request(r).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].Offset
	}
	if uncommitted, committed := list(0), list(1); uncommitted != 1 || committed != 0 {
		t.Errorf("latest offsets %d, %d", uncommitted, committed)
	}
	before := *x
	expectCode(t, "abort", x.end(5, false), nil)
	if x.epoch != before.epoch+1 || x.producerID != before.producerID {
		t.Errorf("producer %d epoch %d after %d, %d", x.producerID, x.epoch, before.producerID, before.epoch)
	}
	expectCode(t, "abort again", before.end(5, false), nil)
	if before.epoch != x.epoch {
		t.Errorf("a repeat gives epoch %d", before.epoch)
	}
	p := fetch(1)
	if len(p.AbortedTransactions) != 1 || p.AbortedTransactions[0].ProducerID != x.producerID || p.AbortedTransactions[0].FirstOffset != 0 || p.LastStableOffset != 2 {
		t.Errorf("%+v", p)
	}
	if p := fetch(0); p.AbortedTransactions != nil {
		t.Errorf("read_uncommitted is told of aborted transactions: %+v", p.AbortedTransactions)
	}
}

func TestTransactionsAreDescribedAndListed(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	client := dial(t, addr)
	x := newTransactor(t, client, "x", id)
	newTransactor(t, client, "other", id)
	expectCode(t, "produce", x.produce(12), nil)

	describe := kmsg.NewPtrDescribeTransactionsRequest()
	describe.TransactionalIDs = []string{"x"}
	d := client.request(describe).(*kmsg.DescribeTransactionsResponse).TransactionStates[0]
	if d.State != "Ongoing" || d.ProducerID != x.producerID || len(d.Topics) != 1 || d.Topics[0].Topic != "topic" || d.StartTimestamp <= 0 {
		t.Errorf("%+v", d)
	}
	list := func(edit func(*kmsg.ListTransactionsRequest)) (ids []string) {
		r := kmsg.NewPtrListTransactionsRequest()
		r.Version = 2
		edit(r)
		for _, s := range client.request(r).(*kmsg.ListTransactionsResponse).TransactionStates {
			ids = append(ids, s.TransactionalID)
		}
		return ids
	}
	for name, test := range map[string]struct {
		edit func(*kmsg.ListTransactionsRequest)
		want int
	}{
		"all":      {func(*kmsg.ListTransactionsRequest) {}, 2},
		"state":    {func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Ongoing"} }, 1},
		"producer": {func(r *kmsg.ListTransactionsRequest) { r.ProducerIDFilters = []int64{x.producerID} }, 1},
		"pattern":  {func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("oth.*") }, 1},
		"not part": {func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("oth") }, 0},
	} {
		if got := list(test.edit); len(got) != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	producers := kmsg.NewPtrDescribeProducersRequest()
	producers.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "topic", Partitions: []int32{0}}}
	active := client.request(producers).(*kmsg.DescribeProducersResponse).Topics[0].Partitions[0].ActiveProducers
	if len(active) != 1 || active[0].ProducerID != x.producerID || active[0].CurrentTxnStartOffset != 0 {
		t.Errorf("%+v", active)
	}

	// An administrator ends what hangs.
	markers := kmsg.NewPtrWriteTxnMarkersRequest()
	markers.Version = 1
	m := kmsg.NewWriteTxnMarkersRequestMarker()
	m.ProducerID, m.ProducerEpoch, m.Committed = x.producerID, x.epoch, true
	m.Topics = []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: "topic", Partitions: []int32{0}}}
	write := func() *kerr.Error {
		markers.Markers = []kmsg.WriteTxnMarkersRequestMarker{m}
		return kerr.TypedErrorForCode(client.request(markers).(*kmsg.WriteTxnMarkersResponse).Markers[0].Topics[0].Partitions[0].ErrorCode)
	}
	expectCode(t, "commit by force", write(), kerr.InvalidTxnState)
	m.Committed = false
	expectCode(t, "abort by force", write(), nil)
	expectCode(t, "abort by force, again", write(), nil)
	expectCode(t, "commit by its producer", x.end(5, true), kerr.ProducerFenced)
}

func TestOffsetsOfATransactionAreUnstable(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	client := dial(t, addr)
	x := newTransactor(t, client, "x", id)
	commit := func(version int16) *kerr.Error {
		r := kmsg.NewPtrTxnOffsetCommitRequest()
		r.Version, r.TransactionalID, r.Group, r.ProducerID, r.ProducerEpoch, r.Generation = version, x.id, "g", x.producerID, x.epoch, -1
		r.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "topic", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Offset: 7, LeaderEpoch: -1}}}}
		return kerr.TypedErrorForCode(client.request(r).(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
	}
	fetch := func(stable bool) kmsg.OffsetFetchResponseGroupTopicPartition {
		r := kmsg.NewPtrOffsetFetchRequest()
		r.Version, r.RequireStable = 8, stable
		r.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g", Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "topic", Partitions: []int32{0}}}}}
		return client.request(r).(*kmsg.OffsetFetchResponse).Groups[0].Topics[0].Partitions[0]
	}
	expectCode(t, "v3 without the group", commit(3), kerr.InvalidTxnState)
	expectCode(t, "v4 without the group", commit(4), kerr.TransactionAbortable)
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.Version, add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = 3, x.id, x.producerID, x.epoch, "g"
	expectCode(t, "add the group", kerr.TypedErrorForCode(client.request(add).(*kmsg.AddOffsetsToTxnResponse).ErrorCode), nil)
	expectCode(t, "v3", commit(3), nil)
	expectCode(t, "fetch stable", kerr.TypedErrorForCode(fetch(true).ErrorCode), kerr.UnstableOffsetCommit)
	if p := fetch(false); p.ErrorCode != 0 || p.Offset != -1 {
		t.Errorf("%+v", p)
	}
	expectCode(t, "commit", x.end(5, true), nil)
	if p := fetch(true); p.ErrorCode != 0 || p.Offset != 7 {
		t.Errorf("%+v", p)
	}
	expectCode(t, "v5 joins", commit(5), nil)
}
