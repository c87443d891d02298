package lane

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/ingest/copies"
	"github.com/varvelog/varve/ingest/hotlog"
)

// ErrClosed: the Set is closed, or closes.
var ErrClosed = errors.New("lanes closed")

// HotLog is the node's log, which nobody else appends to; *hotlog.Log is one.
type HotLog interface {
	// Append makes chunks durable with one write and one fdatasync. hotlog.ErrPoisoned, hotlog.ErrNoSpace and
	// *hotlog.ChunkTooLargeError are told apart.
	Append(places []hotlog.Place, chunks ...hotlog.Chunk) ([]hotlog.Place, error)
	// MaxChunkBytes is the largest chunk that fits into a segment.
	MaxChunkBytes() int64
	// Roll ends the active segment if it has chunks; the next chunk begins another.
	Roll() error
	// Abandon makes a poisoned log usable again, with a new segment. On a sound log it does nothing.
	Abandon() error
}

// Replica is the node's way to the leader and back; *replica.Replica is one.
type Replica interface {
	// SubmitChunks returns nil when the commands are in the log, in order and all of them. Any error leaves open which of them
	// are. The slice is not retained.
	SubmitChunks(ctx context.Context, commands []*metapb.Command) error
	// SubscribeChunks sends the verdicts on the chunks of a node's epoch to sink, until cancel.
	SubscribeChunks(node meta.NodeID, epoch uint64, sink replica.ChunkSink) (cancel func())
}

// Registration is the identity under which a node commits.
type Registration struct {
	Node  meta.NodeID
	Epoch uint64
}

// Epochs registers the node.
type Epochs interface {
	// Renew registers the node's disk anew and returns an epoch above all earlier ones, applied in the node's own replica. It
	// is called at the start, and whenever an epoch has ended; after an error it is called again, with a delay.
	Renew(ctx context.Context) (Registration, error)
}

// Peers are the other nodes, as the class replicated needs them.
type Peers interface {
	// Candidates are the nodes that may have copies of own's chunks, the preferred first (copies.Candidates).
	Candidates(own meta.NodeID) []copies.Peer
	// Dial opens a connection on which another node takes copies.
	Dial(ctx context.Context, address string) (net.Conn, error)
	// Settled tells whether the state has judged the chunk, or never will: a copy of it that nothing refers to is garbage.
	Settled(chunk copies.Header) bool
}

type noPeers struct{}

func (noPeers) Candidates(meta.NodeID) []copies.Peer { return nil }
func (noPeers) Dial(context.Context, string) (net.Conn, error) {
	return nil, errors.New("there are no other nodes")
}
func (noPeers) Settled(copies.Header) bool { return true }

// Observer hears what the lanes do. Its methods are called on the lanes' goroutines, some with locks held: they must be
// quick and must not call back. Nil means nobody listens.
type Observer interface {
	// ChunkFlushed: a chunk's bytes are durable, duration after it was built.
	ChunkFlushed(lane Lane, batches, sizeBytes int, duration time.Duration)
	// ChunkCommitted: a chunk has its verdict, duration after it was flushed.
	ChunkCommitted(lane Lane, batches int, duration time.Duration)
	// ObjectPut: a PUT of the object lane has ended, duration after it began; a hedge is one under a second key. The one that lost ends with
	// context.Canceled.
	ObjectPut(hedge bool, sizeBytes int, duration time.Duration, err error)
	// BatchesFailed: batches were answered with a failure.
	BatchesFailed(lane Lane, failure Failure, batches int)
	// Trouble: something failed that is tried again or ends the epoch. For the log.
	Trouble(operation string, err error)
	// EpochStarted: the node commits under registration from now on.
	EpochStarted(registration Registration)
}

// ObjectCache keeps objects in memory for readers; *blockcache.Cache is one.
type ObjectCache interface {
	// Keep takes a copy of an object that is stored and will be read soon. It does not wait.
	Keep(key string, body []byte)
}

type noCache struct{}

func (noCache) Keep(string, []byte) {}

type noObserver struct{}

func (noObserver) ChunkFlushed(Lane, int, int, time.Duration) {}
func (noObserver) ChunkCommitted(Lane, int, time.Duration)    {}
func (noObserver) ObjectPut(bool, int, time.Duration, error)  {}
func (noObserver) BatchesFailed(Lane, Failure, int)           {}
func (noObserver) Trouble(string, error)                      {}
func (noObserver) EpochStarted(Registration)                  {}
