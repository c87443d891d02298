package recordbatch

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The bytes of one small batch, by hand from the specification.
const goldenHex = `
	000000000000002a  00000048  00000007  02  05cdde5a   baseOffset 42, length 72, epoch 7, magic, crc
	0000  00000003                                       attributes, lastOffsetDelta 3: the offsets leave a gap
	0000018bcfe56800  0000018bcfe56805                   timestamps 1700000000000, +5
	ffffffffffffffff  ffff  ffffffff  00000002           no producer, 2 records
	1a  00  00  00  02 6b  04 6869  02  02 61  02 62      +0: key "k", value "hi", header a=b
	10  00  0a  06  01  00  02  00  01                    +3, +5 ms: no key, empty value, header "" without a value
`

func golden(t testing.TB) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(goldenHex) {
		for _, field := range strings.Fields(line) {
			if _, err := hex.DecodeString(field); err != nil {
				break // the remark begins
			}
			digits.WriteString(field)
		}
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var goldenRecords = []plain{
	{42, 1700000000000, []byte("k"), []byte("hi"), []RecordHeader{{[]byte("a"), []byte("b")}}},
	{45, 1700000000005, nil, []byte{}, []RecordHeader{{[]byte{}, nil}}},
}

func TestBuilderWritesGoldenBytes(t *testing.T) {
	b := NewBuilder(BuilderOptions{})
	b.Reset(42, 7)
	for _, r := range goldenRecords {
		if err := b.Append(r.Offset, r.Timestamp, r.Key, r.Value, AppendRecordHeaders(nil, r.Headers...)); err != nil {
			t.Fatal(err)
		}
	}
	got, _, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := golden(t); !bytes.Equal(got, want) {
		t.Fatalf("got\n%swant\n%s", hex.Dump(got), hex.Dump(want))
	}
}

func TestReaderReadsGoldenBytes(t *testing.T) {
	requireSame(t, readAll(t, golden(t)), goldenRecords)
}

func TestReadsWhatFranzGoWrites(t *testing.T) {
	for _, codec := range allCodecs {
		t.Run(codec.String(), func(t *testing.T) {
			want := sample(0, 300, 200)
			batch := franzBatch(t, codec, 0, want)
			h, err := Validate(batch, Limits{Deep: true})
			if err != nil {
				t.Fatal(err)
			}
			if h.Codec() != codec || h.LeaderEpoch != 3 || h.MaxTimestamp != want[299].Timestamp {
				t.Fatalf("header %+v", h)
			}
			requireSame(t, readAll(t, batch), want)
		})
	}
}

func TestFranzGoReadsWhatBuilderWrites(t *testing.T) {
	want := sample(1000, 300, 200)
	plainPayload := build(t, BuilderOptions{}, 1000, want...)[HeaderBytes:]
	for _, codec := range allCodecs {
		for _, level := range []int{0, 1, 9, 99} {
			built := build(t, BuilderOptions{Codec: codec, Level: level}, 1000, want...)
			var batch kmsg.RecordBatch
			if err := batch.ReadFrom(built); err != nil {
				t.Fatalf("%s level %d: %v", codec, level, err)
			}
			if batch.Attributes != int16(codec) || batch.FirstOffset != 1000 || batch.NumRecords != 300 || batch.LastOffsetDelta != 299 {
				t.Fatalf("%s level %d: %+v", codec, level, batch)
			}
			payload, err := kgo.DefaultDecompressor().Decompress(batch.Records, kgo.CompressionCodecType(codec))
			if err != nil {
				t.Fatalf("%s level %d: %v", codec, level, err)
			}
			if !bytes.Equal(payload, plainPayload) {
				t.Fatalf("%s level %d: payload differs", codec, level)
			}
		}
	}
}
