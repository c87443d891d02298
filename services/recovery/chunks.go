package recovery

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"path/filepath"
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

// readObjectChunk reads an object chunk from its first byte to its last.
func readObjectChunk(ctx context.Context, store objstore.Store, id meta.ChunkID, info objstore.Info) (c foundChunk, err error) {
	body, _, err := store.Get(ctx, info.Key, 0, -1)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	r := bufio.NewReaderSize(body, 256<<10)
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

// readHotLog reads a hot log that is there, keeps others from using it meanwhile, and makes its disk part of the result.
func (p *Plan) readHotLog(dir string) ([]foundChunk, error) {
	dir = path.Clean(filepath.ToSlash(dir))
	disk, err := hotlog.ReadIdentity(p.cfg.Files, dir)
	if err != nil {
		return nil, fmt.Errorf("read hot log %s: %w", dir, err)
	}
	lock, err := p.cfg.Files.Lock(path.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("lock hot log %s: %w", dir, err)
	}
	p.locks = append(p.locks, lock)
	if err := hotlog.Verify(p.cfg.Files, dir, func(hotlog.Report, error) {}); err != nil {
		return nil, fmt.Errorf("read hot log %s: %w", dir, err)
	}
	names, err := p.cfg.Files.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list hot log %s: %w", dir, err)
	}
	var chunks []foundChunk
	own := p.recovery.State().NodeByDisk(disk)
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
				return fmt.Errorf("chunk at %d: %w", f.Position, err)
			}
			if own != nil && meta.NodeID(c.Header.NodeID) != own.ID {
				return nil // a copy of another node's chunk
			}
			chunks = append(chunks, foundChunk{
				where: fmt.Sprintf("%s/%s at %d", dir, name, f.Position), createdMillis: c.Header.CreatedMillis, command: commandOf(c.Header, c.Table, 0, id, f.Position),
			})
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read hot log %s: %w", dir, err)
		}
		p.cfg.Progress(report.FileBytes)
	}
	switch {
	case own == nil && len(chunks) == 0:
		return nil, nil // it never held anything
	case own == nil:
		if err := p.recovery.AdoptDisk(meta.NodeID(chunks[0].command.NodeId), disk); err != nil {
			return nil, fmt.Errorf("hot log %s: %w", dir, err)
		}
	}
	p.next.Disks = append(p.next.Disks, hex.EncodeToString(disk[:]))
	return chunks, nil
}
