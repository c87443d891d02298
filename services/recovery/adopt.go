package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/salvage"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// candidate is a part of a segment object that may have become part of the log.
type candidate struct {
	object *storedObject
	part   segment.Part
	events []meta.PartEvent
	epochs []meta.PartEpoch
	// begun is where the directory's leader epoch begins in the part, which is that of its last batch: Epoch is 0 where no records are of it. No checksum covers
	// the epochs of batches, but the directory has one: what a bit was that flipped before the object was made does not show.
	begun meta.PartEpoch
	late  bool // it was stored when some of its offsets had been given again
	whole bool // of one that is spare: what pieces do not have of it is in the log, too
}

// stored describes the part.
func (c *candidate) stored() meta.StoredPart {
	return meta.StoredPart{
		Object: c.object.id, SizeBytes: uint64(c.object.info.SizeBytes), CreatedMillis: c.object.header.CreatedMillis, Part: describePart(&c.part),
		Events: c.events, Epochs: c.epochs, LeaderEpoch: c.part.LeaderEpoch,
	}
}

func (c *candidate) partition() meta.TopicPartition {
	return meta.TopicPartition{Topic: c.part.TopicID, Partition: c.part.Partition}
}

// epochAt is the leader epoch in which an offset of the part was given.
func (c *candidate) epochAt(offset int64) (epoch int32) {
	for _, e := range c.epochs {
		if e.Offset <= offset {
			epoch = e.Epoch
		}
	}
	return epoch
}

// storedObject is a segment object that was read and is whole.
type storedObject struct {
	id     meta.SegmentID
	info   objstore.Info
	header segment.Header
	parts  []candidate
	topics []segment.Topic
	// sources are the chunks that its parts were made from.
	sources []segment.Source
}

// adopt lists the bucket and takes in what the state does not know.
func (p *Plan) adopt(ctx context.Context, found *salvage.Found) error {
	listed, err := p.list(ctx)
	if err != nil {
		return err
	}
	p.recovery.SetTime(p.storeMillis(ctx, listed))
	if err := p.dropMissing(ctx, listed); err != nil {
		return err
	}
	objects, fillers, err := p.readSegments(ctx, listed.segments)
	if err != nil {
		return err
	}
	p.orphans = listed.orphans
	p.wasDeleted = found.Deleted
	p.adoptTopics(objects)
	p.objects = objects
	p.noteStoredEnds(fillers)
	p.job = p.recovery.Job(rand.Uint32())
	if err := p.adoptParts(ctx, objects); err != nil {
		return err
	}
	return p.adoptChunks(ctx, listed.chunks, p.storedRuns(objects))
}

// listing is what the bucket holds of segments and chunks that the state does not know, and the sizes of those that it does.
type listing struct {
	segments   map[meta.SegmentID]objstore.Info
	chunks     map[meta.ChunkID]objstore.Info
	sizes      map[meta.SegmentID]int64
	chunkSizes map[meta.ChunkID]int64
	orphans    map[meta.SegmentID]objstore.Info // of jobs that have come to nothing, as far as the state knows
	newest     time.Time                        // when the last of all these was written, by the store's clock
}

// storeMillis is what the bucket's clock says, by which state time goes. Neither those of the nodes that made chunks nor this machine's are asked: state time
// never goes back, and one of them that is wrong would stay in it.
func (p *Plan) storeMillis(ctx context.Context, l *listing) int64 {
	now, err := p.cfg.Store.Now(ctx)
	if err != nil {
		p.cfg.Logger.Warn("the bucket does not tell its time: that of its newest object is taken", "error", err)
	} else if now.After(l.newest) {
		return now.UnixMilli()
	}
	return max(0, l.newest.UnixMilli())
}

func (p *Plan) list(ctx context.Context) (*listing, error) {
	l := &listing{
		segments: map[meta.SegmentID]objstore.Info{}, chunks: map[meta.ChunkID]objstore.Info{},
		sizes: map[meta.SegmentID]int64{}, chunkSizes: map[meta.ChunkID]int64{},
		orphans: map[meta.SegmentID]objstore.Info{},
	}
	for _, prefix := range []string{"chunk/", "segment/"} {
		for info, err := range p.cfg.Store.List(ctx, prefix, "") {
			if err != nil {
				return nil, fmt.Errorf("list %s of %s: %w", prefix, p.cfg.Store, err)
			}
			p.cfg.Progress(0)
			if info.Modified.After(l.newest) {
				l.newest = info.Modified
			}
			if id, ok := meta.ParseSegmentKey(info.Key); ok {
				if !p.recovery.NoteSegment(id) {
					p.notAdopted(info.Key, "no job has had this number")
					continue
				}
				l.sizes[id] = info.SizeBytes
				if p.recovery.Adoptable(info.Key) {
					l.segments[id] = info
				} else if !p.recovery.Refers(id) {
					l.orphans[id] = info
				}
			} else if id, ok := meta.ParseChunkKey(info.Key); ok {
				l.chunkSizes[id] = info.SizeBytes
				if p.recovery.Adoptable(info.Key) {
					l.chunks[id] = info
				}
			}
		}
	}
	return l, nil
}

func sortedIDs[V any](m map[meta.SegmentID]V) []meta.SegmentID {
	return slices.SortedFunc(maps.Keys(m), compareObjects)
}

func compareObjects(x, y meta.SegmentID) int {
	return cmp.Or(cmp.Compare(x.Job, y.Job), cmp.Compare(x.Ordinal, y.Ordinal))
}

// readSegments reads the segments that may be adopted, each from its first byte to its last: what is not whole is not adopted. fillers are
// what an earlier recovery has put in place of what was lost, which is no record of it.
func (p *Plan) readSegments(ctx context.Context, infos map[meta.SegmentID]objstore.Info) (objects, fillers []*storedObject, err error) {
	var mu sync.Mutex
	broken := map[meta.SegmentID]error{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(p.cfg.Parallel)
	for _, id := range sortedIDs(infos) {
		group.Go(func() error {
			o, err := readSegment(ctx, p.cfg.Store, id, infos[id])
			p.cfg.Progress(infos[id].SizeBytes)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, segment.ErrVersion):
				return fmt.Errorf("%s is of a newer version than this program reads: %w", id.Key(), err)
			case err != nil && transient(err):
				return fmt.Errorf("read %s: %w", id.Key(), err)
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				broken[id] = err
			case o.header.Filler:
				fillers = append(fillers, o)
			default:
				objects = append(objects, o)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	for _, id := range sortedIDs(broken) {
		p.damaged(id.Key(), broken[id])
	}
	for _, some := range [][]*storedObject{objects, fillers} {
		slices.SortFunc(some, func(x, y *storedObject) int { return compareObjects(x.id, y.id) })
	}
	return objects, fillers, nil
}

func (p *Plan) noteStoredEnds(fillers []*storedObject) {
	for _, o := range fillers {
		for i := range o.parts {
			p.recovery.NoteStoredEnds(o.parts[i].partition(), o.parts[i].events)
		}
	}
}

// transient says whether err is the store's, and not about what it holds.
func transient(err error) bool {
	for _, sentinel := range []error{segment.ErrCorrupt, segment.ErrTruncated, recordbatch.ErrCorrupt, recordbatch.ErrTruncated, recordbatch.ErrMagic, objstore.ErrNotFound, objstore.ErrRange, errIdentity} {
		if errors.Is(err, sentinel) {
			return false
		}
	}
	return true
}

var errIdentity = errors.New("object says that it is another")

func readSegment(ctx context.Context, store objstore.Store, id meta.SegmentID, info objstore.Info) (_ *storedObject, err error) {
	end, err := segment.ReadEnd(ctx, store, info)
	if err != nil {
		return nil, err
	}
	body, _, err := store.Get(ctx, info.Key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	buffered := buffer(body)
	defer release(buffered)
	events := map[segmentPlace][]meta.PartEvent{}
	epochs := map[segmentPlace][]meta.PartEpoch{}
	begun := map[segmentPlace]meta.PartEpoch{}
	minimum := map[segmentPlace]int64{}
	header, contents, err := segment.VerifyStream(buffered, end, func(p *segment.Part, h recordbatch.Header, batch []byte) error {
		place := placeOf(p)
		if h.RecordCount > 0 && !h.IsControl() {
			if h.LeaderEpoch == p.LeaderEpoch && begun[place].Epoch == 0 {
				begun[place] = meta.PartEpoch{Epoch: h.LeaderEpoch, Offset: h.BaseOffset}
			}
			first := h.BaseTimestamp
			if h.IsLogAppendTime() || h.HasDeleteHorizon() {
				first = h.MaxTimestamp
			}
			if known, ok := minimum[place]; first >= 0 && (!ok || first < known) {
				minimum[place] = first
			}
		}
		if known := epochs[place]; h.LeaderEpoch > 0 && meta.LogOfEpoch(h.LeaderEpoch) <= meta.LogOfJob(id.Job) && (len(known) == 0 || known[len(known)-1].Epoch < h.LeaderEpoch) {
			epochs[place] = append(known, meta.PartEpoch{Epoch: h.LeaderEpoch, Offset: h.BaseOffset})
		}
		e, ok, err := eventOf(h, batch)
		if ok && err == nil {
			events[place] = append(events[place], e)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if header.JobID != uint64(id.Job) || header.Ordinal != id.Ordinal {
		return nil, fmt.Errorf("%w: %d-%d", errIdentity, header.JobID, header.Ordinal)
	}
	o := &storedObject{id: id, info: info, header: header, topics: contents.Topics, sources: contents.Sources}
	for _, part := range contents.Parts {
		place := placeOf(&part)
		part.MinTimestamp = -1
		if first, ok := minimum[place]; ok {
			part.MinTimestamp = first
		}
		// No checksum covers a batch's epoch; that of the last one stands in the directory.
		epochs[place] = slices.DeleteFunc(epochs[place], func(e meta.PartEpoch) bool { return e.Epoch > part.LeaderEpoch })
		o.parts = append(o.parts, candidate{object: o, part: part, events: events[place], epochs: epochs[place], begun: begun[place]})
	}
	return o, nil
}

// segmentPlace names a part within its object.
type segmentPlace struct {
	topic     [16]byte
	partition int32
	base      int64
}

func placeOf(p *segment.Part) segmentPlace {
	return segmentPlace{p.TopicID, p.Partition, p.BaseOffset}
}

// eventOf is what producers and transactions need to know of a batch; ok is false where that is nothing.
func eventOf(h recordbatch.Header, batch []byte) (e meta.PartEvent, ok bool, err error) {
	if !h.HasProducerID() {
		return e, false, nil
	}
	e = meta.PartEvent{
		Offset: h.BaseOffset, Records: uint32(h.LastOffsetDelta) + 1, ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch,
		BaseSequence: h.BaseSequence, Transactional: h.IsTransactional(), Marker: h.IsControl(),
	}
	if e.Marker {
		if h.RecordCount == 0 {
			return e, false, nil
		}
		e.TimestampMillis = h.MaxTimestamp
		e.Commit, err = recordbatch.IsCommit(batch)
	}
	return e, true, err
}

// adoptParts takes in, partition by partition, the parts that together cover most.
func (p *Plan) adoptParts(ctx context.Context, objects []*storedObject) error {
	used := map[meta.SegmentID]bool{}
	fits := func(c *candidate) bool {
		reason := p.recovery.Fits(describePart(&c.part))
		if reason != "" {
			p.notAdopted(c.object.id.Key()+": "+c.part.String(), reason)
		}
		return reason == ""
	}
	err := p.choose(ctx, objects, wanted{fits: fits, missing: p.recovery.Unknown, starts: true, adopt: func(c *candidate) {
		a := p.recovery.AdoptPart(c.stored())
		switch {
		case a.Taken:
			p.Report.Parts.Offsets += a.New + a.Regained
			used[c.object.id] = true
		case a.Reason != "":
			p.notAdopted(c.object.id.Key()+": "+c.part.String(), a.Reason)
		}
	}})
	p.Report.Parts.Objects = len(used)
	return err
}

// rescue looks, where the metadata knew of records that are lost, whether objects that nothing refers to have them.
func (p *Plan) rescue(ctx context.Context) error {
	if !p.recovery.Losing() {
		return nil
	}
	objects, _, err := p.readSegments(ctx, p.orphans)
	if err != nil {
		return err
	}
	used := map[meta.SegmentID]bool{}
	rescues := func(c *candidate) bool { return p.recovery.Rescues(describePart(&c.part)) }
	err = p.choose(ctx, append(objects, p.objects...), wanted{fits: rescues, missing: p.recovery.KnownLost, adopt: func(c *candidate) {
		if a := p.recovery.AdoptPart(c.stored()); a.Taken {
			used[c.object.id] = true
			p.Report.Rescued.Offsets += a.Regained
		}
	}})
	p.Report.Rescued.Objects = len(used)
	return err
}

// adoptChunks commits chunks that were not committed yet as far as the state knows, in an order in which they may have been.
func (p *Plan) adoptChunks(ctx context.Context, infos map[meta.ChunkID]objstore.Info, stored storedRuns) error {
	chunks, err := p.readChunks(ctx, infos)
	if err != nil {
		return err
	}
	var highest meta.NodeID
	for i := range chunks {
		highest = max(highest, meta.NodeID(chunks[i].command.NodeId))
	}
	hot, err := p.readHotLogs(highest)
	if err != nil {
		return err
	}
	chunks = append(chunks, hot...)
	p.nameTopics(chunks)
	order := newSequencer(p.recovery, chunks)
	for i := range chunks {
		c := &chunks[i]
		if i > 0 && idOf(c.command) == idOf(chunks[i-1].command) {
			continue // a copy
		}
		p.recovery.ExpectStored(c.command, func(tp meta.TopicPartition, position, length uint32) bool {
			return stored.have(c, tp, position, length)
		})
	}
	for c, ok := order.next(); ok; c, ok = order.next() {
		p.adoptChunk(c, meta.Elsewhere{
			CreatedMillis: c.createdMillis,
			Stored: func(tp meta.TopicPartition, position, length uint32) bool {
				return stored.have(c, tp, position, length)
			},
			Later: order.comesLater,
		})
	}
	return nil
}

func (p *Plan) adoptChunk(c *foundChunk, elsewhere meta.Elsewhere) {
	a := p.recovery.AdoptChunk(c.command, c.holder, elsewhere)
	counted := &p.Report.Chunks
	if c.command.Segment != 0 {
		counted = &p.Report.Hot
	}
	if a.Taken {
		counted.Objects++
		counted.Offsets += a.New
	}
	if a.Reason != "" {
		p.notAdopted(c.where, a.Reason)
	}
}

// durabilityOf is what holds for the bytes of a chunk, of which nobody says any more whether there was a copy.
func durabilityOf(lane uint32) metapb.Durability {
	if lane == 1 {
		return metapb.Durability_DURABILITY_OBJECT
	}
	return metapb.Durability_DURABILITY_LOCAL
}
