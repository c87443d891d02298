package recovery

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

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

// readObjectChunk reads an object chunk from its first byte to its last. Where it ends too early although all came that the bucket lists, the object is cut
// (chunk.ErrTruncated), and else the connection.
func readObjectChunk(ctx context.Context, store objstore.Store, id meta.ChunkID, info objstore.Info) (foundChunk, error) {
	body, _, err := store.Get(ctx, info.Key, 0, -1)
	if err != nil {
		return foundChunk{}, err
	}
	counted := &counter{Reader: body}
	c, err := readChunk(bufio.NewReaderSize(counted, 256<<10), id, info)
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
}

// readHotLogs reads the hot logs that are there, keeps others from using them meanwhile, and makes their disks part of the result.
func (p *Plan) readHotLogs(highest meta.NodeID) (chunks []foundChunk, err error) {
	var logs []hotLog
	for _, dir := range p.cfg.HotLogs {
		log, err := p.readHotLog(path.Clean(filepath.ToSlash(dir)))
		if err != nil {
			return nil, fmt.Errorf("read hot log %s: %w", dir, err)
		}
		for i := range log.chunks {
			highest = max(highest, meta.NodeID(log.chunks[i].command.NodeId))
		}
		logs = append(logs, log)
	}
	highest = max(highest, p.recovery.State().NextNode()-1)
	for _, log := range logs {
		owner := p.ownerOf(&log)
		if owner == 0 {
			if len(log.chunks) == 0 {
				continue // it never held anything
			}
			highest++
			owner = highest
		}
		if err := p.recovery.AdoptDisk(owner, log.disk); err != nil {
			return nil, fmt.Errorf("hot log %s: %w", log.dir, err)
		}
		for i := range log.chunks {
			log.chunks[i].holder = owner
		}
		p.hot.add(owner, log.chunks)
		chunks = append(chunks, log.chunks...)
		p.next.Disks = append(p.next.Disks, hex.EncodeToString(log.disk[:]))
	}
	return chunks, nil
}

// hotChunks are the chunks in the hot logs that were read: by node and segment, in order of position.
type hotChunks map[meta.NodeID]map[uint64][]*metapb.CommitChunk

// add takes in the chunks of a node's log, which were found in this order.
func (h hotChunks) add(node meta.NodeID, chunks []foundChunk) {
	segments := map[uint64][]*metapb.CommitChunk{}
	for i := range chunks {
		c := chunks[i].command
		segments[c.Segment] = append(segments[c.Segment], c)
	}
	h[node] = segments
}

// holds says whether a hot segment of a node has the bytes of a run. What is in logs that were not read is believed.
func (h hotChunks) holds(node meta.NodeID, segment uint64, position, length uint32) bool {
	segments, read := h[node]
	if !read {
		return true
	}
	chunks := segments[segment]
	i := sort.Search(len(chunks), func(i int) bool { return chunks[i].Position > position }) - 1
	return i >= 0 && uint64(position)+uint64(length) <= uint64(chunks[i].Position)+chunks[i].ChunkBytes
}

// replicatedLane is the one whose chunks lie on a second node's disk too.
const replicatedLane = 2

// ownerOf is the node whose disk it is, 0 where nothing tells: of chunks that have copies nobody can say which of the two is theirs.
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

func (p *Plan) readHotLog(dir string) (log hotLog, err error) {
	log = hotLog{dir: dir}
	if log.disk, err = hotlog.ReadIdentity(p.cfg.Files, dir); err != nil {
		return log, err
	}
	lock, err := p.cfg.Files.Lock(path.Join(dir, "lock"))
	if err != nil {
		return log, fmt.Errorf("a process may be using it: %w", err)
	}
	p.locks = append(p.locks, lock)
	if err := hotlog.Verify(p.cfg.Files, dir, func(hotlog.Report, error) {}); err != nil {
		return log, err
	}
	names, err := p.cfg.Files.List(dir)
	if err != nil {
		return log, err
	}
	for _, name := range names {
		digits, isSegment := strings.CutSuffix(name, ".seg")
		id, err := strconv.ParseUint(digits, 10, 64)
		if !isSegment || err != nil {
			continue
		}
		report, err := hotlog.Scan(p.cfg.Files, path.Join(dir, name), func(f hotlog.Frame) error {
			if f.Kind != hotlog.KindChunk {
				return nil
			}
			c, err := chunk.Parse(f.Payload)
			if err != nil {
				return fmt.Errorf("%s: chunk at %d: %w", name, f.Position, err)
			}
			log.chunks = append(log.chunks, foundChunk{
				where: fmt.Sprintf("%s/%s at %d", dir, name, f.Position), disk: log.disk, createdMillis: c.Header.CreatedMillis, command: commandOf(c.Header, c.Table, 0, id, f.Position),
			})
			return nil
		})
		if err != nil {
			return log, err
		}
		p.cfg.Progress(report.FileBytes)
	}
	return log, nil
}
