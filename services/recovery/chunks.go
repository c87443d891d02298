package recovery

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/services/verify"
)

// foundChunk is a chunk that was read and is whole, and the command that would commit it.
type foundChunk struct {
	where         string
	createdMillis int64
	command       *metapb.CommitChunk
	// holder is whose disk it was found on: its own node's, or that of one that has a copy. 0 for an object.
	holder meta.NodeID
	disk   [16]byte // of the hot log it was found in
}

func compareChunks(x, y meta.ChunkID) int {
	return cmp.Or(cmp.Compare(x.Node, y.Node), cmp.Compare(x.Epoch, y.Epoch), cmp.Compare(x.Lane, y.Lane), cmp.Compare(x.Seq, y.Seq))
}

// idOf names a chunk, whichever of its keys or places it was found at.
func idOf(c *metapb.CommitChunk) meta.ChunkID {
	return meta.ChunkID{Node: meta.NodeID(c.NodeId), Epoch: c.NodeEpoch, Lane: c.Lane, Seq: c.Seq}
}

func commandOf(h chunk.Header, t chunk.Table, hedge uint32, segment uint64, position uint32) *metapb.CommitChunk {
	return &metapb.CommitChunk{
		NodeId: h.NodeID, NodeEpoch: h.NodeEpoch, Lane: h.Lane, Seq: h.Seq, Durability: durabilityOf(h.Lane), Hedge: hedge, Hedges: hedge, Segment: segment, Position: position,
		ChunkBytes: uint64(h.ChunkBytes()), RunTable: append([]byte(nil), t.Bytes()...),
	}
}

func chunkTransient(err error) bool {
	return transient(err) && !errors.Is(err, chunk.ErrCorrupt) && !errors.Is(err, chunk.ErrTruncated)
}

// counter counts the bytes that were read.
type counter struct {
	io.Reader
	bytes int64
}

func (c *counter) Read(b []byte) (n int, err error) {
	n, err = c.Reader.Read(b)
	c.bytes += int64(n)
	return n, err
}

// buffers are those that objects are read through: there may be millions of objects, most of them smaller than a buffer.
var buffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 256<<10) }}

func buffer(r io.Reader) *bufio.Reader {
	b := buffers.Get().(*bufio.Reader)
	b.Reset(r)
	return b
}

func release(b *bufio.Reader) {
	b.Reset(nil) // it keeps no reader alive
	buffers.Put(b)
}

// readChunks reads the object chunks that may be adopted. They come in order of their names.
func (p *Plan) readChunks(ctx context.Context, infos map[meta.ChunkID]objstore.Info) (chunks []foundChunk, err error) {
	ids := slices.SortedFunc(maps.Keys(infos), compareChunks)
	found, broken := make([]foundChunk, len(ids)), make([]error, len(ids))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(p.cfg.Parallel)
	for i, id := range ids {
		group.Go(func() (err error) {
			found[i], err = readObjectChunk(ctx, p.cfg.Store, id, infos[id])
			p.cfg.Progress(infos[id].SizeBytes)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, chunk.ErrVersion):
				return fmt.Errorf("%s is of a newer version than this program reads: %w", id.Key(), err)
			case err != nil && chunkTransient(err):
				return fmt.Errorf("read %s: %w", id.Key(), err)
			}
			broken[i] = err
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, id := range ids {
		if broken[i] != nil {
			p.damaged(id.Key(), broken[i])
			continue
		}
		chunks = append(chunks, found[i])
	}
	return chunks, nil
}

// readObjectChunk reads an object chunk from its first byte to its last. Where it ends too early although all came that the bucket lists, the object is cut
// (chunk.ErrTruncated), and else the connection.
func readObjectChunk(ctx context.Context, store objstore.Store, id meta.ChunkID, info objstore.Info) (foundChunk, error) {
	body, _, err := store.Get(ctx, info.Key, 0, -1)
	if err != nil {
		return foundChunk{}, err
	}
	counted := &counter{Reader: body}
	buffered := buffer(counted)
	defer release(buffered)
	c, err := readChunk(buffered, id, info)
	if (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) && counted.bytes >= info.SizeBytes {
		err = fmt.Errorf("%w: it has %d bytes", chunk.ErrTruncated, info.SizeBytes)
	}
	return c, errors.Join(err, body.Close())
}

func readChunk(r io.Reader, id meta.ChunkID, info objstore.Info) (c foundChunk, err error) {
	h, t, err := verify.ReadChunkHead(r)
	if err != nil {
		return c, err
	}
	if got := (meta.ChunkID{Node: meta.NodeID(h.NodeID), Epoch: h.NodeEpoch, Lane: h.Lane, Seq: h.Seq, Hedge: id.Hedge}); got != id {
		return c, fmt.Errorf("%w: %s", errIdentity, got.Key())
	}
	var buf []byte
	for left := int64(h.BodyBytes); left > 0; left -= int64(len(buf)) {
		if _, buf, err = recordbatch.ReadBatch(r, buf, left); err != nil {
			return c, err
		}
	}
	return foundChunk{where: info.Key, createdMillis: h.CreatedMillis, command: commandOf(h, t, id.Hedge, 0, 0)}, nil
}

// hotLog is a hot log that is there.
type hotLog struct {
	dir    string
	disk   [16]byte
	chunks []foundChunk
	// there is what stands in it in its chunks, or what is left of them, in order of segment and position, as far as damage lets one tell.
	there []hotRange
}

// hotRange is what stands in a hot segment at [from, to).
type hotRange struct {
	segment  uint64
	from, to int64
}

// readHotLogs reads the hot logs that are there, keeps others from using them meanwhile, and makes their disks part of the result.
func (p *Plan) readHotLogs(highest meta.NodeID) (chunks []foundChunk, err error) {
	var logs []hotLog
	for _, dir := range p.cfg.HotLogs {
		log, err := p.readHotLog(path.Clean(filepath.ToSlash(dir)))
		if err != nil {
			return nil, fmt.Errorf("read hot log %s: %w", dir, err)
		}
		if i := slices.IndexFunc(logs, func(other hotLog) bool { return other.disk == log.disk }); i >= 0 {
			return nil, fmt.Errorf("hot logs %s and %s are of one disk, %x: one of them is a copy; leave out the older one", logs[i].dir, log.dir, log.disk)
		}
		for i := range log.chunks {
			highest = max(highest, meta.NodeID(log.chunks[i].command.NodeId))
		}
		logs = append(logs, log)
	}
	highest = max(highest, p.recovery.State().NextNode()-1)
	for _, log := range logs {
		owner := p.ownerOf(&log)
		if owner == 0 && len(log.chunks) == 0 {
			continue // it never held anything
		}
		if owner == 0 || p.recovery.HasOtherDisk(owner, log.disk) {
			highest++
			owner = highest
		}
		if err := p.recovery.AdoptDisk(owner, log.disk); err != nil {
			return nil, fmt.Errorf("hot log %s: %w", log.dir, err)
		}
		for i := range log.chunks {
			log.chunks[i].holder = owner
		}
		p.hot.add(owner, log.there)
		chunks = append(chunks, log.chunks...)
		p.next.Disks = append(p.next.Disks, hex.EncodeToString(log.disk[:]))
	}
	return chunks, nil
}

// hotRanges are what stands in the hot logs that were read: by node and segment, in order of position.
type hotRanges map[meta.NodeID]map[uint64][]hotRange

// add takes in what a node's log has.
func (h hotRanges) add(node meta.NodeID, there []hotRange) {
	segments := map[uint64][]hotRange{}
	for _, r := range there {
		segments[r.segment] = append(segments[r.segment], r)
	}
	h[node] = segments
}

// holds says whether a hot segment of a node has the bytes of a run, right or wrong. What is in logs that were not read is believed.
func (h hotRanges) holds(node meta.NodeID, segment uint64, position, length uint32) bool {
	segments, read := h[node]
	if !read {
		return true
	}
	ranges := segments[segment]
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i].from > int64(position) }) - 1
	return i >= 0 && int64(position)+int64(length) <= ranges[i].to
}

// replicatedLane is the one whose chunks lie on a second node's disk too.
const replicatedLane = 2

// ownerOf is the node whose disk it is, or was in an earlier log; 0 where nothing tells: of chunks that have copies nobody can say which of the two is theirs.
func (p *Plan) ownerOf(log *hotLog) meta.NodeID {
	if n := p.recovery.State().NodeByDisk(log.disk); n != nil {
		return n.ID
	}
	for i := range log.chunks {
		if c := log.chunks[i].command; c.Lane != replicatedLane && !p.recovery.State().Dropped(meta.NodeID(c.NodeId)) {
			return meta.NodeID(c.NodeId)
		}
	}
	return 0
}

// readHotLog reads what is whole of a hot log, and keeps others from using it meanwhile.
func (p *Plan) readHotLog(dir string) (log hotLog, err error) {
	log = hotLog{dir: dir}
	if _, err := hotlog.ReadIdentity(p.cfg.Files, dir); errors.Is(err, fs.ErrNotExist) {
		return log, err // before a lock is made in what is no hot log
	}
	lock, err := p.cfg.Files.Lock(path.Join(dir, "lock"))
	if err != nil {
		return log, fmt.Errorf("a process may be using it: %w", err)
	}
	p.locks = append(p.locks, lock)
	where := func(segment uint64, position int64) string {
		return fmt.Sprintf("%s/%020d.seg at %d", dir, segment, position)
	}
	log.disk, err = hotlog.Salvage(p.cfg.Files, dir, func(segment uint64, f hotlog.Frame) error {
		p.cfg.Progress(int64(f.Length))
		at := int64(f.Position)
		log.there = append(log.there, hotRange{segment, at, at + int64(f.Length)})
		c, err := chunk.Parse(f.Payload)
		if errors.Is(err, chunk.ErrVersion) { // the frame has a checksum of its own
			return fmt.Errorf("%s is of a newer version than this program reads: %w", where(segment, at), err)
		}
		if err != nil {
			p.damaged(where(segment, at), err)
			return nil
		}
		log.chunks = append(log.chunks, foundChunk{
			where: where(segment, at), createdMillis: c.Header.CreatedMillis, command: commandOf(c.Header, c.Table, 0, segment, f.Position),
		})
		return nil
	}, func(d hotlog.Damage) error {
		if d.Segment == 0 {
			p.damaged(d.Path, d.CorruptionError)
			return nil
		}
		log.there = append(log.there, hotRange{d.Segment, d.Position, d.End})
		p.damaged(where(d.Segment, d.Position), fmt.Errorf("%d bytes: %w", d.End-d.Position, d.CorruptionError))
		return nil
	})
	for i := range log.chunks {
		log.chunks[i].disk = log.disk
	}
	return log, err
}
