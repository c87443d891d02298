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
// the second is asked as well, and whoever has the bytes first counts. Fewer bytes come with an error: the most that one of them had sent.
func (r *Reader) readHot(ctx context.Context, e *extent, position uint64, buf []byte) (n int, err error) {
	first := e.preferOther
	if e.otherAddress == "" {
		return r.readPeer(ctx, e, position, buf, false)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outcomes := make(chan hotOutcome, 2)
	ask := func(other bool, buf []byte) {
		n, err := r.readPeer(ctx, e, position, buf, other)
		outcomes <- hotOutcome{other, n, err}
	}
	go ask(first, buf)
	running := 1
	best := hotOutcome{other: first}
	hedge := time.NewTimer(hedgeDelay)
	defer hedge.Stop()
	select {
	case best = <-outcomes:
		if best.err == nil {
			return best.n, nil
		}
		running = 0
	case <-hedge.C:
	}
	failed := best.err
	spare := getBuffer(len(buf)) // the first may be writing to buf still
	defer spare.free()
	go ask(!first, spare.data)
	isWhole := false
	for running++; running > 0; running-- {
		o := <-outcomes
		if !isWhole && (o.err == nil || o.n > best.n) {
			best = o
		}
		if o.err != nil {
			failed = errors.Join(failed, o.err)
		} else if !isWhole {
			isWhole = true
			cancel()
		}
	}
	if best.other != first {
		copy(buf[:best.n], spare.data)
		e.preferOther = !first
	}
	if !isWhole {
		return best.n, failed
	}
	return best.n, nil
}

// hotOutcome is what became of reading from one of two nodes: from the one at the extent's other place, or not.
type hotOutcome struct {
	other bool
	n     int // bytes that came
	err   error
}

// readPeer reads from the node at the extent's place, or from that at its other one.
func (r *Reader) readPeer(ctx context.Context, e *extent, position uint64, buf []byte, other bool) (n int, err error) {
	address, disk, segment := e.address, e.loc.DiskID, e.loc.Segment
	if other {
		address, disk, segment = e.otherAddress, e.loc.Copy.DiskID, e.loc.Copy.Segment
		position = position - e.loc.Position + e.loc.Copy.Position
	}
	err = r.nodes.through(ctx, address, func() error {
		n, err = r.peer.ReadHot(ctx, address, disk, segment, uint32(position), buf)
		return err
	})
	if err != nil {
		return n, fmt.Errorf("read segment %d of node at %s: %w", segment, address, err)
	}
	return n, nil
}
