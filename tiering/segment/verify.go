package segment

import (
	"bytes"
	"fmt"
)

// Object is a whole object in memory, its directory parsed.
type Object struct {
	Header Header
	Contents
	bytes []byte
}

// Open parses header, trailer and directory of a whole object. It refers to b.
func Open(b []byte) (*Object, error) {
	header, trailer, err := parseEnds(b, b)
	if err != nil {
		return nil, err
	}
	if trailer.ObjectBytes != uint64(len(b)) {
		return nil, fmt.Errorf("open object: %d bytes where the trailer says %d: %w", len(b), trailer.ObjectBytes, ErrTruncated)
	}
	contents, err := trailer.Directory(b)
	if err != nil {
		return nil, err
	}
	return &Object{Header: header, Contents: *contents, bytes: b}, nil
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
	_, _, err := VerifyStream(bytes.NewReader(o.bytes), o.bytes, nil)
	return err
}
