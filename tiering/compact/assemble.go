package compact

import (
	"fmt"
	"math"

	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// assembler makes the batches of a part that is stored anew: what is left of small batches is gathered into larger ones.
type assembler struct {
	encoder *segment.Encoder
	target  int // bytes up to which records are gathered

	gathered *recordbatch.Builder // plain records
	horizon  int64                // their delete horizon, 0 for none
	epoch    int32                // their leader epoch, or that of the last batch
	base     int64                // the first one's offset
	single   *recordbatch.Builder // a batch that stays by itself
	next     int64                // behind the last batch that was given to the encoder
	out      []byte
	read     int32 // the leader epoch of the last batch that was read, kept or not
}

func newAssembler(target int, codec recordbatch.Codec, level int) *assembler {
	options := recordbatch.BuilderOptions{Codec: codec, Level: level}
	return &assembler{target: target, gathered: recordbatch.NewBuilder(options), single: recordbatch.NewBuilder(options)}
}

// begin starts a part at an offset.
func (a *assembler) begin(encoder *segment.Encoder, baseOffset int64) {
	a.encoder, a.next = encoder, baseOffset
	a.gathered.Reset(0, 0)
}

// sizeBytes is about what the part comes to so far.
func (a *assembler) sizeBytes() int { return a.encoder.SizeBytes() + a.gathered.SizeBytes() }

// pass adds a batch as it is.
func (a *assembler) pass(b recordbatch.Batch, undecoded bool) error {
	if err := a.flush(-1); err != nil {
		return err
	}
	return a.put(b.Header, b.Bytes, undecoded)
}

// gather adds a plain record.
func (a *assembler) gather(r *recordbatch.Record, leaderEpoch int32, horizon int64) error {
	if a.gathered.RecordCount() > 0 && !a.takes(r, leaderEpoch, horizon) {
		if err := a.flush(-1); err != nil {
			return err
		}
	}
	if a.gathered.RecordCount() == 0 {
		a.gathered.Reset(r.Offset, leaderEpoch)
		a.epoch, a.base, a.horizon = leaderEpoch, r.Offset, horizon
		if horizon != 0 {
			a.gathered.SetDeleteHorizon(horizon)
		}
	}
	err := a.gathered.AppendRecord(r)
	if err != nil && a.gathered.RecordCount() > 0 { // offsets or timestamps too far apart
		if err := a.flush(-1); err != nil {
			return err
		}
		return a.gather(r, leaderEpoch, horizon)
	}
	return err
}

// takes says whether a record may join those gathered. A horizon concerns tombstones alone, so that other records join any; a tombstone that has none
// yet would be given one that is too early.
func (a *assembler) takes(r *recordbatch.Record, leaderEpoch int32, horizon int64) bool {
	return leaderEpoch == a.epoch && (horizon == a.horizon || horizon == 0 && r.Value != nil) &&
		a.gathered.SizeBytes()+len(r.Key)+len(r.Value)+len(r.Headers) < a.target
}

// alone adds what is left of a batch that stays by itself, with its range of offsets.
func (a *assembler) alone(h *recordbatch.Header, records []recordbatch.Record, horizon int64) error {
	if err := a.flush(-1); err != nil {
		return err
	}
	a.single.ResetLike(h)
	if horizon != 0 {
		a.single.SetDeleteHorizon(horizon)
	}
	for i := range records {
		if err := a.single.AppendRecord(&records[i]); err != nil {
			return err
		}
	}
	return a.build(a.single)
}

// flush writes what is gathered. The batch covers the offsets up to last, where it is not -1.
func (a *assembler) flush(last int64) error {
	if a.gathered.RecordCount() == 0 {
		return nil
	}
	if last >= 0 && last-a.base <= math.MaxInt32 {
		if err := a.gathered.SetLastOffset(last); err != nil {
			return err
		}
	}
	err := a.build(a.gathered)
	a.gathered.Reset(0, 0)
	return err
}

func (a *assembler) build(builder *recordbatch.Builder) error {
	out, h, err := builder.Build(a.out)
	if err != nil {
		return err
	}
	a.out = out
	return a.put(h, out, false)
}

func (a *assembler) put(h recordbatch.Header, b []byte, undecoded bool) error {
	a.next = h.NextOffset()
	a.epoch = h.LeaderEpoch
	return a.encoder.Batch(h, b, undecoded)
}

// end ends the part at an offset. The last batch reaches up to there: a consumer that comes to the end of the log has to get by it. It has the leader epoch
// in which the last offsets were given: to a consumer whose position is behind the end of its epoch the log would seem to be truncated.
func (a *assembler) end(nextOffset int64) error {
	last := nextOffset - 1
	if a.gathered.RecordCount() > 0 && a.epoch != a.read {
		last = -1
	}
	if err := a.flush(last); err != nil {
		return err
	}
	if a.next < nextOffset {
		b := recordbatch.EmptyBatch(a.next, nextOffset-1, a.read)
		h, err := recordbatch.ParseHeader(b)
		if err != nil {
			return err
		}
		if err := a.put(h, b, false); err != nil {
			return err
		}
	}
	if !a.encoder.End(nextOffset) {
		return fmt.Errorf("end part at offset %d: it has no batches", nextOffset)
	}
	return nil
}
