package segment

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/varvelog/varve/ingest/recordbatch"
)

// VerifyStream is Open and Verify for an object that is read from its first byte to its last, with memory for one batch and one index at
// a time. end is the object's end, far enough back for its directory; r yields the whole object. visit, if not nil, sees each batch, which is
// valid during the call, and its part.
func VerifyStream(r io.Reader, end []byte, visit func(p *Part, h recordbatch.Header, batch []byte) error) (Header, *Contents, error) {
	v := streamVerifier{r: r, visit: visit}
	head, err := v.take(HeaderBytes)
	if err != nil {
		return Header{}, nil, err
	}
	header, trailer, err := parseEnds(head, end)
	if err != nil {
		return Header{}, nil, err
	}
	contents, err := trailer.Directory(end)
	if err != nil {
		return Header{}, nil, err
	}
	return header, contents, v.object(trailer, contents.Parts)
}

type streamVerifier struct {
	r        io.Reader
	visit    func(p *Part, h recordbatch.Header, batch []byte) error
	position uint64
	buf      []byte
}

// take reads the next n bytes, valid until the next call.
func (v *streamVerifier) take(n int) ([]byte, error) {
	if cap(v.buf) < n {
		v.buf = make([]byte, n)
	}
	b := v.buf[:n]
	if _, err := io.ReadFull(v.r, b); err != nil {
		return nil, fmt.Errorf("read %d bytes at %d: %w", n, v.position, err)
	}
	v.position += uint64(n)
	return b, nil
}

func (v *streamVerifier) object(t Trailer, parts []Part) error {
	// What the batches say their indexes should be, to be held against what stands behind them.
	want := make([][]byte, len(parts))
	for i := range parts {
		p := &parts[i]
		if p.Position != v.position {
			return fmt.Errorf("part %d begins at %d, what is before it ends at %d: %w", i, p.Position, v.position, ErrCorrupt)
		}
		if i > 0 && comparePlaces(&parts[i-1], p) >= 0 {
			return fmt.Errorf("%s out of order: %w", p, ErrCorrupt)
		}
		var err error
		if want[i], err = v.part(p); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	for i := range parts {
		p := &parts[i]
		if p.IndexPosition != v.position || p.IndexLengthBytes != uint64(len(want[i])) {
			return fmt.Errorf("%s: index at %d, %d bytes, where %d, %d bytes are due: %w", p, p.IndexPosition, p.IndexLengthBytes, v.position, len(want[i]), ErrCorrupt)
		}
		index, err := v.take(len(want[i]))
		if err != nil {
			return err
		}
		if !bytes.Equal(index, want[i]) {
			return fmt.Errorf("%s: the index is not that of its batches: %w", p, ErrCorrupt)
		}
	}
	if t.DirectoryPosition != v.position {
		return fmt.Errorf("directory at %d, the indexes end at %d: %w", t.DirectoryPosition, v.position, ErrCorrupt)
	}
	return nil
}

// part reads the batches of a part and returns the index they make.
func (v *streamVerifier) part(p *Part) (index []byte, err error) {
	next := p.BaseOffset
	var position, records uint64
	for n := 0; position < p.LengthBytes; n++ {
		h, batch, err := recordbatch.ReadBatch(v.r, v.buf, int64(p.LengthBytes-position))
		v.buf = batch
		v.position += uint64(len(batch))
		if err != nil {
			return nil, fmt.Errorf("batch %d at %d: %w", n, position, err)
		}
		if h.BaseOffset < next || h.NextOffset() > p.NextOffset {
			return nil, fmt.Errorf("batch %d at %d has offsets [%d, %d): %w", n, position, h.BaseOffset, h.NextOffset(), ErrCorrupt)
		}
		if v.visit != nil {
			if err := v.visit(p, h, batch); err != nil {
				return nil, err
			}
		}
		index = order.AppendUint32(index, uint32(h.BaseOffset-p.BaseOffset))
		index = order.AppendUint32(index, uint32(position))
		index = order.AppendUint64(index, uint64(h.MaxTimestamp))
		next = h.NextOffset()
		position += uint64(len(batch))
		records += uint64(h.RecordCount)
	}
	if records != p.Records {
		return nil, fmt.Errorf("%d records where %d are recorded: %w", records, p.Records, ErrCorrupt)
	}
	return order.AppendUint32(index, crc32.Checksum(index, castagnoli)), nil
}

// String names the part for messages.
func (p *Part) String() string {
	return fmt.Sprintf("part %s-%d [%d, %d)", p.Topic, p.Partition, p.BaseOffset, p.NextOffset)
}
