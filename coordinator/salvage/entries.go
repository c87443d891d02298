package salvage

import (
	"context"
	"crypto/sha256"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/coordinator/archive"
	"github.com/varvelog/varve/coordinator/metalog/bucket"
)

// readAhead is how many entries, an object each, are read at once.
const readAhead = 32

func hashOf(encoded []byte) [32]byte { return sha256.Sum256(encoded) }

// archived goes through the archive of a log that was kept elsewhere.
func (r *reader) archived(ctx context.Context) error {
	objects, err := archive.List(ctx, r.Store)
	if err != nil {
		return err
	}
	for _, o := range objects {
		r.found.End = max(r.found.End, o.Next)
		batch, err := archive.Load(ctx, r.Store, r.found.LogID, o)
		r.Looked(o.Key())
		if err != nil {
			if transient(ctx, err) {
				return err
			}
			r.found.damage(o.Key(), err)
			continue
		}
		if r.found.LogID == ([16]byte{}) {
			r.found.LogID = batch.LogID
		}
		for i, entry := range batch.Entries {
			r.entry(o.First+uint64(i), entry, o.Key())
		}
	}
	return nil
}

// stored goes through a log that is kept in the bucket.
func (r *reader) stored(ctx context.Context) error {
	seqs, err := bucket.Sequences(ctx, r.Store)
	if err != nil {
		return err
	}
	for len(seqs) > 0 {
		some := seqs[:min(readAhead, len(seqs))]
		seqs = seqs[len(some):]
		entries, errs := make([][]byte, len(some)), make([]error, len(some))
		var group errgroup.Group
		for i, seq := range some {
			group.Go(func() error {
				entries[i], errs[i] = bucket.ReadEntry(ctx, r.Store, seq)
				return nil
			})
		}
		_ = group.Wait() // each error stands in its place
		for i, seq := range some {
			key := bucket.Key(seq)
			r.Looked(key)
			r.found.End = max(r.found.End, seq+1)
			if errs[i] == nil {
				r.entry(seq, entries[i], key)
				continue
			}
			if transient(ctx, errs[i]) {
				return errs[i]
			}
			r.found.damage(key, errs[i])
			r.linked = false
			r.next = seq + 1
			r.stop(seq)
		}
	}
	return nil
}
