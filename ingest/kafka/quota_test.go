package kafka

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

func TestTokenBucketHoldsTenSecondsAndRemembersDebts(t *testing.T) {
	now := time.Unix(1000, 0)
	b := newTokenBucket(100, now)
	if wait := b.take(1000, now); wait != 0 {
		t.Errorf("all there is: wait %v", wait)
	}
	if wait := b.take(50, now); wait != 500*time.Millisecond {
		t.Errorf("50 above it at 100 a second: wait %v", wait)
	}
	if _, taken := b.takeUnlessOwing(1, now); taken {
		t.Error("something was taken in spite of a debt")
	}
	now = now.Add(500 * time.Millisecond)
	if wait, taken := b.takeUnlessOwing(10, now); !taken || wait != 100*time.Millisecond {
		t.Errorf("with the debt just paid: %v, %v", wait, taken)
	}
	b.setRate(10, now)
	if wait := b.take(0, now); wait != time.Second {
		t.Errorf("a debt of 10 at the new rate: wait %v", wait)
	}
	if now = now.Add(time.Hour); !b.full(now) || b.capacity() != 100 {
		t.Errorf("after an hour: full %v, capacity %v", b.full(now), b.capacity())
	}
}

func quotaOf(kind string, name *string) kmsg.AlterClientQuotasRequestEntryEntity {
	return kmsg.AlterClientQuotasRequestEntryEntity{Type: kind, Name: name}
}

// setQuota sets quotas (name to value) on an entity and returns the answer's code.
func setQuota(client *rawClient, quotas map[string]float64, entity ...kmsg.AlterClientQuotasRequestEntryEntity) int16 {
	client.t.Helper()
	r := kmsg.NewPtrAlterClientQuotasRequest()
	r.Version = 1
	entry := kmsg.AlterClientQuotasRequestEntry{Entity: entity}
	for name, value := range quotas {
		entry.Ops = append(entry.Ops, kmsg.AlterClientQuotasRequestEntryOp{Key: name, Value: value})
	}
	r.Entries = append(r.Entries, entry)
	return client.request(r).(*kmsg.AlterClientQuotasResponse).Entries[0].ErrorCode
}

func TestProducersAreThrottledAndTheirConnectionMuted(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	if code := setQuota(dial(t, addr), map[string]float64{meta.ProducerByteRate: 100}, quotaOf("client-id", kmsg.StringPtr("raw"))); code != 0 {
		t.Fatal(kerr.ErrorForCode(code))
	}
	client := dial(t, addr)
	large := testBatch(string(make([]byte, 1000)))
	began := time.Now()
	answer := client.request(produceRequestOf(13, "", id, large)).(*kmsg.ProduceResponse)
	if answer.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatal(kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode))
	}
	wait := time.Duration(answer.ThrottleMillis) * time.Millisecond
	if wait < 500*time.Millisecond || wait > 5*time.Second {
		t.Fatalf("some 1100 bytes of 1000 that may come at once, at 100 a second: throttled for %v", wait)
	}
	if took := time.Since(began); took > wait/2 {
		t.Errorf("the answer came after %v: it is the next request that waits", took)
	}
	client.request(kmsg.NewPtrMetadataRequest())
	if took := time.Since(began); took < wait {
		t.Errorf("the next request was answered after %v, the throttle time is %v", took, wait)
	}
}

func TestOtherClientsAreNotThrottled(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	setQuota(dial(t, addr), map[string]float64{meta.ProducerByteRate: 1}, quotaOf("client-id", kmsg.StringPtr("somebody")))
	for range 10 {
		if answer := dial(t, addr).request(produceRequestOf(13, "", id, testBatch("v"))).(*kmsg.ProduceResponse); answer.ThrottleMillis != 0 {
			t.Fatalf("throttled for %d ms", answer.ThrottleMillis)
		}
	}
}

func TestFetchesAreThrottledAndBoundedToTheQuota(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	producer := dial(t, addr)
	for range 10 {
		produced(producer, produceRequestOf(13, "", id, testBatch(string(make([]byte, 1000)))))
	}
	setQuota(dial(t, addr), map[string]float64{meta.ConsumerByteRate: 30}, quotaOf("user", nil))
	consumer := dial(t, addr)
	introduce(consumer, "kgo") // which reads the batches as they are stored, each of them below the quota
	size, throttled := 0, int32(0)
	for range 2 {
		answer := consumer.request(fetchRequestOf(13, "", id, 0)).(*kmsg.FetchResponse)
		got := len(answer.Topics[0].Partitions[0].RecordBatches)
		if got > 300 {
			t.Errorf("%d bytes at once, where 300 are ten seconds' worth", got)
		}
		size, throttled = size+got, max(throttled, answer.ThrottleMillis)
		if throttled > 0 {
			break
		}
	}
	if throttled == 0 {
		t.Errorf("%d bytes without a throttle time", size)
	}
}

func TestControllerMutationsAreRefusedOnceOwing(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	setQuota(dial(t, addr), map[string]float64{meta.ControllerMutationRate: 1}, quotaOf("client-id", nil))
	topic := func(name string, partitions int32) kmsg.CreateTopicsRequestTopic {
		return kmsg.CreateTopicsRequestTopic{Topic: name, NumPartitions: partitions, ReplicationFactor: 1}
	}
	if code := createTopics(dial(t, addr), false, topic("large", 12))[0].ErrorCode; code != 0 {
		t.Fatalf("a debt may be made once: %v", kerr.ErrorForCode(code))
	}
	r := kmsg.NewPtrCreateTopicsRequest()
	r.Version, r.TimeoutMillis, r.Topics = 7, 5000, []kmsg.CreateTopicsRequestTopic{topic("next", 1)}
	answer := dial(t, addr).request(r).(*kmsg.CreateTopicsResponse)
	if answer.Topics[0].ErrorCode != kerr.ThrottlingQuotaExceeded.Code || answer.ThrottleMillis < 500 {
		t.Errorf("%v, throttled for %d ms", kerr.ErrorForCode(answer.Topics[0].ErrorCode), answer.ThrottleMillis)
	}
	r.Version = 5 // does not know the error
	answer = dial(t, addr).request(r).(*kmsg.CreateTopicsResponse)
	if answer.Topics[0].ErrorCode != 0 || answer.ThrottleMillis < 500 {
		t.Errorf("before the error was known: %v, throttled for %d ms", kerr.ErrorForCode(answer.Topics[0].ErrorCode), answer.ThrottleMillis)
	}
}

func TestRequestPercentageIsCharged(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	setQuota(dial(t, addr), map[string]float64{meta.RequestPercentage: 0.000001}, quotaOf("client-id", nil))
	client := dial(t, addr)
	if answer := client.request(kmsg.NewPtrDescribeClusterRequest()).(*kmsg.DescribeClusterResponse); answer.ThrottleMillis != 1000 {
		t.Errorf("throttled for %d ms, not for the second that is the most", answer.ThrottleMillis)
	}
}

func TestClientQuotasAreDescribedAsTheyWereSet(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	client := dial(t, addr)
	set := func(value float64, entity ...kmsg.AlterClientQuotasRequestEntryEntity) {
		t.Helper()
		if code := setQuota(client, map[string]float64{meta.ProducerByteRate: value}, entity...); code != 0 {
			t.Fatal(kerr.ErrorForCode(code))
		}
	}
	alice, app := kmsg.StringPtr("alice/*:"), kmsg.StringPtr("app")
	set(1e9, quotaOf("user", alice))
	set(2e9, quotaOf("user", alice), quotaOf("client-id", app))
	set(3e9, quotaOf("user", nil))
	set(4e9, quotaOf("client-id", app))
	describe := func(strict bool, components ...kmsg.DescribeClientQuotasRequestComponent) (values []float64) {
		r := kmsg.NewPtrDescribeClientQuotasRequest()
		r.Version, r.Strict, r.Components = 1, strict, components
		answer := client.request(r).(*kmsg.DescribeClientQuotasResponse)
		if answer.ErrorCode != 0 {
			t.Fatal(kerr.ErrorForCode(answer.ErrorCode))
		}
		for _, entry := range answer.Entries {
			values = append(values, entry.Values[0].Value/1e9)
		}
		return values
	}
	component := func(kind string, match kmsg.QuotasMatchType, name *string) kmsg.DescribeClientQuotasRequestComponent {
		return kmsg.DescribeClientQuotasRequestComponent{EntityType: kind, MatchType: match, Match: name}
	}
	for _, test := range []struct {
		name string
		got  []float64
		want int
	}{
		{"all", describe(false), 4},
		{"one user, with whatever", describe(false, component("user", kmsg.QuotasMatchTypeExact, alice)), 2},
		{"one user, alone", describe(true, component("user", kmsg.QuotasMatchTypeExact, alice)), 1},
		{"the default user", describe(false, component("user", kmsg.QuotasMatchTypeDefault, nil)), 1},
		{"any user", describe(false, component("user", kmsg.QuotasMatchTypeAny, nil)), 3},
		{"any address", describe(false, component("ip", kmsg.QuotasMatchTypeAny, nil)), 0},
	} {
		if len(test.got) != test.want {
			t.Errorf("%s: %v", test.name, test.got)
		}
	}
	remove := kmsg.NewPtrAlterClientQuotasRequest()
	remove.Entries = []kmsg.AlterClientQuotasRequestEntry{{
		Entity: []kmsg.AlterClientQuotasRequestEntryEntity{quotaOf("user", nil)},
		Ops:    []kmsg.AlterClientQuotasRequestEntryOp{{Key: meta.ProducerByteRate, Remove: true}},
	}}
	client.request(remove)
	if got := describe(false); len(got) != 3 {
		t.Errorf("after one was removed: %v", got)
	}
}

func TestQuotasThatCannotBeAreRefused(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	client := dial(t, addr)
	for name, code := range map[string]int16{
		"no entity":           setQuota(client, map[string]float64{meta.ProducerByteRate: 1}),
		"an unknown type":     setQuota(client, map[string]float64{meta.ProducerByteRate: 1}, quotaOf("group", nil)),
		"an empty name":       setQuota(client, map[string]float64{meta.ProducerByteRate: 1}, quotaOf("user", kmsg.StringPtr(""))),
		"a user's address":    setQuota(client, map[string]float64{meta.ProducerByteRate: 1}, quotaOf("user", nil), quotaOf("ip", nil)),
		"an unknown quota":    setQuota(client, map[string]float64{"bytes": 1}, quotaOf("user", nil)),
		"a quota of 0":        setQuota(client, map[string]float64{meta.ProducerByteRate: 0}, quotaOf("user", nil)),
		"half a byte":         setQuota(client, map[string]float64{meta.ProducerByteRate: 0.5}, quotaOf("user", nil)),
		"bytes of an address": setQuota(client, map[string]float64{meta.ProducerByteRate: 1}, quotaOf("ip", nil)),
		"no address":          setQuota(client, map[string]float64{meta.ConnectionCreationRate: 1}, quotaOf("ip", kmsg.StringPtr("a.b.c"))),
	} {
		if code != kerr.InvalidRequest.Code {
			t.Errorf("%s: %v", name, kerr.ErrorForCode(code))
		}
	}
}

func TestConnectionsPerAddressAreBounded(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	first := dial(t, addr)
	alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
	alter.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker, Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{
		{Name: meta.MaxConnectionsPerIPOverrides, Value: kmsg.StringPtr("127.0.0.1:1")},
	}}}
	if got := first.request(alter).(*kmsg.IncrementalAlterConfigsResponse).Resources[0]; got.ErrorCode != 0 {
		t.Fatal(orEmpty(got.ErrorMessage))
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		second := dial(t, addr)
		if _, err := second.nc.Write(second.formatter.AppendRequest(nil, kmsg.NewPtrMetadataRequest(), 1)); err == nil {
			if n, err := second.nc.Read(make([]byte, 1)); n == 0 && err != nil {
				return // closed
			}
		}
		closeQuietly(second.nc)
		if time.Now().After(deadline) {
			t.Fatal("a second connection from one address is served")
		}
	}
}
