package meta

import (
	"maps"
	"slices"
)

// NoteStoredEnds takes note of markers that an earlier recovery has stored in a partition, in place of what was lost. They are no part of the log: another
// attempt of that recovery may have given their offsets to records. But one that commits a transaction says what was known then, perhaps from what is gone
// by now. They come before the partition's parts.
func (r *Recovery) NoteStoredEnds(tp TopicPartition, markers []PartEvent) {
	p := r.a.Partition(tp)
	if p == nil {
		return
	}
	if r.storedEnds[p] == nil {
		r.storedEnds[p] = map[int64]PartEvent{}
	}
	for _, m := range markers {
		if known, twice := r.storedEnds[p][m.Offset]; !twice || !known.Commit {
			r.storedEnds[p][m.Offset] = m
		}
	}
}

// commits says whether a stored marker is that of the transaction which its producer has open in the partition. Nothing may be missing between that one's
// records and the marker: an end, and the next transaction's records, might be.
func (r *Recovery) commits(p *Partition, m *PartEvent) bool {
	first, open := p.OpenSince(m.ProducerID)
	as, adopted := r.a.endings.open[openIn{p, m.ProducerID}]
	return m.Commit && open && adopted && first < m.Offset && r.a.transactionOf[m.ProducerID] == nil &&
		(m.ProducerEpoch == as.epoch || m.ProducerEpoch == as.epoch+1)
}

// restoreEnds commits, before a hole at the partition's end which begins at base, what an earlier recovery has committed with the hole's first offsets.
func (r *Recovery) restoreEnds(p *Partition, base int64) {
	for at := base; at < p.next; at++ {
		m, stored := r.storedEnds[p][at]
		if !stored {
			return
		}
		if !r.commits(p, &m) {
			continue
		}
		r.replayMarker(p, &m)
		r.cutSpans(p, at, at+1)
		p.markers = slices.Insert(p.markers, firstMarker(p.markers, at), markerOf(&m))
	}
}

// restoreLastEnds does so at the partition's end, when everything was adopted.
func (r *Recovery) restoreLastEnds(p *Partition) {
	known := p.next
	for _, at := range slices.Sorted(maps.Keys(r.storedEnds[p])) {
		if at > known {
			return
		}
		known = max(known, at+1)
		m := r.storedEnds[p][at]
		if r.commits(p, &m) {
			first, _ := p.OpenSince(m.ProducerID)
			r.a.endings.note(p, &m).of(r.a.endings.open[openIn{p, m.ProducerID}].epoch)
			r.a.mark(p, markerOf(&m), first)
		}
	}
}

func markerOf(m *PartEvent) TransactionMarker {
	return TransactionMarker{Offset: m.Offset, ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch, Commit: m.Commit, TimestampMillis: m.TimestampMillis}
}
