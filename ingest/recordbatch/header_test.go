package recordbatch

import (
	"bytes"
	"errors"
	"hash/crc32"
	"math"
	"testing"
)

func TestPatchingOffsetsKeepsCRC(t *testing.T) {
	b := build(t, BuilderOptions{Codec: Zstd}, 0, sample(0, 10, 100)...)
	SetBaseOffset(b, 1<<40)
	SetLeaderEpoch(b, 12)
	if err := CheckCRC(b); err != nil {
		t.Fatal(err)
	}
	h, err := ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	if h.BaseOffset != 1<<40 || h.LeaderEpoch != 12 || h.NextOffset() != 1<<40+10 {
		t.Fatalf("header %+v", h)
	}
}

// TestExtendCRC: of small batches and of those whose own checksum is made use of, also after what no checksum covers has been patched.
func TestExtendCRC(t *testing.T) {
	for _, valueBytes := range []int{1, extendAbove - 200, extendAbove, 300_000} {
		batch := build(t, BuilderOptions{}, 7, sample(7, 3, valueBytes)...)
		SetBaseOffset(batch, 1<<40)
		SetLeaderEpoch(batch, 12)
		head := []byte("what is in front")
		crc := crc32.Checksum(head, castagnoli)
		if got, want := ExtendCRC(crc, batch), crc32.Update(crc, castagnoli, batch); got != want {
			t.Errorf("%d bytes: %08x, want %08x", len(batch), got, want)
		}
	}
	// Bytes that changed behind the checksum's back do not get one that suits them.
	batch := build(t, BuilderOptions{}, 7, sample(7, 3, extendAbove)...)
	batch[len(batch)/2] ^= 1
	if ExtendCRC(0, batch) == crc32.Checksum(batch, castagnoli) {
		t.Error("a damaged batch has a checksum that suits it")
	}
}

func TestSetLogAppendTimeGivesEveryRecordTheTime(t *testing.T) {
	b := build(t, BuilderOptions{Codec: Gzip}, 0, sample(0, 10, 100)...)
	SetLogAppendTime(b, 99)
	for _, r := range readAll(t, b) {
		if r.Timestamp != 99 {
			t.Fatalf("record %+v", r)
		}
	}
}

func TestLastSequenceWraps(t *testing.T) {
	for _, c := range []struct {
		base, delta, want int32
	}{{0, 4, 4}, {math.MaxInt32, 0, math.MaxInt32}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 1, 3, 1}, {NoSequence, 5, NoSequence}} {
		h := Header{BaseSequence: c.base, LastOffsetDelta: c.delta}
		if got := h.LastSequence(); got != c.want {
			t.Errorf("base %d, delta %d: got %d, want %d", c.base, c.delta, got, c.want)
		}
	}
}

func TestCodecNames(t *testing.T) {
	for _, codec := range allCodecs {
		if got, err := ParseCodec(codec.String()); err != nil || got != codec {
			t.Errorf("%s: %v, %v", codec, got, err)
		}
	}
	if _, err := ParseCodec("brotli"); err == nil {
		t.Error("brotli is no codec of Kafka's")
	}
}

func TestAssignOffsets(t *testing.T) {
	var all []byte
	want := []int64{500, 510, 513}
	for _, n := range []int{10, 3, 1} {
		all = append(all, build(t, BuilderOptions{Codec: Snappy}, 0, sample(0, n, 50)...)...)
	}
	next, err := AssignOffsets(all, 500, 9)
	if err != nil || next != 514 {
		t.Fatalf("next %d, %v", next, err)
	}
	for batch, err := range Batches(all) {
		if err != nil {
			t.Fatal(err)
		}
		if batch.BaseOffset != want[0] || batch.LeaderEpoch != 9 {
			t.Fatalf("header %+v, want base offset %d", batch.Header, want[0])
		}
		want = want[1:]
	}
	if len(readAll(t, all)) != 14 {
		t.Fatal("records lost")
	}
}

func TestWalkingNamesWhatIsWrong(t *testing.T) {
	good := build(t, BuilderOptions{}, 0, sample(0, 3, 50)...)
	with := func(at int, bytes ...byte) []byte {
		b := append([]byte(nil), good...)
		copy(b[at:], bytes)
		return b
	}
	cases := []struct {
		name string
		tail []byte
		want error
	}{
		{"header cut", good[:40], ErrTruncated},
		{"one byte", good[:1], ErrTruncated},
		{"records cut", good[:len(good)-1], ErrTruncated},
		{"length too small", with(posLength, 0, 0, 0, 48), ErrCorrupt},
		{"length negative", with(posLength, 0xff), ErrCorrupt},
		{"length past the end", with(posLength, 0x7f), ErrTruncated},
		{"magic 0", with(posMagic, 0), ErrMagic},
		{"magic 1", with(posMagic, 1)[:30], ErrMagic},
		{"magic 3", with(posMagic, 3), ErrMagic},
		{"lastOffsetDelta negative", with(posLastOffsetDelta, 0xff), ErrInvalidRecord},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := append(append([]byte(nil), good...), c.tail...)
			batches, last := 0, error(nil)
			for batch, err := range Batches(b) {
				if last = err; err == nil {
					batches++
					if !bytes.Equal(batch.Bytes, good) {
						t.Fatal("the batch before is wrong")
					}
				}
			}
			if batches != 1 || !errors.Is(last, c.want) {
				t.Errorf("Batches: %d batches, %v", batches, last)
			}
			if next, err := AssignOffsets(b, 7, 0); next != 10 || !errors.Is(err, c.want) {
				t.Errorf("AssignOffsets: next %d, %v", next, err)
			}
		})
	}
}

func TestAssignOffsetsRefusesOverflow(t *testing.T) {
	b := build(t, BuilderOptions{}, 0, sample(0, 3, 50)...)
	if _, err := AssignOffsets(b, math.MaxInt64-2, 0); !errors.Is(err, ErrInvalidRecord) {
		t.Fatalf("got %v", err)
	}
}

func TestEmptyBatchCoversTheGap(t *testing.T) {
	b := EmptyBatch(100, 199, 4)
	if err := CheckCRC(b); err != nil {
		t.Fatal(err)
	}
	b = append(b, build(t, BuilderOptions{}, 200, sample(200, 1, 10)...)...)
	var last []int64
	for batch, err := range Batches(b) {
		if err != nil {
			t.Fatal(err)
		}
		last = append(last, batch.LastOffset())
	}
	if len(last) != 2 || last[0] != 199 || last[1] != 200 || len(readAll(t, b)) != 1 {
		t.Fatalf("last offsets %v", last)
	}
	h, err := ParseHeader(EmptyBatch(0, 1<<40, 0))
	if err != nil || h.LastOffset() != math.MaxInt32 {
		t.Fatalf("a huge gap: %+v, %v", h, err)
	}
}
