package recordbatch

import (
	"fmt"
	"io"
)

// ReadBatch reads the next batch of a stream into buf, which it grows where it must, and checks its CRC. A batch of more than limitBytes is
// ErrCorrupt, and so is one that does not match its CRC: the bytes are returned then too.
func ReadBatch(r io.Reader, buf []byte, limitBytes int64) (h Header, batch []byte, err error) {
	if limitBytes < HeaderBytes {
		return Header{}, buf[:0], fmt.Errorf("%w: %d bytes where a batch should be", ErrCorrupt, limitBytes)
	}
	if cap(buf) < HeaderBytes {
		buf = make([]byte, HeaderBytes)
	}
	buf = buf[:HeaderBytes]
	if _, err := io.ReadFull(r, buf); err != nil {
		return Header{}, buf[:0], fmt.Errorf("read batch header: %w", err)
	}
	if h, err = ParseHeader(buf); err != nil {
		return Header{}, buf[:0], err
	}
	size := h.SizeBytes()
	if int64(size) > limitBytes {
		return Header{}, buf[:0], fmt.Errorf("%w: batch of %d bytes where there are %d", ErrCorrupt, size, limitBytes)
	}
	if cap(buf) < size {
		grown := make([]byte, size, size+size/4)
		copy(grown, buf)
		buf = grown
	}
	buf = buf[:size]
	if _, err := io.ReadFull(r, buf[HeaderBytes:]); err != nil {
		return Header{}, buf[:0], fmt.Errorf("read batch of %d bytes: %w", size, err)
	}
	return h, buf, CheckCRC(buf)
}
