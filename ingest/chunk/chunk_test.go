package chunk_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/ingest/chunk"
)

var header = chunk.Header{NodeID: 3, NodeEpoch: 7, Lane: 1, Seq: 42, CreatedMillis: 1_700_000_000_123}

func plain(topic byte, partition int32, data string, records uint32) chunk.Batch {
	return chunk.Batch{Topic: [16]byte{topic}, Partition: partition, Data: []byte(data), Records: records, ProducerID: -1, MaxTimestamp: 1000}
}

func idempotent(topic byte, partition int32, data string, records uint32, producer int64, sequence int32) chunk.Batch {
	b := plain(topic, partition, data, records)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.MaxTimestamp = producer, 2, sequence, 2000
	return b
}

func seal(t testing.TB, batches ...chunk.Batch) []byte {
	t.Helper()
	var b chunk.Builder
	for _, batch := range batches {
		if !b.Add(batch) {
			t.Fatal("batch does not fit")
		}
	}
	return whole(b.Seal(header))
}

func whole(s chunk.Sealed) []byte { return append(slices.Clone(s.Head), bytes.Join(s.Body, nil)...) }

func example(t testing.TB) []byte {
	return seal(t,
		plain(2, 1, "cherry", 3),
		idempotent(1, 0, "apple", 2, 9, 100),
		plain(2, 0, "banana", 1),
		plain(1, 0, "apricot", 4),
	)
}

func TestBatchesAreSortedByPartitionAndKeepArrivalOrderInside(t *testing.T) {
	c, err := chunk.Parse(example(t))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range c.Table.Runs() {
		got = append(got, string(c.RunBytes(c.Table.Run(i))))
	}
	if want := []string{"appleapricot", "banana", "cherry"}; !slices.Equal(got, want) {
		t.Errorf("runs hold %q, want %q", got, want)
	}
	if r := c.Table.Run(0); r.Records != 6 || r.Details != 2 || r.MaxTimestamp != 2000 {
		t.Errorf("run 0 is %+v", r)
	}
	if d := c.Table.Detail(0); d.ProducerID != 9 || d.ProducerEpoch != 2 || d.BaseSequence != 100 || d.Records != 2 {
		t.Errorf("detail 0 is %+v", d)
	}
	if d := c.Table.Detail(1); d.ProducerID != -1 || d.Records != 4 {
		t.Errorf("a batch beside an idempotent one is detailed too: %+v", d)
	}
	if h := c.Header; h.NodeID != 3 || h.NodeEpoch != 7 || h.Lane != 1 || h.Seq != 42 || h.CreatedMillis != header.CreatedMillis {
		t.Errorf("header is %+v", h)
	}
}

func TestSealedLeadsFromRunsToArrivals(t *testing.T) {
	var b chunk.Builder
	for i, batch := range []chunk.Batch{plain(2, 0, "a", 1), plain(1, 0, "b", 1), plain(2, 0, "c", 1)} {
		if !b.Add(batch) {
			t.Fatalf("batch %d does not fit", i)
		}
	}
	s := b.Seal(header)
	if !slices.Equal(s.Order, []int32{1, 0, 2}) || !slices.Equal(s.First, []int32{0, 1, 3}) {
		t.Errorf("order %v, first %v", s.Order, s.First)
	}
}

func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", "example.hex")
	got := hex.Dump(example(t))
	want, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Fatalf("wrote %s: look at it and run again", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the format has changed; got\n%s", got)
	}
}

func TestEveryPrefixIsTruncated(t *testing.T) {
	b := example(t)
	for n := range b {
		if _, err := chunk.Parse(b[:n]); !errors.Is(err, chunk.ErrTruncated) {
			t.Fatalf("first %d of %d bytes: %v", n, len(b), err)
		}
	}
}

func TestEveryFlippedBitOfHeaderAndTableIsSeen(t *testing.T) {
	good := example(t)
	h, err := chunk.PeekHeader(good)
	if err != nil {
		t.Fatal(err)
	}
	for i := range (chunk.HeaderSize + int(h.TableBytes)) * 8 {
		b := slices.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		if _, err := chunk.Parse(b); err == nil {
			t.Fatalf("bit %d flipped and nobody saw", i)
		}
	}
}

func TestUnknownVersionsAreRefusedByName(t *testing.T) {
	b := example(t)
	b[4] ^= 3 // 1 becomes 2
	if _, err := chunk.Parse(b); !errors.Is(err, chunk.ErrCorrupt) {
		t.Errorf("chunk with flipped bits in its version: %v", err)
	}
	resum(b)
	if _, err := chunk.Parse(b); !errors.Is(err, chunk.ErrVersion) {
		t.Errorf("chunk of version 2: %v", err)
	}
	b = example(t)
	table := b[chunk.HeaderSize:]
	table[0] = 2
	if _, err := chunk.ParseTable(table); !errors.Is(err, chunk.ErrVersion) {
		t.Errorf("table of version 2: %v", err)
	}
}

// TestLyingTables puts one wrong number in a table whose checksum is right.
func TestLyingTables(t *testing.T) {
	const run0, run1 = chunk.HeaderSize + chunk.TableHeaderSize, chunk.HeaderSize + chunk.TableHeaderSize + chunk.RunSize
	const detail0 = chunk.HeaderSize + chunk.TableHeaderSize + 3*chunk.RunSize
	for _, test := range []struct {
		name  string
		at    int
		value uint32
	}{
		{"partition below zero", run0 + 16, 1 << 31},
		{"position off", run1 + 20, 17},
		{"no bytes", run0 + 24, 0},
		{"no records", run1 + 28, 0},
		{"too many records", run1 + 28, 1 << 31},
		{"first detail off", run0 + 32, 1},
		{"more details than there are", run0 + 36, 3},
		{"details of nobody", run0 + 36, 0},
		{"detail without bytes", detail0, 0},
		{"details longer than their run", detail0, 6},
		{"details with more records than their run", detail0 + 4, 3},
		{"sequence below zero", detail0 + 20, 1 << 31},
		{"runs out of order", run1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := example(t)
			binary.LittleEndian.PutUint32(b[test.at:], test.value)
			resum(b)
			if _, err := chunk.Parse(b); !errors.Is(err, chunk.ErrCorrupt) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func resum(b []byte) {
	end := chunk.HeaderSize + int(binary.LittleEndian.Uint32(b[40:]))
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(b[60:], crc32.Update(crc32.Checksum(b[:60], table), table, b[chunk.HeaderSize:end]))
}

func TestBuilderStopsAtTheBounds(t *testing.T) {
	var b chunk.Builder
	for i := range chunk.MaxRuns {
		if !b.Add(plain(1, int32(i), "x", 1)) {
			t.Fatalf("run %d does not fit", i)
		}
	}
	if b.Add(plain(2, 0, "x", 1)) {
		t.Error("a run above the bound was taken")
	}
	if !b.Add(plain(1, 7, "y", 1)) {
		t.Error("a batch of a run that is there was refused")
	}
	for b.Add(idempotent(1, 5, "z", 1, 1, 0)) {
	}
	s := b.Seal(header)
	if n := len(s.Table.Bytes()); n > chunk.MaxTableBytes || n+2*chunk.DetailSize <= chunk.MaxTableBytes {
		t.Errorf("the table stopped at %d bytes of %d", n, chunk.MaxTableBytes)
	}
	if _, err := chunk.Parse(whole(s)); err != nil {
		t.Error(err)
	}
}

func TestBuilderDoesNotAllocateInSteadyState(t *testing.T) {
	var b chunk.Builder
	batches := make([]chunk.Batch, 1000)
	for i := range batches {
		batches[i] = idempotent(byte(i%7), int32(i%113), "some bytes", 1, 5, int32(i))
	}
	fill := func() {
		b.Reset()
		for _, batch := range batches {
			b.Add(batch)
		}
		b.Seal(header)
	}
	fill()
	if n := testing.AllocsPerRun(20, fill); n > 0 {
		t.Errorf("%v allocations a chunk", n)
	}
	chunkBytes := whole(b.Seal(header))
	if n := testing.AllocsPerRun(20, func() {
		c, err := chunk.Parse(chunkBytes)
		if err != nil {
			t.Fatal(err)
		}
		for i := range c.Table.Runs() {
			c.Table.Run(i)
		}
	}); n > 0 {
		t.Errorf("%v allocations to parse a chunk", n)
	}
}

func TestRoundTrip(t *testing.T) {
	var b chunk.Builder
	rapid.Check(t, func(t *rapid.T) {
		b.Reset()
		type key struct {
			topic     [16]byte
			partition int32
		}
		want := map[key][]byte{}
		records := map[key]uint32{}
		for range rapid.IntRange(0, 40).Draw(t, "batches") {
			batch := chunk.Batch{
				Topic:         [16]byte{15: byte(rapid.IntRange(0, 3).Draw(t, "topic"))},
				Partition:     int32(rapid.IntRange(0, 300).Draw(t, "partition")) % 5 * 60,
				Data:          rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "data"),
				Records:       uint32(rapid.IntRange(1, 50).Draw(t, "records")),
				ProducerID:    int64(rapid.IntRange(-1, 2).Draw(t, "producer")),
				BaseSequence:  int32(rapid.IntRange(0, 1000).Draw(t, "sequence")),
				ProducerEpoch: 1,
				MaxTimestamp:  int64(rapid.IntRange(-1, 9).Draw(t, "timestamp")),
			}
			if !b.Add(batch) {
				t.Fatal("batch does not fit")
			}
			k := key{batch.Topic, batch.Partition}
			want[k] = append(want[k], batch.Data...)
			records[k] += batch.Records
		}
		c, err := chunk.Parse(append(whole(b.Seal(header)), "what comes behind"...))
		if err != nil {
			t.Fatal(err)
		}
		if c.Table.Runs() != len(want) {
			t.Fatalf("%d runs of %d partitions", c.Table.Runs(), len(want))
		}
		for i := range c.Table.Runs() {
			r := c.Table.Run(i)
			k := key{r.Topic, r.Partition}
			if !bytes.Equal(c.RunBytes(r), want[k]) || r.Records != records[k] {
				t.Fatalf("run %+v holds %x, want %x, %d records", r, c.RunBytes(r), want[k], records[k])
			}
		}
	})
}

// FuzzParse: whatever parses can be read to the end without a panic, and its runs tile its body.
func FuzzParse(f *testing.F) {
	f.Add(example(f))
	f.Add(seal(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= chunk.HeaderSize {
			if n := int(binary.LittleEndian.Uint32(b[40:])); n <= len(b)-chunk.HeaderSize && n >= 0 {
				resum(b) // so that the fuzzer gets past the checksum
			}
		}
		c, err := chunk.Parse(b)
		if err != nil {
			return
		}
		body := 0
		for i := range c.Table.Runs() {
			r := c.Table.Run(i)
			body += len(c.RunBytes(r))
			length := 0
			for d := range r.Details {
				length += int(c.Table.Detail(int(r.FirstDetail + d)).Length)
			}
			if r.Details > 0 && length != int(r.Length) {
				t.Fatalf("run %d: details of %d bytes in %d", i, length, r.Length)
			}
		}
		if body != int(c.Header.BodyBytes) || len(c.Bytes()) != c.Header.ChunkBytes() {
			t.Fatalf("runs of %d bytes in a body of %d", body, c.Header.BodyBytes)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	var builder chunk.Builder
	batches := make([]chunk.Batch, 4096)
	for i := range batches {
		batches[i] = plain(byte(i%16), int32(i*7919%256), "some bytes", 1)
	}
	for b.Loop() {
		builder.Reset()
		for _, batch := range batches {
			builder.Add(batch)
		}
		builder.Seal(header)
	}
}

func BenchmarkParseTable(b *testing.B) {
	var builder chunk.Builder
	for i := range chunk.MaxRuns {
		builder.Add(plain(byte(i%16), int32(i/16), "some bytes", 1))
	}
	table := builder.Seal(header).Table.Bytes()
	for b.Loop() {
		if _, err := chunk.ParseTable(table); err != nil {
			b.Fatal(err)
		}
	}
}
