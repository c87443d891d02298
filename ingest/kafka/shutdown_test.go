package kafka

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

func TestShutdownAnswersWhatWasRead(t *testing.T) {
	c := newCluster(t)
	s, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	c.hold = make(chan struct{})

	poll := fetchRequestOf(13, "", id, 0)
	poll.MaxWaitMillis = 60_000
	poller, producer, idle := dial(t, addr), dial(t, addr), dial(t, addr)
	idle.request(kmsg.NewPtrMetadataRequest())
	poller.request(fetchRequestOf(13, "", id, 0))
	poller.send(poll)
	produce := produceRequestOf(13, "", id, testBatch("record"))
	producer.send(produce)
	eventually(t, "the record is appended, and the poll waits", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.mu.seq == 1 && c.mu.polls == 1
	})

	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	idle.closed()
	poller.receive(poll)
	poller.closed()
	close(c.hold)
	if p := producer.receive(produce).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != 0 {
		t.Errorf("produce: %v", kerr.ErrorForCode(p.ErrorCode))
	}
	producer.closed()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownCutsConnectionsWhenItsTimeIsUp(t *testing.T) {
	c := newCluster(t)
	s, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	c.hold = make(chan struct{})
	defer close(c.hold)
	client := dial(t, addr)
	r := produceRequestOf(13, "", id, testBatch("record"))
	r.TimeoutMillis = 60_000
	client.send(r)
	eventually(t, "the record is appended", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.mu.seq == 1
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v", err)
	}
	client.closed()
}

func TestAMemberThatWaitsIsToldToLookElsewhere(t *testing.T) {
	c := newCluster(t)
	s, addr := start(t, c, Config{})
	client, other := dial(t, addr), dial(t, addr)
	join := kmsg.NewPtrJoinGroupRequest()
	join.Version = 3 // a first join is not sent back for its id
	fill(join, "", [16]byte{})
	first := client.request(join).(*kmsg.JoinGroupResponse)
	if first.ErrorCode != 0 {
		t.Fatal(kerr.ErrorForCode(first.ErrorCode))
	}
	other.send(join) // waits for the first member to join again
	eventually(t, "the second member waits", func() bool {
		beat := kmsg.NewPtrHeartbeatRequest()
		beat.Group, beat.MemberID, beat.Generation = join.Group, first.MemberID, first.Generation
		return client.request(beat).(*kmsg.HeartbeatResponse).ErrorCode == kerr.RebalanceInProgress.Code
	})
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	if got := other.receive(join).(*kmsg.JoinGroupResponse); got.ErrorCode != kerr.NotCoordinator.Code {
		t.Errorf("got %v", kerr.ErrorForCode(got.ErrorCode))
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWhatIsCompressedIsBounded(t *testing.T) {
	c := newCluster(t)
	id := c.createTopic(t, "topic", 1)
	_, addr := start(t, c, Config{InFlightBytes: 100 << 10, Logger: quiet})
	c.hold = make(chan struct{})
	client := dial(t, addr)
	batch := testBatch(strings.Repeat("compressible ", 2<<10))
	const requests = 10
	written := make(chan struct{})
	go func() {
		defer close(written)
		for range requests {
			client.send(produceRequestOf(13, "", id, batch))
		}
	}()
	appended := func() uint64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.mu.seq
	}
	fits := uint64((100 << 10) / len(batch))
	eventually(t, "the budget is used", func() bool { return appended() == fits })
	close(c.hold)
	for range requests {
		client.frame()
	}
	<-written
	if appended() != requests {
		t.Errorf("%d of %d requests were appended", appended(), requests)
	}
}

func TestAServerThatTurnsAwaySendsClientsToOthers(t *testing.T) {
	c := newCluster(t)
	s, addr := start(t, c, Config{})
	other := c.addNode("other", 9092, "")
	id := c.createTopic(t, "topic", 1)
	poll := fetchRequestOf(13, "", id, 0)
	poll.MaxWaitMillis = 60_000
	poller, producer, silent := dial(t, addr), dial(t, addr), dial(t, addr)
	poller.request(fetchRequestOf(13, "", id, 0))
	poller.send(poll)
	eventually(t, "the poll waits", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.mu.polls == 1
	})
	c.apply(&metapb.Command{Kind: &metapb.Command_DrainNode{DrainNode: &metapb.DrainNode{NodeId: int32(s.config.NodeID), NodeEpoch: 1}}})
	s.TurnAway()

	if p := poller.receive(poll).(*kmsg.FetchResponse).Topics[0].Partitions[0]; p.ErrorCode != 0 || len(p.RecordBatches) > 0 {
		t.Errorf("the poll that waited: %v", kerr.ErrorForCode(p.ErrorCode))
	}
	if p := poller.request(poll).(*kmsg.FetchResponse).Topics[0].Partitions[0]; p.ErrorCode != kerr.NotLeaderForPartition.Code {
		t.Errorf("the next poll: %v", kerr.ErrorForCode(p.ErrorCode))
	}
	produce := produceRequestOf(13, "", id, testBatch("record"))
	if p := producer.request(produce).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; p.ErrorCode != kerr.NotLeaderForPartition.Code {
		t.Errorf("produce: %v", kerr.ErrorForCode(p.ErrorCode))
	}
	metadata := producer.request(kmsg.NewPtrMetadataRequest()).(*kmsg.MetadataResponse)
	if len(metadata.Brokers) != 1 || metadata.Brokers[0].NodeID != int32(other) {
		t.Errorf("metadata name %+v", metadata.Brokers)
	}

	// What is on its way when the server shuts down is answered, even the first request of a connection.
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	producer.closed()
	poller.closed()
	silent.request(kmsg.NewPtrMetadataRequest())
	silent.closed()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestLibrdkafkaIsToldOfANodeThatDrains while that answers it, and that it leads nothing. librdkafka loses partitions of a broker that it is not told of.
func TestLibrdkafkaIsToldOfANodeThatDrains(t *testing.T) {
	c := newCluster(t)
	s, addr := start(t, c, Config{})
	other := int32(c.addNode("other", 9092, ""))
	id := c.createTopic(t, "topic", 8)
	bare, around, plain := dial(t, addr), dial(t, addr), dial(t, addr)
	introduceAs := func(client *rawClient, name, version string) {
		r := kmsg.NewPtrApiVersionsRequest()
		r.Version, r.ClientSoftwareName, r.ClientSoftwareVersion = 3, name, version
		if code := client.request(r).(*kmsg.ApiVersionsResponse).ErrorCode; code != 0 {
			t.Fatal(kerr.ErrorForCode(code))
		}
	}
	introduceAs(bare, "librdkafka", "2.16.0")
	introduceAs(around, "confluent-kafka-python", "2.16.1-rdkafka-2.16.0")
	introduceAs(plain, "apache-kafka-java", "4.1.0")
	metadata := func(client *rawClient, want ...int32) {
		t.Helper()
		r := kmsg.NewPtrMetadataRequest()
		r.Version = 12
		r.Topics = []kmsg.MetadataRequestTopic{{TopicID: id}}
		answer := client.request(r).(*kmsg.MetadataResponse)
		var named []int32
		for _, b := range answer.Brokers {
			named = append(named, b.NodeID)
		}
		if !slices.Equal(named, want) || answer.ControllerID != other {
			t.Errorf("metadata name %d, controller %d; want %d, controller %d", named, answer.ControllerID, want, other)
		}
		for _, p := range answer.Topics[0].Partitions {
			if p.Leader != other {
				t.Errorf("partition %d is led by %d, want %d", p.Partition, p.Leader, other)
			}
		}
	}
	self := int32(s.config.NodeID)
	drain := &metapb.DrainNode{NodeId: self, NodeEpoch: 1}
	c.apply(&metapb.Command{Kind: &metapb.Command_DrainNode{DrainNode: drain}})
	metadata(bare, other, self)
	metadata(around, other, self)
	metadata(plain, other)
	drain = &metapb.DrainNode{NodeId: self, NodeEpoch: 1, Closed: true}
	c.apply(&metapb.Command{Kind: &metapb.Command_DrainNode{DrainNode: drain}})
	metadata(bare, other)
}

func TestTheLastNodeGoesOnNamingItself(t *testing.T) {
	c := newCluster(t)
	s, addr := start(t, c, Config{})
	c.apply(&metapb.Command{Kind: &metapb.Command_DrainNode{DrainNode: &metapb.DrainNode{NodeId: int32(s.config.NodeID), NodeEpoch: 1}}})
	metadata := dial(t, addr).request(kmsg.NewPtrMetadataRequest()).(*kmsg.MetadataResponse)
	if len(metadata.Brokers) != 1 || metadata.Brokers[0].NodeID != int32(s.config.NodeID) {
		t.Errorf("metadata name %+v", metadata.Brokers)
	}
}
