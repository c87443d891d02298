package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// Config is how the Kafka listener behaves. The zero value is the default of every field.
type Config struct {
	// MaxRequestBytes bounds the frame of a Produce request (socket.request.max.bytes). Default 100 MiB.
	MaxRequestBytes int
	// MaxControlRequestBytes bounds the frame of every other request. They decode into structures several times their size, so
	// they are held shorter than what carries records. Default 4 MiB.
	MaxControlRequestBytes int
	// InFlightBytes bounds the bytes of all requests that were read and are not answered yet. At the bound sockets are not read
	// (queued.max.request.bytes). Default 256 MiB.
	InFlightBytes int64
	// MaxConnections bounds connections; more are closed at once (max.connections). Default 4096.
	MaxConnections int
	// MaxPipelined bounds the requests of one connection that are read and not answered. Default 64.
	MaxPipelined int
	// ConnectionsMaxIdle closes a connection without requests (connections.max.idle.ms). Default 10 minutes.
	ConnectionsMaxIdle time.Duration
	// ParkAfter is how long a connection has nothing in flight until its goroutines and buffers are given to others. Default 500 milliseconds.
	ParkAfter time.Duration
	// StallTimeout is how long the next mebibyte of a frame that has begun may take, and how long a client may take nothing of an answer.
	// Default 30 seconds.
	StallTimeout time.Duration

	// FetchMaxBytes bounds one Fetch answer whatever the client asks for (fetch.max.bytes). Default 55 MiB.
	FetchMaxBytes int
	// FetchSessionSlots bounds the fetch sessions kept (max.incremental.fetch.session.cache.slots); 0 means 1000.
	FetchSessionSlots int
	// FetchSessionPartitions bounds the partitions in all fetch sessions together. Default 500,000.
	FetchSessionPartitions int

	// CompressionWorkers bounds the cores that compress what came uncompressed. Default GOMAXPROCS.
	CompressionWorkers int

	// ClusterID is the cluster's identity, as clients see it.
	ClusterID string
	// NodeID is this node's own.
	NodeID meta.NodeID
	// DefaultDurability is the class of topics that are created without one. Default: local while there is one live node, object in
	// a cluster.
	DefaultDurability metapb.Durability
	// MaxPartitions bounds the partitions of the cluster. Default 0: no bound.
	MaxPartitions int32

	// Static are settings of this node that it was given when it started, and that administrators may override, by Kafka's names.
	Static map[string]string

	// LogDir is what clients are told of the data directory, and DiskSpace the size of the disk it is on. Defaults: "varve", and unknown.
	LogDir    string
	DiskSpace func() (totalBytes, usableBytes int64)

	// CheckNodes returns when NodeGone knows of every process that had died before the call. Default: at once.
	CheckNodes func(ctx context.Context)
	// NodeGone says whether the process of a node's epoch is known to have died, before the leader has said so. Default: no.
	NodeGone func(id meta.NodeID, epoch uint64) bool

	// Authorizer decides what clients may do. Default: everything.
	Authorizer Authorizer
	// ZoneOf tells a client's zone from its client id, "" where it does not say. Default: what
	// follows "zone=" or "ws_az=" in it.
	ZoneOf func(clientID string) string
	// Logger. Default slog.Default().
	Logger *slog.Logger
	// LogLevel is Logger's level, which administrators may change while the node runs. Default: they may not.
	LogLevel *slog.LevelVar
	// Metrics. Default: none.
	Metrics Metrics
	// ClientMetrics takes what clients push of themselves. Default: it is dropped.
	ClientMetrics ClientMetrics
}

// Validate names the first field that cannot be.
func (c Config) Validate() error {
	for _, field := range []struct {
		name  string
		value int64
	}{
		{"MaxRequestBytes", int64(c.MaxRequestBytes)},
		{"MaxControlRequestBytes", int64(c.MaxControlRequestBytes)},
		{"InFlightBytes", c.InFlightBytes},
		{"MaxConnections", int64(c.MaxConnections)},
		{"MaxPipelined", int64(c.MaxPipelined)},
		{"ConnectionsMaxIdle", int64(c.ConnectionsMaxIdle)},
		{"ParkAfter", int64(c.ParkAfter)},
		{"StallTimeout", int64(c.StallTimeout)},
		{"FetchMaxBytes", int64(c.FetchMaxBytes)},
		{"FetchSessionSlots", int64(c.FetchSessionSlots)},
		{"FetchSessionPartitions", int64(c.FetchSessionPartitions)},
		{"CompressionWorkers", int64(c.CompressionWorkers)},
		{"MaxPartitions", int64(c.MaxPartitions)},
	} {
		if field.value < 0 {
			return fmt.Errorf("kafka config: %s is %d, below 0", field.name, field.value)
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	orDefault(&c.MaxRequestBytes, 100<<20)
	orDefault(&c.MaxControlRequestBytes, 4<<20)
	orDefault(&c.InFlightBytes, 256<<20)
	orDefault(&c.MaxConnections, 4096)
	orDefault(&c.MaxPipelined, 64)
	orDefault(&c.ConnectionsMaxIdle, 10*time.Minute)
	orDefault(&c.ParkAfter, 500*time.Millisecond)
	orDefault(&c.StallTimeout, 30*time.Second)
	orDefault(&c.FetchMaxBytes, 55<<20)
	orDefault(&c.FetchSessionSlots, 1000)
	orDefault(&c.FetchSessionPartitions, 500_000)
	orDefault(&c.LogDir, "varve")
	orDefault(&c.CompressionWorkers, runtime.GOMAXPROCS(0))
	if c.ZoneOf == nil {
		c.ZoneOf = zoneOfClientID
	}
	if c.CheckNodes == nil {
		c.CheckNodes = func(context.Context) {}
	}
	if c.NodeGone == nil {
		c.NodeGone = func(meta.NodeID, uint64) bool { return false }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Metrics == nil {
		c.Metrics = noMetrics{}
	}
	return c
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
