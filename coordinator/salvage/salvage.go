package salvage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/objstore"
)

// Source says which log, and where.
type Source struct {
	// Store is the part of the bucket in which the metadata is (identity.Cluster.Metadata).
	Store objstore.Store
	// LogID is the log's id; where it is not known, the newest snapshot or else the first entry tells it.
	LogID [16]byte
	// Metalog is the backend, as cluster.json names it.
	Metalog string
	// Spares says that second copies of snapshots' parts are looked at too, though the parts are whole.
	Spares bool
	// Looked is called with the key of every object that was looked at; nil for none.
	Looked func(key string)
}

// Damage is an object that is not what it should be, or a gap.
type Damage struct {
	Key string
	Err error
}

// Found is what there is of a log.
type Found struct {
	LogID [16]byte
	// State is the state after the last entry that could be applied, or of the snapshot; nil where there is neither.
	State *meta.State
	// EntryHash is that of the entry at State.Seq().
	EntryHash [32]byte
	// Snapshot is the sequence of the snapshot that State began with, 0 for none. Snapshots are all that are in the bucket, whole or not.
	Snapshot  uint64
	Snapshots []uint64
	// Deleted are topics that the log knew, up to State, and State does not: as far back as snapshots and entries show.
	Deleted map[meta.TopicID]bool
	// Entries counts the sound ones, Unused those behind a break, which no state can be built from.
	Entries, Unused uint64
	// End is the sequence behind the last entry or snapshot of which there is a trace.
	End uint64
	// Damaged is all that is wrong, in the order in which it was found.
	Damaged []Damage
}

// damage notes what is wrong with an object, once: several snapshots may name it.
func (f *Found) damage(key string, err error) {
	if key != "" && slices.ContainsFunc(f.Damaged, func(d Damage) bool { return d.Key == key && d.Err.Error() == err.Error() }) {
		return
	}
	f.Damaged = append(f.Damaged, Damage{Key: key, Err: err})
}

// Newer is an error where something was written by a newer program, so that what this one makes of the rest is not what the cluster was.
func (f *Found) Newer() error {
	for _, d := range f.Damaged {
		if errors.Is(d.Err, meta.ErrFormat) || errors.Is(d.Err, meta.ErrFeatureLevel) || errors.Is(d.Err, metalog.ErrFormat) {
			return fmt.Errorf("%s is of a newer version than this program reads: %w", d.Key, d.Err)
		}
	}
	return nil
}

// Read looks at everything there is. An error means that the store failed, and the result says nothing.
func Read(ctx context.Context, src Source) (*Found, error) {
	r := reader{Source: src, found: &Found{LogID: src.LogID}, topics: map[meta.TopicID]uint64{}}
	if r.Looked == nil {
		r.Looked = func(string) {}
	}
	if err := r.snapshots(ctx); err != nil {
		return nil, err
	}
	read := r.archived
	if src.Metalog == identity.MetalogBucket {
		read = r.stored
	}
	if err := read(ctx); err != nil {
		return nil, err
	}
	r.found.Deleted = r.deleted()
	return r.found, nil
}

// ReadLive is Read of a cluster that may be working: it prunes what is being read, and what was damaged then is read again.
func ReadLive(ctx context.Context, src Source) (*Found, error) {
	const attempts = 3
	for i := 1; ; i++ {
		found, err := Read(ctx, src)
		if err != nil || len(found.Damaged) == 0 || i == attempts {
			return found, err
		}
	}
}

// reader goes through the objects.
type reader struct {
	Source
	found  *Found
	hashes map[uint64][32]byte     // of the entries that snapshots stand for, by their manifests
	broken bool                    // the chain of entries has come to an end behind the state
	next   uint64                  // the sequence of the entry that the chain wants; 0 before the first
	last   [32]byte                // hash of the entry before it; of no account where none is known
	linked bool                    // last is known
	topics map[meta.TopicID]uint64 // where the log first shows a topic: the sequence of a snapshot that has it, or of an entry that deletes it
}

func (r *reader) noteTopic(id meta.TopicID, seq uint64) {
	if first, noted := r.topics[id]; !noted || seq < first {
		r.topics[id] = seq
	}
}

// deleted are the topics that were there before the state, and are not in it: no other topic ever gets the id of one.
func (r *reader) deleted() map[meta.TopicID]bool {
	deleted := map[meta.TopicID]bool{}
	for id, seq := range r.topics {
		if s := r.found.State; s != nil && seq <= s.Seq() && s.Topic(id) == nil {
			deleted[id] = true
		}
	}
	return deleted
}

// transient says whether err is the store's, and not about what it holds.
func transient(ctx context.Context, err error) bool {
	return ctx.Err() != nil || !replica.Final(err) && !errors.Is(err, objstore.ErrNotFound)
}

// snapshots looks at every snapshot, newest first, and keeps the state of the newest that is whole.
func (r *reader) snapshots(ctx context.Context) error {
	seqs, err := replica.ListManifests(ctx, r.Store)
	if err != nil {
		return err
	}
	r.found.Snapshots = seqs
	r.hashes = map[uint64][32]byte{}
	for i := len(seqs) - 1; i >= 0; i-- {
		key := replica.SnapshotKey(seqs[i])
		r.found.End = max(r.found.End, seqs[i]+1)
		state, m, err := r.snapshot(ctx, seqs[i])
		r.Looked(key)
		if err != nil {
			if transient(ctx, err) {
				return err
			}
			r.found.damage(key, err)
			continue
		}
		r.hashes[seqs[i]] = [32]byte(m.EntryHash)
		for _, t := range state.Topics() {
			r.noteTopic(t.ID, seqs[i])
		}
		if r.found.State == nil {
			r.found.State, r.found.EntryHash, r.found.Snapshot = state, [32]byte(m.EntryHash), seqs[i]
		}
	}
	return nil
}

func (r *reader) snapshot(ctx context.Context, seq uint64) (*meta.State, *metapb.Manifest, error) {
	m, err := replica.ReadManifest(ctx, r.Store, seq)
	if err != nil {
		return nil, nil, err
	}
	if r.found.LogID == ([16]byte{}) && len(m.LogId) == 16 {
		r.found.LogID = [16]byte(m.LogId)
	}
	if string(m.LogId) != string(r.found.LogID[:]) {
		return nil, nil, fmt.Errorf("of log %x, not of %x: %w", m.LogId, r.found.LogID, meta.ErrForeignLog)
	}
	state, err := meta.Restore(m, func(hash [32]byte) ([]byte, error) {
		part, damage, err := replica.ReadPart(ctx, r.Store, hash)
		if err == nil {
			r.Looked(replica.PartKey(hash))
		}
		if damage != nil {
			r.found.damage(replica.PartKey(hash), fmt.Errorf("its spare is used: %w", damage))
		}
		if r.Spares && err == nil && damage == nil {
			return part, r.spare(ctx, hash)
		}
		return part, err
	})
	return state, m, err
}

// spare looks at a part's spare. Not every part has one.
func (r *reader) spare(ctx context.Context, hash [32]byte) error {
	err := replica.CheckSpare(ctx, r.Store, hash)
	switch {
	case err == nil:
		r.Looked(replica.SpareKey(hash))
	case errors.Is(err, objstore.ErrNotFound):
	case transient(ctx, err):
		return err
	default:
		r.found.damage(replica.SpareKey(hash), err)
	}
	return nil
}

// entry takes the entry at seq, from the object with this key. Entries come in ascending order, perhaps with gaps.
func (r *reader) entry(seq uint64, encoded []byte, key string) {
	if seq < r.next {
		return // another object has brought it
	}
	if r.next > 0 && seq > r.next {
		r.gap(seq)
	}
	r.next = seq + 1
	r.found.End = max(r.found.End, seq+1)
	entry, err := meta.DecodeEntry(encoded)
	if err == nil && r.found.LogID == ([16]byte{}) && len(entry.LogId) == 16 {
		r.found.LogID = [16]byte(entry.LogId)
	}
	if err == nil {
		err = r.check(seq, entry)
	}
	if err != nil {
		r.found.damage(key, fmt.Errorf("entry %d: %w", seq, err))
		r.linked = false
		r.stop(seq)
		return
	}
	r.found.Entries++
	r.last, r.linked = hashOf(encoded), true
	if want, known := r.hashes[seq]; known && want != r.last {
		r.found.damage(key, fmt.Errorf("entry %d is not the one that %s stands for: %w", seq, replica.SnapshotKey(seq), replica.ErrForked))
		r.stop(seq)
		return
	}
	for _, c := range entry.Commands {
		if id := c.GetDeleteTopic().GetTopicId(); len(id) == len(meta.TopicID{}) {
			r.noteTopic(meta.TopicID(id), seq)
		}
	}
	r.apply(seq, entry, key)
}

// check holds an entry against its log and its predecessor.
func (r *reader) check(seq uint64, entry *metapb.Entry) error {
	switch {
	case string(entry.LogId) != string(r.found.LogID[:]):
		return fmt.Errorf("of log %x, not of %x: %w", entry.LogId, r.found.LogID, meta.ErrForeignLog)
	case seq == 1 && len(entry.PreviousHash) > 0, r.linked && seq > 1 && string(entry.PreviousHash) != string(r.last[:]):
		return fmt.Errorf("it names another entry before it: %w", replica.ErrForked)
	}
	return nil
}

func (r *reader) apply(seq uint64, entry *metapb.Entry, key string) {
	f := r.found
	at := uint64(0)
	if f.State != nil {
		at = f.State.Seq()
	}
	if seq <= at {
		return // the snapshot stands for it
	}
	if !r.broken && seq != at+1 {
		f.damage("", fmt.Errorf("entries %d to %d are missing: %w", at+1, seq-1, errMissing))
		r.broken = true
	}
	if r.broken {
		f.Unused++
		return
	}
	if f.State == nil {
		f.State = meta.New(f.LogID)
	}
	if at > 0 && string(entry.PreviousHash) != string(f.EntryHash[:]) {
		f.damage(key, fmt.Errorf("entry %d names another entry before it than the state is of: %w", seq, replica.ErrForked))
		r.stop(seq)
		f.Unused++
		return
	}
	if err := f.State.Apply(seq, entry, nil); err != nil {
		f.damage(key, fmt.Errorf("entry %d: %w", seq, err))
		r.stop(seq)
		return
	}
	f.EntryHash = r.last
}

// stop ends the state before seq, unless the snapshot stands for what is missing there.
func (r *reader) stop(seq uint64) {
	if r.found.State == nil || seq > r.found.State.Seq() {
		r.broken = true
	}
}

// gap notes that the entries from the one that is due to the one before seq are missing.
func (r *reader) gap(seq uint64) {
	r.linked = false
	if r.found.State != nil && seq-1 <= r.found.State.Seq() {
		return // cut behind snapshots, all but fences
	}
	r.found.damage("", fmt.Errorf("entries %d to %d are missing: %w", r.next, seq-1, errMissing))
	r.stop(r.next)
}

var errMissing = errors.New("metadata log has a hole")
