package segment

import (
	"fmt"

	"github.com/varvelog/varve/ingest/recordbatch"
)

// Object is a whole object in memory, its directory parsed.
type Object struct {
	Header Header
	Parts  []Part
	bytes  []byte
}

// Open parses header, trailer and directory of a whole object. It refers to b.
func Open(b []byte) (*Object, error) {
	header, err := ParseHeader(b)
	if err != nil {
		return nil, err
	}
	trailer, err := ParseTrailer(b)
	if err != nil {
		return nil, err
	}
	if trailer.ObjectBytes != uint64(len(b)) {
		return nil, fmt.Errorf("open object: %d bytes where the trailer says %d: %w", len(b), trailer.ObjectBytes, ErrTruncated)
	}
	parts, err := trailer.Directory(b)
	if err != nil {
		return nil, err
	}
	return &Object{Header: header, Parts: parts, bytes: b}, nil
}

// Batches returns the batches of a part.
func (o *Object) Batches(p *Part) []byte { return o.bytes[p.Position:][:p.LengthBytes] }

// Index parses the index of a part.
func (o *Object) Index(p *Part) (Index, error) {
	return ParseIndex(o.bytes[p.IndexPosition:][:p.IndexLengthBytes], p.BaseOffset, p.LengthBytes)
}

// Verify checks every checksum of the object and that directory, indexes and batches agree. The error names the part and
// the batch.
func (o *Object) Verify() error {
	for i := range o.Parts {
		p := &o.Parts[i]
		if err := o.verifyPart(p); err != nil {
			return fmt.Errorf("part %s-%d [%d, %d): %w", p.Topic, p.Partition, p.BaseOffset, p.NextOffset, err)
		}
		if i > 0 && comparePlaces(&o.Parts[i-1], p) >= 0 {
			return fmt.Errorf("part %s-%d [%d, %d) out of order: %w", p.Topic, p.Partition, p.BaseOffset, p.NextOffset, ErrCorrupt)
		}
	}
	return nil
}

func (o *Object) verifyPart(p *Part) error {
	index, err := o.Index(p)
	if err != nil {
		return err
	}
	var n int
	var position, records uint64
	next := p.BaseOffset
	for batch, err := range recordbatch.Batches(o.Batches(p)) {
		if err != nil {
			return fmt.Errorf("batch %d at %d: %w", n, position, err)
		}
		h := batch.Header
		if n >= index.Batches() || index.position(n) != position || index.base(n) != h.BaseOffset || index.maxTimestamp(n) != h.MaxTimestamp {
			return fmt.Errorf("batch %d at %d with base offset %d is not what the index says: %w", n, position, h.BaseOffset, ErrCorrupt)
		}
		if h.BaseOffset < next || h.NextOffset() > p.NextOffset {
			return fmt.Errorf("batch %d at %d has offsets [%d, %d): %w", n, position, h.BaseOffset, h.NextOffset(), ErrCorrupt)
		}
		if err := recordbatch.CheckCRC(batch.Bytes); err != nil {
			return fmt.Errorf("batch %d at %d: %w", n, position, err)
		}
		n, next = n+1, h.NextOffset()
		position += uint64(len(batch.Bytes))
		records += uint64(h.RecordCount)
	}
	if n != index.Batches() || records != p.Records {
		return fmt.Errorf("%d batches with %d records where %d and %d are recorded: %w", n, records, index.Batches(), p.Records, ErrCorrupt)
	}
	return nil
}
