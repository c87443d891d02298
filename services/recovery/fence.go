package recovery

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/varvelog/varve/coordinator/archive"
	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/bucket"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/coordinator/salvage"
	"github.com/varvelog/varve/infra/objstore"
)

// formerLog is a log whose place the recovery takes, as it was read.
type formerLog struct {
	store   objstore.Store // the part of the bucket that its metadata is in
	metalog string
	logID   [16]byte
	end     uint64 // the sequence behind its last entry
	hash    [32]byte
	epoch   uint64 // of its last leader
	millis  int64
}

func describeFormer(store objstore.Store, c *identity.Cluster, found *salvage.Found) formerLog {
	f := formerLog{store: store, metalog: c.Metalog, logID: found.LogID, end: max(found.End, 1), hash: found.EntryHash}
	if found.State != nil {
		f.epoch, f.millis = found.State.LeaderEpoch(), found.State.TimeMillis()
	}
	return f
}

// leaderName is what the log tells its leaders of who has succeeded them.
const leaderName = "varve recover"

// fenceEpochs is how far above the last leader's epoch that a damaged log tells of the fence's is: it must be above all that were.
const fenceEpochs = 1_000_000

// fence ends the log for whoever leads it: what he appends next finds that he was succeeded. Of a log that is not in the bucket it can say no
// more than whether the bucket shows entries that were not read. ErrAlive: there are some.
func (f *formerLog) fence(ctx context.Context) error {
	if f.metalog != identity.MetalogBucket || f.end == 1 { // of a log that is gone there is nothing to fence
		return f.unmoved(ctx)
	}
	log, err := bucket.Open(ctx, f.store)
	if err != nil {
		return err
	}
	f.epoch += fenceEpochs
	entry := &metapb.Entry{
		Format: meta.EntryFormat, LogId: f.logID[:], LeaderEpoch: f.epoch, TimeMillis: f.millis,
		Commands: []*metapb.Command{{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: f.epoch, Name: leaderName}}}},
	}
	if f.end > 1 {
		entry.PreviousHash = f.hash[:]
	}
	encoded, err := meta.EncodeEntry(entry)
	if err != nil {
		return err
	}
	err = log.Append(ctx, f.end, encoded, metalog.Fence)
	if errors.Is(err, metalog.ErrConflict) {
		// An answer of this very append may have been lost.
		if there, _, readErr := metalog.ReadOne(ctx, log, f.end); readErr == nil && string(there) == string(encoded) {
			err = nil
		} else {
			err = fmt.Errorf("entry %d of its log came after the log was read: %w", f.end, ErrAlive)
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("fence the former log: %w", err), log.Close())
	}
	f.end, f.hash = f.end+1, hashOf(encoded)
	return log.Close()
}

// unmoved is ErrAlive where the bucket shows more of a log than was read.
func (f *formerLog) unmoved(ctx context.Context) error {
	end, err := f.shown(ctx)
	if err != nil {
		return err
	}
	manifests, err := replica.ListManifests(ctx, f.store)
	if err != nil {
		return err
	}
	if len(manifests) > 0 {
		end = max(end, manifests[len(manifests)-1]+1)
	}
	if end > f.end {
		return fmt.Errorf("entries %d to %d of its log came after the log was read: %w", f.end, end-1, ErrAlive)
	}
	return nil
}

// shown is the sequence behind the last entry that the bucket has.
func (f *formerLog) shown(ctx context.Context) (end uint64, err error) {
	if f.metalog != identity.MetalogBucket {
		return archive.End(ctx, f.store)
	}
	seqs, err := bucket.Sequences(ctx, f.store)
	if err != nil || len(seqs) == 0 {
		return 0, err
	}
	return seqs[len(seqs)-1] + 1, nil
}

// fenceForGood ends the log behind whatever came into it between the first fence and the new identity, and returns how many entries those are: nobody
// takes over again who looks at the identity first.
func (f *formerLog) fenceForGood(ctx context.Context) (late uint64, err error) {
	if f.metalog != identity.MetalogBucket || f.end == 1 {
		return 0, nil
	}
	for {
		err := f.fence(ctx)
		if !errors.Is(err, ErrAlive) {
			return late, err
		}
		there, err := bucket.ReadEntry(ctx, f.store, f.end)
		if err != nil {
			return late, err
		}
		if entry, err := meta.DecodeEntry(there); err == nil {
			f.epoch, f.millis = max(f.epoch, entry.LeaderEpoch), max(f.millis, entry.TimeMillis)
		}
		f.end, f.hash, late = f.end+1, hashOf(there), late+1
	}
}

func hashOf(encoded []byte) [32]byte { return sha256.Sum256(encoded) }
