package leader

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/bus"
	"github.com/varvelog/varve/infra/objstore"
)

// The errors with which Run ends, apart from the log's and the state's own.
var (
	// ErrFenced: another coordinator has taken over. This one has stopped sequencing.
	ErrFenced = errors.New("another coordinator has taken over")
	// ErrLeaderAlive: another coordinator leads and answers; nothing was appended.
	ErrLeaderAlive = errors.New("another coordinator leads")
	// ErrLogLost: entries that were durable are gone from the log.
	ErrLogLost = replica.ErrLogLost
)

// DefaultMaxUnshippedRuns is the default of Config.MaxUnshippedRuns.
const DefaultMaxUnshippedRuns = 8 << 20

// Publisher is what the leader needs of the bus.
type Publisher interface {
	// Wanted tells whether anybody may hear what is published on subject.
	Wanted(subject string) bool
	Publish(subject string, data []byte) error
	Ready() error
}

// Observer hears what the leader does, for metrics. It is called on the path of every commit: it must be quick.
type Observer interface {
	// Appended: an entry of so many commands and bytes became durable, and took so long to.
	Appended(commands, sizeBytes int, took time.Duration)
	// Snapshotted: a snapshot of so many bytes was written, and entries waited for it so long.
	Snapshotted(sizeBytes int64, held time.Duration)
	// Rewrote: so many objects of the snapshots were damaged in the bucket, and were written again.
	Rewrote(objects int)
}

// Config says what to lead. Zero values of bounds and intervals are the defaults named.
type Config struct {
	ClusterID string
	LogID     [16]byte
	Log       metalog.Log
	// Replica applies what is appended. Nothing else may apply to it while Run runs.
	Replica *replica.Replica
	// Bus carries hints; nil for none. Key proves to their receivers that they are the cluster's.
	Bus Publisher
	Key *bus.Key
	// InternalAddress is where other processes reach this one, host:port; it is written to the log.
	InternalAddress string
	// Name is this process's, for people.
	Name string
	// Exclusive says that no other process can append to or read from the log while this one runs, which makes barriers free.
	Exclusive bool
	// BarrierAppends says that the log's Bounds may be those of the past, so that a barrier needs an append.
	BarrierAppends bool
	// LeaderAlive asks whether the coordinator at address leads; where it does, Run ends with ErrLeaderAlive instead of taking
	// over. nil takes over without asking.
	LeaderAlive func(ctx context.Context, address string) bool
	// Guard is asked, once all that is in the log is known, whether this process may lead: its error ends Run, and nothing was appended. It is
	// given as long as StoreTime, and says no only where it knows. nil for none.
	Guard func(ctx context.Context) error
	// StoreTime asks the bucket for its time; nil for none. Retention stops while the clocks are a minute apart.
	StoreTime func(ctx context.Context) (time.Time, error)
	// StoreTimeTimeout bounds that question when this leader takes over, as commits wait for it: 1 s.
	StoreTimeTimeout time.Duration

	// MaxQueuedCommands and MaxQueuedBytes bound what waits: 65,536 and 64 MiB.
	MaxQueuedCommands int
	MaxQueuedBytes    int
	// MaxUnshippedRuns bounds the runs that every replica keeps in memory, about 48 bytes each: at the bound chunks are refused
	// with ErrBusy until some are shipped, and their nodes hold back producers. 8 Mi, well above what the segments that are
	// still open can hold, which are not shipped before they are sealed.
	MaxUnshippedRuns int
	// AppendTimeout is when an append without an answer is repeated: 5 s.
	AppendTimeout time.Duration
	// FirstAppendTimeout is the same for the first attempt, where an answer that is lost is likelier than a late one; it doubles
	// up to AppendTimeout. AppendTimeout by default.
	FirstAppendTimeout time.Duration
	// MaxRetryInterval bounds the growing pause between two attempts at the log: 1 s.
	MaxRetryInterval time.Duration
	// Patience is how long commands for which no client waits, such as those of workers, wait for one to share an entry with; 0 by default. It spares
	// a log whose appends are slow, and cost.
	Patience time.Duration
	// UpkeepInterval is how often ticks are looked after: 1 s.
	UpkeepInterval time.Duration
	// NodeTimeout is how long a node may stay silent and live: 1 s, which is five of its pings.
	NodeTimeout time.Duration
	// NodeReturn is how long a node that had fallen silent must be heard before it is live again: 1 s, and double each time it comes and goes
	// within a minute, up to 16 times as much. A node that registers is live at once.
	NodeReturn time.Duration
	// LivenessInterval is how often nodes are looked after, where one has not been heard for half of NodeTimeout or is on its way back: 100 ms. Else it is
	// up to five times as long.
	LivenessInterval time.Duration
	// PeersSupport is the highest feature level that all other coordinators know, 0 while one of them is not heard; nil where there is no other.
	PeersSupport func() uint32
	// FeatureHold is for how long everybody must know a higher feature level before the log is raised to it: 30 s. Whoever was away for a
	// moment has come back by then.
	FeatureHold time.Duration
	// SnapshotEntries and SnapshotBytes are how much log calls for a new snapshot: 10,000 and 16 MiB.
	SnapshotEntries uint64
	SnapshotBytes   int64
	// NotifyInterval is how long commit notifications gather: 10 ms.
	NotifyInterval time.Duration
	// Archive is the bucket to which the log is copied, for a log that is kept elsewhere; nil for none.
	Archive objstore.Store
	// Observer is nil for none.
	Observer Observer
	// Now is the clock; time.Now by default.
	Now    func() time.Time
	Logger *slog.Logger
}

// Validate reports the first field that cannot be used.
func (c *Config) Validate() error {
	switch {
	case c.ClusterID == "":
		return errors.New("field ClusterID is empty")
	case c.Log == nil:
		return errors.New("field Log is missing")
	case c.Replica == nil:
		return errors.New("field Replica is missing")
	case c.Bus != nil && c.Key == nil:
		return errors.New("field Key is missing, while there is a Bus")
	case c.MaxQueuedCommands < 0, c.MaxQueuedBytes < 0, c.MaxUnshippedRuns < 0:
		return errors.New("fields MaxQueuedCommands, MaxQueuedBytes and MaxUnshippedRuns must not be negative")
	case c.AppendTimeout < 0, c.FirstAppendTimeout < 0, c.MaxRetryInterval < 0, c.UpkeepInterval < 0, c.NodeTimeout < 0, c.NodeReturn < 0, c.LivenessInterval < 0,
		c.FeatureHold < 0, c.NotifyInterval < 0, c.Patience < 0:
		return errors.New("fields AppendTimeout, FirstAppendTimeout, MaxRetryInterval, UpkeepInterval, NodeTimeout, NodeReturn, LivenessInterval, FeatureHold, NotifyInterval and Patience must not be negative")
	}
	return nil
}

func (c Config) withDefaults() Config {
	setDefault(&c.MaxQueuedCommands, 65536)
	setDefault(&c.MaxQueuedBytes, 64<<20)
	setDefault(&c.MaxUnshippedRuns, DefaultMaxUnshippedRuns)
	setDefault(&c.AppendTimeout, 5*time.Second)
	setDefault(&c.FirstAppendTimeout, c.AppendTimeout)
	setDefault(&c.MaxRetryInterval, time.Second)
	setDefault(&c.StoreTimeTimeout, time.Second)
	setDefault(&c.UpkeepInterval, time.Second)
	setDefault(&c.NodeTimeout, time.Second)
	setDefault(&c.NodeReturn, time.Second)
	setDefault(&c.LivenessInterval, 100*time.Millisecond)
	setDefault(&c.FeatureHold, 30*time.Second)
	setDefault(&c.SnapshotEntries, 10_000)
	setDefault(&c.SnapshotBytes, 16<<20)
	setDefault(&c.NotifyInterval, 10*time.Millisecond)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
