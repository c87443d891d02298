package fetch_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/fetch"
)

// readSome reads a partition from offset to its end or to where its bytes cannot be had, and says which.
func (w *world) readSome(tp meta.TopicPartition, offset int64) (values []string, code fetch.Code) {
	w.t.Helper()
	for {
		r := w.read(tp, offset, 1<<20)
		data := &r.Partitions[0]
		some, next := records(w.t, data, offset)
		code, end := data.Code, data.HighWatermark
		r.Release()
		values = append(values, some...)
		if code != fetch.OK || next >= end {
			return values, code
		}
		if next == offset {
			w.t.Fatalf("nothing at offset %d of %d", offset, end)
		}
		offset = next
	}
}

// expectPrefix: the values up to the damage were read, or all of them.
func (w *world) expectPrefix(tp meta.TopicPartition, from int, want []string) (whole bool) {
	w.t.Helper()
	got, code := w.readSome(tp, int64(from))
	want = want[from:]
	switch {
	case code == fetch.OK:
		w.expect(got, want)
		return true
	case code == fetch.StorageError && len(got) < len(want):
		w.expect(got, want[:len(got)])
		return false
	}
	w.t.Fatalf("%d of %d values, then %v", len(got), len(want), code)
	return false
}

func TestABitThatFlippedInOneCopyIsReadFromTheOther(t *testing.T) {
	values := numbered(0, 12)
	w, disks, tp, _ := newTwoDisks(t, values...)
	seen := 0
	for _, address := range []string{sourceAddress, copyAddress} {
		for range 300 {
			segment := disks.mu.segments[address]
			at, mask := rand.IntN(len(segment)), byte(1)<<rand.IntN(8)
			from := rand.Int64N(12)
			segment[at] ^= mask
			w.expect(w.readAll(tp, from, 1<<20), values[from:])
			segment[at] ^= mask
			for _, d := range w.damaged() {
				seen++
				if d.Partition != tp || d.Segment != 900 || !strings.Contains(d.Place(), "hot segment 900 of disk") {
					t.Fatalf("damage at %s: %+v", d.Place(), d)
				}
			}
		}
	}
	if seen == 0 {
		t.Error("no bit that flipped was noticed")
	}
}

func TestABitThatFlippedInBothCopiesHurtsItsPartitionAlone(t *testing.T) {
	values := numbered(0, 4)
	w, disks, tp, _ := newTwoDisks(t, values...)
	last, _ := w.locate(tp, 3)
	disks.mu.segments[sourceAddress][last.Position+65] ^= 2
	disks.mu.segments[copyAddress][last.Copy.Position+66] ^= 4
	whole := partition(w.cluster.CreateTopic(t, "whole", "object", 1), 0)
	w.produce(whole, 1000, "sound")
	if w.expectPrefix(tp, 0, values) {
		t.Error("records whose bytes are damaged in both places were read")
	}
	w.expect(w.readAll(whole, 0, 1<<20), []string{"sound"})
}

func TestABitThatFlippedOnTheOwnDiskHurtsItsRecordsAlone(t *testing.T) {
	w := newWorld(t, fetch.Config{RemoteWait: patience})
	topic := w.cluster.CreateTopic(t, "a", "local", 2)
	damaged, other := partition(topic, 0), partition(topic, 1)
	for i := range 10 {
		w.produceAll(batchOf{damaged, 1000, numbered(2*i, 2*i+2)}, batchOf{other, 1000, numbered(2*i, 2*i+2)})
	}
	values := numbered(0, 20)
	var size int
	for _, s := range w.log.Segments() {
		size = int(s.SizeBytes)
	}
	hurt := 0
	for range 100 {
		w.hot.flipped.Store(&flippedBit{segment: w.log.Segments()[0].ID, position: rand.IntN(size), mask: byte(1) << rand.IntN(8)})
		from := rand.IntN(20)
		first, second := w.expectPrefix(damaged, from, values), w.expectPrefix(other, from, values)
		if !first && !second {
			t.Fatal("both partitions are hurt")
		}
		if found := w.damaged(); len(found) == 0 != (first && second) {
			t.Fatalf("damage %v, readable %v and %v", found, first, second)
		}
		if !first || !second {
			hurt++
		}
	}
	if hurt == 0 {
		t.Error("no bit that flipped was noticed")
	}
}

func TestABitThatFlippedInASegmentHurtsItsPartitionAlone(t *testing.T) {
	for _, compacted := range []bool{false, true} {
		w := newWorld(t, fetch.Config{RemoteWait: patience})
		topic := w.cluster.CreateTopic(t, "a", "local", 2)
		tps := []meta.TopicPartition{partition(topic, 0), partition(topic, 1)}
		for i := range 10 {
			w.produceAll(batchOf{tps[0], 1000, numbered(i, i+1)}, batchOf{tps[1], 1000, numbered(i, i+1)})
		}
		w.ship()
		values := numbered(0, 10)
		if compacted {
			w.compact(tps[0], 2, 3, 4, 9)
			tps = tps[:1]
			values = []string{"2", "3", "4", "9"}
		}
		loc, _ := w.locate(tps[0], 0)
		whole, _, err := objstore.ReadAll(context.Background(), w.bucket, loc.Key(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		put := func(body []byte) {
			if _, err := w.bucket.Put(context.Background(), loc.Key(), body); err != nil {
				t.Fatal(err)
			}
			w.cache.Forget(loc.Key(), 0, int64(len(body)))
		}
		for range 200 {
			at := rand.IntN(len(whole))
			if compacted && !covered(whole, at) {
				continue // where offsets have gaps, nothing says which they are but the index, which verify holds against it
			}
			bad := slices.Clone(whole)
			bad[at] ^= 1 << rand.IntN(8)
			put(bad)
			hurt := 0
			for _, tp := range tps {
				if !w.expectPrefix(tp, 0, values) {
					hurt++
				}
			}
			if found := w.damaged(); hurt > 1 || hurt == 1 && (len(found) == 0 || found[0].ObjectKey != loc.Key()) {
				t.Fatalf("byte %d: %d partitions are hurt, damage %+v", at, hurt, found)
			} else if hurt == 0 {
				t.Fatalf("byte %d of %d: nobody noticed", at, len(whole))
			}
			put(whole)
			for _, tp := range tps {
				w.expect(w.readAll(tp, 0, 1<<20), values)
			}
		}
	}
}

// covered tells whether a byte of consecutive batches is under a checksum, or decides where they end.
func covered(batches []byte, at int) bool {
	for position := 0; ; {
		size := 12 + int(batches[position+10])<<8 + int(batches[position+11])
		if within := at - position; within < size {
			return within >= 8 && within < 12 || within >= 16
		}
		position += size
	}
}

// The cache may hold what a flipped bit on the way, or in memory, has made of an object.
func TestDamageInTheCacheIsReadAgainFromTheBucket(t *testing.T) {
	w := newWorld(t, fetch.Config{RemoteWait: patience})
	tp := partition(w.cluster.CreateTopic(t, "a", "object", 1), 0)
	w.produce(tp, 1000, "0", "1")
	loc, _ := w.locate(tp, 0)
	body, _, err := objstore.ReadAll(context.Background(), w.bucket, loc.Key(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	w.cache.Forget(loc.Key(), 0, int64(len(body)))
	bad := slices.Clone(body)
	bad[len(bad)-3] ^= 1
	w.cache.Keep(loc.Key(), bad)
	w.expect(w.readAll(tp, 0, 1<<20), []string{"0", "1"})
	if len(w.damaged()) != 1 {
		t.Error("what was damaged in the cache was not told of")
	}
}

func (w *world) locate(tp meta.TopicPartition, offset int64) (loc meta.Location, ok bool) {
	w.cluster.View(func(st *meta.State) { loc, ok = st.Locate(tp, offset) })
	return loc, ok
}
