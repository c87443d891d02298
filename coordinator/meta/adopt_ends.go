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

// commits says whether a stored marker is that of the transaction which its producer has open in the partition, and of which epoch and since which offset that is. Nothing may be missing between that one's
// records and the marker: an end, and the next transaction's records, might be.
func (r *Recovery) commits(p *Partition, m *PartEvent) (first int64, epoch int16, ok bool) {
	first, open := p.OpenSince(m.ProducerID)
	as, adopted := r.a.endings.open[openIn{p, m.ProducerID}]
	ok = m.Commit && open && adopted && first < m.Offset && r.a.transactionOf[m.ProducerID] == nil &&
		(m.ProducerEpoch == as.epoch || m.ProducerEpoch == as.epoch+1)
	return first, as.epoch, ok
}

// restoreEnds commits, before a hole at the partition's end which begins at base, what an earlier recovery has committed with the hole's first offsets.
func (r *Recovery) restoreEnds(p *Partition, base int64) {
	for at := base; at < p.next; at++ {
		m, stored := r.storedEnds[p][at]
		if !stored {
			return
		}
		if _, _, ok := r.commits(p, &m); !ok {
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
		if first, epoch, ok := r.commits(p, &m); ok {
			r.a.endings.note(p, &m).of(epoch)
			r.a.mark(p, markerOf(&m), first)
		}
	}
}

func markerOf(m *PartEvent) TransactionMarker {
	return TransactionMarker{Offset: m.Offset, ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch, Commit: m.Commit, TimestampMillis: m.TimestampMillis}
}
