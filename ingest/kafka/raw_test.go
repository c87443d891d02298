package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/ingest/recordbatch"
)

// rawClient is a connection under the test's control, frame by frame.
type rawClient struct {
	t         testing.TB
	nc        net.Conn
	formatter *kmsg.RequestFormatter
	next      int32
}

func dial(t testing.TB, addr string) *rawClient {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeQuietly(nc) })
	return &rawClient{t: t, nc: nc, formatter: kmsg.NewRequestFormatter(kmsg.FormatterClientID("raw"))}
}

func (c *rawClient) write(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// send writes a request and returns its correlation id.
func (c *rawClient) send(r kmsg.Request) int32 {
	c.t.Helper()
	c.next++
	c.write(c.formatter.AppendRequest(nil, r, c.next))
	return c.next
}

// frame reads one answer: correlation id, and what follows it.
func (c *rawClient) frame() (int32, []byte) {
	c.t.Helper()
	var prefix [8]byte
	if _, err := io.ReadFull(c.nc, prefix[:]); err != nil {
		c.t.Fatalf("read answer: %v", err)
	}
	body := make([]byte, binary.BigEndian.Uint32(prefix[:4])-4)
	if _, err := io.ReadFull(c.nc, body); err != nil {
		c.t.Fatalf("read answer: %v", err)
	}
	return int32(binary.BigEndian.Uint32(prefix[4:])), body
}

// receive reads the answer to r, and checks that encoding it again gives the same bytes.
func (c *rawClient) receive(r kmsg.Request) kmsg.Response {
	c.t.Helper()
	_, body := c.frame()
	response := r.ResponseKind()
	if r.Key() != keyApiVersions && response.IsFlexible() {
		if body[0] != 0 {
			c.t.Fatalf("header has tags: %x", body[0])
		}
		body = body[1:]
	}
	if err := response.ReadFrom(body); err != nil {
		c.t.Fatalf("decode answer to %s v%d: %v\n%x", kmsg.NameForKey(r.Key()), r.GetVersion(), err, body)
	}
	if again := response.AppendTo(nil); !bytes.Equal(again, body) {
		c.t.Fatalf("answer to %s v%d is not what it decodes to:\n got %x\nwant %x", kmsg.NameForKey(r.Key()), r.GetVersion(), body, again)
	}
	return response
}

func (c *rawClient) request(r kmsg.Request) kmsg.Response {
	c.t.Helper()
	c.send(r)
	return c.receive(r)
}

// closed waits for the server to close the connection without another byte.
func (c *rawClient) closed() {
	c.t.Helper()
	n, err := c.nc.Read(make([]byte, 1))
	var timeout net.Error
	if n != 0 || err == nil || (errors.As(err, &timeout) && timeout.Timeout()) {
		c.t.Fatalf("the connection is not closed: read %d bytes, %v", n, err)
	}
}

// testBatch is an uncompressed batch of one record per value.
func testBatch(values ...string) []byte {
	now := time.Now().UnixMilli()
	var records []byte
	for i, value := range values {
		r := []byte{0, 0} // attributes, timestamp delta
		r = binary.AppendVarint(r, int64(i))
		r = binary.AppendVarint(r, -1) // no key
		r = binary.AppendVarint(r, int64(len(value)))
		r = append(r, value...)
		r = append(r, 0) // headers
		records = append(binary.AppendVarint(records, int64(len(r))), r...)
	}
	return sealedBatch(now, int32(len(values)), records)
}

// sealedBatch is a batch of encoded records with one timestamp.
func sealedBatch(now int64, count int32, records []byte) []byte {
	batch := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: count - 1, FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: count, Records: records,
	}
	batch.Length = int32(recordbatch.HeaderBytes - recordbatch.LengthEnd + len(records))
	b := batch.AppendTo(nil)
	recordbatch.SetMaxTimestamp(b, now+1) // seals the CRC
	recordbatch.SetMaxTimestamp(b, now)
	return b
}

func produceRequestOf(version int16, topic string, id [16]byte, batches ...[]byte) *kmsg.ProduceRequest {
	r := kmsg.NewPtrProduceRequest()
	r.Version, r.Acks, r.TimeoutMillis = version, -1, 5000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic, id
	for i, b := range batches {
		t.Partitions = append(t.Partitions, kmsg.ProduceRequestTopicPartition{Partition: int32(i), Records: b})
	}
	r.Topics = append(r.Topics, t)
	return r
}

func fetchRequestOf(version int16, topic string, id [16]byte, partitions ...int32) *kmsg.FetchRequest {
	r := kmsg.NewPtrFetchRequest()
	r.Version, r.MaxBytes, r.MinBytes, r.SessionEpoch = version, 1<<20, 1, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = topic, id
	for _, partition := range partitions {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.PartitionMaxBytes, p.CurrentLeaderEpoch = partition, 1<<20, -1
		t.Partitions = append(t.Partitions, p)
	}
	r.Topics = append(r.Topics, t)
	return r
}
