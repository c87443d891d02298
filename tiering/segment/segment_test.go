package segment

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"testing"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/ingest/recordbatch"
)

type fataler interface {
	Helper()
	Fatal(args ...any)
}

// batch builds a batch of n records at base, each a millisecond after the one before.
func batch(t fataler, base int64, n int, timestamp int64) (recordbatch.Header, []byte) {
	t.Helper()
	b := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
	b.Reset(base, 3)
	for i := range n {
		if err := b.Append(base+int64(i), timestamp+int64(i), []byte("k"), fmt.Appendf(nil, "value %d", base+int64(i)), nil); err != nil {
			t.Fatal(err)
		}
	}
	bytes, h, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return h, bytes
}

type place struct {
	topic     byte
	partition int32
	base      int64
	batches   int
}

func build(t fataler, places ...place) []byte {
	t.Helper()
	e := NewEncoder(Header{JobID: 7, Ordinal: 1, CreatedMillis: 1000}, 0)
	for _, p := range places {
		e.About(Topic{ID: [16]byte{p.topic}, Partitions: p.partition + 1, Overrides: map[string]string{"retention.ms": "1"}})
		e.Begin([16]byte{p.topic}, fmt.Sprintf("topic-%d", p.topic), p.partition, p.base)
		e.From(Source{Chunk: ChunkName{1, 1, 1, uint64(p.base)}, To: 100})
		e.From(Source{Hot: HotSegment{[16]byte{1}, 2, 1}, To: 100})
		e.LogStart(p.base)
		next := p.base
		for range p.batches {
			h, b := batch(t, next, 10, next*100)
			if err := e.Batch(h, b, false); err != nil {
				t.Fatal(err)
			}
			next += 10
		}
		e.End(next)
	}
	object, _ := e.Finish()
	return object
}

func TestObjectReadsBackAsWritten(t *testing.T) {
	object := build(t, place{1, 0, 100, 3}, place{1, 1, 0, 1}, place{2, 0, 5, 2})
	o, err := Open(object)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Verify(); err != nil {
		t.Fatal(err)
	}
	if o.Header != (Header{JobID: 7, Ordinal: 1, CreatedMillis: 1000}) || len(o.Parts) != 3 {
		t.Fatalf("header %+v, %d parts", o.Header, len(o.Parts))
	}
	p := o.Parts[0]
	if p.Topic != "topic-1" || p.BaseOffset != 100 || p.NextOffset != 130 || p.Records != 30 || p.MaxTimestamp != 120*100+9 || p.LeaderEpoch != 3 {
		t.Errorf("part: %+v", p)
	}
}

func TestAPartWithoutBatchesIsDropped(t *testing.T) {
	o, err := Open(build(t, place{1, 0, 0, 1}, place{1, 1, 0, 0}, place{1, 2, 0, 1}))
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Parts) != 2 || o.Parts[1].Partition != 2 || o.Verify() != nil {
		t.Errorf("parts %+v, verify %v", o.Parts, o.Verify())
	}
}

func TestAnOffsetLeadsToItsBatch(t *testing.T) {
	o, err := Open(build(t, place{1, 0, 100, 4}))
	if err != nil {
		t.Fatal(err)
	}
	p := &o.Parts[0]
	index, err := o.Index(p)
	if err != nil {
		t.Fatal(err)
	}
	size := p.LengthBytes / 4
	tests := []struct {
		offset   int64
		maxBytes int
		base     int64
		batches  uint64
	}{
		{100, 0, 100, 1},               // at least one whole batch
		{109, 1, 100, 1},               // inside a batch
		{110, int(size), 110, 1},       // exactly one
		{110, int(2*size) - 1, 110, 1}, // never a partial one
		{110, int(2 * size), 110, 2},
		{110, 1 << 30, 110, 3},
		{139, 1 << 30, 130, 1},
		{500, 1 << 30, 130, 1}, // above the part: its last batch
		{0, 0, 100, 1},         // below the part: its first
	}
	for _, test := range tests {
		r := index.At(test.offset, test.maxBytes)
		if r.BaseOffset != test.base || (r.To-r.From)/size != test.batches {
			t.Errorf("At(%d, %d): base %d, %d batches", test.offset, test.maxBytes, r.BaseOffset, (r.To-r.From)/size)
		}
	}
	if r, ok := index.AtTime(110*100 + 5); !ok || r.BaseOffset != 110 {
		t.Errorf("AtTime: %+v, %v", r, ok)
	}
	if _, ok := index.AtTime(1 << 40); ok {
		t.Error("AtTime found a batch in the future")
	}
}

func TestTheDirectoryCanBeReadFromTheEndAlone(t *testing.T) {
	object := build(t, place{1, 0, 0, 2}, place{1, 1, 0, 2})
	trailer, err := ParseTrailer(object[len(object)-TrailerBytes:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trailer.Directory(object[len(object)-TrailerBytes:]); !errors.Is(err, ErrTruncated) {
		t.Errorf("directory of too short an end: %v", err)
	}
	contents, err := trailer.Directory(object[trailer.DirectoryPosition:])
	if err != nil || len(contents.Parts) != 2 {
		t.Errorf("%+v, %v", contents, err)
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	object := build(t, place{1, 0, 0, 2}, place{2, 4, 9, 1})
	for i := range object {
		damaged := append([]byte(nil), object...)
		damaged[i] ^= 0x10
		o, err := Open(damaged)
		if err == nil {
			err = o.Verify()
		}
		// The eight bytes of a batch's base offset are held by the index, its leader epoch (outside Kafka's CRC) by nothing.
		if err == nil && !insideLeaderEpoch(t, object, i) {
			t.Errorf("a flipped bit in byte %d of %d was not found", i, len(object))
		}
	}
}

func insideLeaderEpoch(t *testing.T, object []byte, i int) bool {
	t.Helper()
	o, err := Open(object)
	if err != nil {
		t.Fatal(err)
	}
	for p := range o.Parts {
		at := int(o.Parts[p].Position)
		for b, err := range recordbatch.Batches(o.Batches(&o.Parts[p])) {
			if err != nil {
				t.Fatal(err)
			}
			if i >= at+12 && i < at+16 {
				return true
			}
			at += len(b.Bytes)
		}
	}
	return false
}

// ofVersion is an object of another version as far as header and trailer say so.
func ofVersion(object []byte, header, trailer uint16) []byte {
	object = append([]byte(nil), object...)
	order.PutUint16(object[4:], header)
	order.PutUint32(object[HeaderBytes-crcBytes:], crc32.Checksum(object[:HeaderBytes-crcBytes], castagnoli))
	order.PutUint16(object[len(object)-8:], trailer)
	return object
}

func TestUnknownVersionsAreRefusedByName(t *testing.T) {
	object := build(t, place{1, 0, 0, 1})
	store := mem.New("segments")
	flipped := append([]byte(nil), object...)
	flipped[4] ^= 8
	for i, row := range []struct {
		what   string
		object []byte
		want   error
	}{
		{"a newer version", ofVersion(object, 9, 9), ErrVersion},
		{"a bit flipped in the header", flipped, ErrCorrupt},
		{"a bit flipped in the trailer", ofVersion(object, Version, Version|8), ErrCorrupt},
		{"two versions", ofVersion(object, firstVersion, Version), ErrCorrupt},
	} {
		if _, err := Open(row.object); !errors.Is(err, row.want) {
			t.Errorf("%s, opened: %v", row.what, err)
		}
		if _, _, err := VerifyStream(bytes.NewReader(row.object), row.object, nil); !errors.Is(err, row.want) {
			t.Errorf("%s, streamed: %v", row.what, err)
		}
		info := objstore.Info{Key: fmt.Sprint(i), SizeBytes: int64(len(row.object))}
		if _, err := store.Put(t.Context(), info.Key, row.object); err != nil {
			t.Fatal(err)
		}
		trailer := order.Uint16(row.object[len(object)-8:])
		if _, err := ReadEnd(t.Context(), store, info); !errors.Is(err, row.want) && !isKnown(trailer) {
			t.Errorf("%s, its end: %v", row.what, err)
		}
	}
}

func TestBatchesMustFollowEachOther(t *testing.T) {
	e := NewEncoder(Header{}, 0)
	e.Begin([16]byte{1}, "t", 0, 10)
	h, b := batch(t, 5, 1, 0)
	if err := e.Batch(h, b, false); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a batch below the part: %v", err)
	}
}

func TestGoldenBytes(t *testing.T) {
	e := NewEncoder(Header{JobID: 1, Ordinal: 2, CreatedMillis: 3}, 0)
	e.About(Topic{ID: [16]byte{9}, Partitions: 4, Overrides: map[string]string{"a": "b"}})
	object, _ := e.Finish()
	const want = "5653454703000000010000000000000002000000000000000300000000000000000000000000000000000000b2578e53" +
		"0000000001000000090000000000000000000000000000000400000001000100000061010000006200000000000000003000000000000000" +
		"30000000e14e36e680000000000000000300000047455356"
	if got := hex.EncodeToString(object); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOlderVersionsAreReadStill(t *testing.T) {
	for version, object := range map[int]string{
		1: "5653454701000000010000000000000002000000000000000300000000000000000000000000000000000000150be2ed" +
			"00000000" + "300000000000000004000000c74b674854000000000000000100000047455356",
		2: "565345470200000001000000000000000200000000000000030000000000000000000000000000000000000099424e8e" +
			"000000000100000009000000000000000000000000000000040000000100010000006101000000620000000030000000000000002c000000817c91267c000000000000000200000047455356",
	} {
		b, err := hex.DecodeString(object)
		if err != nil {
			t.Fatal(err)
		}
		o, err := Open(b)
		if err != nil || o.Header.JobID != 1 || len(o.Parts)+len(o.Sources) != 0 || len(o.Topics) != version-1 {
			t.Fatalf("version %d: %+v, %v", version, o, err)
		}
		if err := o.Verify(); err != nil {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

func TestAnObjectTellsOfItsTopicsAndSources(t *testing.T) {
	e := NewEncoder(Header{JobID: 7, Filler: true}, 0)
	settings := map[string]string{"retention.ms": "-1", "cleanup.policy": "compact", "empty": ""}
	e.About(Topic{ID: [16]byte{2}, Partitions: 3, Overrides: settings})
	e.About(Topic{ID: [16]byte{1}, Partitions: 1})
	e.About(Topic{ID: [16]byte{2}, Partitions: 9})
	for i := range byte(2) {
		e.Begin([16]byte{i + 1}, "t", 0, 0)
		h, b := batch(t, 0, 1, 0)
		if err := e.Batch(h, b, false); err != nil {
			t.Fatal(err)
		}
		for at := range uint32(3) {
			e.From(Source{Chunk: ChunkName{1, 1, 2, uint64(i)}, From: 10 * at, To: 10*at + 5})
			e.From(Source{Hot: HotSegment{[16]byte{7}, 8, 9}, From: 100 - at, To: 200})
		}
		e.From(Source{Chunk: ChunkName{Seq: 9}})
		e.From(Source{Chunk: ChunkName{Seq: 9}, From: 1, To: 2})
		e.LogStart(int64(i))
		e.End(1)
	}
	object, _ := e.Finish()
	o, err := Open(object)
	if err != nil {
		t.Fatal(err)
	}
	if !o.Header.Filler || len(o.Topics) != 2 || o.Topics[0].ID != [16]byte{1} || o.Topics[1].Partitions != 3 || !maps.Equal(o.Topics[1].Overrides, settings) {
		t.Errorf("%+v", o.Topics)
	}
	hot, whole := HotSegment{[16]byte{7}, 8, 9}, ChunkName{Seq: 9}
	want := []Source{
		{Chunk: ChunkName{1, 1, 2, 0}, To: 25}, {Chunk: whole}, {Chunk: ChunkName{1, 1, 2, 1}, To: 25, Part: 1}, {Chunk: whole, Part: 1},
		{Hot: hot, From: 98, To: 200}, {Hot: hot, From: 98, To: 200, Part: 1},
	}
	if !slices.Equal(o.Sources, want) {
		t.Errorf("sources %+v, want %+v", o.Sources, want)
	}
	if o.Parts[0].LogStart != 0 || o.Parts[1].LogStart != 1 {
		t.Errorf("parts %+v", o.Parts)
	}
	if err := o.Verify(); err != nil {
		t.Error(err)
	}
}

// Where nothing could be deleted for long, a part names as many sources as there were chunks: it takes no time by their square.
func TestAPartOfManySources(t *testing.T) {
	const sources = 200_000
	e := NewEncoder(Header{}, 0)
	e.Begin([16]byte{1}, "t", 0, 0)
	for range 2 {
		for i := range uint64(sources) {
			e.From(Source{Chunk: ChunkName{1, 1, 1, i}, From: 1, To: 2})
		}
	}
	h, b := batch(t, 0, 1, 0)
	if err := e.Batch(h, b, false); err != nil {
		t.Fatal(err)
	}
	e.End(1)
	object, _ := e.Finish()
	if o, err := Open(object); err != nil || len(o.Sources) != sources {
		t.Errorf("%d sources, %v", len(o.Sources), err)
	}
}

// Version 2 named whole chunks, and neither hot segments nor log starts.
func TestSourcesOfVersion2AreRead(t *testing.T) {
	directory := order.AppendUint32(order.AppendUint32(nil, 0), 1) // no topics, one source
	directory = order.AppendUint32(order.AppendUint32(directory, 3), 1)
	directory = order.AppendUint64(order.AppendUint64(directory, 4), 5)
	directory = order.AppendUint32(directory, 0)
	c := Contents{Parts: make([]Part, 1)}
	if err := c.parseAbout(directory, 2); err != nil {
		t.Fatal(err)
	}
	if want := []Source{{Chunk: ChunkName{3, 1, 4, 5}}}; !slices.Equal(c.Sources, want) || c.Parts[0].LogStart != 0 {
		t.Errorf("%+v", c)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(build(f, place{1, 0, 0, 2}, place{2, 4, 9, 1}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := Open(b)
		if err != nil {
			return
		}
		if o.Verify() != nil {
			return
		}
		for i := range o.Parts {
			index, err := o.Index(&o.Parts[i])
			if err != nil {
				t.Fatalf("index of a verified part: %v", err)
			}
			r := index.At(o.Parts[i].BaseOffset, 1)
			if r.From >= r.To || r.To > o.Parts[i].LengthBytes {
				t.Fatalf("range %+v outside the part", r)
			}
		}
	})
}
