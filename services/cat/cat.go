// Package cat reads a topic out of a bucket, with no server running, or beside those that run.
package cat

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/salvage"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// Config says what to read.
type Config struct {
	// Store is the bucket.
	Store objstore.Store
	Topic string
	// Partitions are those to read, in this order; all where there are none.
	Partitions []int32
	// FromOffset is where to begin in each; FromMillis passes over what is at the beginning of each and older.
	FromOffset, FromMillis int64
	// Uncommitted reads the records of open and aborted transactions too.
	Uncommitted bool
}

// Missing is a range of offsets of which the bucket does not have the records.
type Missing struct {
	Partition int32
	From, To  int64 // half-open
	// Node has them on its disk; 0 where they were declared lost.
	Node meta.NodeID
}

// String is a line about it.
func (m Missing) String() string {
	if m.Node == 0 {
		return fmt.Sprintf("partition %d: offsets %d to %d were declared lost", m.Partition, m.From, m.To-1)
	}
	return fmt.Sprintf("partition %d: offsets %d to %d are on the disk of node %d, and not in the bucket", m.Partition, m.From, m.To-1, m.Node)
}

// ErrStop ends reading, without being an error, where a callback returns it.
var ErrStop = errors.New("enough was read")

// Read calls fn for the records of one partition after the other, in order of offsets. What it is given is valid until it returns. The metadata is
// as old as what has arrived in the bucket: a second behind a cluster that works. The error names the object that is damaged, or is fn's.
func Read(ctx context.Context, cfg Config, fn func(partition int32, r *recordbatch.Record) error) ([]Missing, error) {
	state, err := load(ctx, cfg.Store)
	if err != nil {
		return nil, err
	}
	topic := state.TopicByName(cfg.Topic)
	if topic == nil {
		return nil, fmt.Errorf("no topic %q in %s", cfg.Topic, cfg.Store)
	}
	partitions := cfg.Partitions
	if len(partitions) == 0 {
		for i := range topic.Partitions() {
			partitions = append(partitions, int32(i))
		}
	}
	r := reader{cfg: cfg, state: state, fn: fn}
	for _, index := range partitions {
		if index < 0 || int(index) >= topic.Partitions() {
			return nil, fmt.Errorf("topic %q has no partition %d", cfg.Topic, index)
		}
		if err := r.partition(ctx, topic.Partition(index)); err != nil {
			if errors.Is(err, ErrStop) {
				err = nil
			}
			return r.missing, err
		}
	}
	return r.missing, nil
}

// load builds the state up from what the bucket has of the metadata.
func load(ctx context.Context, store objstore.Store) (*meta.State, error) {
	cluster, err := identity.Load(ctx, store)
	if err != nil {
		return nil, fmt.Errorf("read cluster.json of %s: %w", store, err)
	}
	found, err := salvage.ReadLive(ctx, salvage.Source{Store: cluster.Metadata(store), LogID: cluster.LogID, Metalog: cluster.Metalog})
	if err != nil {
		return nil, fmt.Errorf("read metadata in %s: %w", store, err)
	}
	if err := found.Newer(); err != nil {
		return nil, err
	}
	if found.State == nil {
		return nil, fmt.Errorf("no metadata in %s: varve recover rebuilds it from segments", store)
	}
	return found.State, nil
}

// reader goes over partitions.
type reader struct {
	cfg     Config
	state   *meta.State
	fn      func(partition int32, r *recordbatch.Record) error
	scratch recordbatch.Scratch
	missing []Missing
	// began: in this partition a record as young as FromMillis was found.
	began   bool
	aborted []meta.AbortedTransaction
}

func (r *reader) partition(ctx context.Context, p *meta.Partition) error {
	from, to := max(r.cfg.FromOffset, p.LogStartOffset()), p.NextOffset()
	if !r.cfg.Uncommitted {
		to = p.LastStableOffset()
		r.aborted = p.AbortedTransactions(r.aborted[:0], from, to)
	}
	r.began = r.cfg.FromMillis <= 0
	var extents []meta.Location
	r.state.Extents(p, func(l meta.Location) bool {
		if l.NextOffset > from && l.BaseOffset < to {
			extents = append(extents, l)
		}
		return l.BaseOffset < to
	})
	for _, l := range extents {
		old := !r.began && l.MaxTimestamp >= 0 && l.MaxTimestamp < r.cfg.FromMillis
		var err error
		switch {
		case l.Tier == meta.TierHot:
			r.miss(Missing{p.Index(), max(l.BaseOffset, from), min(l.NextOffset, to), l.Node})
		case l.Tier == meta.TierGap:
			r.miss(Missing{Partition: p.Index(), From: max(l.BaseOffset, from), To: min(l.NextOffset, to)})
		case old, l.Tier == meta.TierMarker:
		default:
			err = r.extent(ctx, p, l, from, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// miss notes a range, together with the one before it where it follows on that.
func (r *reader) miss(m Missing) {
	if n := len(r.missing); n > 0 {
		if last := &r.missing[n-1]; last.Partition == m.Partition && last.Node == m.Node && last.To == m.From {
			last.To = m.To
			return
		}
	}
	r.missing = append(r.missing, m)
}

// extent reads the records of an extent with offsets in [from, to).
func (r *reader) extent(ctx context.Context, p *meta.Partition, l meta.Location, from, to int64) error {
	source := &batches{ctx: ctx, store: r.cfg.Store, key: l.Key(), at: l.Position, end: l.Position + l.Length}
	defer source.close()
	next := l.BaseOffset
	for {
		at := source.at
		b, err := source.next()
		if err != nil {
			return fmt.Errorf("read %s at %d: %w", l.Key(), at, err)
		}
		if b == nil {
			return nil
		}
		if l.Tier == meta.TierChunk { // offsets were given after it was stored
			if _, err := recordbatch.AssignOffsets(b, next, p.LeaderEpoch()); err != nil {
				return fmt.Errorf("read %s at %d: %w", l.Key(), at, err)
			}
		}
		h, err := recordbatch.ParseHeader(b)
		if err == nil && (h.BaseOffset < next || h.NextOffset() > l.NextOffset) { // of which no checksum tells
			err = fmt.Errorf("%w: a batch of offsets [%d, %d) behind %d", recordbatch.ErrCorrupt, h.BaseOffset, h.NextOffset(), next-1)
		}
		next = h.NextOffset()
		if err == nil && h.NextOffset() > from && h.BaseOffset < to && !h.IsControl() && !r.isAborted(&h) {
			if err = recordbatch.CheckCRC(b); err == nil {
				err = r.records(p.Index(), b, from, to)
			}
		}
		if err != nil {
			return fmt.Errorf("read %s at %d: %w", l.Key(), at, err)
		}
	}
}

func (r *reader) records(partition int32, b []byte, from, to int64) error {
	for record, err := range recordbatch.Records(b, &r.scratch) {
		if err != nil {
			return err
		}
		r.began = r.began || record.Timestamp >= r.cfg.FromMillis
		if record.Offset < from || record.Offset >= to || !r.began {
			continue
		}
		if err := r.fn(partition, &record); err != nil {
			return err
		}
	}
	return nil
}

// isAborted says whether a batch is of an aborted transaction, of which nobody is to read.
func (r *reader) isAborted(h *recordbatch.Header) bool {
	return !r.cfg.Uncommitted && h.IsTransactional() && slices.ContainsFunc(r.aborted, func(a meta.AbortedTransaction) bool {
		return a.ProducerID == h.ProducerID && a.FirstOffset <= h.BaseOffset && h.BaseOffset <= a.LastOffset
	})
}
