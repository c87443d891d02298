package ingestd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/varvelog/varve/infra/rpc"
	"github.com/varvelog/varve/ingest/hotlog"
)

// errForeignDisk: the node has another disk than the one asked for, so it does not hold the bytes.
var errForeignDisk = errors.New("this node has another disk")

func init() {
	rpc.RegisterError("foreign-disk", errForeignDisk)
	rpc.RegisterError("segment-gone", hotlog.ErrSegmentGone)
	rpc.RegisterError("range-not-durable", hotlog.ErrNotDurable)
}

// maxHotRead bounds one ranged read of a hot segment: a segment is less than 4 GiB, and a reader asks for what it has room for.
const maxHotRead = 4 << 30

const (
	// hotPieceBytes is how much of a read is in memory at once, and hotReadsBytes how much of all reads. What other nodes and workers ask for is not
	// bounded by what this node has: without a bound of their own, as many reads as the listener takes calls would be a gigabyte.
	hotPieceBytes = 256 << 10
	hotReadsBytes = 64 << 20
	// hotReadPatience is how long a read waits for others before it is refused. Who asks may have another node to ask, and asks again.
	hotReadPatience = 2 * time.Second
	// hotWriteTimeout is how long a piece is offered to a caller who does not take it: the memory is others' then.
	hotWriteTimeout = 30 * time.Second
)

// HotHandler serves GET /hot/{disk}/{segment}?position=&length= from the node's hot log.
func HotHandler(log *hotlog.Log) http.Handler { return newHotHandler(log, hotReadsBytes) }

// hotHandler serves GET /hot/{disk}/{segment}?position=&length= from the node's hot log.
type hotHandler struct {
	log    *hotlog.Log
	memory *semaphore.Weighted // of bytes
}

func newHotHandler(log *hotlog.Log, memoryBytes int64) hotHandler {
	return hotHandler{log, semaphore.NewWeighted(memoryBytes)}
}

// ServeHTTP streams the range in pieces, so that its memory does not depend on the length.
func (h hotHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	segment, position, length, err := h.parse(r)
	if err != nil {
		rpc.WriteError(w, err)
		return
	}
	pieceBytes := min(length, hotPieceBytes)
	if err := h.acquire(r.Context(), int64(pieceBytes)); err != nil {
		rpc.WriteError(w, fmt.Errorf("read hot segment %d at %d: %w", segment, position, err))
		return
	}
	defer h.memory.Release(int64(pieceBytes))
	deadline := func(at time.Time) bool {
		err := http.NewResponseController(w).SetWriteDeadline(at)
		return err == nil || errors.Is(err, http.ErrNotSupported) // there is no connection, as in a simulation
	}
	piece := make([]byte, pieceBytes)
	for sent := uint64(0); sent < length; {
		p := piece[:min(pieceBytes, length-sent)]
		if err := h.log.ReadAt(segment, uint32(position+sent), p); err != nil {
			if sent == 0 {
				rpc.WriteError(w, fmt.Errorf("read hot segment %d at %d: %w", segment, position, err))
				return
			}
			panic(http.ErrAbortHandler) // the caller sees the body end early
		}
		if sent == 0 {
			w.Header().Set("Content-Length", strconv.FormatUint(length, 10))
		}
		if !deadline(time.Now().Add(hotWriteTimeout)) {
			panic(http.ErrAbortHandler)
		}
		if _, err := w.Write(p); err != nil {
			return // the caller has gone, or takes nothing
		}
		sent += uint64(len(p))
	}
	if !deadline(time.Time{}) { // the connection goes on
		panic(http.ErrAbortHandler)
	}
}

// acquire takes memory for a piece, as soon as other reads leave enough of it.
func (h hotHandler) acquire(ctx context.Context, bytes int64) error {
	if h.memory.TryAcquire(bytes) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, hotReadPatience)
	defer cancel()
	if h.memory.Acquire(ctx, bytes) != nil {
		return fmt.Errorf("other reads of the hot log take all memory for them: %w", rpc.ErrOverloaded)
	}
	return nil
}

func (h hotHandler) parse(r *http.Request) (segment, position, length uint64, err error) {
	disk := h.log.DiskUUID()
	if r.PathValue("disk") != hex.EncodeToString(disk[:]) {
		return 0, 0, 0, fmt.Errorf("read hot segment of disk %s: %w", r.PathValue("disk"), errForeignDisk)
	}
	fields := []struct {
		text  string
		value *uint64
		max   uint64
	}{
		{r.PathValue("segment"), &segment, 1<<63 - 1},
		{r.FormValue("position"), &position, 1<<32 - 1},
		{r.FormValue("length"), &length, maxHotRead},
	}
	for _, f := range fields {
		if *f.value, err = strconv.ParseUint(f.text, 10, 64); err != nil || *f.value > f.max {
			return 0, 0, 0, fmt.Errorf("read hot segment: %q: %w", f.text, rpc.ErrBadRequest)
		}
	}
	return segment, position, length, nil
}

// peer reads other nodes' hot logs (fetch.Peer).
type peer struct{ client *rpc.Client }

// ReadHot implements fetch.Peer.
func (p peer) ReadHot(ctx context.Context, address string, diskID [16]byte, segment uint64, position uint32, buf []byte) (n int, err error) {
	return ReadHot(ctx, p.client, address, diskID, segment, uint64(position), buf)
}

// ReadHot fills buf from a hot segment of the node at address. Fewer bytes come with an error: what had arrived when ctx ended, or the node fell silent.
func ReadHot(ctx context.Context, client *rpc.Client, address string, diskID [16]byte, segment, position uint64, buf []byte) (n int, err error) {
	place := fmt.Sprintf("/hot/%x/%d?position=%d&length=%d", diskID, segment, position, len(buf))
	body, _, err := client.Get(ctx, address, place)
	if err != nil {
		return 0, fmt.Errorf("read hot segment %d of %s: %w", segment, address, err)
	}
	n, err = io.ReadFull(body, buf)
	if err = errors.Join(err, body.Close()); err != nil {
		return n, fmt.Errorf("read hot segment %d of %s: %w", segment, address, err)
	}
	return n, nil
}
