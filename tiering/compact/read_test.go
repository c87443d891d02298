package compact

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// found is a record as a reader finds it.
type found struct {
	offset  int64
	batch   recordbatch.Header
	control bool
}

// read goes through what is stored of the partition, checks each object and each record against what was sent, and returns the records.
func (w *world) read() (all []found) {
	w.t.Helper()
	p := w.partition()
	for offset := p.LogStartOffset(); offset < p.NextOffset(); {
		l, ok := w.state.Locate(place, offset)
		if !ok || l.BaseOffset > offset {
			w.t.Fatalf("offset %d is nowhere", offset)
		}
		if l.Tier == meta.TierSegment {
			all = append(all, w.readPart(l)...)
		}
		offset = l.NextOffset
	}
	return slices.DeleteFunc(all, func(f found) bool { return f.offset < p.LogStartOffset() })
}

func (w *world) readPart(l meta.Location) (all []found) {
	w.t.Helper()
	body, _, err := objstore.ReadAll(context.Background(), w.store, l.Key(), 1<<30)
	if err != nil {
		w.t.Fatal(err)
	}
	object, err := segment.Open(body)
	if err == nil {
		err = object.Verify()
	}
	if err != nil {
		w.t.Fatalf("%s: %v", l.Key(), err)
	}
	i := slices.IndexFunc(object.Parts, func(p segment.Part) bool { return p.BaseOffset == l.BaseOffset })
	part := &object.Parts[i]
	if part.NextOffset != l.NextOffset || part.Position != l.Position || part.LengthBytes != l.Length || part.Records != l.Records || part.MaxTimestamp != l.MaxTimestamp {
		w.t.Fatalf("part %+v is described as %+v", part, l)
	}
	next := l.BaseOffset
	for b, err := range recordbatch.Batches(object.Batches(part)) {
		if err != nil {
			w.t.Fatal(err)
		}
		if b.RecordCount == 0 && b.NextOffset() != l.NextOffset {
			w.t.Fatalf("an empty batch [%d, %d) in the middle of a part", b.BaseOffset, b.NextOffset())
		}
		highest := int64(-1)
		for r, err := range recordbatch.Records(b.Bytes, nil) {
			if err != nil {
				w.t.Fatal(err)
			}
			w.compare(&b.Header, &r)
			highest = max(highest, r.Timestamp)
			all = append(all, found{offset: r.Offset, batch: b.Header, control: b.IsControl()})
		}
		if highest != b.MaxTimestamp {
			w.t.Fatalf("batch [%d, %d) has timestamps up to %d, not %d", b.BaseOffset, b.NextOffset(), highest, b.MaxTimestamp)
		}
		next = b.NextOffset()
	}
	if next != l.NextOffset {
		w.t.Fatalf("part [%d, %d) has batches up to %d: a consumer at its end would not come by", l.BaseOffset, l.NextOffset, next)
	}
	return all
}

func (w *world) compare(h *recordbatch.Header, r *recordbatch.Record) {
	w.t.Helper()
	want := w.log[r.Offset]
	if want.marker {
		if !h.IsControl() || h.ProducerID != want.producer || len(r.Key) != 4 || (r.Key[3] == 1) == want.aborted || h.Codec() != recordbatch.None {
			w.t.Fatalf("offset %d: %+v %x is not the marker %+v", r.Offset, h, r.Key, want)
		}
		return
	}
	headers := fmt.Sprint(slices.Collect(recordbatch.RecordHeaders(r.Headers)))
	wantHeaders := fmt.Sprint([]recordbatch.RecordHeader{{Key: []byte("h"), Value: []byte(want.header)}})
	if !bytes.Equal(r.Key, want.key) || (r.Key == nil) != (want.key == nil) || !bytes.Equal(r.Value, want.value) || (r.Value == nil) != (want.value == nil) ||
		r.Timestamp != want.millis || headers != wantHeaders || h.IsControl() || h.IsTransactional() != (want.producer > 0) || want.producer > 0 && h.ProducerID != want.producer {
		w.t.Fatalf("offset %d is %q=%q at %d with %s, sent was %+v", r.Offset, r.Key, r.Value, r.Timestamp, headers, want)
	}
}

// check compares what a read_committed consumer makes of the log with what was sent.
func (w *world) check() {
	w.t.Helper()
	p := w.partition()
	start, stable := p.LogStartOffset(), p.LastStableOffset()
	all := w.read()
	there := map[int64]bool{}
	aborted := p.AbortedTransactions(nil, start, stable)
	got, want := map[string]string{}, map[string]string{}
	last := start - 1
	for _, f := range all {
		if f.offset <= last {
			w.t.Fatalf("offset %d behind %d", f.offset, last)
		}
		last = f.offset
		there[f.offset] = true
		if f.control || slices.ContainsFunc(aborted, func(a meta.AbortedTransaction) bool {
			return f.batch.IsTransactional() && a.ProducerID == f.batch.ProducerID && a.FirstOffset <= f.offset && f.offset <= a.LastOffset
		}) {
			continue
		}
		if r := w.log[f.offset]; r.aborted {
			w.t.Fatalf("offset %d of an aborted transaction is shown to readers of what is committed", f.offset)
		} else if r.key != nil {
			apply(got, r)
		}
	}
	stored := min(stable, p.EarliestLocalOffset()) // up to there read has read
	latest := map[string]int64{}
	for o := start; o < stored; o++ {
		if r := w.log[o]; !r.marker && !r.aborted && r.key != nil {
			apply(want, r)
			latest[string(r.key)] = o
		}
	}
	for key, o := range latest {
		r := w.log[o]
		if there[o] {
			continue
		}
		if r.value != nil {
			w.t.Fatalf("the last record of %q, at %d, is gone", key, o)
		}
		if int(o) >= len(w.begun) || w.begun[o] < 0 || w.begun[o]+deleteRetention > w.now || o >= p.CleanedOffset() {
			w.t.Fatalf("the tombstone of %q, at %d, is gone too early", key, o)
		}
	}
	for o := start; o < stored; o++ {
		if r := w.log[o]; r.marker && !there[o] {
			if w.begun[o] < 0 || w.begun[o]+deleteRetention > w.now {
				w.t.Fatalf("the marker at %d is gone too early", o)
			}
			w.checkNothingLeft(o, there)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Fatalf("a reader gets %v, want %v", got, want)
	}
}

// checkNothingLeft: of the transaction that a marker ended no record is there.
func (w *world) checkNothingLeft(marker int64, there map[int64]bool) {
	w.t.Helper()
	for o := marker - 1; o >= 0 && !(w.log[o].marker && w.log[o].producer == w.log[marker].producer); o-- {
		if w.log[o].producer == w.log[marker].producer && there[o] {
			w.t.Fatalf("offset %d is there, the marker of its transaction, %d, is not", o, marker)
		}
	}
}

func apply(view map[string]string, r sent) {
	if r.value == nil {
		delete(view, string(r.key))
	} else {
		view[string(r.key)] = string(r.value)
	}
}

// checkClean: below the offset up to which a round has come, no key has two records, and nothing aborted or without a key is left.
func (w *world) checkClean() {
	w.t.Helper()
	cleaned := w.partition().CleanedOffset()
	seen := map[string]int64{}
	for _, f := range w.read() {
		r := w.log[f.offset]
		if f.offset >= cleaned || f.control {
			continue
		}
		if other, twice := seen[string(r.key)]; twice || r.aborted || r.key == nil {
			w.t.Fatalf("offset %d (%q, aborted %v) is left below %d, beside %d", f.offset, r.key, r.aborted, cleaned, other)
		}
		seen[string(r.key)] = f.offset
	}
}
