package recordbatch

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

const bombBytes = 32 << 20

// written returns what a compressor writes for bombBytes zeros.
func written(t *testing.T, open func(io.Writer) io.WriteCloser) []byte {
	t.Helper()
	var out bytes.Buffer
	w := open(&out)
	zeros := make([]byte, 1<<20)
	for range bombBytes / len(zeros) {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func bombs(t *testing.T) map[string][]byte {
	zstdWriter := func(opts ...zstd.EOption) func(io.Writer) io.WriteCloser {
		return func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w, append(opts, zstd.WithEncoderConcurrency(1))...)
			if err != nil {
				t.Fatal(err)
			}
			return z
		}
	}
	lz4Writer := func(block lz4.BlockSize) func(io.Writer) io.WriteCloser {
		return func(w io.Writer) io.WriteCloser {
			z := lz4.NewWriter(w)
			if err := z.Apply(lz4.BlockSizeOption(block), lz4.ConcurrencyOption(1)); err != nil {
				t.Fatal(err)
			}
			return z
		}
	}
	zstdFrame, err := deflate(nil, Zstd, 0, make([]byte, bombBytes))
	if err != nil {
		t.Fatal(err)
	}
	smallFrame, err := deflate(nil, Zstd, 0, make([]byte, 1<<10))
	if err != nil {
		t.Fatal(err)
	}
	xerialBlocks, err := deflate(nil, Snappy, 0, make([]byte, bombBytes))
	if err != nil {
		t.Fatal(err)
	}
	xerialLie := append(append([]byte{}, xerialMagic...), 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x0f)
	// A frame header that claims a window of 2 GiB and one raw block.
	window := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x09, 0, 0, 0}
	return map[string][]byte{
		"gzip":                        written(t, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }),
		"snappy block":                snappy.Encode(nil, make([]byte, bombBytes)),
		"snappy block that lies":      {0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0},
		"snappy xerial":               xerialBlocks,
		"snappy xerial that lies":     xerialLie,
		"lz4 64 KiB blocks":           written(t, lz4Writer(lz4.Block64Kb)),
		"lz4 4 MiB blocks":            written(t, lz4Writer(lz4.Block4Mb)),
		"zstd frame with size":        zstdFrame,
		"zstd stream without size":    written(t, zstdWriter()),
		"zstd stream, best, 8 MiB":    written(t, zstdWriter(zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))),
		"zstd many frames":            bytes.Repeat(smallFrame, 8<<10),
		"zstd window above the limit": window,
	}
}

var bombCodecs = map[byte]Codec{'g': Gzip, 's': Snappy, 'l': LZ4, 'z': Zstd}

// A batch that inflates without end is refused at the limit, with memory of the limit's order.
func TestBombs(t *testing.T) {
	const limit = 1 << 20
	for name, payload := range bombs(t) {
		t.Run(name, func(t *testing.T) {
			b := rawBatch(bombCodecs[name[0]], 1000, payload)
			limits := Limits{MaxBatchBytes: len(b), MaxInflatedBytes: limit, Deep: true}
			if _, err := Validate(b, limits); !errors.Is(err, ErrTooLarge) {
				t.Fatalf("validate: %v", err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			scratch := Scratch{MaxInflatedBytes: limit}
			for _, err := range Records(b, &scratch) {
				if !errors.Is(err, ErrTooLarge) {
					t.Fatalf("records: %v", err)
				}
			}
			runtime.ReadMemStats(&after)
			// The room doubles on its way to the limit; lz4 and zstd have buffers of a few blocks.
			if used := after.TotalAlloc - before.TotalAlloc; used > 12*limit {
				t.Errorf("allocated %d bytes for a limit of %d", used, limit)
			}
			if cap(scratch.inflated) > limit+zstdSpareBytes {
				t.Errorf("keeps %d bytes", cap(scratch.inflated))
			}
			if _, err := Decompress(nil, b, limit); !errors.Is(err, ErrTooLarge) {
				t.Fatalf("decompress: %v", err)
			}
		})
	}
}

// What inflates to exactly the limit is taken, one byte more is not.
func TestInflateLimitIsExact(t *testing.T) {
	for _, size := range []int{100, minInflateBytes, minInflateBytes + 1, 300_000} {
		want := bytes.Repeat([]byte("sediment "), size/9+1)[:size]
		payloads := map[string][]byte{"snappy block": snappy.Encode(nil, want)}
		for _, codec := range allCodecs[1:] {
			compressed, err := deflate(nil, codec, 0, want)
			if err != nil {
				t.Fatal(err)
			}
			payloads[codec.String()] = compressed
		}
		var stream bytes.Buffer
		z, err := zstd.NewWriter(&stream, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(want); err != nil {
			t.Fatal(err)
		}
		if err := z.Flush(); err != nil { // so that the frame is begun before its size is known
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		payloads["zstd stream"] = stream.Bytes()
		for name, payload := range payloads {
			codec := bombCodecs[name[0]]
			if got, err := inflate(nil, codec, payload, size); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s of %d bytes at the limit: %d bytes, %v", name, size, len(got), err)
			}
			if _, err := inflate(nil, codec, payload, size-1); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s of %d bytes above the limit: %v", name, size, err)
			}
			if got, err := inflate(make([]byte, 7, 4*size), codec, payload, size-1); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s of %d bytes above the limit, with room: %d bytes, %v", name, size, len(got), err)
			}
		}
	}
}

func TestDamagedPayloadIsInvalid(t *testing.T) {
	for _, codec := range allCodecs[1:] {
		payload, err := deflate(nil, codec, 0, bytes.Repeat([]byte("abcdefgh"), 1000))
		if err != nil {
			t.Fatal(err)
		}
		for name, damaged := range map[string][]byte{
			"cut": payload[:len(payload)/2], "garbage": []byte("no compressed data at all"), "one byte": {0x28},
		} {
			b := rawBatch(codec, 1, damaged)
			if _, err := Validate(b, Limits{Deep: true}); !errors.Is(err, ErrInvalidRecord) {
				t.Errorf("%s, %s: %v", codec, name, err)
			}
		}
	}
}

// The xerial framing as Java's snappy writes it, with blocks of its own sizes.
func TestReadsXerialBlocks(t *testing.T) {
	src := append([]byte{}, xerialMagic...)
	src = append(src, 0, 0, 0, 1, 0, 0, 0, 1)
	var want []byte
	for _, size := range []int{1, 32 << 10, 0, 17} {
		part := bytes.Repeat([]byte{byte(size)}, size)
		block := snappy.Encode(nil, part)
		src = binary.BigEndian.AppendUint32(src, uint32(len(block)))
		src = append(src, block...)
		want = append(want, part...)
	}
	if got, err := inflate(nil, Snappy, src, 1<<20); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}
