package recordbatch

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var allCodecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

// failer is what testing.TB and rapid.T have in common.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// plain is a record as tests compare it, its slices its own.
type plain struct {
	Offset, Timestamp int64
	Key, Value        []byte
	Headers           []RecordHeader
}

func plainOf(r *Record) plain {
	p := plain{Offset: r.Offset, Timestamp: r.Timestamp, Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value)}
	for h := range RecordHeaders(r.Headers) {
		p.Headers = append(p.Headers, RecordHeader{bytes.Clone(h.Key), bytes.Clone(h.Value)})
	}
	return p
}

func readAll(t failer, batches []byte) []plain {
	t.Helper()
	var all []plain
	for batch, err := range Batches(batches) {
		if err != nil {
			t.Fatalf("walk batches: %v", err)
		}
		if err := CheckCRC(batch.Bytes); err != nil {
			t.Fatal(err)
		}
		for rec, err := range Records(batch.Bytes, nil) {
			if err != nil {
				t.Fatalf("read batch at %d: %v", batch.BaseOffset, err)
			}
			all = append(all, plainOf(&rec))
		}
	}
	return all
}

func equalPlain(a, b plain) bool {
	sameBytes := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
	return a.Offset == b.Offset && a.Timestamp == b.Timestamp && sameBytes(a.Key, b.Key) && sameBytes(a.Value, b.Value) &&
		slices.EqualFunc(a.Headers, b.Headers, func(a, b RecordHeader) bool {
			return bytes.Equal(a.Key, b.Key) && sameBytes(a.Value, b.Value)
		})
}

func requireSame(t failer, got, want []plain) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d records, want %d", len(got), len(want))
	}
	for i := range want {
		if !equalPlain(got[i], want[i]) {
			t.Fatalf("record %d:\n got %+v\nwant %+v", i, got[i], want[i])
		}
	}
}

func build(t testing.TB, opts BuilderOptions, baseOffset int64, records ...plain) []byte {
	t.Helper()
	b := NewBuilder(opts)
	b.Reset(baseOffset, 0)
	for _, r := range records {
		if err := b.Append(r.Offset, r.Timestamp, r.Key, r.Value, AppendRecordHeaders(nil, r.Headers...)); err != nil {
			t.Fatal(err)
		}
	}
	out, _, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sample returns n records with offsets from base on, of text that compresses about as logs do.
func sample(base int64, n, valueBytes int) []plain {
	rng := rand.New(rand.NewPCG(uint64(base), uint64(n)))
	words := []string{"GET ", "/index.html ", "200 ", "404 ", "user=", "trace=", "10.0.0.", "error ", "timeout ", "\n"}
	records := make([]plain, n)
	for i := range records {
		value := make([]byte, 0, valueBytes+16)
		for len(value) < valueBytes {
			value = append(value, words[rng.IntN(len(words))]...)
			value = append(value, byte('0'+rng.IntN(10)))
		}
		records[i] = plain{
			Offset: base + int64(i), Timestamp: 1_700_000_000_000 + int64(i*3),
			Key: []byte{byte(i), byte(i >> 8)}, Value: value[:valueBytes],
			Headers: []RecordHeader{{[]byte("h"), []byte{byte(i)}}, {[]byte("none"), nil}},
		}
	}
	return records
}

// reseal fixes length and CRC after a test has changed a batch, with code of its own.
func reseal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// franzBatch encodes a batch with franz-go's codec and compression, and nothing of this package.
func franzBatch(t testing.TB, codec Codec, baseOffset int64, records []plain) []byte {
	t.Helper()
	var payload []byte
	batch := kmsg.RecordBatch{
		FirstOffset: baseOffset, PartitionLeaderEpoch: 3, Magic: 2, Attributes: int16(codec),
		LastOffsetDelta: int32(records[len(records)-1].Offset - baseOffset), FirstTimestamp: records[0].Timestamp,
		MaxTimestamp: records[0].Timestamp, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(len(records)),
	}
	for _, r := range records {
		batch.MaxTimestamp = max(batch.MaxTimestamp, r.Timestamp)
		k := kmsg.Record{TimestampDelta64: r.Timestamp - records[0].Timestamp, OffsetDelta: int32(r.Offset - baseOffset), Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			k.Headers = append(k.Headers, kmsg.Header{Key: string(h.Key), Value: h.Value})
		}
		body := k.AppendTo(nil)
		// AppendTo writes the Length field it is given: 0, one byte.
		payload = binary.AppendVarint(payload, int64(len(body)-1))
		payload = append(payload, body[1:]...)
	}
	batch.Records = payload
	if codec != None {
		compressor, err := kgo.DefaultCompressor([]kgo.CompressionCodec{
			kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
		}[codec])
		if err != nil {
			t.Fatal(err)
		}
		out, _ := compressor.Compress(new(bytes.Buffer), payload)
		batch.Records = bytes.Clone(out)
	}
	return reseal(batch.AppendTo(nil))
}
