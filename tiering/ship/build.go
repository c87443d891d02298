package ship

import (
	"context"
	"fmt"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// builder turns a job's sorted runs into segment objects. Objects end between runs, so that every part covers whole runs.
type builder struct {
	worker     *Worker
	held       *lease
	job        *metapb.Job
	topics     topics
	containers []Container
	emit       func(ctx context.Context, ordinal uint32, body []byte, parts []segment.Part) error

	ordinal   uint32
	encoder   *segment.Encoder
	rebatcher *recordbatch.Rebatcher
	open      bool // a part is begun
	last      run  // the run added last
	buf       []byte
	undecoded int
	named     int   // damaged places that were logged
	remaining int64 // bytes of the runs that are not read yet
	left      left
}

// left is what could not be read and is not shipped: a run whose bytes are missing or damaged must not keep those that are whole, which would
// fill disks for as long as it is there.
type left struct {
	runs  int
	first error
}

func (l *left) add(err error) {
	if l.runs++; l.first == nil {
		l.first = err
	}
}

// build reads every run once and emits the objects in order.
func (b *builder) build(ctx context.Context, runs []run) error {
	rebatcher, err := recordbatch.NewRebatcher(b.worker.config.Rebatch, b.addBatch)
	if err != nil {
		return fmt.Errorf("build segments: %w", err)
	}
	b.rebatcher = rebatcher
	for _, r := range runs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.addRun(ctx, r); err != nil {
			return fmt.Errorf("build segments: %s-%d at offset %d: %w", b.topics[[16]byte(r.TopicId)].Name, r.Partition, r.BaseOffset, err)
		}
	}
	if err := b.endPart(); err != nil {
		return err
	}
	return b.endObject(ctx)
}

// addRun adds the run, unless its bytes cannot be had.
func (b *builder) addRun(ctx context.Context, r run) error {
	b.remaining -= int64(r.Length)
	data, err := b.read(ctx, r)
	if err != nil {
		if ctx.Err() == nil {
			b.left.add(err)
			return nil
		}
		return err
	}
	continues := b.open && r.samePartition(b.last) && r.BaseOffset == b.last.nextOffset()
	if !continues {
		if err := b.endPart(); err != nil {
			return err
		}
	}
	if b.encoder != nil && b.isFull(r) {
		if err := b.endPart(); err != nil {
			return err
		}
		if err := b.endObject(ctx); err != nil {
			return err
		}
	}
	if b.encoder == nil {
		b.encoder = segment.NewEncoder(segment.Header{JobID: b.job.Id, Ordinal: b.ordinal, CreatedMillis: time.Now().UnixMilli()}, b.sizeHint(r))
	}
	if !b.open {
		id := [16]byte(r.TopicId)
		b.encoder.About(segment.Topic{ID: id, Partitions: b.topics[id].Partitions, Overrides: b.topics[id].Configs})
		b.encoder.Begin(id, b.topics[id].Name, r.Partition, r.BaseOffset)
		b.encoder.LogStart(r.LogStart)
		b.open = true
	}
	b.nameSources(r)
	b.held.progress()
	b.last = r
	return b.rebatcher.Add(data)
}

// nameSources says where the run's bytes are, of a copy too.
func (b *builder) nameSources(r run) {
	if r.Marker != nil {
		return
	}
	c := b.job.Containers[r.container]
	if id, ok := meta.ParseChunkKey(c.ObjectKey); ok {
		b.encoder.From(segment.Source{
			Chunk: segment.ChunkName{Node: int32(id.Node), Lane: id.Lane, Epoch: id.Epoch, Seq: id.Seq}, From: r.Position, To: r.Position + r.Length,
		})
		return
	}
	name := func(disk []byte, id uint64, position uint32) {
		if len(disk) == 16 {
			b.encoder.From(segment.Source{Hot: segment.HotSegment{Disk: [16]byte(disk), ID: id, Node: c.NodeId}, From: position, To: position + r.Length})
		}
	}
	name(c.DiskId, c.Segment, r.Position)
	name(c.CopyDiskId, c.CopySegment, r.CopyPosition)
}

// sizeHint is how large the object that begins with r is likely to become: most of a worker's memory is objects, and a job whose object will have
// a few megabytes should not take room for the largest there can be.
func (b *builder) sizeHint(r run) int {
	const slack = 64 << 10
	return min(b.worker.config.ObjectBytes, slack+int(1.125*b.worker.ratio*float64(b.remaining+int64(r.Length))))
}

// isFull tells whether the object should end before r. An object is cut earlier between topics, so that one topic's
// retention does not keep another's bytes.
func (b *builder) isFull(r run) bool {
	if r.Marker != nil {
		return false // it stays with what it ends
	}
	size := b.encoder.SizeBytes()
	id := [16]byte(r.TopicId)
	limit := b.worker.config.ObjectBytes
	if n := segmentBytes(b.topics[id]); n > 0 {
		limit = min(limit, n)
	}
	if size+int(r.Length) > limit && size > segment.HeaderBytes {
		return true
	}
	return size >= b.worker.config.ObjectBytes/8 && [16]byte(b.last.TopicId) != id
}

// read returns the run's batches with their offsets, valid until the next read. Bytes that are not what was written are named, and taken from
// another place where the container has one.
func (b *builder) read(ctx context.Context, r run) ([]byte, error) {
	if r.Marker != nil {
		return controlBatch(r), nil
	}
	if cap(b.buf) < int(r.Length) {
		b.buf = make([]byte, max(int(r.Length), 1<<20))
	}
	data := b.buf[:r.Length]
	var damaged []Place
	err := b.containers[r.container].ReadRun(ctx, data, r.JobRun, func(place Place, p []byte) error {
		if err := b.assign(r, p); err != nil {
			damaged = append(damaged, place)
			return fmt.Errorf("read %s: %w", place, err)
		}
		return nil
	})
	for _, place := range damaged {
		b.tell(r, place, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", describe(b.job.Containers[r.container]), err)
	}
	return data, nil
}

// assign gives the batches of a run their offsets, having seen that they are the run's and what their checksums say.
func (b *builder) assign(r run, data []byte) error {
	next, err := recordbatch.AssignOffsets(data, r.BaseOffset, r.LeaderEpoch)
	if err != nil {
		return err
	}
	if next != r.nextOffset() {
		return fmt.Errorf("the run ends at offset %d, want %d: %w", next, r.nextOffset(), recordbatch.ErrCorrupt)
	}
	for batch, err := range recordbatch.Batches(data) {
		if err == nil {
			err = recordbatch.CheckCRC(batch.Bytes)
		}
		if err != nil {
			return fmt.Errorf("batch behind offset %d: %w", batch.BaseOffset-1, err)
		}
	}
	return nil
}

// tell names a damaged place; left is not nil where no other had the bytes.
func (b *builder) tell(r run, place Place, left error) {
	b.worker.observe.ShipDamaged(left != nil)
	outcome := "another copy is shipped"
	if left != nil {
		outcome = "the range stays where it is, and is tried again"
	}
	const most = 20 // lines for one job: a lost sector damages few runs, a lost disk very many
	if b.named++; b.named > most {
		return
	}
	b.worker.log.Error("bytes are damaged", "place", place.String(), "topic", b.topics[[16]byte(r.TopicId)].Name, "partition", r.Partition,
		"base_offset", r.BaseOffset, "next_offset", r.nextOffset(), "job", b.job.Id, "outcome", outcome, "error", left)
}

func (b *builder) addBatch(out recordbatch.Rebatched) error {
	if out.Err != nil {
		b.undecoded++
		b.worker.log.Warn("batch could not be decoded and is kept as it is", "topic", b.topics[[16]byte(b.last.TopicId)].Name,
			"partition", b.last.Partition, "base_offset", out.BaseOffset, "error", out.Err)
	}
	return b.encoder.Batch(out.Header, out.Bytes, out.Err != nil)
}

func (b *builder) endPart() error {
	if !b.open {
		return nil
	}
	b.open = false
	if err := b.rebatcher.Reset(); err != nil {
		return fmt.Errorf("build segments: %w", err)
	}
	b.encoder.End(b.last.nextOffset())
	return nil
}

func (b *builder) endObject(ctx context.Context) error {
	if b.encoder == nil {
		return nil
	}
	body, parts := b.encoder.Finish()
	b.encoder = nil
	ordinal := b.ordinal
	b.ordinal++
	return b.emit(ctx, ordinal, body, parts)
}

// controlBatch is what stands in the log where a transaction has ended.
func controlBatch(r run) []byte {
	m := r.Marker
	return recordbatch.ControlBatch(recordbatch.Marker{
		ProducerID: m.ProducerId, ProducerEpoch: int16(m.ProducerEpoch), CoordinatorEpoch: m.CoordinatorEpoch, Commit: m.Commit,
		TimestampMillis: m.TimestampMillis,
	}, r.BaseOffset, r.LeaderEpoch)
}
