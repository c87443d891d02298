package tieringd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/rpc"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/tiering/ship"
)

const (
	// rangeGapBytes is how far apart two runs may be to be fetched in one range: a segment may hold other containers' chunks as well.
	rangeGapBytes = 256 << 10
	// copyTimeout bounds fetching from one of two nodes that have the bytes, before the other is asked.
	copyTimeout = 30 * time.Second
)

// HotReader opens sealed hot segments: the process's own with preads, others over the internal listener, with all their
// runs, since these are read by partition and so out of order.
type HotReader struct {
	Client *rpc.Client
	// Own is this process's hot log, nil where it has none.
	Own *hotlog.Log
}

// hotPlace is where a container's chunks are on one node.
type hotPlace struct {
	address  string
	disk     []byte
	segment  uint64
	position func(*metapb.JobRun) uint32
}

// of is the place of a run there.
func (p hotPlace) of(r *metapb.JobRun) ship.Place {
	return ship.Place{Address: p.address, Disk: p.disk, Segment: p.segment, Position: int64(p.position(r))}
}

// OpenHot implements ship.HotSource.
func (h *HotReader) OpenHot(ctx context.Context, c *metapb.JobContainer) (ship.Container, error) {
	source := hotPlace{c.NodeAddress, c.DiskId, c.Segment, (*metapb.JobRun).GetPosition}
	if c.CopySegment == 0 {
		return h.open(ctx, source, c.Runs)
	}
	places := []hotPlace{source, {c.CopyAddress, c.CopyDiskId, c.CopySegment, (*metapb.JobRun).GetCopyPosition}}
	if h.isOwn(places[1]) {
		slices.Reverse(places)
	}
	places = slices.DeleteFunc(places, func(p hotPlace) bool { return p.address == "" && !h.isOwn(p) })
	return &eitherSegment{reader: h, places: places, runs: c.Runs}, nil
}

func (h *HotReader) isOwn(p hotPlace) bool {
	if h.Own == nil {
		return false
	}
	disk := h.Own.DiskUUID()
	return string(disk[:]) == string(p.disk)
}

func (h *HotReader) open(ctx context.Context, place hotPlace, runs []*metapb.JobRun) (ship.Container, error) {
	if h.isOwn(place) {
		return ownSegment{h.Own, place}, nil
	}
	return h.fetch(ctx, place, runs)
}

// fetch gets the ranges of a segment that hold the runs.
func (h *HotReader) fetch(ctx context.Context, place hotPlace, runs []*metapb.JobRun) (ship.Container, error) {
	var ranges []fetchedRange
	for _, r := range runs {
		if r.Marker == nil {
			ranges = append(ranges, fetchedRange{begin: int64(place.position(r)), end: int64(place.position(r)) + int64(r.Length)})
		}
	}
	slices.SortFunc(ranges, func(a, b fetchedRange) int { return cmp.Compare(a.begin, b.begin) })
	merged := ranges[:0]
	for _, r := range ranges {
		if last := len(merged) - 1; last >= 0 && r.begin-merged[last].end <= rangeGapBytes {
			merged[last].end = max(merged[last].end, r.end)
		} else {
			merged = append(merged, r)
		}
	}
	for i := range merged {
		r := &merged[i]
		path := fmt.Sprintf("/hot/%x/%d?position=%d&length=%d", place.disk, place.segment, r.begin, r.end-r.begin)
		body, _, err := h.Client.Get(ctx, place.address, path)
		if err != nil {
			return nil, err
		}
		r.bytes = make([]byte, r.end-r.begin)
		_, err = io.ReadFull(body, r.bytes)
		if err = errors.Join(err, body.Close()); err != nil {
			return nil, fmt.Errorf("get %s%s: %w", place.address, path, err)
		}
	}
	return fetchedSegment{place, merged}, nil
}

// ownSegment is in this process's own hot log.
type ownSegment struct {
	log   *hotlog.Log
	place hotPlace
}

// ReadRun implements ship.Container.
func (s ownSegment) ReadRun(_ context.Context, p []byte, r *metapb.JobRun, accept func(ship.Place, []byte) error) error {
	if err := s.log.ReadAt(s.place.segment, s.place.position(r), p); err != nil {
		return err
	}
	return accept(s.place.of(r), p)
}

// Close implements ship.Container.
func (ownSegment) Close() error { return nil }

// fetchedSegment is the ranges of a segment that hold its live runs, in order of position.
type fetchedSegment struct {
	place  hotPlace
	ranges []fetchedRange
}

type fetchedRange struct {
	begin, end int64
	bytes      []byte
}

// ReadRun implements ship.Container.
func (s fetchedSegment) ReadRun(_ context.Context, p []byte, r *metapb.JobRun, accept func(ship.Place, []byte) error) error {
	position := int64(s.place.position(r))
	i, found := slices.BinarySearchFunc(s.ranges, position, func(r fetchedRange, position int64) int { return cmp.Compare(r.begin, position) })
	if !found {
		i--
	}
	if i < 0 || position+int64(len(p)) > s.ranges[i].end {
		return fmt.Errorf("read [%d, +%d) of what was fetched: %w", position, len(p), objstore.ErrRange)
	}
	copy(p, s.ranges[i].bytes[position-s.ranges[i].begin:])
	return accept(s.place.of(r), p)
}

// Close implements ship.Container.
func (fetchedSegment) Close() error { return nil }

// eitherSegment is a replicated container: it is read from the first of its places that can be read, and single runs from the other where the
// first has them damaged.
type eitherSegment struct {
	reader *HotReader
	places []hotPlace
	runs   []*metapb.JobRun
	opened ship.Container // places[0]; nil where it was not read yet
	failed error
}

// ReadRun implements ship.Container.
func (s *eitherSegment) ReadRun(ctx context.Context, p []byte, r *metapb.JobRun, accept func(ship.Place, []byte) error) error {
	var refused error
	for i := 0; i < len(s.places); {
		judged := false
		err := s.readFrom(ctx, i, p, r, func(place ship.Place, p []byte) error {
			judged = true
			return accept(place, p)
		})
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case judged:
			refused = errors.Join(refused, err)
			i++
		case i == 0: // the place has failed for all runs
			s.failed = errors.Join(s.failed, err)
			s.opened, s.places = nil, s.places[1:]
		default:
			refused = errors.Join(refused, err)
			i++
		}
	}
	if err := errors.Join(refused, s.failed); err != nil {
		return err
	}
	return errors.New("neither of the nodes that have the segment is there")
}

// readFrom reads a run from one of the places: with all others from the first, by itself from the second.
func (s *eitherSegment) readFrom(ctx context.Context, i int, p []byte, r *metapb.JobRun, accept func(ship.Place, []byte) error) error {
	opened, runs := s.opened, s.runs
	if i > 0 {
		opened, runs = nil, []*metapb.JobRun{r}
	}
	if opened == nil {
		bounded, cancel := context.WithTimeout(ctx, copyTimeout)
		defer cancel()
		var err error
		if opened, err = s.reader.open(bounded, s.places[i], runs); err != nil {
			return err
		}
	}
	if i == 0 {
		s.opened = opened
	}
	return opened.ReadRun(ctx, p, r, accept)
}

// Close implements ship.Container.
func (*eitherSegment) Close() error { return nil }
