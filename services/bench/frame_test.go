package bench

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/ingest/recordbatch"
)

func testBatch(t *testing.T, codec recordbatch.Codec, size int) []byte {
	t.Helper()
	batch, err := newContent(1).batch(codec, size)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func TestPatchingAFrameChangesItsCorrelationIDOnly(t *testing.T) {
	batch := testBatch(t, recordbatch.Zstd, 4<<10)
	f := produceFrame("orders", partitionBatch{3, batch}, partitionBatch{5, batch})
	before := string(f)

	f.setCorrelationID(0x01020304)

	if got := binary.BigEndian.Uint32(f); int(got) != len(f)-4 {
		t.Errorf("length field %d of a frame of %d bytes", got, len(f))
	}
	if key, version := binary.BigEndian.Uint16(f[4:]), binary.BigEndian.Uint16(f[6:]); key != 0 || version != produceVersion {
		t.Errorf("key %d version %d", key, version)
	}
	if string(f[8:12]) != "\x01\x02\x03\x04" {
		t.Errorf("correlation id % x", f[8:12])
	}
	if string(f[:8]) != before[:8] || string(f[12:]) != before[12:] {
		t.Error("other bytes changed")
	}
	clientID := "varve-bench"
	body := f[frameHeaderBytes+2+len(clientID)+1:]
	request := kmsg.NewPtrProduceRequest()
	request.Version = produceVersion
	if err := request.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	if got := request.Topics[0].Partitions; len(got) != 2 || got[1].Partition != 5 || string(got[1].Records) != string(batch) {
		t.Errorf("partitions decoded: %d", len(got))
	}
}

func TestRefusedBatchesAreSeen(t *testing.T) {
	response := kmsg.NewPtrProduceResponse()
	response.Version = produceVersion
	topic := kmsg.NewProduceResponseTopic()
	topic.Topic = "orders"
	good, bad := kmsg.NewProduceResponseTopicPartition(), kmsg.NewProduceResponseTopicPartition()
	bad.Partition, bad.ErrorCode = 1, 87
	topic.Partitions = append(topic.Partitions, good, bad)
	response.Topics = append(response.Topics, topic)
	answer := response.AppendTo([]byte{0, 0, 0, 9, 0})

	if err := checkProduced(answer, 9); err == nil || !strings.Contains(err.Error(), "INVALID_RECORD") {
		t.Errorf("got %v", err)
	}
	if err := checkProduced(answer, 8); err == nil {
		t.Error("the answer to another request was accepted")
	}
	if err := checkProduced(answer[:4], 9); err == nil {
		t.Error("a short answer was accepted")
	}
}

func TestNextOffsetStopsAtAPartialBatch(t *testing.T) {
	first, second := testBatch(t, recordbatch.None, 1<<10), testBatch(t, recordbatch.None, 1<<10)
	header, err := recordbatch.ParseHeader(first)
	if err != nil {
		t.Fatal(err)
	}
	recordbatch.SetBaseOffset(first, 100)
	recordbatch.SetBaseOffset(second, 100+int64(header.RecordCount))
	both := append(first[:len(first):len(first)], second...)

	for _, test := range []struct {
		records []byte
		want    int64
	}{
		{nil, 7},
		{both[:20], 7},
		{first, 100 + int64(header.RecordCount)},
		{both[:len(both)-1], 100 + int64(header.RecordCount)},
	} {
		if got, err := nextOffset(test.records, 7); err != nil || got != test.want {
			t.Errorf("%d bytes: got %d, %v; want %d", len(test.records), got, err, test.want)
		}
	}
}

func TestBatchAboveReachesItsSize(t *testing.T) {
	batch, err := newContent(2).batchAbove(recordbatch.Zstd, 128<<10)
	if err != nil {
		t.Fatal(err)
	}
	if len(batch) < 128<<10 || len(batch) > 256<<10 {
		t.Errorf("got %d bytes", len(batch))
	}
	if _, err := recordbatch.Validate(batch, recordbatch.Limits{}); err != nil {
		t.Error(err)
	}
}
