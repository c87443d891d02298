package recordbatch

import "fmt"

// Compress returns batch, exactly one, with its records compressed by codec, with a new length, attributes and CRC; everything else of
// the header stays. The batch itself is returned, unchanged, where there is nothing to gain: it is compressed so already,
// it has no records, or it came uncompressed and does not become smaller. Otherwise the result is in the room of dst, or
// in new memory where dst has too little; dst must not overlap batch. Level is the codec's own scale
// (compression.<codec>.level), 0 its default. Records that must be inflated first may reach DefaultMaxInflatedBytes.
func Compress(dst, batch []byte, codec Codec, level int) ([]byte, error) {
	h, err := ParseHeader(batch)
	if err != nil {
		return nil, err
	}
	if h.Codec() == codec || h.RecordCount == 0 {
		return batch, nil
	}
	scratch := GetScratch(DefaultMaxInflatedBytes)
	defer scratch.Put()
	_, records, err := scratch.open(batch)
	if err != nil {
		return nil, fmt.Errorf("recompress batch at offset %d: %w", h.BaseOffset, err)
	}
	if cap(dst) == 0 { // a guess of what text comes to, so that the encoder need not grow it from nothing
		dst = make([]byte, 0, HeaderBytes+len(records)/4)
	}
	out, err := deflate(append(dst[:0], batch[:HeaderBytes]...), codec, level, records)
	if err != nil {
		return nil, fmt.Errorf("compress batch at offset %d: %w", h.BaseOffset, err)
	}
	if h.Codec() == None && len(out) >= h.SizeBytes() {
		return batch, nil
	}
	if err := seal(out, codec); err != nil {
		return nil, err
	}
	return out, nil
}

// Decompress returns batch, exactly one, with its records uncompressed, as Compress with None does, but bounded by maxInflatedBytes
// (ErrTooLarge; 0 means DefaultMaxInflatedBytes).
func Decompress(dst, batch []byte, maxInflatedBytes int) ([]byte, error) {
	h, err := ParseHeader(batch)
	if err != nil {
		return nil, err
	}
	if h.Codec() == None {
		return batch, nil
	}
	scratch := GetScratch(maxInflatedBytes)
	defer scratch.Put()
	_, records, err := scratch.open(batch)
	if err != nil {
		return nil, fmt.Errorf("decompress batch at offset %d: %w", h.BaseOffset, err)
	}
	out := append(append(dst[:0], batch[:HeaderBytes]...), records...)
	if err := seal(out, None); err != nil {
		return nil, err
	}
	return out, nil
}
