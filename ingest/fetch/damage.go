package fetch

import (
	"errors"
	"fmt"

	"github.com/varvelog/varve/coordinator/meta"
)

// Damage is a place where bytes stand that are not those that were written. Where they are in another place too, the reader gets them from
// there, else KAFKA_STORAGE_ERROR for that partition.
type Damage struct {
	Partition meta.TopicPartition
	// The extent with the damage, half-open.
	BaseOffset, NextOffset int64
	// Node, DiskID and Segment name a hot segment.
	Node    meta.NodeID
	DiskID  [16]byte
	Segment uint64
	// ObjectKey names an object, and is empty for a hot segment.
	ObjectKey string
	// Position of the batch that is damaged, or of the run or index where that is not known.
	Position uint64
	Err      error
}

// Place says where the damage is.
func (d *Damage) Place() string {
	if d.ObjectKey != "" {
		return fmt.Sprintf("%s at %d", d.ObjectKey, d.Position)
	}
	return fmt.Sprintf("hot segment %d of disk %x of node %d, position %d", d.Segment, d.DiskID, d.Node, d.Position)
}

// tell tells of damage to an extent; it ignores other errors. What the cache has of it is dropped: the store may have it whole.
func (r *Reader) tell(e *extent, err error) {
	var at *damageError
	if !errors.As(err, &at) {
		return
	}
	l := &e.loc
	d := Damage{
		Partition: e.tp, BaseOffset: l.BaseOffset, NextOffset: l.NextOffset, Node: l.Node, DiskID: l.DiskID, Segment: l.Segment, ObjectKey: l.Key(),
		Position: at.position, Err: at.err,
	}
	if d.ObjectKey != "" {
		r.objects.Forget(d.ObjectKey, int64(at.position), int64(at.length))
	} else if e.preferOther {
		d.Node, d.DiskID, d.Segment, d.Position = l.Copy.Node, l.Copy.DiskID, l.Copy.Segment, at.position-l.Position+l.Copy.Position
	}
	if r.damaged != nil {
		r.damaged(d)
	}
}
