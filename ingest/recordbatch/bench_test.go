package recordbatch

import (
	"fmt"
	"testing"
)

// sized returns a batch of about sizeBytes as it is stored.
func sized(b *testing.B, codec Codec, sizeBytes int) []byte {
	n := 8
	for {
		batch := build(b, BuilderOptions{Codec: codec}, 0, sample(0, n, 1<<10)...)
		if len(batch) >= sizeBytes {
			return batch
		}
		n += n*(sizeBytes-len(batch))/len(batch) + 1
	}
}

func BenchmarkValidate(b *testing.B) {
	for _, c := range []struct {
		name   string
		codec  Codec
		limits Limits
	}{{"none", None, Limits{}}, {"zstd", Zstd, Limits{}}, {"zstd/deep", Zstd, Limits{Deep: true}}, {"lz4/deep", LZ4, Limits{Deep: true}}} {
		b.Run(c.name, func(b *testing.B) {
			batch := sized(b, c.codec, 128<<10)
			b.SetBytes(int64(len(batch)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Validate(batch, c.limits); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAssignOffsets(b *testing.B) {
	batch := sized(b, Zstd, 128<<10)
	var all []byte
	for range 8 {
		all = append(all, batch...)
	}
	b.SetBytes(int64(len(all)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := AssignOffsets(all, 1<<30, 5); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompress(b *testing.B) {
	for _, codec := range allCodecs[1:] {
		for _, size := range []int{16 << 10, 128 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%dKiB", codec, size>>10), func(b *testing.B) {
				batch := sized(b, None, size)
				var dst []byte
				b.SetBytes(int64(len(batch)))
				b.ReportAllocs()
				for b.Loop() {
					out, err := Compress(dst, batch, codec, 0)
					if err != nil {
						b.Fatal(err)
					}
					dst = out
				}
				b.ReportMetric(float64(len(batch))/float64(len(dst)), "ratio")
			})
		}
	}
}

func BenchmarkRecords(b *testing.B) {
	for _, codec := range []Codec{None, Zstd} {
		b.Run(codec.String(), func(b *testing.B) {
			batch := sized(b, codec, 128<<10)
			scratch := new(Scratch)
			b.SetBytes(int64(len(batch)))
			b.ReportAllocs()
			for b.Loop() {
				for _, err := range Records(batch, scratch) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkRebatch(b *testing.B) {
	var all []byte
	for i := range 1000 {
		all = append(all, build(b, BuilderOptions{Codec: Zstd}, int64(i*10), sample(int64(i*10), 10, 300)...)...)
	}
	stored := 0
	b.SetBytes(int64(len(all)))
	b.ReportAllocs()
	for b.Loop() {
		stored = 0
		r, err := NewRebatcher(RebatchOptions{}, func(out Rebatched) error { stored += len(out.Bytes); return nil })
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Add(all); err != nil {
			b.Fatal(err)
		}
		if err := r.Flush(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(all))/float64(stored), "ratio")
}
