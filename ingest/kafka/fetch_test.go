package kafka

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// told renders what a Fetch answer says of partitions: number, code or bytes.
func told(r *kmsg.FetchResponse) (out string) {
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				out += fmt.Sprintf("%d:%s ", p.Partition, kerr.TypedErrorForCode(p.ErrorCode).Message)
			} else {
				out += fmt.Sprintf("%d:%v@%d ", p.Partition, len(p.RecordBatches) > 0, p.HighWatermark)
			}
		}
	}
	return out
}

func TestFetchSession(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 3)
	client := dial(t, addr)
	produced(client, produceRequestOf(13, "", id, testBatch("a")))

	full := fetchRequestOf(17, "", id, 0, 1, 2)
	full.SessionEpoch = 0
	first := client.request(full).(*kmsg.FetchResponse)
	if first.SessionID == 0 || told(first) != "0:true@1 1:false@0 2:false@0 " {
		t.Fatalf("first answer, session %d: %s", first.SessionID, told(first))
	}
	next := func(epoch int32, change func(*kmsg.FetchRequest)) *kmsg.FetchResponse {
		r := fetchRequestOf(17, "", id)
		r.Topics, r.SessionID, r.SessionEpoch = nil, first.SessionID, epoch
		change(r)
		return client.request(r).(*kmsg.FetchResponse)
	}
	at := func(partition int32, offset int64) func(*kmsg.FetchRequest) {
		return func(r *kmsg.FetchRequest) {
			r.Topics = fetchRequestOf(17, "", id, partition).Topics
			r.Topics[0].Partitions[0].FetchOffset = offset
		}
	}
	nothing := func(*kmsg.FetchRequest) {}

	if got := told(next(1, at(0, 1))); got != "" {
		t.Errorf("nothing has changed, but: %s", got)
	}
	produced(client, produceRequestOf(13, "", id, nil, testBatch("b")))
	if got := told(next(2, nothing)); got != "1:true@1 " {
		t.Errorf("what changed: %s", got)
	}
	if got := told(next(3, at(1, 99))); got != "1:OFFSET_OUT_OF_RANGE " {
		t.Errorf("a bad offset: %s", got)
	}
	if got := told(next(4, at(1, 1))); got != "1:false@1 " {
		t.Errorf("the end of an error is told: %s", got)
	}
	if got := next(4, nothing); got.ErrorCode != kerr.InvalidFetchSessionEpoch.Code {
		t.Errorf("a repeated epoch: %v", kerr.ErrorForCode(got.ErrorCode))
	}
	produced(client, produceRequestOf(13, "", id, nil, testBatch("c")))
	forget := func(r *kmsg.FetchRequest) {
		r.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{TopicID: id, Partitions: []int32{1}}}
	}
	if got := told(next(5, forget)); got != "" {
		t.Errorf("a forgotten partition is told: %s", got)
	}
	if got := next(-1, nothing); got.SessionID != 0 {
		t.Errorf("the session goes on after its end: %d", got.SessionID)
	}
	if got := next(6, nothing); got.ErrorCode != kerr.FetchSessionIDNotFound.Code {
		t.Errorf("after its end: %v", kerr.ErrorForCode(got.ErrorCode))
	}
}

func TestFetchSessionsAreBounded(t *testing.T) {
	cache := newSessionCache(2, 10)
	now := time.Unix(0, 0)
	begin := func(partitions ...int32) *fetchSession {
		r := fetchRequestOf(17, "", [16]byte{1}, partitions...)
		r.SessionEpoch = initialFetchEpoch
		s, _, refused := cache.begin(r, now)
		if refused != nil {
			t.Fatal(refused)
		}
		s.Unlock()
		return s
	}
	first, second := begin(0, 1), begin(2)
	if first.id == 0 || second.id == 0 || begin(3).id != 0 {
		t.Error("not two sessions and no more")
	}
	now = now.Add(minSessionIdle)
	if third := begin(4); third.id == 0 || len(cache.mu.sessions) != 2 {
		t.Error("an old session is not displaced")
	}
	if big := begin(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10); big.id != 0 || len(big.partitions) != 11 {
		t.Error("a session above the bound on partitions is kept")
	}
	cache.remove(first.id)
	cache.remove(second.id)
	for id := range cache.mu.sessions {
		cache.remove(id)
	}
	if cache.mu.partitions != 0 {
		t.Errorf("%d partitions are charged for no session", cache.mu.partitions)
	}
}

func TestFetchErrors(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	for _, test := range []struct {
		name    string
		version int16
		edit    func(*kmsg.FetchRequest)
		want    string
	}{
		{"unknown topic", 12, func(r *kmsg.FetchRequest) { r.Topics[0].Topic = "other" }, "0:UNKNOWN_TOPIC_OR_PARTITION "},
		{"unknown topic id", 13, func(r *kmsg.FetchRequest) { r.Topics[0].TopicID[2]++ }, "0:UNKNOWN_TOPIC_ID "},
		{"above the end", 13, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = 5 }, "0:OFFSET_OUT_OF_RANGE "},
		{"newer leader epoch", 13, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 99 }, "0:UNKNOWN_LEADER_EPOCH "},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := fetchRequestOf(test.version, "topic", id, 0)
			r.MaxWaitMillis = 10_000 // an error does not wait
			test.edit(r)
			if got := told(dial(t, addr).request(r).(*kmsg.FetchResponse)); got != test.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestTheFirstFetchOfAPartitionIsBehindABarrier(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 2)
	client := dial(t, addr)
	if got := told(client.request(fetchRequestOf(13, "", id, 0)).(*kmsg.FetchResponse)); got != "0:false@0 " {
		t.Fatal(got)
	}
	c.mu.Lock()
	c.mu.barrier = errors.New("no leader")
	c.mu.Unlock()
	if got := told(client.request(fetchRequestOf(13, "", id, 0, 1)).(*kmsg.FetchResponse)); got != "0:false@0 1:OFFSET_NOT_AVAILABLE " {
		t.Errorf("without a barrier: %s", got)
	}
}

func TestALongPollIsWokenByAProduce(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	consumer := dial(t, addr)
	r := fetchRequestOf(13, "", id, 0)
	r.MaxWaitMillis = 60_000
	consumer.send(r)
	produced(dial(t, addr), produceRequestOf(13, "", id, testBatch("a")))
	if got := told(consumer.receive(r).(*kmsg.FetchResponse)); got != "0:true@1 " {
		t.Errorf("got %s", got)
	}
}

func TestNoPartitionStarves(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 4)
	client := dial(t, addr)
	client.request(produceRequestOf(13, "", id, testBatch("a"), testBatch("b"), testBatch("c"), testBatch("d")))
	served := map[int32]bool{}
	for range 8 {
		r := fetchRequestOf(13, "", id, 0, 1, 2, 3)
		r.MaxBytes = 10 // room for one batch, as there always is
		for _, p := range client.request(r).(*kmsg.FetchResponse).Topics[0].Partitions {
			served[p.Partition] = served[p.Partition] || len(p.RecordBatches) > 0
		}
	}
	if !served[0] || !served[1] || !served[2] || !served[3] {
		t.Errorf("served: %v", served)
	}
}

func TestMetadataPlacesPartitionsInTheClientsZone(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	for i := range 6 {
		c.addNode("host", int32(i), []string{"a", "b"}[i%2])
	}
	c.createTopic(t, "topic", 100)
	c.apply(&metapb.Command{Kind: &metapb.Command_SetNodeLive{SetNodeLive: &metapb.SetNodeLive{NodeId: 2, NodeEpoch: 1}}})
	leaders := func(clientID string) map[int32]int {
		client := dial(t, addr)
		client.formatter = kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))
		r := kmsg.NewPtrMetadataRequest()
		r.Version = 12
		count := map[int32]int{}
		for _, p := range client.request(r).(*kmsg.MetadataResponse).Topics[0].Partitions {
			count[p.Leader]++
		}
		return count
	}
	if got := leaders("app,zone=b"); len(got) != 3 || got[3] == 0 || got[5] == 0 || got[7] == 0 {
		t.Errorf("zone b: %v", got)
	}
	if got := leaders("app"); len(got) != 6 || got[2] != 0 {
		t.Errorf("no zone: %v", got)
	}
	if got := leaders("app;zone=nowhere"); len(got) != 6 {
		t.Errorf("unknown zone: %v", got)
	}
}

// librdkafka has no fetch sessions, and begins each request with the partition after the one that the last began with; so does Java in full requests, where a partition
// that had records moves to the end.
func TestNoPartitionStarvesWhoseClientRotates(t *testing.T) {
	for _, count := range []int32{2, 4} {
		c := newCluster(t)
		_, addr := start(t, c, Config{})
		id := c.createTopic(t, "topic", count)
		client := dial(t, addr)
		batches := make([][]byte, count)
		for i := range batches {
			batches[i] = testBatch("a")
		}
		client.request(produceRequestOf(13, "", id, batches...))
		served := make([]int, count)
		for k := range 16 * count {
			order := make([]int32, count)
			for i := range order {
				order[i] = (k + int32(i)) % count
			}
			r := fetchRequestOf(13, "", id, order...)
			r.MaxBytes = 10 // room for one batch, as there always is
			for _, p := range client.request(r).(*kmsg.FetchResponse).Topics[0].Partitions {
				if len(p.RecordBatches) > 0 {
					served[p.Partition]++
				}
			}
		}
		for i, n := range served {
			if n == 0 {
				t.Errorf("%d partitions: partition %d had nothing in %d requests: %v", count, i, 16*count, served)
			}
		}
	}
}

// A node that has not heard of a topic yet, which another node has told its client of, must not say that there is none.
func TestATopicIsUnknownToAFetchBehindABarrierOnly(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := [16]byte{0xee}
	copy(id[1:], "topic")
	c.mu.Lock()
	c.mu.behind = func() {
		c.mu.Lock()
		known := c.mu.state.TopicByName("topic") != nil
		c.mu.Unlock()
		if !known {
			c.createTopic(t, "topic", 1)
		}
	}
	c.mu.Unlock()
	if got := told(dial(t, addr).request(fetchRequestOf(13, "", id, 0)).(*kmsg.FetchResponse)); got != "0:false@0 " {
		t.Errorf("got %s", got)
	}
}
