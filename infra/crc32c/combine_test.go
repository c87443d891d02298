package crc32c

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

var table = crc32.MakeTable(crc32.Castagnoli)

func TestCombine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		random := rand.NewChaCha8([32]byte{byte(rapid.Uint8().Draw(t, "seed"))})
		data := make([]byte, rapid.IntRange(0, 1<<18).Draw(t, "bytes"))
		random.Read(data) //nolint:errcheck // never fails
		cut := rapid.IntRange(0, len(data)).Draw(t, "cut")
		if got, want := Combine(crc32.Checksum(data[:cut], table), crc32.Checksum(data[cut:], table), len(data)-cut), crc32.Checksum(data, table); got != want {
			t.Fatalf("got %08x, want %08x", got, want)
		}
	})
}

// What no test can hold in memory: zeroes, put together from powers of two with the smallest and with the largest in front.
func TestCombineOverLongData(t *testing.T) {
	const size = 1<<40 + 1<<33 + 12_345
	front, back := uint32(0), uint32(0)
	done := 0
	for crc, n := crc32.Checksum([]byte{0}, table), 1; n <= size; crc, n = Combine(crc, crc, n), 2*n {
		if size&n != 0 {
			front, back = Combine(front, crc, n), Combine(crc, back, done)
			done += n
		}
	}
	if done != size || front != back {
		t.Fatalf("%d bytes of %d: %08x and %08x", done, size, front, back)
	}
}

func BenchmarkCombine(b *testing.B) {
	b.ReportAllocs()
	crc := uint32(1)
	for i := range b.N {
		crc = Combine(crc, uint32(i), 131_072+i&0xffff)
	}
}
