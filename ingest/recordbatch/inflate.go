package recordbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

const (
	// zstdMaxWindowBytes is the largest window zstd's own decoder takes unasked, and so the largest a Java client can read.
	// Decoding a whole payload at once needs no memory for the window.
	zstdMaxWindowBytes = 128 << 20
	// zstdSpareBytes of room behind the output let the decoder take its faster path to the end.
	zstdSpareBytes = 64
	// zstdMaxBlockBytes is the most that one block of a frame inflates to.
	zstdMaxBlockBytes = 128 << 10
	// minInflateBytes is the first guess where a payload does not tell its size.
	minInflateBytes = 64 << 10

	lz4FrameMagic = 0x184D2204
)

// xerialMagic begins the framing that Java's snappy streams put around snappy blocks: the magic, two int32 versions, then
// blocks, each behind its int32 length. C clients write one bare snappy block instead.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHeaderBytes = 16

// inflate decodes src into the room of dst, growing it as needed but not above limit bytes of output, beyond which the
// error is ErrTooLarge. It returns dst, grown or not, also on error, so that its room is not lost.
func inflate(dst []byte, codec Codec, src []byte, limit int) ([]byte, error) {
	dst = dst[:0]
	var err error
	switch codec {
	case None:
		if len(src) > limit {
			return dst, tooLarge(codec, limit)
		}
		return append(dst, src...), nil
	case Gzip:
		dst, err = inflateGzip(dst, src, limit)
	case Snappy:
		dst, err = inflateSnappy(dst, src, limit)
	case LZ4:
		dst, err = inflateLZ4(dst, src, limit)
	case Zstd:
		dst, err = inflateZstd(dst, src, limit)
	default:
		return dst, fmt.Errorf("%w: unknown compression codec %d", ErrInvalidRecord, codec)
	}
	if err != nil && !errors.Is(err, ErrTooLarge) {
		err = fmt.Errorf("%w: inflate %s: %w", ErrUndecodable, codec, err)
	}
	return dst, err
}

func tooLarge(codec Codec, limit int) error {
	return fmt.Errorf("%w: %s records inflate to more than %d bytes", ErrTooLarge, codec, limit)
}

// withRoom returns an empty slice with room for at least n bytes, dst's if it has it.
func withRoom(dst []byte, n int) []byte {
	if cap(dst) >= n {
		return dst[:0]
	}
	return make([]byte, 0, n)
}

// zstdDecoder is shared: DecodeAll may be called concurrently and keeps no state between calls.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(zstdMaxWindowBytes),
		zstd.WithDecoderConcurrency(0))
})

// inflateZstd lets the decoder write as far as its output has room. Frames that tell their content's size are decoded
// once; for others (Java's streams) the room is guessed, and multiplied where the guess was short, so that at most a third
// of the work is in vain.
func inflateZstd(dst, src []byte, limit int) ([]byte, error) {
	decoder, err := zstdDecoder()
	if err != nil {
		return dst, err
	}
	var header zstd.Header
	if err := header.Decode(src); err != nil {
		return dst, err
	}
	want := min(max(8*len(src), 2*zstdMaxBlockBytes), limit)
	if header.HasFCS {
		if header.FrameContentSize > uint64(limit) {
			return dst, tooLarge(Zstd, limit)
		}
		want = int(header.FrameContentSize)
	}
	for {
		dst = withRoom(dst, want+zstdSpareBytes)
		room := min(cap(dst), limit+zstdSpareBytes)
		out, err := decoder.DecodeAll(src, dst[:0:room])
		switch {
		case err == nil && len(out) <= limit:
			return out, nil
		case err == nil, errors.Is(err, zstd.ErrWindowSizeExceeded):
			return dst, tooLarge(Zstd, limit)
		// The decoder has several errors for a lack of room, one of which also stands for damage. With room left for a
		// whole block it was not the room.
		case !errors.Is(err, zstd.ErrDecoderSizeExceeded) && room-len(out) >= zstdMaxBlockBytes+zstdSpareBytes:
			return dst, err
		case room >= limit+zstdSpareBytes:
			return dst, tooLarge(Zstd, limit)
		}
		want = min(4*room, limit)
	}
}

func inflateSnappy(dst, src []byte, limit int) ([]byte, error) {
	if len(src) < xerialHeaderBytes || !bytes.HasPrefix(src, xerialMagic) {
		size, err := snappy.DecodedLen(src)
		if err != nil {
			return dst, err
		}
		if size > limit {
			return dst, tooLarge(Snappy, limit)
		}
		dst = withRoom(dst, size)
		_, err = snappy.Decode(dst[:size], src)
		return dst[:size], err
	}
	src = src[xerialHeaderBytes:]
	total, err := xerialSize(src, limit)
	if err != nil {
		return dst, err
	}
	dst = withRoom(dst, total)
	for len(src) > 0 {
		end := 4 + int(binary.BigEndian.Uint32(src))
		block := src[4:end]
		size, err := snappy.DecodedLen(block)
		if err != nil {
			return dst, err
		}
		at := len(dst)
		dst = dst[:at+size]
		if _, err := snappy.Decode(dst[at:], block); err != nil {
			return dst, err
		}
		src = src[end:]
	}
	return dst, nil
}

// xerialSize walks xerial blocks and adds up what they say to inflate to.
func xerialSize(src []byte, limit int) (total int, err error) {
	for len(src) > 0 {
		if len(src) < 4 {
			return 0, errors.New("block length is cut off")
		}
		length := int64(int32(binary.BigEndian.Uint32(src)))
		if length < 0 || length > int64(len(src)-4) {
			return 0, fmt.Errorf("block of %d bytes with %d left", length, len(src)-4)
		}
		size, err := snappy.DecodedLen(src[4 : 4+length])
		if err != nil {
			return 0, err
		}
		if total += size; total > limit {
			return 0, tooLarge(Snappy, limit)
		}
		src = src[4+length:]
	}
	return total, nil
}

type gzipInflater struct {
	src    bytes.Reader
	reader gzip.Reader
}

var gzipInflaters = sync.Pool{New: func() any { return new(gzipInflater) }}

func inflateGzip(dst, src []byte, limit int) ([]byte, error) {
	g := gzipInflaters.Get().(*gzipInflater)
	defer gzipInflaters.Put(g)
	g.src.Reset(src)
	defer g.src.Reset(nil)
	if err := g.reader.Reset(&g.src); err != nil {
		return dst, err
	}
	return readBounded(dst, &g.reader, Gzip, len(src), limit)
}

type lz4Inflater struct {
	src    bytes.Reader
	reader *lz4.Reader
}

var lz4Inflaters = sync.Pool{New: func() any {
	// One block at a time: concurrent decoding starts goroutines and holds several blocks.
	l := &lz4Inflater{reader: lz4.NewReader(nil)}
	if err := l.reader.Apply(lz4.ConcurrencyOption(1)); err != nil {
		panic(fmt.Sprintf("lz4 refused a constant option: %v", err))
	}
	return l
}}

func inflateLZ4(dst, src []byte, limit int) ([]byte, error) {
	// The library also reads legacy frames, whose blocks of 8 MiB no Kafka client writes or reads.
	if len(src) < 4 || binary.LittleEndian.Uint32(src) != lz4FrameMagic {
		return dst, errors.New("no LZ4 frame")
	}
	l := lz4Inflaters.Get().(*lz4Inflater)
	defer lz4Inflaters.Put(l)
	l.src.Reset(src)
	defer l.src.Reset(nil)
	l.reader.Reset(&l.src)
	return readBounded(dst, l.reader, LZ4, len(src), limit)
}

// readBounded reads r to its end into the room of dst, doubling the room as needed, and gives up at the first byte above
// limit.
func readBounded(dst []byte, r io.Reader, codec Codec, compressedBytes, limit int) ([]byte, error) {
	dst = withRoom(dst, min(max(4*compressedBytes, minInflateBytes), limit+1))
	for {
		if len(dst) > limit {
			return dst, tooLarge(codec, limit)
		}
		if len(dst) == cap(dst) {
			grown := make([]byte, len(dst), min(2*cap(dst), limit+1))
			copy(grown, dst)
			dst = grown
		}
		n, err := r.Read(dst[len(dst):min(cap(dst), limit+1)])
		dst = dst[:len(dst)+n]
		switch {
		case errors.Is(err, io.EOF):
			if len(dst) > limit {
				return dst, tooLarge(codec, limit)
			}
			return dst, nil
		case err != nil:
			return dst, err
		}
	}
}
