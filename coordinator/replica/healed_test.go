package replica

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/varvelog/varve/coordinator/archive"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
)

// damagedLog gives one entry back with a flipped bit.
type damagedLog struct {
	metalog.Log
	seq uint64
}

func (l damagedLog) Read(ctx context.Context, seq uint64) iter.Seq2[metalog.Record, error] {
	return func(yield func(metalog.Record, error) bool) {
		for record, err := range l.Log.Read(ctx, seq) {
			if err == nil && record.Seq == l.seq {
				record.Entry = append([]byte(nil), record.Entry...)
				record.Entry[rand.IntN(len(record.Entry))] ^= 1 << rand.IntN(8)
			}
			if !yield(record, err) {
				return
			}
		}
	}
}

func TestADamagedEntryIsTakenFromTheArchive(t *testing.T) {
	for range 20 {
		testDamagedEntries(t)
	}
}

func testDamagedEntries(t *testing.T) {
	t.Helper()
	for _, damaged := range []uint64{1, 2, 4} {
		log, store := mem.New().Open(), memstore.New("bucket")
		w := newWriter(t, log)
		batch := &archive.Batch{LogID: logID, First: 2}
		for range 3 {
			batch.Entries = append(batch.Entries, w.append(allocate()))
		}
		if _, err := store.Put(context.Background(), (archive.Object{First: 2, Next: 5}).Key(), archive.Encode(batch)); err != nil {
			t.Fatal(err)
		}
		want := openReplica(t, Config{Log: log})
		r, err := Open(context.Background(), Config{LogID: logID, Log: damagedLog{log, damaged}, Store: store})
		if damaged == 1 { // of which there is no copy
			if !errors.Is(err, meta.ErrCorrupt) {
				t.Errorf("entry 1 is damaged: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("entry %d is damaged: %v", damaged, err)
		}
		if r.Seq() != 4 || hashOf(r) != hashOf(want) {
			t.Errorf("entry %d is damaged: the replica is at %d", damaged, r.Seq())
		}
		r.Close()
	}
}

// It was read to see whether log and snapshot fit, and the start was refused although nobody needs it.
func TestADamagedEntryThatASnapshotStandsForKeepsNobodyOut(t *testing.T) {
	for range 50 {
		for _, behind := range []int{0, 2} {
			log, store := mem.New().Open(), memstore.New("bucket")
			w := newWriter(t, log)
			w.append(allocate())
			want := openReplica(t, Config{Log: log, Store: store})
			if _, err := want.SaveSnapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range behind {
				w.append(allocate())
			}
			if err := want.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			r := openReplica(t, Config{Log: damagedLog{log, 2}, Store: store})
			if r.SnapshotSeq() != 2 || hashOf(r) != hashOf(want) {
				t.Errorf("%d entries behind the snapshot: the replica is at %d", behind, r.Seq())
			}
		}
	}
}

// flakyLog gives no more than a few entries at a time before the next read fails.
type flakyLog struct {
	metalog.Log
	atOnce int
	reads  *atomic.Int32 // every other gives nothing; nil: none does
}

var errFlaky = errors.New("the log does not answer")

func (l flakyLog) Read(ctx context.Context, seq uint64) iter.Seq2[metalog.Record, error] {
	return func(yield func(metalog.Record, error) bool) {
		left := l.atOnce
		if l.reads != nil && l.reads.Add(1)%2 == 0 {
			left = 0
		}
		for record, err := range l.Log.Read(ctx, seq) {
			if left == 0 {
				yield(metalog.Record{}, errFlaky)
				return
			}
			left--
			if !yield(record, err) {
				return
			}
		}
	}
}

func TestALongLogIsReadThoughReadsFail(t *testing.T) {
	log := mem.New().Open()
	w := newWriter(t, log)
	for range 20 {
		w.append(allocate())
	}
	r, err := Open(context.Background(), Config{LogID: logID, Log: flakyLog{Log: log, atOnce: 3}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if want := openReplica(t, Config{Log: log}); r.Seq() != want.Seq() {
		t.Errorf("the replica is at %d of %d", r.Seq(), want.Seq())
	}
	if _, err := Open(context.Background(), Config{LogID: logID, Log: flakyLog{Log: log, atOnce: 0}}); !errors.Is(err, errFlaky) {
		t.Errorf("of a log that gives nothing: %v", err)
	}
	if r, err := Open(context.Background(), Config{LogID: logID, Log: flakyLog{log, 3, new(atomic.Int32)}}); err != nil {
		t.Errorf("of a log that gives nothing every other time: %v", err)
	} else {
		r.Close()
	}
}
