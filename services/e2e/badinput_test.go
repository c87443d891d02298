package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/services/e2e/cluster"
)

// rawProduce sends bytes as the record batches of one partition and returns the error that the answer carries.
func rawProduce(t *testing.T, client *kgo.Client, topic string, batches []byte) error {
	t.Helper()
	request := kmsg.NewPtrProduceRequest()
	request.Acks, request.TimeoutMillis = -1, 5_000
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Records = batches
	request.Topics = []kmsg.ProduceRequestTopic{{Topic: topic, Partitions: []kmsg.ProduceRequestTopicPartition{partition}}}
	response, err := client.SeedBrokers()[0].Request(within(t, patience), request)
	if err != nil {
		t.Fatalf("produce raw bytes: %v", err)
	}
	return kerr.ErrorForCode(response.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
}

// rawClient names topics in its requests, as clients did before version 13 of Produce.
func rawClient(t *testing.T, n *cluster.Node) *kgo.Client {
	return dial(t, n, kgo.MaxVersions(kversion.V3_7_0()))
}

// batch is a sound record batch of one record for each value.
func batch(t *testing.T, values ...[]byte) []byte {
	t.Helper()
	b := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
	b.Reset(0, 0)
	now := time.Now().UnixMilli() // not older than any retention
	for i, value := range values {
		if err := b.Append(int64(i), now, nil, value, nil); err != nil {
			t.Fatal(err)
		}
	}
	built, _, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(built)
}

// Positions in a record batch (https://kafka.apache.org/documentation/#recordbatch).
const (
	atLength, atMagic, atCRC, atAttributes, atLastOffsetDelta, atCount, atRecords = 8, 16, 17, 21, 23, 57, 61
)

// reseal makes length and checksum right again.
func reseal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[atCRC:], crc32.Checksum(b[atAttributes:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// bomb is a batch of a few kilobytes whose records inflate to a size.
func bomb(t *testing.T, inflatedBytes int) []byte {
	t.Helper()
	var packed bytes.Buffer
	w, err := zstd.NewWriter(&packed, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range inflatedBytes >> 20 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b := append(batch(t, []byte("x"))[:atRecords], packed.Bytes()...)
	b[atAttributes+1] = 4 // zstd
	return reseal(b)
}

func TestBadBatchesAreRefusedAndHurtNobody(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "basic", 1)
	createTopic(t, n, "deep", 1, "varve.validate", "deep")
	client := rawClient(t, n)
	edit := func(change func(b []byte)) []byte {
		b := batch(t, []byte("one"), []byte("two"))
		change(b)
		return b
	}
	count := func(b []byte, records, lastDelta uint32) []byte {
		binary.BigEndian.PutUint32(b[atCount:], records)
		binary.BigEndian.PutUint32(b[atLastOffsetDelta:], lastDelta)
		return reseal(b)
	}
	before := n.RSS()
	zipBomb := bomb(t, 512<<20)
	for name, bad := range map[string]struct {
		batch []byte
		deep  bool // only a topic that inflates can tell
	}{
		"wrong CRC":             {batch: edit(func(b []byte) { b[atCRC] ^= 1 })},
		"flipped byte":          {batch: edit(func(b []byte) { b[len(b)-2] ^= 1 })},
		"magic 1":               {batch: edit(func(b []byte) { b[atMagic] = 1 })},
		"magic 9":               {batch: edit(func(b []byte) { b[atMagic] = 9 })},
		"length beyond the end": {batch: edit(func(b []byte) { binary.BigEndian.PutUint32(b[atLength:], 1<<30) })},
		"negative length":       {batch: edit(func(b []byte) { binary.BigEndian.PutUint32(b[atLength:], 1<<31) })},
		"cut short":             {batch: edit(func(b []byte) {})[:70]},
		"a header alone":        {batch: edit(func(b []byte) {})[:20]},
		"unknown codec":         {batch: reseal(edit(func(b []byte) { b[atAttributes+1] = 7 }))},
		"a control batch":       {batch: reseal(edit(func(b []byte) { b[atAttributes+1] = 0x20 }))},
		"no records":            {batch: count(batch(t, []byte("x")), 0, 0)},
		"too many records":      {batch: count(batch(t, []byte("x")), 1<<30, 1<<30-1)},
		"more than there are":   {batch: count(batch(t, []byte("x")), 2, 1)},
		"fewer than there are":  {batch: count(batch(t, []byte("x"), []byte("y")), 1, 0)},
		"delta and count apart": {batch: count(batch(t, []byte("x")), 1, 5)},
		"record of lying size":  {batch: reseal(edit(func(b []byte) { b[atRecords] = 0x7e }))},
		"too large":             {batch: batch(t, noise(3<<20, 1))},
		"not a compressed text": {deep: true, batch: reseal(edit(func(b []byte) { b[atAttributes+1] = 4 }))},
		"zip bomb":              {deep: true, batch: zipBomb},
	} {
		if err := rawProduce(t, client, "deep", bad.batch); err == nil {
			t.Errorf("%s: taken by a topic that validates deeply", name)
		}
		if err := rawProduce(t, client, "basic", bad.batch); err == nil && !bad.deep {
			t.Errorf("%s: taken", name)
		}
	}
	for range 20 {
		if err := rawProduce(t, client, "deep", zipBomb); err == nil {
			t.Error("zip bomb taken")
		}
	}
	// What must not be is the bomb's own size, or 21 of them adding up: batches inflate up to 64 MiB before they are refused, one at a time.
	if grown := n.RSS() - before; grown > 200<<20 {
		t.Errorf("RSS grew by %d MiB", grown>>20)
	}
	if err := rawProduce(t, client, "deep", batch(t, []byte("sound"))); err != nil {
		t.Errorf("a sound batch: %v", err)
	}
	if got := flatten(readAll(t, n, "deep")); len(got) != 1 || string(got[0].Value) != "sound" {
		t.Errorf("%d records, want the sound one alone", len(got))
	}
}

// frame is a request frame of any shape.
func frame(key, version int16, rest []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(rest)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	return append(binary.BigEndian.AppendUint32(b, 77), rest...)
}

func TestGarbageOnTheWireHurtsNobody(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "sound", 1)
	client := dial(t, n)
	produce(t, client, numbered("sound", "before", 0, 10)...)
	pid, before := n.PID(), n.RSS()

	noClient := []byte{0xff, 0xff}
	huge := binary.BigEndian.AppendUint32(nil, 1<<31-1)
	inputs := map[string][]byte{
		"HTTP":                []byte("GET / HTTP/1.1\r\nHost: kafka\r\n\r\n"),
		"TLS":                 {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03},
		"nothing":             {},
		"half a length":       {0, 0},
		"negative length":     {0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4},
		"oversized":           append(huge, make([]byte, 64)...),
		"large and truncated": append(binary.BigEndian.AppendUint32(nil, 90<<20), frame(0, 9, noClient)[4:]...),
		"unknown key":         frame(999, 0, noClient),
		"unknown version":     frame(3, 99, noClient),
		"lying arrays":        frame(3, 1, append(noClient, 0x7f, 0xff, 0xff, 0xff)),
		"lying strings":       frame(3, 1, []byte{0x7f, 0xff}),
		"lying fetch":         frame(1, 4, append(noClient, make([]byte, 17)...)),
	}
	source := rand.NewChaCha8([32]byte{7})
	for key := int16(0); key < 75; key++ { // random bodies of every key
		body := make([]byte, 100)
		_, _ = source.Read(body)
		inputs["random body of key "+string(rune('0'+key))] = frame(key, 0, append([]byte{0xff, 0xff}, body...))
	}
	for name, input := range inputs {
		connection, err := net.Dial("tcp", n.Kafka)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// A server that hangs up while it is written to is as good as one that reads on.
		_, _ = connection.Write(input)
		_ = connection.(*net.TCPConn).CloseWrite()
		if err := connection.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if _, err := io.Copy(io.Discard, connection); errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("%s: the connection is still open", name)
		}
		connection.Close()
	}
	// Many that promise much and send nothing hold little memory.
	var idle []net.Conn
	for range 200 {
		connection, err := net.Dial("tcp", n.Kafka)
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		if _, err := connection.Write(append(binary.BigEndian.AppendUint32(nil, 90<<20), frame(0, 9, noClient)[4:]...)); err != nil {
			t.Fatal(err)
		}
		idle = append(idle, connection)
	}
	produce(t, client, numbered("sound", "after", 0, 10)...)
	if got := flatten(readAll(t, n, "sound")); len(got) != 20 {
		t.Errorf("%d records with %d connections that promise much", len(got), len(idle))
	}
	if !n.Running() || n.PID() != pid {
		t.Error("the process has ended")
	}
	if grown := n.RSS() - before; grown > 250<<20 {
		t.Errorf("RSS grew by %d MiB", grown>>20)
	}
}

func TestApiVersionsFallsBackAsKafkaDoes(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	connection, err := net.Dial("tcp", n.Kafka)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := connection.Write(frame(18, 120, []byte{0xff, 0xff, 0})); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 10) // length, correlation id, error code
	if _, err := io.ReadFull(connection, head); err != nil {
		t.Fatal(err)
	}
	if code := binary.BigEndian.Uint16(head[8:]); code != uint16(kerr.UnsupportedVersion.Code) {
		t.Errorf("error code %d", code)
	}
}
