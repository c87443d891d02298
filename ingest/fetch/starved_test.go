package fetch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/lane/lanetest"
)

// latePeer is another node's hot log behind a network with a latency.
type latePeer struct {
	segment []byte
	latency time.Duration
}

// ReadHot implements fetch.Peer.
func (p *latePeer) ReadHot(ctx context.Context, _ string, _ [16]byte, _ uint64, position uint32, buf []byte) (int, error) {
	timer := time.NewTimer(p.latency)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if int(position)+len(buf) > len(p.segment) {
		return 0, errors.New("nothing there")
	}
	return copy(buf, p.segment[position:]), nil
}

// onAnother commits one chunk with a batch for each value on the disk of another node.
func onAnother(t *testing.T, w *world, peer *latePeer, tp meta.TopicPartition, values ...string) {
	t.Helper()
	w.await("registration", func() bool { _, registered := w.set.Registration(); return registered })
	other := w.cluster.Propose(&metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{
		DiskId: append([]byte{0xd2}, make([]byte, 15)...), Incarnation: []byte{1}, InternalAddress: "other:1",
	}}})
	var b chunk.Builder
	for _, value := range values {
		data, header := lanetest.RecordBatch(t, nil, 1000, value)
		b.Add(chunk.Batch{Topic: tp.Topic, Partition: tp.Partition, Data: data, Records: uint32(header.LastOffsetDelta) + 1, ProducerID: -1, MaxTimestamp: header.MaxTimestamp})
	}
	sealed := b.Seal(chunk.Header{NodeID: int32(other.NodeID), NodeEpoch: other.NodeEpoch, Seq: 1})
	peer.segment = append(make([]byte, 64), sealed.Head...)
	for _, body := range sealed.Body {
		peer.segment = append(peer.segment, body...)
	}
	w.cluster.Apply(&metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: &metapb.CommitChunk{
		NodeId: int32(other.NodeID), NodeEpoch: other.NodeEpoch, Seq: 1, Durability: metapb.Durability_DURABILITY_LOCAL,
		Segment: 7, Position: 64, ChunkBytes: uint64(sealed.Header.ChunkBytes()), RunTable: slices.Clone(sealed.Table.Bytes()),
	}}})
}

// A partition whose records are in another node's hot log must not starve beside one that always has something here.
func TestHotDataElsewhereDoesNotStarveBesideHotDataHere(t *testing.T) {
	synctest.Test(t, hotDataElsewhere)
}

func hotDataElsewhere(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	here := partition(w.cluster.CreateTopic(t, "here", "local", 1), 0)
	there := partition(w.cluster.CreateTopic(t, "there", "local", 1), 0)
	for i := range 1000 {
		w.produce(here, 1000, fmt.Sprint(i), strings.Repeat("x", 4<<10))
	}
	peer := &latePeer{latency: 4 * time.Millisecond}
	onAnother(t, w, peer, there, "0", "1", "2")
	reader := w.newReader(fetch.Config{}, w.cluster.DiskID, peer)
	at := int64(0)
	for request := range uint32(500) {
		r := reader.Read(t.Context(), &fetch.Request{
			Partitions: []fetch.PartitionRead{
				{TopicPartition: here, Offset: at, MaxBytes: 8 << 10, LeaderEpoch: -1}, {TopicPartition: there, MaxBytes: 8 << 10, LeaderEpoch: -1},
			},
			MinBytes: 1, MaxBytes: 1 << 20, MaxWait: 500 * time.Millisecond, Rotation: request,
		})
		_, at = records(t, &r.Partitions[0], at)
		got, code := r.Partitions[1].Bytes, r.Partitions[1].Code
		r.Release()
		if got > 0 {
			return
		}
		if code != fetch.OK {
			t.Errorf("code %v", code)
		}
	}
	t.Errorf("500 requests, each with 500 ms of time, brought %d offsets of one partition and nothing of the other", at)
}
