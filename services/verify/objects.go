package verify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

const (
	streamBytes = 256 << 10
)

// suspects are objects with which something is wrong, unless the metadata has let go of them meanwhile.
type suspects struct {
	sync.Mutex
	list []suspect
}

type suspect struct {
	key string
	err error
}

func (s *suspects) add(key string, err error) {
	s.Lock()
	defer s.Unlock()
	s.list = append(s.list, suspect{key, err})
}

// counts is what one object holds.
type counts struct{ batches, records int64 }

// objects lists the bucket, reads what is referred to and may come to be, and looks for what is missing.
func (v *verifier) objects(ctx context.Context) error {
	var wrong suspects
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(v.Parallel)
	err := v.list(reading, group, &wrong)
	if err := errors.Join(group.Wait(), err); err != nil {
		return err
	}
	for id, o := range v.expected {
		if !o.seen {
			wrong.add(id.Key(), errMissing)
		}
	}
	for id, seen := range v.found.chunks {
		if !*seen {
			wrong.add(id.Key(), errMissing)
		}
	}
	return v.judge(ctx, wrong.list)
}

var errMissing = errors.New("the metadata refers to this object, which is not there")

// list hands every segment and chunk that is worth it to the group, and classifies the others.
func (v *verifier) list(ctx context.Context, group *errgroup.Group, wrong *suspects) error {
	for info, err := range v.Store.List(ctx, "", "") {
		if err != nil {
			return fmt.Errorf("list %s: %w", v.Store, err)
		}
		var verify func(context.Context, objstore.Info) (counts, error)
		if id, ok := meta.ParseSegmentKey(info.Key); ok {
			o := v.expected[id]
			if o != nil {
				o.seen = true
			}
			verify = func(ctx context.Context, info objstore.Info) (counts, error) { return v.segment(ctx, info, id, o) }
		} else if id, ok := meta.ParseChunkKey(info.Key); ok {
			if seen := v.found.chunks[id]; seen != nil {
				*seen = true
			}
			verify = func(ctx context.Context, info objstore.Info) (counts, error) { return v.chunk(ctx, info, id) }
		}
		if verify == nil || v.state != nil && !v.state.Referenced(info.Key) || v.found.garbage[info.Key] {
			v.classify(info)
			v.Progress(0)
			continue
		}
		group.Go(func() error {
			n, err := verify(ctx, info)
			if err != nil && ctx.Err() != nil {
				return ctx.Err()
			}
			v.read(info, n, err, wrong)
			return nil
		})
	}
	return nil
}

// read counts an object that was read.
func (v *verifier) read(info objstore.Info, n counts, err error, wrong *suspects) {
	v.Progress(info.SizeBytes)
	if err != nil {
		wrong.add(info.Key, err)
	}
	v.findings.Lock()
	defer v.findings.Unlock()
	r := v.report
	r.Batches += n.batches
	r.Records += n.records
	if id, ok := meta.ParseSegmentKey(info.Key); ok {
		r.Segments.add(info.SizeBytes)
		if v.expected[id] != nil {
			return
		}
	} else {
		id, _ := meta.ParseChunkKey(info.Key)
		r.Chunks.add(info.SizeBytes)
		if _, live := v.found.chunks[id]; live {
			return
		}
	}
	r.Pending.add(info.SizeBytes)
}

// judge tells of the suspects that the newest metadata still refers to.
func (v *verifier) judge(ctx context.Context, list []suspect) error {
	if len(list) == 0 {
		return nil
	}
	if v.state != nil {
		list = v.stillReferred(v.state, list)
	}
	err := v.settle(ctx, func(state *meta.State) bool {
		list = v.stillReferred(state, list)
		return len(list) == 0
	})
	for _, s := range list {
		v.findings.add(s.key, s.err)
	}
	return err
}

// stillReferred leaves the suspects that a state refers to: the others went while they were looked at.
func (v *verifier) stillReferred(state *meta.State, list []suspect) []suspect {
	garbage := make(map[string]bool, len(state.Garbage()))
	for _, g := range state.Garbage() {
		garbage[g.Key] = true
	}
	return slices.DeleteFunc(list, func(s suspect) bool {
		return garbage[s.key] || !state.Referenced(s.key) || errors.Is(s.err, objstore.ErrNotFound) && !v.refers(s.key)
	})
}

// refers says whether the metadata that was read first has something in the object.
func (v *verifier) refers(key string) bool {
	if id, ok := meta.ParseSegmentKey(key); ok {
		return v.expected[id] != nil
	}
	id, _ := meta.ParseChunkKey(key)
	_, live := v.found.chunks[id]
	return live
}

// segment reads a segment object from its first byte to its last.
func (v *verifier) segment(ctx context.Context, info objstore.Info, id meta.SegmentID, want *expectedSegment) (n counts, err error) {
	if want != nil && want.sizeBytes != uint64(info.SizeBytes) {
		return n, fmt.Errorf("%d bytes where the metadata says %d", info.SizeBytes, want.sizeBytes)
	}
	end, err := segment.ReadEnd(ctx, v.Store, info)
	if err != nil {
		return n, err
	}
	body, _, err := v.Store.Get(ctx, info.Key, 0, -1)
	if err != nil {
		return n, fmt.Errorf("read: %w", err)
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	header, contents, err := segment.VerifyStream(bufio.NewReaderSize(body, streamBytes), end, func(_ *segment.Part, h recordbatch.Header, _ []byte) error {
		n.batches++
		n.records += int64(h.RecordCount)
		return nil
	})
	switch {
	case err != nil:
		return n, err
	case header.JobID != uint64(id.Job) || header.Ordinal != id.Ordinal:
		return n, fmt.Errorf("it says that it is object %d-%d", header.JobID, header.Ordinal)
	case want != nil:
		return n, want.holds(contents.Parts)
	}
	return n, nil
}

// chunk reads an object chunk from its first byte to its last.
func (v *verifier) chunk(ctx context.Context, info objstore.Info, id meta.ChunkID) (n counts, err error) {
	body, _, err := v.Store.Get(ctx, info.Key, 0, -1)
	if err != nil {
		return n, fmt.Errorf("read: %w", err)
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	r := bufio.NewReaderSize(body, streamBytes)
	header, table, err := ReadChunkHead(r)
	if err != nil {
		return n, err
	}
	if header.ChunkBytes() != int(info.SizeBytes) {
		return n, fmt.Errorf("%d bytes where its header says %d", info.SizeBytes, header.ChunkBytes())
	}
	if meta.NodeID(header.NodeID) != id.Node || header.NodeEpoch != id.Epoch || header.Lane != id.Lane || header.Seq != id.Seq {
		return n, fmt.Errorf("it says that it is chunk %d-%d-%d-%d", header.NodeID, header.NodeEpoch, header.Lane, header.Seq)
	}
	err = checkRuns(r, table, &n)
	return n, err
}

// ReadChunkHead reads header and run table of a chunk.
func ReadChunkHead(r io.Reader) (chunk.Header, chunk.Table, error) {
	head := make([]byte, chunk.HeaderSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return chunk.Header{}, chunk.Table{}, fmt.Errorf("read header: %w", err)
	}
	header, err := chunk.PeekHeader(head)
	if err != nil {
		return chunk.Header{}, chunk.Table{}, err
	}
	head = append(head, make([]byte, header.TableBytes)...)
	if _, err := io.ReadFull(r, head[chunk.HeaderSize:]); err != nil {
		return chunk.Header{}, chunk.Table{}, fmt.Errorf("read run table: %w", err)
	}
	return chunk.ParseHead(head)
}

// checkRuns reads the batches of a chunk and holds them against its table.
func checkRuns(r io.Reader, table chunk.Table, n *counts) error {
	var buf []byte
	for i := range table.Runs() {
		run := table.Run(i)
		var records uint64
		for left := int64(run.Length); left > 0; {
			h, batch, err := recordbatch.ReadBatch(r, buf, left)
			if err != nil {
				return fmt.Errorf("run %d, topic %x partition %d, %d bytes before its end: %w", i, run.Topic, run.Partition, left, err)
			}
			buf = batch
			left -= int64(len(batch))
			records += uint64(h.LastOffsetDelta) + 1
			n.batches++
			n.records += int64(h.RecordCount)
		}
		if records != uint64(run.Records) {
			return fmt.Errorf("run %d, topic %x partition %d: %d offsets where its table says %d", i, run.Topic, run.Partition, records, run.Records)
		}
	}
	return nil
}
