package fetch

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// hedgeDelay is how long one of two nodes that have a run may take before the other is asked as well: a node that is cut off or stopped
// does not say so.
const hedgeDelay = 50 * time.Millisecond

// readHot fills buf from position of the extent's segment on another node. A replicated run is on two: where the first fails or is slow,
// the second is asked as well, and whoever has the bytes first counts.
func (r *Reader) readHot(ctx context.Context, e *extent, position uint64, buf []byte) error {
	first := e.preferOther
	if e.otherAddress == "" {
		return r.readPeer(ctx, e, position, buf, false)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outcomes := make(chan hotOutcome, 2)
	go func() { outcomes <- hotOutcome{first, r.readPeer(ctx, e, position, buf, first)} }()
	running := 1
	var failed error
	hedge := time.NewTimer(hedgeDelay)
	defer hedge.Stop()
	select {
	case o := <-outcomes:
		if o.err == nil {
			return nil
		}
		running, failed = 0, o.err
	case <-hedge.C:
	}
	spare := getBuffer(len(buf)) // the first may be writing to buf still
	defer spare.free()
	go func() { outcomes <- hotOutcome{!first, r.readPeer(ctx, e, position, spare.data, !first)} }()
	var winner *hotOutcome
	for running++; running > 0; running-- {
		o := <-outcomes
		if o.err != nil {
			failed = errors.Join(failed, o.err)
		} else if winner == nil {
			winner = &o
			cancel()
		}
	}
	if winner == nil {
		return failed
	}
	if winner.other != first {
		copy(buf, spare.data)
		e.preferOther = !first
	}
	return nil
}

// hotOutcome is what became of reading from one of two nodes: from the one at the extent's other place, or not.
type hotOutcome struct {
	other bool
	err   error
}

// readPeer reads from the node at the extent's place, or from that at its other one.
func (r *Reader) readPeer(ctx context.Context, e *extent, position uint64, buf []byte, other bool) error {
	address, disk, segment := e.address, e.loc.DiskID, e.loc.Segment
	if other {
		address, disk, segment = e.otherAddress, e.loc.Copy.DiskID, e.loc.Copy.Segment
		position = position - e.loc.Position + e.loc.Copy.Position
	}
	err := r.nodes.through(ctx, address, func() error { return r.peer.ReadHot(ctx, address, disk, segment, uint32(position), buf) })
	if err != nil {
		return fmt.Errorf("read segment %d of node at %s: %w", segment, address, err)
	}
	return nil
}
