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
		return ownSegment{h.Own, place.segment}, nil
	}
	return h.fetch(ctx, place, runs)
}

// fetch gets the ranges of a segment that hold the runs.
func (h *HotReader) fetch(ctx context.Context, place hotPlace, runs []*metapb.JobRun) (ship.Container, error) {
	var ranges fetchedSegment
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
	return merged, nil
}

type ownSegment struct {
	log *hotlog.Log
	id  uint64
}

// ReadAt implements ship.Container.
func (s ownSegment) ReadAt(_ context.Context, p []byte, position int64) error {
	return s.log.ReadAt(s.id, uint32(position), p)
}

// Close implements ship.Container.
func (ownSegment) Close() error { return nil }

// fetchedSegment is the ranges of a segment that hold its live runs, in order of position.
type fetchedSegment []fetchedRange

type fetchedRange struct {
	begin, end int64
	bytes      []byte
}

// ReadAt implements ship.Container.
func (s fetchedSegment) ReadAt(_ context.Context, p []byte, position int64) error {
	i, found := slices.BinarySearchFunc(s, position, func(r fetchedRange, position int64) int { return cmp.Compare(r.begin, position) })
	if !found {
		i--
	}
	if i < 0 || position+int64(len(p)) > s[i].end {
		return fmt.Errorf("read [%d, +%d) of what was fetched: %w", position, len(p), objstore.ErrRange)
	}
	copy(p, s[i].bytes[position-s[i].begin:])
	return nil
}

// Close implements ship.Container.
func (fetchedSegment) Close() error { return nil }

// eitherSegment is a replicated container: it is read from the first of its places that has the bytes.
type eitherSegment struct {
	reader *HotReader
	places []hotPlace
	runs   []*metapb.JobRun
	opened ship.Container
	// positions are the runs' in the place that is open, by their position in the container; nil where they are the same.
	positions map[int64]int64
	failed    error
}

// ReadAt implements ship.Container.
func (s *eitherSegment) ReadAt(ctx context.Context, p []byte, position int64) error {
	for len(s.places) > 0 {
		err := s.readFirst(ctx, p, position)
		if err == nil || ctx.Err() != nil {
			return err
		}
		s.failed = errors.Join(s.failed, err)
		s.opened, s.places = nil, s.places[1:]
	}
	if s.failed == nil {
		return errors.New("neither of the nodes that have the segment is there")
	}
	return s.failed
}

func (s *eitherSegment) readFirst(ctx context.Context, p []byte, position int64) error {
	if s.opened == nil {
		bounded, cancel := context.WithTimeout(ctx, copyTimeout)
		defer cancel()
		opened, err := s.reader.open(bounded, s.places[0], s.runs)
		if err != nil {
			return err
		}
		s.opened = opened
		s.positions = make(map[int64]int64, len(s.runs))
		for _, r := range s.runs {
			s.positions[int64(r.Position)] = int64(s.places[0].position(r))
		}
	}
	there, known := s.positions[position]
	if !known {
		return fmt.Errorf("read at %d, where no run begins: %w", position, objstore.ErrRange)
	}
	return s.opened.ReadAt(ctx, p, there)
}

// Close implements ship.Container.
func (*eitherSegment) Close() error { return nil }
