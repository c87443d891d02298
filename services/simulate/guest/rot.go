package main

import (
	"context"
	"errors"
	"slices"

	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/objstore"
)

// rot flips a bit of some object of the metadata's snapshots in the bucket, unless one that flipped before is still there: any single one is survived,
// by whoever goes on and by whoever starts, and is mended before the next.
func (c *cluster) rot(ctx context.Context) {
	keys, sound, err := c.snapshotObjects(ctx)
	if err != nil {
		panic(err) // the store without its faults
	}
	if !sound || len(keys) == 0 {
		return
	}
	key := keys[c.w.IntN(len(keys))]
	object, _, err := objstore.ReadAll(ctx, c.bucket.Inner, key, 64<<20)
	if err != nil {
		panic(err)
	}
	object = slices.Clone(object)
	object[c.w.IntN(len(object))] ^= 1 << c.w.IntN(8)
	if _, err := c.bucket.Inner.Put(ctx, key, object); err != nil {
		panic(err)
	}
	c.w.Trace("a bit flips in %s", key)
	c.w.Count("bit flipped in a snapshot")
}

// snapshotObjects lists what the snapshots consist of, and says whether all of it is as it was written.
func (c *cluster) snapshotObjects(ctx context.Context) (keys []string, sound bool, err error) {
	store := c.bucket.Inner
	seqs, err := replica.ListManifests(ctx, store)
	if err != nil {
		return nil, false, err
	}
	names := map[[32]byte]int{} // how many snapshots name it
	var parts [][32]byte
	for _, seq := range seqs {
		m, err := replica.ReadManifest(ctx, store, seq)
		if err != nil {
			return nil, false, nil
		}
		keys = append(keys, replica.SnapshotKey(seq))
		for _, name := range m.Parts {
			hash := [32]byte(name)
			if names[hash]++; names[hash] == 1 {
				parts = append(parts, hash)
			}
		}
	}
	for _, hash := range parts {
		if _, damage, err := replica.ReadPart(ctx, store, hash); damage != nil || err != nil {
			return nil, false, nil
		}
		keys = append(keys, replica.PartKey(hash))
		err := replica.CheckSpare(ctx, store, hash)
		switch {
		case err == nil:
			keys = append(keys, replica.SpareKey(hash))
		case !errors.Is(err, objstore.ErrNotFound) || names[hash] > 1:
			return nil, false, nil
		}
	}
	return keys, true, nil
}
