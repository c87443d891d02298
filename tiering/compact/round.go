package compact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
	"github.com/varvelog/varve/tiering/upload"
)

// maxSpan bounds the offsets of a part that is made of several, so that one empty batch can cover them.
const maxSpan = math.MaxInt32

// Stats tell what a round has done.
type Stats struct {
	BytesIn, BytesOut int64 // of the batches read for storing, and of the objects stored
	Kept, Removed     int64 // records
	Objects           int
	Merged            bool // it was a round that only merges
	Complete          bool // as far as it went
}

// round is one round of compaction under way.
type round struct {
	worker  *Worker
	job     *metapb.CompactionRound
	tx      *transactions
	keys    *offsets
	end     int64 // records from there on are left alone
	source  source
	scratch recordbatch.Scratch
	there   map[segment.Source]bool // job.ChunksThere, nil before it is asked for
	reader  recordbatch.Reader
	records []recordbatch.Record

	assembler *assembler
	group     group
	ordinal   uint32
	done      int64 // reported
	reported  time.Time
	horizon   int64 // the earliest of what is kept, 0 for none
	stats     Stats
	extend    func() // the lease has been extended
}

// group are the parts that become one.
type group struct {
	open     bool
	from, to int64
	parts    int
	changed  bool
}

// errNothingMerged: the round counts as failed, lest the same be leased again at once, and for ever.
var errNothingMerged = errors.New("nothing could be merged")

// run carries the round out.
func (r *round) run(ctx context.Context) error {
	r.done, r.reported = r.job.Parts[0].BaseOffset, time.Now()
	r.end = r.job.Parts[len(r.job.Parts)-1].NextOffset
	if r.job.Merges {
		r.scratch.MaxInflatedBytes = r.assembler.target / 2
	} else {
		if err := r.gatherKeys(ctx); err != nil {
			return fmt.Errorf("gather keys: %w", err)
		}
		r.tx.rewind()
	}
	for _, part := range r.job.Parts {
		if part.BaseOffset >= r.end {
			break
		}
		if err := r.rewrite(ctx, part); err != nil {
			return fmt.Errorf("compact [%d, %d): %w", part.BaseOffset, part.NextOffset, err)
		}
	}
	if err := r.endGroup(ctx); err != nil {
		return err
	}
	if r.job.Merges && r.stats.Objects == 0 {
		return errNothingMerged
	}
	if r.horizon != 0 {
		r.horizon = max(r.horizon, r.job.NowMillis+1) // what could not be dropped in this round can be in the next
	}
	r.stats.Complete = true
	return r.report(ctx, &metapb.CompactRange{FromOffset: r.done, ToOffset: r.done, Done: true, CleanedTo: min(r.end, r.done), HorizonMillis: r.horizon})
}

// gatherKeys finds the last offset of each key in what is new since the last round, as far as there is memory for keys.
func (r *round) gatherKeys(ctx context.Context) error {
	from := max(r.job.CleanedTo, r.job.LogStart)
	var records uint64
	for _, part := range r.job.Parts {
		if part.NextOffset > from {
			records += part.Records
		}
	}
	r.keys = newOffsets(records, r.worker.config.MapBytes)
	for _, part := range r.job.Parts {
		if part.NextOffset <= from {
			continue
		}
		r.source.open(part)
		for {
			b, err := r.source.next(ctx)
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil {
				err = r.stillAtIt(ctx)
			}
			if err != nil {
				return err
			}
			if b.NextOffset() <= from || b.IsControl() || r.tx.isAborted(&b.Header) || !r.read(b) {
				continue
			}
			for i := range r.records {
				if rec := &r.records[i]; rec.Offset >= from && rec.Key != nil && !r.keys.put(rec.Key, rec.Offset) {
					r.end = rec.Offset
					return nil
				}
			}
		}
	}
	return nil
}

// read decodes a batch's records: false where it cannot be decoded.
func (r *round) read(b recordbatch.Batch) bool { return r.decode(b) == nil }

func (r *round) decode(b recordbatch.Batch) error {
	r.records = r.records[:0]
	if err := r.reader.Reset(b.Bytes, &r.scratch); err != nil {
		return err
	}
	for r.reader.Next() {
		r.records = append(r.records, *r.reader.Record())
	}
	return r.reader.Err()
}

// rewrite adds a part to the group, without what is superseded.
func (r *round) rewrite(ctx context.Context, part *metapb.CompactionPart) error {
	large := !r.job.Merges && int(part.Length) >= r.objectBytes()/2
	// What is merged was chosen to fit, as it is stored: the assembler counts what it gathers before that is compressed.
	full := func() bool { return !r.job.Merges && r.assembler.sizeBytes()+int(part.Length) > r.objectBytes() }
	if g := &r.group; g.open && (large || full() || part.NextOffset-g.from > maxSpan) {
		if err := r.endGroup(ctx); err != nil {
			return err
		}
	}
	if !r.group.open {
		r.beginGroup(part.BaseOffset)
	}
	if err := r.nameSources(ctx, part); err != nil {
		return err
	}
	r.source.open(part)
	for {
		b, err := r.source.next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = r.stillAtIt(ctx)
		}
		if err == nil {
			r.stats.BytesIn += int64(len(b.Bytes))
			err = r.batch(b)
		}
		if err != nil {
			return err
		}
	}
	r.group.parts++
	r.group.to = part.NextOffset
	if large {
		return r.endGroup(ctx)
	}
	return nil
}

// nameSources says of the group's part what it was made of, where that may be there still.
func (r *round) nameSources(ctx context.Context, part *metapb.CompactionPart) error {
	if !part.Sources {
		return nil
	}
	var end []byte
	read := func() (err error) {
		end, err = segment.ReadEnd(ctx, r.worker.store, objstore.Info{Key: part.ObjectKey, SizeBytes: int64(part.ObjectBytes)})
		return err
	}
	if err := patiently(ctx, read); err != nil {
		return fmt.Errorf("read directory of %s: %w", part.ObjectKey, err)
	}
	trailer, err := segment.ParseTrailer(end)
	if err != nil {
		return fmt.Errorf("read directory of %s: %w", part.ObjectKey, err)
	}
	contents, err := trailer.Directory(end)
	if err != nil {
		return fmt.Errorf("read directory of %s: %w", part.ObjectKey, err)
	}
	for _, s := range contents.Sources {
		p := &contents.Parts[s.Part]
		if p.TopicID == [16]byte(r.job.TopicId) && p.Partition == r.job.Partition && p.BaseOffset == part.BaseOffset && r.isThere(s) {
			r.assembler.encoder.From(s)
		}
	}
	return nil
}

// isThere says whether a source may not be deleted yet. Names of others are not carried on, or they would be more with every round.
func (r *round) isThere(s segment.Source) bool {
	if r.job.AllThere {
		return true
	}
	if r.there == nil {
		r.there = make(map[segment.Source]bool, len(r.job.ChunksThere)+len(r.job.HotThere))
		for _, c := range r.job.ChunksThere {
			r.there[segment.Source{Chunk: segment.ChunkName{Node: c.NodeId, Epoch: c.NodeEpoch, Lane: c.Lane, Seq: c.Seq}}] = true
		}
		for _, h := range r.job.HotThere {
			if len(h.DiskId) == 16 {
				r.there[segment.Source{Hot: segment.HotSegment{Disk: [16]byte(h.DiskId), ID: h.Segment}}] = true
			}
		}
	}
	s.Hot.Node = 0
	return r.there[segment.Source{Chunk: s.Chunk, Hot: s.Hot}]
}

// objectBytes is about how large an object may become.
func (r *round) objectBytes() int {
	limit := r.worker.config.ObjectBytes
	if n := r.job.SegmentBytes; n > 0 {
		limit = int(min(int64(limit), n))
	}
	return limit
}

func (r *round) beginGroup(base int64) {
	encoder := segment.NewEncoder(segment.Header{JobID: r.job.JobId, Ordinal: r.ordinal, CreatedMillis: r.job.NowMillis}, 1<<20)
	encoder.About(segment.Topic{ID: [16]byte(r.job.TopicId), Partitions: r.job.Partitions, Overrides: r.job.Configs})
	encoder.Begin([16]byte(r.job.TopicId), r.job.Topic, r.job.Partition, base)
	encoder.LogStart(r.job.LogStart)
	r.assembler.begin(encoder, base)
	r.group = group{open: true, from: base}
}

// endGroup stores the group and reports it. A part alone in which nothing has changed stays as it is.
func (r *round) endGroup(ctx context.Context) error {
	g := r.group
	if !g.open {
		return nil
	}
	r.group = group{}
	covered := &metapb.CompactRange{FromOffset: g.from, ToOffset: g.to}
	if g.parts == 1 && !g.changed {
		return r.report(ctx, covered)
	}
	if err := r.assembler.end(g.to); err != nil {
		return err
	}
	body, parts := r.assembler.encoder.Finish()
	key := meta.SegmentKey(meta.JobID(r.job.JobId), r.ordinal)
	if err := upload.Put(ctx, r.worker.store, key, body, r.worker.log); err != nil {
		return err
	}
	p := &parts[0]
	covered.Part = &metapb.CompactedPart{
		Ordinal: r.ordinal, SizeBytes: uint64(len(body)), Position: p.Position, Length: p.LengthBytes,
		IndexPosition: p.IndexPosition, IndexLength: p.IndexLengthBytes, Records: p.Records, MaxTimestamp: p.MaxTimestamp, MinTimestamp: p.MinTimestamp,
	}
	r.ordinal++
	r.stats.Objects++
	r.stats.BytesOut += int64(len(body))
	return r.report(ctx, covered)
}

// stillAtIt extends the lease where nothing was reported for a while.
func (r *round) stillAtIt(ctx context.Context) error {
	if time.Since(r.reported) < r.worker.config.Lease/3 {
		return nil
	}
	return r.report(ctx, &metapb.CompactRange{FromOffset: r.done, ToOffset: r.done})
}

func (r *round) report(ctx context.Context, c *metapb.CompactRange) error {
	c.JobId, c.LeaseMillis = r.job.JobId, r.worker.config.Lease.Milliseconds()
	if err := r.worker.tell(ctx, c); err != nil {
		return err
	}
	r.done, r.reported = c.ToOffset, time.Now()
	r.extend()
	return nil
}
