package meta

import (
	"cmp"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
)

const (
	packedMarkerSize  = 32
	packedAbortedSize = 32
	// partTransactionBytes is about how many bytes of transactions are put in a part.
	partTransactionBytes = 512 << 10
)

func packMarkers(markers []TransactionMarker) []byte {
	b := make([]byte, 0, len(markers)*packedMarkerSize)
	for _, m := range markers {
		commit := uint16(0)
		if m.Commit {
			commit = 1
		}
		b = le.AppendUint64(b, uint64(m.Offset))
		b = le.AppendUint64(b, uint64(m.ProducerID))
		b = le.AppendUint64(b, uint64(m.TimestampMillis))
		b = le.AppendUint32(b, uint32(m.CoordinatorEpoch))
		b = le.AppendUint16(b, uint16(m.ProducerEpoch))
		b = le.AppendUint16(b, commit)
	}
	return b
}

func packAborted(aborted []AbortedTransaction) []byte {
	b := make([]byte, 0, len(aborted)*packedAbortedSize)
	for _, t := range aborted {
		b = le.AppendUint64(b, uint64(t.ProducerID))
		b = le.AppendUint64(b, uint64(t.FirstOffset))
		b = le.AppendUint64(b, uint64(t.LastOffset))
		b = le.AppendUint64(b, uint64(t.lastStable))
	}
	return b
}

// transactional restores what a partition keeps of transactions, but for those that are open.
func (r *restorer) transactional(p *Partition, from *metapb.SnapshotPartition) error {
	if len(from.Markers)%packedMarkerSize != 0 || len(from.Aborted)%packedAbortedSize != 0 {
		return bad("markers of %d bytes, aborted transactions of %d", len(from.Markers), len(from.Aborted))
	}
	for b := from.Markers; len(b) > 0; b = b[packedMarkerSize:] {
		p.markers = append(p.markers, TransactionMarker{
			Offset: int64(le.Uint64(b)), ProducerID: int64(le.Uint64(b[8:])), TimestampMillis: int64(le.Uint64(b[16:])),
			CoordinatorEpoch: int32(le.Uint32(b[24:])), ProducerEpoch: int16(le.Uint16(b[28:])), Commit: le.Uint16(b[30:]) == 1,
		})
	}
	for b := from.Aborted; len(b) > 0; b = b[packedAbortedSize:] {
		t := AbortedTransaction{int64(le.Uint64(b)), int64(le.Uint64(b[8:])), int64(le.Uint64(b[16:])), int64(le.Uint64(b[24:]))}
		if n := len(p.aborted); n > 0 && p.aborted[n-1].LastOffset > t.LastOffset || t.FirstOffset > t.LastOffset || t.LastOffset >= p.next {
			return bad("an aborted transaction at [%d, %d]", t.FirstOffset, t.LastOffset)
		}
		p.aborted = append(p.aborted, t)
	}
	return nil
}

func (s *State) writeTransactions(w *snapshotWriter) {
	var part []*metapb.SnapshotTransaction
	size := 0
	flush := func() {
		if len(part) > 0 {
			w.part(&metapb.SnapshotPart{Kind: &metapb.SnapshotPart_Transactions{Transactions: &metapb.SnapshotTransactions{Transactions: part}}})
			part, size = nil, 0
		}
	}
	for _, t := range s.transactionsInOrder() {
		out := s.snapshotTransaction(t)
		part = append(part, out)
		if size += proto.Size(out); size >= partTransactionBytes {
			flush()
		}
	}
	flush()
}

func (s *State) snapshotTransaction(t *transaction) *metapb.SnapshotTransaction {
	out := &metapb.SnapshotTransaction{
		TransactionalId: t.id, ProducerId: t.producerID, ProducerEpoch: int32(t.epoch), PreviousProducerId: t.previousProducerID,
		LastEpoch: int32(t.lastEpoch), TimeoutMillis: t.timeoutMillis, State: uint32(t.state), StartMillis: t.startMillis,
		UpdateMillis: t.updateMillis, Bumped: t.bumped,
	}
	v, _ := s.Transaction(t.id)
	for _, tp := range v.Partitions {
		out.Partitions = append(out.Partitions, &metapb.SnapshotTransactionPartition{
			TopicId: slices.Clone(tp.Topic[:]), Partition: tp.Partition, FirstOffset: t.partitions[s.Partition(tp)],
		})
	}
	for _, name := range v.Groups {
		g := &metapb.SnapshotTransactionGroup{Group: name}
		if held := s.groups[name]; held != nil {
			g.Offsets = held.pending.inOrder(t.producerID)
		}
		out.Groups = append(out.Groups, g)
	}
	return out
}

func (r *restorer) transaction(from *metapb.SnapshotTransaction) error {
	if from.GetTransactionalId() == "" || r.s.transactions[from.TransactionalId] != nil || r.s.transactionOf[from.ProducerId] != nil ||
		from.State > uint32(TransactionAborted) || from.ProducerEpoch < 0 || from.ProducerEpoch > math.MaxInt16 {
		return bad("transaction of %q", from.GetTransactionalId())
	}
	t := &transaction{
		id: from.TransactionalId, producerID: from.ProducerId, epoch: int16(from.ProducerEpoch), previousProducerID: from.PreviousProducerId,
		lastEpoch: int16(from.LastEpoch), timeoutMillis: from.TimeoutMillis, state: TransactionState(from.State),
		startMillis: from.StartMillis, updateMillis: from.UpdateMillis, bumped: from.Bumped,
	}
	r.s.addTransaction(t)
	for _, held := range from.Partitions {
		topic := r.s.topicOf(held.GetTopicId())
		if topic == nil || topic.Partition(held.Partition) == nil {
			return bad("a transaction of %q in partition %x-%d, which is not there", t.id, held.GetTopicId(), held.GetPartition())
		}
		p := topic.Partition(held.Partition)
		if held.FirstOffset >= p.next {
			return bad("a transaction of %q at offset %d, which is not there", t.id, held.FirstOffset)
		}
		t.partitions[p] = held.FirstOffset
		if held.FirstOffset >= 0 {
			p.begin(t.producerID, held.FirstOffset)
		}
	}
	for _, g := range from.Groups {
		t.groups[g.GetGroup()] = struct{}{}
		if len(g.Offsets) == 0 {
			continue
		}
		to := r.s.groups[g.GetGroup()]
		if to == nil {
			return bad("a transaction of %q has offsets of group %q, which is not there", t.id, g.Group)
		}
		pending := to.pend(t.producerID)
		for _, o := range g.Offsets {
			topic := r.s.topicOf(o.GetTopicId())
			if topic == nil {
				return bad("a transaction of %q has an offset in topic %x, which is not there", t.id, o.GetTopicId())
			}
			pending[TopicPartition{topic.ID, o.Partition}] = committedOffset(o)
		}
	}
	return nil
}

// hold counts the runs that open transactions keep from being shipped. Called when all is restored.
func (r *restorer) hold() {
	for _, p := range r.s.partitions {
		slices.SortFunc(p.open, func(x, y openTransaction) int { return cmp.Compare(x.first, y.first) })
		if len(p.open) == 0 {
			continue
		}
		for i := firstRun(p.runs, p.LastStableOffset()); i < len(p.runs); i++ {
			r.s.containerSlots[p.runs[i].container].heldRuns++
		}
	}
}
