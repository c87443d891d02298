package recovery

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/coordinator/archive"
	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/bucket"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/tiering/upload"
)

// finish makes the state the new log's first.
func (p *Plan) finish() (*meta.State, error) {
	p.Report.Seq = p.recovery.State().Seq()
	return p.recovery.Finish(p.next.LogID, p.job)
}

// Execute carries the plan out. Where it fails, or is interrupted, the bucket is as it was, but for objects that nothing refers to.
func (p *Plan) Execute(ctx context.Context) error {
	store := p.next.Metadata(p.cfg.Store)
	if err := p.log.fence(ctx); err != nil {
		return err
	}
	if err := p.storePieces(ctx); err != nil {
		return err
	}
	for _, f := range p.fillers {
		if err := upload.Put(ctx, p.cfg.Store, f.key, f.body, p.cfg.Logger); err != nil {
			return err
		}
	}
	entry, err := p.firstEntry()
	if err != nil {
		return err
	}
	if err := p.writeSnapshot(ctx, store, entry); err != nil {
		return err
	}
	if err := p.writeLog(ctx, store, entry); err != nil {
		return err
	}
	for _, log := range append([]formerLog{p.log}, p.others...) {
		if err := log.unmoved(ctx); err != nil {
			return err
		}
	}
	if err := identity.Replace(ctx, p.cfg.Store, p.next, p.version); err != nil {
		return err
	}
	p.Report.Done = true
	p.fenceForGood(ctx)
	p.sweepAttempts(ctx)
	return nil
}

// fenceForGood fences the former log once more, and one whose place it is that of a recovery which was not used. What it cannot do, each of their
// processes does when it looks at the identity.
func (p *Plan) fenceForGood(ctx context.Context) {
	for _, log := range append([]formerLog{p.log}, p.others...) {
		late, err := log.fenceForGood(ctx)
		if err != nil {
			p.cfg.Logger.Warn("a log that was replaced could not be fenced", "log", fmt.Sprintf("%x", log.logID), "error", err)
		}
		if late > 0 {
			p.Report.Late += late
			p.Report.Missing = append(p.Report.Missing, fmt.Sprintf("%d entries that a process of log %x appended while its place was taken", late, log.logID))
		}
	}
}

func (p *Plan) firstEntry() ([]byte, error) {
	return meta.EncodeEntry(&metapb.Entry{
		LogId: p.next.LogID[:], LeaderEpoch: p.state.LeaderEpoch(), TimeMillis: p.state.TimeMillis(),
		Commands: []*metapb.Command{{Kind: &metapb.Command_Recovered{Recovered: &metapb.Recovered{FormerLogId: p.former[:], FormerSeq: p.Report.Seq}}}},
	})
}

func (p *Plan) writeSnapshot(ctx context.Context, store objstore.Store, entry []byte) error {
	hash := hashOf(entry)
	manifest, err := p.state.Snapshot(hash[:], func(hash [32]byte, part []byte) error {
		return upload.Put(ctx, store, replica.PartKey(hash), part, p.cfg.Logger)
	})
	if err != nil {
		return err
	}
	encoded, err := meta.EncodeManifest(manifest)
	if err != nil {
		return err
	}
	return upload.Put(ctx, store, replica.SnapshotKey(manifest.Seq), encoded, p.cfg.Logger)
}

// writeLog puts the first entry where the log's first reader finds it: into the log that is kept in the bucket, or into the archive
// of one that is kept elsewhere (archive.Seed).
func (p *Plan) writeLog(ctx context.Context, store objstore.Store, entry []byte) error {
	if p.next.Metalog == identity.MetalogBucket {
		log, err := bucket.Open(ctx, store)
		if err != nil {
			return err
		}
		if err := log.Append(ctx, 1, entry, metalog.Fence); err != nil && !errors.Is(err, metalog.ErrConflict) {
			return fmt.Errorf("begin the new log: %w", err)
		}
		return log.Close()
	}
	batch := &archive.Batch{LogID: p.next.LogID, First: 1, Entries: [][]byte{entry}}
	return upload.Put(ctx, store, (archive.Object{First: 1, Next: batch.Next()}).Key(), archive.Encode(batch), p.cfg.Logger)
}

// sweepAttempts deletes the metadata of recoveries that never came to replace the identity. It is a courtesy: what it leaves does no harm. Where the identity
// was lost nobody can tell it from that of former logs.
func (p *Plan) sweepAttempts(ctx context.Context) {
	if p.unnamed {
		return
	}
	kept := map[string]bool{"": true, p.next.MetadataPrefix(): true}
	for c := p.next.Formerly(); c != nil; c = c.Formerly() {
		kept[c.MetadataPrefix()] = true
	}
	prefixes, err := metadataPrefixes(ctx, p.cfg.Store)
	if err != nil {
		p.cfg.Logger.Warn("what earlier attempts have left was not deleted", "error", err)
		return
	}
	for _, prefix := range prefixes {
		if kept[prefix] {
			continue
		}
		for info, err := range p.cfg.Store.List(ctx, prefix, "") {
			if err == nil {
				err = p.cfg.Store.Delete(ctx, info.Key)
			}
			if err != nil {
				p.cfg.Logger.Warn("what an earlier attempt has left was not deleted", "prefix", prefix, "error", err)
				return
			}
		}
	}
}
