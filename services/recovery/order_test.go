package recovery

import (
	"fmt"
	"slices"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/chunk"
)

// sent is a chunk with one record each of a producer's sequences.
type sent struct {
	node      int32
	epoch     uint64
	lane      uint32
	seq       uint64
	millis    int64
	sequences []int32
}

func (s sent) found(topic meta.TopicID) foundChunk {
	var b chunk.Builder
	for _, sequence := range s.sequences {
		b.Add(chunk.Batch{Topic: topic, Data: []byte("batch"), Records: 1, ProducerID: 9, BaseSequence: sequence})
	}
	sealed := b.Seal(chunk.Header{NodeID: s.node, NodeEpoch: s.epoch, Lane: s.lane, Seq: s.seq, CreatedMillis: s.millis})
	return foundChunk{where: fmt.Sprint(s.sequences), createdMillis: s.millis, command: commandOf(sealed.Header, sealed.Table, 0, 0, 0)}
}

// Every batch that may have been acknowledged is adopted, once and in its producer's order, whatever clocks say and whatever is missing.
func TestChunksAreAdoptedInTheOrderOfTheirProducers(t *testing.T) {
	for _, row := range []struct {
		name   string
		chunks []sent
		order  []string
		taken  int64
	}{
		{"another node's clock is behind", []sent{
			{1, 1, 1, 1, 2000, []int32{0, 1}}, {2, 1, 1, 1, 1000, []int32{2, 3}}, {1, 1, 1, 2, 2001, []int32{4}},
		}, []string{"[0 1]", "[2 3]", "[4]"}, 5},
		{"a clock goes back between two epochs of a node", []sent{
			{1, 1, 1, 1, 2000, []int32{0, 1}}, {1, 1, 1, 2, 2001, []int32{2}}, {1, 2, 1, 1, 1000, []int32{3}}, {1, 2, 2, 1, 900, nil},
		}, []string{"[0 1]", "[2]", "[]", "[3]"}, 4},
		{"what came before is lost", []sent{{1, 1, 1, 1, 1000, []int32{0}}, {2, 1, 1, 1, 2000, []int32{5, 6}}}, []string{"[0]", "[5 6]"}, 3},
		{"a batch was refused, and came again behind the one it missed", []sent{
			{1, 1, 1, 1, 1000, []int32{0}}, {1, 1, 1, 2, 1001, []int32{2}}, {1, 1, 1, 3, 1002, []int32{1}}, {1, 1, 1, 4, 1003, []int32{2}},
		}, []string{"[0]", "[2]", "[1]", "[2]"}, 3},
		{"a batch came again through another node", []sent{{1, 1, 1, 1, 1000, []int32{0, 1}}, {2, 1, 1, 1, 1001, []int32{1, 2}}}, []string{"[0 1]", "[1 2]"}, 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := meta.NewRecovery(meta.New([16]byte{1}), 1)
			topic := meta.TopicID{7}
			if _, _, err := r.AdoptTopic(meta.StoredTopic{ID: topic, Name: "ordered", Partitions: 1}); err != nil {
				t.Fatal(err)
			}
			var chunks []foundChunk
			for _, s := range row.chunks {
				chunks = append(chunks, s.found(topic))
			}
			order := newSequencer(r, chunks)
			var got []string
			for c, ok := order.next(); ok; c, ok = order.next() {
				got = append(got, c.where)
				r.AdoptChunk(c.command, c.holder, meta.Elsewhere{Stored: func(meta.TopicPartition, uint32, uint32) bool { return false }, Later: order.comesLater})
			}
			if next := r.State().Topic(topic).Partition(0).NextOffset(); next != row.taken || !slices.Equal(got, row.order) {
				t.Errorf("%d records in the order %v, want %d in the order %v", next, got, row.taken, row.order)
			}
		})
	}
}
