package kafka

import (
	"math"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// What clients name stays in the state, on every node, for days, and in every snapshot: a name may be no longer than with Kafka.
func TestNamesLongerThanKafkasAreRefused(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	client := dial(t, addr)
	long := strings.Repeat("x", math.MaxInt16+1)
	r := kmsg.NewPtrInitProducerIDRequest()
	r.Version, r.TransactionalID, r.TransactionTimeoutMillis = 5, &long, 60_000
	expectCode(t, "initialize", kerr.TypedErrorForCode(client.request(r).(*kmsg.InitProducerIDResponse).ErrorCode), kerr.InvalidRequest)

	x := newTransactor(t, client, long[1:], id)
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.Version, add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = 4, x.id, x.producerID, x.epoch, long
	expectCode(t, "add a group", kerr.TypedErrorForCode(client.request(add).(*kmsg.AddOffsetsToTxnResponse).ErrorCode), kerr.InvalidGroupID)
	send := kmsg.NewPtrTxnOffsetCommitRequest()
	send.Version, send.TransactionalID, send.Group, send.ProducerID, send.ProducerEpoch, send.Generation = 5, x.id, long, x.producerID, x.epoch, -1
	send.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "topic", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{LeaderEpoch: -1}}}}
	code := client.request(send).(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions[0].ErrorCode
	expectCode(t, "send offsets", kerr.TypedErrorForCode(code), kerr.InvalidGroupID)
	c.View(func(s *meta.State) {
		if s.Group(long) != nil {
			t.Error("there is such a group")
		}
	})
}
