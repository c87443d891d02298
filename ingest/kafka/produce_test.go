package kafka

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// produced sends one batch to partition 0 and returns its part of the answer.
func produced(client *rawClient, r *kmsg.ProduceRequest) kmsg.ProduceResponseTopicPartition {
	client.t.Helper()
	return client.request(r).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
}

// stored are the batches of a partition.
func (c *cluster) stored(id meta.TopicID, partition int32) (batches [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.mu.log[meta.TopicPartition{Topic: id, Partition: partition}] {
		batches = append(batches, b.data)
	}
	return batches
}

func TestBatchesThatAreRefused(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1, "max.message.bytes", "1000", "message.timestamp.after.max.ms", "1000", "message.timestamp.before.max.ms", "1000")
	client := dial(t, addr)
	edited := func(edit func([]byte)) []byte {
		b := testBatch("record")
		edit(b)
		header, err := recordbatch.ParseHeader(b)
		if err == nil {
			recordbatch.SetMaxTimestamp(b, header.MaxTimestamp+1) // seals the CRC
			recordbatch.SetMaxTimestamp(b, header.MaxTimestamp)
		}
		return b
	}
	for _, test := range []struct {
		name  string
		batch []byte
		want  *kerr.Error
	}{
		{"no batch", nil, kerr.InvalidRecord},
		{"two batches", append(testBatch("one"), testBatch("two")...), kerr.InvalidRecord},
		{"wrong CRC", func() []byte { b := testBatch("record"); b[len(b)-2] ^= 1; return b }(), kerr.CorruptMessage},
		{"truncated", testBatch("record")[:50], kerr.InvalidRecord},
		{"old format", edited(func(b []byte) { b[16] = 1 }), kerr.InvalidRecord},
		{"too large", testBatch(strings.Repeat("x", 2000)), kerr.MessageTooLarge},
		{"wrong record count", edited(func(b []byte) { b[60] = 9 }), kerr.InvalidRecord},
		{"transactional", edited(func(b []byte) { b[22] |= 1 << 4; copy(b[43:57], make([]byte, 14)) }), kerr.TransactionalIDAuthorizationFailed},
		{"control", edited(func(b []byte) { b[22] |= 1 << 5 }), kerr.InvalidRecord},
		{"from the future", edited(func(b []byte) { b[29]++; b[37]++ }), kerr.InvalidTimestamp},
		{"from the past", edited(func(b []byte) { b[29]--; b[37]-- }), kerr.InvalidTimestamp},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := produced(client, produceRequestOf(9, "topic", id, test.batch))
			if p.ErrorCode != test.want.Code {
				t.Errorf("got %v, want %v", kerr.ErrorForCode(p.ErrorCode), test.want)
			}
			if p.BaseOffset != -1 || len(c.stored(id, 0)) != 0 {
				t.Errorf("offset %d, %d batches stored", p.BaseOffset, len(c.stored(id, 0)))
			}
		})
	}
}

func TestProduceRequestsThatAreRefused(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	client := dial(t, addr)
	for _, test := range []struct {
		name    string
		version int16
		edit    func(*kmsg.ProduceRequest)
		want    *kerr.Error
	}{
		{"unknown topic", 9, func(r *kmsg.ProduceRequest) { r.Topics[0].Topic = "other" }, kerr.UnknownTopicOrPartition},
		{"unknown topic id", 13, func(r *kmsg.ProduceRequest) { r.Topics[0].TopicID[3]++ }, kerr.UnknownTopicID},
		{"unknown partition", 9, func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions[0].Partition = 1 }, kerr.UnknownTopicOrPartition},
		{"negative partition", 9, func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions[0].Partition = -1 }, kerr.UnknownTopicOrPartition},
		{"acks of two", 9, func(r *kmsg.ProduceRequest) { r.Acks = 2 }, kerr.InvalidRequiredAcks},
		{"zstd before clients knew it", 6, func(r *kmsg.ProduceRequest) {
			packed, err := recordbatch.Compress(nil, testBatch(strings.Repeat("record", 200)), recordbatch.Zstd, 0)
			if err != nil {
				t.Fatal(err)
			}
			r.Topics[0].Partitions[0].Records = packed
		}, kerr.UnsupportedCompressionType},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := produceRequestOf(test.version, "topic", id, testBatch("record"))
			test.edit(r)
			if p := produced(client, r); p.ErrorCode != test.want.Code || len(c.stored(id, 0)) != 0 {
				t.Errorf("got %v, want %v", kerr.ErrorForCode(p.ErrorCode), test.want)
			}
		})
	}
}

func TestOnePartitionsErrorIsItsOwn(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 3)
	bad := testBatch("bad")
	bad[20] ^= 1
	response := dial(t, addr).request(produceRequestOf(9, "topic", id, testBatch("a"), bad, testBatch("b", "c"))).(*kmsg.ProduceResponse)
	var codes []int16
	for _, p := range response.Topics[0].Partitions {
		codes = append(codes, p.ErrorCode)
	}
	if fmt.Sprint(codes) != fmt.Sprint([]int16{0, kerr.CorruptMessage.Code, 0}) {
		t.Errorf("codes: %v", codes)
	}
	if len(c.stored(id, 0)) != 1 || len(c.stored(id, 1)) != 0 || len(c.stored(id, 2)) != 1 {
		t.Error("not the good batches and those alone are stored")
	}
}

func TestAcks0GetsNoAnswerAndAnErrorClosesTheConnection(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	client := dial(t, addr)
	quietly := produceRequestOf(9, "topic", id, testBatch("record"))
	quietly.Acks = 0
	client.send(quietly)
	client.request(kmsg.NewPtrMetadataRequest()) // the next answer is to this
	if len(c.stored(id, 0)) != 1 {
		t.Fatal("the record is not stored")
	}
	quietly.Topics[0].Topic = "other"
	client.send(quietly)
	client.closed()
}

func TestVerdictsThatStayAwayAreATimeout(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	c.hold = make(chan struct{})
	defer close(c.hold)
	r := produceRequestOf(9, "topic", id, testBatch("record"))
	r.TimeoutMillis = 1
	if p := produced(dial(t, addr), r); p.ErrorCode != kerr.RequestTimedOut.Code {
		t.Errorf("got %v", kerr.ErrorForCode(p.ErrorCode))
	}
}

func TestLogAppendTimeIsStamped(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1, "message.timestamp.type", "LogAppendTime", "varve.compress.uncompressed", "false")
	before := time.Now().UnixMilli()
	p := produced(dial(t, addr), produceRequestOf(9, "topic", id, testBatch("record")))
	if p.LogAppendTime < before || p.LogAppendTime > time.Now().UnixMilli() {
		t.Errorf("log append time %d", p.LogAppendTime)
	}
	batch := c.stored(id, 0)[0]
	header, err := recordbatch.ParseHeader(batch)
	if err != nil || !header.IsLogAppendTime() || header.MaxTimestamp != p.LogAppendTime || recordbatch.CheckCRC(batch) != nil {
		t.Errorf("stored %+v, %v", header, err)
	}
}

func TestDuplicatesReturnTheirFirstOffset(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	client := dial(t, addr)
	initialised := client.request(kmsg.NewPtrInitProducerIDRequest()).(*kmsg.InitProducerIDResponse)
	batch := testBatch("once")
	sequenced := func(sequence byte) []byte {
		b := bytes.Clone(batch)
		b[50] = byte(initialised.ProducerID)
		clear(b[43:50])
		clear(b[51:57])
		b[56] = sequence
		header, err := recordbatch.ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		recordbatch.SetMaxTimestamp(b, header.MaxTimestamp+1)
		recordbatch.SetMaxTimestamp(b, header.MaxTimestamp)
		return b
	}
	for i, want := range []struct {
		sequence byte
		offset   int64
		code     int16
	}{{0, 0, 0}, {1, 1, 0}, {0, 0, 0}, {2, 2, 0}, {9, -1, kerr.OutOfOrderSequenceNumber.Code}} {
		p := produced(client, produceRequestOf(9, "topic", id, sequenced(want.sequence)))
		if p.BaseOffset != want.offset || p.ErrorCode != want.code {
			t.Errorf("attempt %d: offset %d, %v", i, p.BaseOffset, kerr.ErrorForCode(p.ErrorCode))
		}
	}
}

func TestCompressionType(t *testing.T) {
	compressible := strings.Repeat("compressible ", 100)
	plain := testBatch(compressible)
	zipped, err := recordbatch.Compress(nil, plain, recordbatch.Gzip, 0)
	if err != nil {
		t.Fatal(err)
	}
	zipped = bytes.Clone(zipped)
	for _, test := range []struct {
		name        string
		configs     []string
		sent        []byte
		want        recordbatch.Codec
		asItWasSent bool
	}{
		{"what comes uncompressed is compressed", nil, plain, recordbatch.Zstd, false},
		{"unless it does not get smaller", nil, testBatch("x"), recordbatch.None, true},
		{"or that is switched off", []string{"varve.compress.uncompressed", "false"}, plain, recordbatch.None, true},
		{"what a producer compressed is kept", nil, zipped, recordbatch.Gzip, true},
		{"a named codec is forced on what comes uncompressed", []string{"compression.type", "lz4"}, plain, recordbatch.LZ4, false},
		{"and on what a producer compressed", []string{"compression.type", "snappy"}, zipped, recordbatch.Snappy, false},
		{"unless it is compressed so already", []string{"compression.type", "gzip"}, zipped, recordbatch.Gzip, true},
		{"uncompressed is forced too", []string{"compression.type", "uncompressed"}, zipped, recordbatch.None, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t)
			_, addr := start(t, c, Config{})
			id := c.createTopic(t, "topic", 1, test.configs...)
			if p := produced(dial(t, addr), produceRequestOf(9, "topic", id, test.sent)); p.ErrorCode != 0 {
				t.Fatal(kerr.ErrorForCode(p.ErrorCode), *p.ErrorMessage)
			}
			got := c.stored(id, 0)[0]
			header, err := recordbatch.ParseHeader(got)
			if err != nil || header.Codec() != test.want || recordbatch.CheckCRC(got) != nil {
				t.Fatalf("stored %+v, %v", header, err)
			}
			if bytes.Equal(got[recordbatch.LengthEnd:], test.sent[recordbatch.LengthEnd:]) != test.asItWasSent {
				t.Error("bytes as they were sent:", !test.asItWasSent)
			}
		})
	}
}

func TestABatchThatCannotBeRecompressedIsRefusedAlone(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 2, "compression.type", "zstd")
	lying := testBatch("not gzip at all")
	lying[22] = byte(recordbatch.Gzip)
	header, err := recordbatch.ParseHeader(lying)
	if err != nil {
		t.Fatal(err)
	}
	recordbatch.SetMaxTimestamp(lying, header.MaxTimestamp+1)
	response := dial(t, addr).request(produceRequestOf(9, "topic", id, lying, testBatch("good"))).(*kmsg.ProduceResponse)
	bad, good := response.Topics[0].Partitions[0], response.Topics[0].Partitions[1]
	if bad.ErrorCode != kerr.UnknownServerError.Code || good.ErrorCode != 0 || len(c.stored(id, 0)) != 0 || len(c.stored(id, 1)) != 1 {
		t.Errorf("bad: %v, good: %v", kerr.ErrorForCode(bad.ErrorCode), kerr.ErrorForCode(good.ErrorCode))
	}
}

func TestCompressionKeepsTheOrderOfAConnection(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{CompressionWorkers: 4})
	id := c.createTopic(t, "topic", 1)
	client := dial(t, addr)
	const requests = 60
	for i := range requests {
		// Large ones take long to compress, small ones nothing, and some need none.
		value := strings.Repeat(fmt.Sprintf("%d ", i), 1+(i%3)*5000)
		batch := testBatch(value)
		if i%4 == 3 {
			zipped, err := recordbatch.Compress(nil, batch, recordbatch.LZ4, 0)
			if err != nil {
				t.Fatal(err)
			}
			batch = zipped
		}
		client.send(produceRequestOf(9, "topic", id, batch))
	}
	for range requests {
		client.frame()
	}
	for i, batch := range c.stored(id, 0) {
		for record, err := range recordbatch.Records(batch, nil) {
			if want := fmt.Sprintf("%d ", i); err != nil || !bytes.HasPrefix(record.Value, []byte(want)) || record.Offset != int64(i) {
				t.Fatalf("record %d begins with %.10s at offset %d: %v", i, record.Value, record.Offset, err)
			}
		}
	}
}
