package recordbatch

import (
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// zstdWindowBytes bounds the memory of an encoder; a window above the usual batch gains nothing.
const zstdWindowBytes = 1 << 20

// xerialBlockBytes is the size of the blocks that the xerial encoder cuts.
const xerialBlockBytes = 32 << 10

// compressedSink collects what a streaming encoder writes.
type compressedSink struct{ b []byte }

func (s *compressedSink) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}

// deflate appends src, compressed, to dst. Level is the codec's own scale (Kafka's compression.<codec>.level); 0 is the
// codec's default, and levels outside the scale are clamped.
func deflate(dst []byte, codec Codec, level int, src []byte) ([]byte, error) {
	switch codec {
	case None:
		return append(dst, src...), nil
	case Gzip:
		return deflateGzip(dst, level, src)
	case Snappy:
		return deflateSnappy(dst, src), nil
	case LZ4:
		return deflateLZ4(dst, level, src)
	case Zstd:
		return deflateZstd(dst, level, src)
	}
	return dst, fmt.Errorf("%w: unknown compression codec %d", ErrInvalidRecord, codec)
}

// zstdEncoders holds encoders by level. They belong to one caller at a time, so one state each is enough; EncodeAll starts
// no goroutine, so one that the collector drops from the pool leaves nothing behind.
var zstdEncoders [zstd.SpeedBestCompression + 1]sync.Pool

func deflateZstd(dst []byte, level int, src []byte) ([]byte, error) {
	speed := zstd.SpeedDefault
	if level != 0 {
		speed = zstd.EncoderLevelFromZstd(level)
	}
	encoder, ok := zstdEncoders[speed].Get().(*zstd.Encoder)
	if !ok {
		var err error
		// The batch has a checksum of its own, so the frame goes without.
		encoder, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(zstdWindowBytes), zstd.WithEncoderCRC(false), zstd.WithZeroFrames(true))
		if err != nil {
			return dst, fmt.Errorf("start zstd encoder: %w", err)
		}
	}
	dst = encoder.EncodeAll(src, dst)
	zstdEncoders[speed].Put(encoder)
	return dst, nil
}

// xerialSinks hold the encoder's output: it takes what a non-empty dst begins with for its own, so it cannot append.
var xerialSinks = sync.Pool{New: func() any { return new(compressedSink) }}

// deflateSnappy writes xerial framing, as the Java clients do: every consumer reads it.
func deflateSnappy(dst, src []byte) []byte {
	sink := xerialSinks.Get().(*compressedSink)
	blocks := (len(src) + xerialBlockBytes - 1) / xerialBlockBytes
	sink.b = slices.Grow(sink.b[:0], xerialHeaderBytes+blocks*(4+snappy.MaxEncodedLen(xerialBlockBytes)))
	sink.b = xerial.Encode(sink.b, src)
	dst = append(dst, sink.b...)
	if cap(sink.b) > maxSmallBytes {
		sink.b = nil
	}
	xerialSinks.Put(sink)
	return dst
}

type gzipDeflater struct {
	sink   compressedSink
	writer *gzip.Writer
}

var gzipDeflaters [gzip.BestCompression + 1]sync.Pool // index 0: the default level

func deflateGzip(dst []byte, level int, src []byte) ([]byte, error) {
	level = min(max(level, 0), gzip.BestCompression)
	g, ok := gzipDeflaters[level].Get().(*gzipDeflater)
	if !ok {
		gzipLevel := level
		if level == 0 {
			gzipLevel = gzip.DefaultCompression
		}
		writer, err := gzip.NewWriterLevel(nil, gzipLevel)
		if err != nil {
			return dst, fmt.Errorf("start gzip encoder: %w", err)
		}
		g = &gzipDeflater{writer: writer}
	}
	g.sink.b = dst
	g.writer.Reset(&g.sink)
	_, err := g.writer.Write(src)
	if closeErr := g.writer.Close(); err == nil {
		err = closeErr
	}
	dst, g.sink.b = g.sink.b, nil
	gzipDeflaters[level].Put(g)
	return dst, err
}

type lz4Deflater struct {
	sink   compressedSink
	writer *lz4.Writer
}

const maxLZ4Level = 9

var lz4Deflaters [maxLZ4Level + 1]sync.Pool // index 0: fast

func deflateLZ4(dst []byte, level int, src []byte) ([]byte, error) {
	level = min(max(level, 0), maxLZ4Level)
	l, ok := lz4Deflaters[level].Get().(*lz4Deflater)
	if !ok {
		lz4Level := lz4.Fast
		if level > 0 {
			lz4Level = lz4.CompressionLevel(1 << (8 + level))
		}
		l = &lz4Deflater{writer: lz4.NewWriter(nil)}
		// Independent blocks of 64 KiB, as Kafka's own writer makes them.
		if err := l.writer.Apply(lz4.ConcurrencyOption(1), lz4.BlockSizeOption(lz4.Block64Kb),
			lz4.CompressionLevelOption(lz4Level), lz4.ChecksumOption(false)); err != nil {
			return dst, fmt.Errorf("start lz4 encoder: %w", err)
		}
	}
	l.sink.b = dst
	l.writer.Reset(&l.sink)
	_, err := l.writer.Write(src)
	if closeErr := l.writer.Close(); err == nil {
		err = closeErr
	}
	dst, l.sink.b = l.sink.b, nil
	lz4Deflaters[level].Put(l)
	return dst, err
}
