package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// scanAttempts is how often a segment is read that seems damaged: a log that is being written looks so while a frame is on its way.
const scanAttempts = 3

// hotLog checks a hot log's files, frames, chunks and batches, and that it has what the metadata refers to.
func (v *verifier) hotLog(ctx context.Context, dir string) error {
	files := vfs.OS{}
	dir = path.Clean(filepath.ToSlash(dir))
	disk, err := hotlog.ReadIdentity(files, dir)
	if err != nil {
		v.findings.add(dir, err)
		return nil
	}
	report := HotLog{Dir: dir, Disk: disk.String()}
	defer func() { v.report.HotLogs = append(v.report.HotLogs, report) }()
	expected := v.expectedRuns(disk, &report)
	names, err := files.List(dir)
	if err != nil {
		return fmt.Errorf("list hot log: %w", err)
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		digits, isSegment := strings.CutSuffix(name, ".seg")
		segment, err := strconv.ParseUint(digits, 10, 64)
		if !isSegment || err != nil {
			continue // hotlog.Verify judges the rest
		}
		v.hotSegment(files, path.Join(dir, name), segment, expected, &report)
	}
	for range scanAttempts {
		if err = hotlog.Verify(files, dir, func(hotlog.Report, error) {}); err == nil {
			break
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.findings.add(dir, err)
	}
	maps.DeleteFunc(expected, func(_ uint64, runs []meta.ContainerRun) bool { return len(runs) == 0 })
	if len(expected) > 0 {
		if err := v.forgetReleased(ctx, disk, expected); err != nil {
			return err
		}
	}
	for _, segment := range slices.Sorted(maps.Keys(expected)) {
		runs := expected[segment]
		v.findings.add(fmt.Sprintf("%s: segment %d", dir, segment), fmt.Errorf("%d runs that the metadata refers to are not there, the first at %d", len(runs), runs[0].Position))
	}
	return nil
}

// forgetReleased takes out the segments that newer metadata has let go of: they were shipped and deleted while this looked.
func (v *verifier) forgetReleased(ctx context.Context, disk uuid.UUID, expected map[uint64][]meta.ContainerRun) error {
	return v.settle(ctx, func(state *meta.State) bool {
		n := state.NodeByDisk(disk)
		held := map[uint64]bool{}
		for c := range state.Containers {
			if n == nil || c.LiveRuns+c.LocalRuns == 0 {
				continue
			}
			if c.Node == n.ID {
				held[c.Segment] = true
			}
			if c.CopyNode == n.ID {
				held[c.CopySegment] = true
			}
		}
		maps.DeleteFunc(expected, func(segment uint64, _ []meta.ContainerRun) bool { return !held[segment] })
		return len(expected) == 0
	})
}

// expectedRuns are the runs that the metadata has on the disk, by segment and in order of position.
func (v *verifier) expectedRuns(disk uuid.UUID, report *HotLog) map[uint64][]meta.ContainerRun {
	expected := map[uint64][]meta.ContainerRun{}
	if v.state == nil {
		return expected
	}
	n := v.state.NodeByDisk(disk)
	if n == nil {
		return expected
	}
	report.Node = int32(n.ID)
	for c := range v.state.Containers {
		segment := c.Segment
		if c.IsChunk() || c.Node != n.ID {
			if segment = c.CopySegment; c.CopyNode != n.ID {
				continue
			}
		}
		for _, run := range v.state.ContainerRuns(c.ID) {
			if c.Node != n.ID {
				run.Position = run.CopyPosition
			}
			expected[segment] = append(expected[segment], run)
			report.Runs++
		}
	}
	for _, runs := range expected { // a segment may be part of several containers
		slices.SortFunc(runs, func(x, y meta.ContainerRun) int { return cmp.Compare(x.Position, y.Position) })
	}
	return expected
}

// hotSegment reads one file.
func (v *verifier) hotSegment(files vfs.FS, name string, segment uint64, expected map[uint64][]meta.ContainerRun, report *HotLog) {
	var err error
	for range scanAttempts {
		s := scan{expected: expected}
		var r hotlog.Report
		r, err = hotlog.Scan(files, name, func(f hotlog.Frame) error { return s.frame(f, segment) })
		if errors.Is(err, fs.ErrNotExist) {
			return // released meanwhile
		}
		if err == nil {
			v.Progress(r.FileBytes)
			report.Segments.add(r.FileBytes)
			report.Chunks += s.chunks
			report.Batches += s.batches
			report.TornBytes += r.TornBytes
			expected[segment] = s.left(segment)
			return
		}
	}
	v.findings.add(name, err)
}

// scan is one reading of a segment.
type scan struct {
	expected map[uint64][]meta.ContainerRun
	found    map[int]bool // of the expected runs, by index
	chunks   int
	batches  int64
}

func (s *scan) left(segment uint64) []meta.ContainerRun {
	var left []meta.ContainerRun
	for i, run := range s.expected[segment] {
		if !s.found[i] {
			left = append(left, run)
		}
	}
	return left
}

// frame checks a frame's chunk and batches, and the runs that the metadata has in it.
func (s *scan) frame(f hotlog.Frame, segment uint64) error {
	if f.Kind != hotlog.KindChunk {
		return nil
	}
	c, err := chunk.Parse(f.Payload)
	if err != nil {
		return fmt.Errorf("chunk at %d: %w", f.Position, err)
	}
	s.chunks++
	// Offsets before each batch, by its position in the segment.
	offsets := map[uint32]int64{}
	var total int64
	for i := range c.Table.Runs() {
		run := c.Table.Run(i)
		at := f.Position + run.Position
		for batch, err := range recordbatch.Batches(c.RunBytes(run)) {
			if err == nil {
				err = recordbatch.CheckCRC(batch.Bytes)
			}
			if err != nil {
				return fmt.Errorf("batch at %d: %w", at, err)
			}
			offsets[at] = total
			total += int64(batch.Header.LastOffsetDelta) + 1
			at += uint32(len(batch.Bytes))
			s.batches++
		}
		offsets[at] = total
	}
	return s.runs(f, segment, offsets)
}

func (s *scan) runs(f hotlog.Frame, segment uint64, offsets map[uint32]int64) error {
	runs := s.expected[segment]
	end := f.Position + f.Length
	from, _ := slices.BinarySearchFunc(runs, f.Position, func(r meta.ContainerRun, at uint32) int { return int(int64(r.Position) - int64(at)) })
	for i := from; i < len(runs) && runs[i].Position < end; i++ {
		r := &runs[i]
		first, begins := offsets[r.Position]
		next, ends := offsets[r.Position+r.Length]
		if !begins || !ends || next-first != int64(r.Records) {
			return fmt.Errorf("run of %s [%d, %d) at %d, %d bytes, is not what is there", r.Partition, r.BaseOffset, r.BaseOffset+int64(r.Records), r.Position, r.Length)
		}
		if s.found == nil {
			s.found = map[int]bool{}
		}
		s.found[i] = true
	}
	return nil
}
