package kafka

import (
	"context"
	"errors"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/lane"
)

// Domain is what the handlers call. All of it is safe for concurrent use.
type Domain struct {
	Metadata Metadata
	Appender Appender
	Fetcher  Fetcher
	Offsets  OffsetLookup
	Groups   Groups
	Shares   Shares
	// Contact is nil where no other node serves the same clients.
	Contact Contact
}

func (d *Domain) validate() error {
	switch {
	case d.Metadata == nil:
		return errors.New("kafka domain: Metadata is missing")
	case d.Appender == nil:
		return errors.New("kafka domain: Appender is missing")
	case d.Fetcher == nil:
		return errors.New("kafka domain: Fetcher is missing")
	case d.Offsets == nil:
		return errors.New("kafka domain: Offsets is missing")
	case d.Groups == nil:
		return errors.New("kafka domain: Groups is missing")
	case d.Shares == nil:
		return errors.New("kafka domain: Shares is missing")
	}
	return nil
}

// Metadata is the node's replica of the cluster's state (coordinator/replica).
type Metadata interface {
	// View runs f under the replica's read lock: f does no I/O, and keeps nothing of the state.
	View(f func(*meta.State))
	// Barrier returns when everything that was answered to anybody before the call can be seen here.
	Barrier(ctx context.Context) error
	// Propose puts a command in the log and returns its verdict once it is applied here.
	Propose(ctx context.Context, command *metapb.Command) (meta.Verdict, error)
}

// Contact knows whether clients may have been sent to another node in this one's place, which does not stop it from serving those that were not.
type Contact interface {
	// Await waits until the node has been in contact with the leader so lately that it can say when, last, clients may have been sent elsewhere; zero for never. checked
	// is the moment that the answer is of.
	Await(ctx context.Context) (away, checked time.Time, err error)
}

// Appender takes batches in the order of its calls (ingest/lane). It blocks while the node has no room, and refuses only when ctx has
// ended or the node shuts down.
type Appender interface {
	Append(ctx context.Context, request lane.Request) (Pending, error)
	// Delay is how long whoever sends these batches has to wait before sending more, since the node cannot keep up.
	Delay(batches []lane.Batch) time.Duration
}

// Pending is an append without its verdict yet; see lane.Pending.
type Pending interface {
	// Done has one value buffered when every batch has its result.
	Done() <-chan struct{}
	// Wait returns a result per batch; it is called at most once, and its result is valid until Free.
	Wait(ctx context.Context, timeout time.Duration) []lane.Result
	Free()
}

// Fetcher reads partitions; see fetch.Reader. It never fails as a whole, and when ctx ends it returns what there is.
type Fetcher interface {
	Read(ctx context.Context, request *fetch.Request) FetchAnswer
}

// FetchAnswer holds one PartitionData per PartitionRead; all it refers to is valid until Memory's Release.
type FetchAnswer struct {
	Partitions []fetch.PartitionData
	Memory     lane.Releaser // may be nil
}

// OffsetLookup finds offsets by time, which needs records to be read; *fetch.Reader is one.
type OffsetLookup interface {
	// OffsetForTimestamp finds the first record at or after millis; found is false where there is none.
	OffsetForTimestamp(ctx context.Context, tp meta.TopicPartition, millis int64) (result fetch.TimedOffset, found bool, err error)
	// OffsetOfMaxTimestamp finds the first record with the largest timestamp.
	OffsetOfMaxTimestamp(ctx context.Context, tp meta.TopicPartition) (result fetch.TimedOffset, found bool, err error)
}
