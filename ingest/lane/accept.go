package lane

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/copies"
	"github.com/varvelog/varve/ingest/hotlog"
)

var (
	errNotRegistered = errors.New("the node is between two epochs")
	errSettled       = errors.New("the chunk has been judged, or its epoch is over")
	errFull          = errors.New("the hot log is as full as it may be")
)

// AcceptCopy makes a copy of another node's chunk durable in the node's hot log (copies.Acceptor). The place is good in this epoch: state
// takes no other.
func (s *Set) AcceptCopy(_ context.Context, chunk copies.Header, body []byte, crc uint32) (*metapb.ChunkCopy, error) {
	current := s.current.Load()
	switch {
	case current == nil || current.isOver():
		return nil, errNotRegistered
	case chunk.Node == current.registration.Node:
		return nil, fmt.Errorf("chunk %d is this node's own", chunk.Seq)
	case s.peers.Settled(chunk):
		return nil, errSettled
	case math.Float64frombits(s.pressure.hotLog.Load()) >= 1:
		return nil, errFull // as it refuses its own producers; the source turns to another node
	}
	a := newHotAppend()
	a.chunk, a.copyOf = hotlog.Chunk{Buffers: [][]byte{body}, CRC: crc}, &chunk
	place, err := current.hot.append(&a)
	if err != nil {
		if !errors.Is(err, hotlog.ErrNoSpace) && current.hot.fresh.Load() && !isTooLarge(err) {
			current.end(StorageFailed, err, true)
		}
		return nil, err
	}
	return &metapb.ChunkCopy{
		NodeId: int32(current.registration.Node), NodeEpoch: current.registration.Epoch, Segment: place.Segment, Position: place.Position,
	}, nil
}

func isTooLarge(err error) bool {
	var large *hotlog.ChunkTooLargeError
	return errors.As(err, &large)
}
