package compact

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
	"pgregory.net/rapid"
)

// sweep deletes what is garbage.
func (w *world) sweep() {
	w.t.Helper()
	var keys []string
	for _, g := range w.state.Garbage() {
		keys = append(keys, g.Key)
	}
	for _, key := range keys {
		if err := w.store.Delete(context.Background(), key); err != nil {
			w.t.Fatal(err)
		}
	}
	w.do(&metapb.ForgetGarbage{Keys: keys})
	w.now++
}

// checkWhole checks that every record that was shipped is there as it was sent, and that parts have no gaps.
func (w *world) checkWhole() {
	w.t.Helper()
	p := w.partition()
	next := p.LogStartOffset()
	for _, f := range w.read() {
		if f.offset != next {
			w.t.Fatalf("offset %d follows %d", f.offset, next-1)
		}
		next++
	}
	for offset := p.LogStartOffset(); offset < next; {
		l, _ := w.state.Locate(place, offset)
		if l.Records != uint64(l.NextOffset-l.BaseOffset) {
			w.t.Fatalf("part [%d, %d) of %d records", l.BaseOffset, l.NextOffset, l.Records)
		}
		offset = l.NextOffset
	}
	if end := min(p.EarliestLocalOffset(), p.NextOffset()); next != end {
		w.t.Fatalf("records up to %d of %d", next, end)
	}
}

func TestSmallPartsAreMerged(t *testing.T) {
	w := newWorld(t, "cleanup.policy", "delete")
	w.merging = &metapb.Merging{Parts: 10, ManyParts: 10}
	x := w.begin("x")
	for i := range 30 {
		r := row(fmt.Sprint("key ", i), fmt.Sprint("value ", i), int64(i))
		if i%3 == 0 {
			r.value = nil // means nothing here
		}
		if i%7 == 0 {
			r.producer = x
		}
		w.produce([]recordbatch.Codec{recordbatch.None, recordbatch.Zstd, recordbatch.Snappy}[i%3], i%5 == 1, r)
		if i%14 == 0 {
			w.end("x", x, i%4 == 0)
		}
		w.ship()
		w.sweep()
	}
	w.end("x", x, true)
	w.ship()
	w.sweep()
	before := w.partition().StoredParts()
	if !w.compact(Config{}, -1) {
		t.Fatal("nothing is merged")
	}
	if after := w.partition().StoredParts(); before < 12 || after != 1 {
		t.Fatalf("%d parts became %d", before, after)
	}
	w.checkWhole()
	l, ok := w.state.Locate(place, 0)
	if !ok || l.MaxTimestampOffset < 0 {
		t.Fatalf("the record with the highest time is not known: %+v", l)
	}
	if batches := w.batches(l); batches > 25 { // of 33; a marker or transactional batch stays alone
		t.Fatalf("%d batches", batches)
	}
	w.sweep()
	w.checkWhole() // of what was replaced nothing is needed
	if w.compact(Config{}, -1) {
		t.Fatal("merged again")
	}
}

// What is merged is chosen by its size as it is stored: a bound that is small beside what batches inflate to keeps nothing apart.
func TestCompressibleParts(t *testing.T) {
	w := newWorld(t, "cleanup.policy", "delete", "retention.bytes", fmt.Sprint(8*40_000))
	w.merging = &metapb.Merging{Parts: 10, ManyParts: 10}
	for i := range 12 {
		w.produce(recordbatch.Zstd, false, row("key", strings.Repeat("x", 200_000), int64(i)))
		w.ship()
		w.sweep()
	}
	rounds := 0
	for w.compact(Config{}, -1) {
		if rounds++; rounds > 3 {
			t.Fatal("the same is merged again and again")
		}
		w.sweep()
	}
	if rounds == 0 || w.partition().StoredParts() > 2 {
		t.Fatalf("%d parts after %d rounds", w.partition().StoredParts(), rounds)
	}
	w.checkWhole()
}

// batches counts those of a part.
func (w *world) batches(l meta.Location) (n int) {
	seen := map[int64]bool{}
	for _, f := range w.readPart(l) {
		seen[f.batch.BaseOffset] = true
	}
	return len(seen)
}

// TestMergingModel: whatever clients send, however often it is merged and whenever workers die, all records are there.
func TestMergingModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{world: newWorld(t, "cleanup.policy", "delete"), producers: map[string]int64{}}
		m.merging = &metapb.Merging{Parts: 2, ManyParts: 2}
		m.config = Config{
			ObjectBytes: rapid.SampledFrom([]int{300, 1000, 1 << 20}).Draw(t, "object"),
			BatchBytes:  rapid.SampledFrom([]int{150, 1000, 1 << 20}).Draw(t, "batch"),
		}
		t.Repeat(map[string]func(*rapid.T){
			"produce": m.produce, "produce2": m.produce, "transact": m.transact, "end": m.end, "ship": func(*rapid.T) { m.ship() }, "ship2": func(*rapid.T) { m.ship() },
			"merge": m.compact, "merge2": m.compact, "wait": m.wait, "trim": m.trimmed, "sweep": func(*rapid.T) { m.sweep() }, "": func(*rapid.T) { m.checkWhole() },
		})
	})
}

// A batch that inflates to much is not taken apart: what repeats across more than a batch of the result could not be compressed away again.
func TestMergingDoesNotMakePartsGrow(t *testing.T) {
	w := newWorld(t, "cleanup.policy", "delete")
	w.merging = &metapb.Merging{Parts: 10, ManyParts: 10}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 12 {
		document := make([]byte, 200_000)
		for j := range document {
			document[j] = byte(random.Uint32())
		}
		var rows []sent
		for n := range 40 {
			rows = append(rows, row("key", string(document), int64(i*100+n)))
		}
		w.produce(recordbatch.Zstd, false, rows...)
		w.ship()
		w.sweep()
	}
	before := w.partition().StoredBytes()
	if !w.compact(Config{}, -1) {
		t.Fatal("nothing is merged")
	}
	if after := w.partition().StoredBytes(); after > before {
		t.Errorf("%d bytes have become %d", before, after)
	}
	w.sweep()
	w.checkWhole()
}

// What a merged part has comes from objects that were stored long ago, and retention goes by that where records have no times.
func TestAMergedPartIsAsOldAsItsRecords(t *testing.T) {
	w := newWorld(t, "cleanup.policy", "delete", "retention.ms", "800000")
	w.merging = &metapb.Merging{Parts: 10, ManyParts: 10}
	for range 10 {
		w.produce(recordbatch.None, false, row("key", "value", -1))
		w.ship()
		w.sweep()
	}
	w.now += 700_000
	if !w.compact(Config{}, -1) {
		t.Fatal("nothing is merged")
	}
	w.now += 100_001
	w.do(&metapb.Tick{Retention: true})
	if p := w.partition(); p.LogStartOffset() != p.NextOffset() {
		t.Errorf("retention has left [%d, %d)", p.LogStartOffset(), p.NextOffset())
	}
}

// What is stored anew names the chunks that are still there, and no others.
func TestWhatIsStoredAnewNamesItsChunks(t *testing.T) {
	for _, policy := range []string{"delete", "compact"} {
		w := newWorld(t, "cleanup.policy", policy)
		w.merging = &metapb.Merging{Parts: 2, ManyParts: 2}
		for i := range 6 {
			w.produce(recordbatch.None, false, row(fmt.Sprint("key ", i), "value", int64(i)))
			w.ship()
			if i == 2 {
				w.sweep()
			}
		}
		if !w.compact(Config{}, -1) {
			t.Fatal("nothing is stored anew")
		}
		named := w.chunksNamed()
		if !slices.Equal(named, []uint64{4, 5, 6}) {
			t.Errorf("%s: it names chunks %v", policy, named)
		}
	}
}

// Where too many chunks are there for the leader to name them, a part names all that it may be made of.
func TestNamesOfAllChunksAreCarriedOnWhereThoseThereAreTooMany(t *testing.T) {
	for allThere, want := range map[bool][]uint64{false: {1, 3, 4}, true: {1, 2, 3, 4}} {
		w := newWorld(t)
		w.allThere = allThere
		for i := range 4 {
			w.produce(recordbatch.None, false, row(fmt.Sprint("key ", i), "value", int64(i)))
			w.ship()
		}
		w.do(&metapb.ForgetGarbage{Keys: []string{meta.ChunkKey(1, 1, 1, 2)}}) // deleted before an older one
		if !w.compact(Config{}, -1) {
			t.Fatal("nothing is stored anew")
		}
		if named := w.chunksNamed(); !slices.Equal(named, want) {
			t.Errorf("too many to be named: %v: it names chunks %v, want %v", allThere, named, want)
		}
	}
}

// chunksNamed are the numbers of the chunks that the object of the first part names.
func (w *world) chunksNamed() (seqs []uint64) {
	w.t.Helper()
	l, _ := w.state.Locate(place, 0)
	body, _, err := objstore.ReadAll(context.Background(), w.store, l.Key(), 1<<20)
	if err != nil {
		w.t.Fatal(err)
	}
	o, err := segment.Open(body)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, s := range o.Sources {
		if !s.IsHot() {
			seqs = append(seqs, s.Chunk.Seq)
		}
	}
	return seqs
}

// A partition that is compacted as often as chunks come names those that are there, however long it goes on.
func TestNamesOfChunksDoNotAddUp(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		var old []string
		for _, g := range w.state.Garbage() {
			old = append(old, g.Key)
		}
		w.produce(recordbatch.None, false, row("key", fmt.Sprint("value ", i), int64(i)))
		w.ship()
		w.compact(Config{}, -1)
		w.do(&metapb.ForgetGarbage{Keys: old})
		w.now++
	}
	if named := w.chunksNamed(); len(named) > 3 {
		t.Errorf("it names chunks %v", named)
	}
}
