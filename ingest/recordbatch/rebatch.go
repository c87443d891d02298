package recordbatch

import (
	"errors"
	"fmt"
	"math"
)

const (
	// DefaultRebatchBytes is the uncompressed size that small batches are merged up to.
	DefaultRebatchBytes = 1 << 20
	// DefaultRebatchLevel is zstd's "better": 6 % smaller than its default on logs, at 60 % of the speed.
	DefaultRebatchLevel = 7
)

// RebatchOptions says how batches are merged. The zero value is the default.
type RebatchOptions struct {
	// TargetBytes is the uncompressed size that small batches are merged up to; 0 means DefaultRebatchBytes.
	TargetBytes int
	// MaxBatchBytes bounds every merged batch as it is stored; 0 means DefaultMaxBatchBytes. Since a batch that does not
	// compress is stored as it is, it also bounds the uncompressed size.
	MaxBatchBytes int
	// ZstdLevel is zstd's scale from 1 to 22; 0 means DefaultRebatchLevel.
	ZstdLevel int
}

// Validate names the field that is wrong.
func (o RebatchOptions) Validate() error {
	switch {
	case o.TargetBytes < 0:
		return fmt.Errorf("TargetBytes %d is negative", o.TargetBytes)
	case o.MaxBatchBytes < 0 || o.MaxBatchBytes > math.MaxInt32:
		return fmt.Errorf("MaxBatchBytes %d is not between 0 and 2^31-1", o.MaxBatchBytes)
	case o.ZstdLevel < 0 || o.ZstdLevel > 22:
		return fmt.Errorf("ZstdLevel %d is not between 0 and 22", o.ZstdLevel)
	}
	return nil
}

func (o RebatchOptions) withDefaults() RebatchOptions {
	if o.TargetBytes == 0 {
		o.TargetBytes = DefaultRebatchBytes
	}
	if o.MaxBatchBytes == 0 {
		o.MaxBatchBytes = DefaultMaxBatchBytes
	}
	if o.ZstdLevel == 0 {
		o.ZstdLevel = DefaultRebatchLevel
	}
	o.TargetBytes = min(o.TargetBytes, o.MaxBatchBytes)
	return o
}

// Rebatched is one batch of a Rebatcher's output.
type Rebatched struct {
	Header
	// Bytes is the whole batch, valid until the callback returns.
	Bytes []byte
	// Sources is the number of batches it was made of.
	Sources int
	// Verbatim: the bytes are those of the one source.
	Verbatim bool
	// Err is not nil where the source could not be decoded, or its CRC is wrong; it is then passed verbatim.
	Err error
}

// Rebatcher merges the small batches of one partition into larger ones, compressed better, for storage.
//
// The records stay what they are: offset, timestamp, key, value, headers, order. So do the offsets covered: every output
// batch begins where its first source begins and ends where its last one ends. Only batches that lie next to each other,
// of one leader epoch, are merged. Transactional, control and LogAppendTime batches and those with a delete horizon stay
// verbatim, as do large ones; a large one that is uncompressed is compressed by itself. Merged batches have no producer.
type Rebatcher struct {
	opts    RebatchOptions
	emit    func(Rebatched) error
	builder *Builder
	scratch Scratch
	reader  Reader
	out     []byte

	// The batches gathered and not yet emitted: first is a copy of the first, in case it stays alone.
	first       []byte
	sources     int
	leaderEpoch int32
	nextOffset  int64 // behind the last batch added
}

// NewRebatcher returns a Rebatcher that gives its output to emit, in order of offsets. An error of emit ends the call it
// happens in and is returned from it.
func NewRebatcher(opts RebatchOptions, emit func(Rebatched) error) (*Rebatcher, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	return &Rebatcher{
		opts:    opts,
		emit:    emit,
		builder: NewBuilder(BuilderOptions{Codec: Zstd, Level: opts.ZstdLevel}),
		// What inflates to more is a large batch.
		scratch: Scratch{MaxInflatedBytes: max(opts.TargetBytes/2, 1)},
	}, nil
}

// Add takes one or several consecutive stored batches, offsets assigned, ascending from call to call. It keeps no reference
// to b. An error that is not emit's says that b is no sequence of batches from the bad one on (see Batches), or that offsets
// go back (ErrInvalidRecord).
func (r *Rebatcher) Add(b []byte) error {
	for batch, err := range Batches(b) {
		if err != nil {
			return fmt.Errorf("rebatch behind offset %d: %w", r.nextOffset-1, err)
		}
		if batch.BaseOffset < r.nextOffset {
			return fmt.Errorf("%w: rebatch offset %d behind %d", ErrInvalidRecord, batch.BaseOffset, r.nextOffset-1)
		}
		if err := r.add(batch); err != nil {
			return err
		}
		r.nextOffset = batch.NextOffset()
	}
	return nil
}

// Flush emits what is gathered. Call it at the end, and wherever no batch may reach across; Reset between partitions.
func (r *Rebatcher) Flush() error {
	if r.sources == 0 {
		return nil
	}
	sources := r.sources
	r.sources = 0
	if sources == 1 {
		return r.emitAlone(r.first)
	}
	if err := r.builder.SetLastOffset(r.nextOffset - 1); err != nil {
		return err
	}
	out, h, err := r.builder.Build(r.out)
	if err != nil {
		return err
	}
	r.out = out
	return r.emit(Rebatched{Header: h, Bytes: out, Sources: sources})
}

// Reset flushes, and forgets where it is: the next batch may be of another partition.
func (r *Rebatcher) Reset() error {
	err := r.Flush()
	r.sources, r.nextOffset = 0, 0
	return err
}

func (r *Rebatcher) add(batch Batch) error {
	const keepApart = AttrTransactional | AttrControl | AttrLogAppendTime | AttrDeleteHorizon
	if err := CheckCRC(batch.Bytes); err != nil {
		return r.pass(batch, err)
	}
	if batch.Attributes&keepApart != 0 {
		return r.pass(batch, nil)
	}
	if len(batch.Bytes) >= r.opts.TargetBytes/2 {
		return r.addLarge(batch)
	}
	_, records, err := r.scratch.open(batch.Bytes)
	if errors.Is(err, ErrTooLarge) {
		return r.addLarge(batch)
	}
	if err != nil {
		return r.pass(batch, err)
	}
	if r.sources > 0 && !r.follows(batch) {
		if err := r.Flush(); err != nil {
			return err
		}
	}
	return r.merge(batch, records)
}

// follows tells whether the batch may share a batch with those gathered.
func (r *Rebatcher) follows(batch Batch) bool {
	return batch.BaseOffset == r.nextOffset && batch.LeaderEpoch == r.leaderEpoch &&
		batch.LastOffset()-r.builder.baseOffset <= math.MaxInt32
}

// merge gathers the batch. Where it does not fit those gathered (it makes them too large, or its timestamps are too far from
// theirs), its records are taken back and it begins anew; where its records are malformed, it is passed.
func (r *Rebatcher) merge(batch Batch, records []byte) error {
	if r.sources == 0 {
		r.builder.Reset(batch.BaseOffset, batch.LeaderEpoch)
	}
	before := r.builder.builderState
	err := r.appendRecords(batch.Header, records)
	if r.sources > 0 && (err != nil || r.builder.SizeBytes() > r.opts.TargetBytes) {
		r.builder.rewind(before)
		if err := r.Flush(); err != nil {
			return err
		}
		return r.merge(batch, records)
	}
	if err != nil {
		return r.pass(batch, err)
	}
	if r.sources == 0 {
		r.first = append(r.first[:0], batch.Bytes...)
		r.leaderEpoch = batch.LeaderEpoch
	}
	r.sources++
	return nil
}

func (r *Rebatcher) appendRecords(h Header, records []byte) error {
	r.reader.start(h, records)
	for r.reader.Next() {
		if err := r.builder.AppendRecord(r.reader.Record()); err != nil {
			return err
		}
	}
	return r.reader.Err()
}

// addLarge emits what is gathered, then the batch by itself.
func (r *Rebatcher) addLarge(batch Batch) error {
	if err := r.Flush(); err != nil {
		return err
	}
	return r.emitAlone(batch.Bytes)
}

// pass emits what is gathered, then the batch as it is.
func (r *Rebatcher) pass(batch Batch, reason error) error {
	if err := r.Flush(); err != nil {
		return err
	}
	return r.emit(Rebatched{Header: batch.Header, Bytes: batch.Bytes, Sources: 1, Verbatim: true, Err: reason})
}

// emitAlone emits one batch, compressed if it is not.
func (r *Rebatcher) emitAlone(b []byte) error {
	h, err := ParseHeader(b)
	if err != nil {
		return err
	}
	out, verbatim := b, true
	if h.Codec() == None {
		if out, err = Compress(r.out, b, Zstd, r.opts.ZstdLevel); err != nil {
			return err
		}
		if verbatim = &out[0] == &b[0]; !verbatim {
			r.out = out
			if h, err = ParseHeader(out); err != nil {
				return err
			}
		}
	}
	return r.emit(Rebatched{Header: h, Bytes: out, Sources: 1, Verbatim: verbatim})
}
