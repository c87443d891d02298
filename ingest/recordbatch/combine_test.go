package recordbatch

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func TestCombineCRC(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		random := rand.NewChaCha8([32]byte{byte(rapid.Uint8().Draw(t, "seed"))})
		data := make([]byte, rapid.IntRange(0, 1<<18).Draw(t, "bytes"))
		random.Read(data) //nolint:errcheck // never fails
		cut := rapid.IntRange(0, len(data)).Draw(t, "cut")
		if got, want := combineCRC(crc32.Checksum(data[:cut], castagnoli), crc32.Checksum(data[cut:], castagnoli), len(data)-cut), crc32.Checksum(data, castagnoli); got != want {
			t.Fatalf("got %08x, want %08x", got, want)
		}
	})
}

// What no test can hold in memory: zeroes, put together from powers of two with the smallest and with the largest in front.
func TestCombineCRCOverLongData(t *testing.T) {
	const size = 1<<40 + 1<<33 + 12_345
	front, back := uint32(0), uint32(0)
	done := 0
	for crc, n := crc32.Checksum([]byte{0}, castagnoli), 1; n <= size; crc, n = combineCRC(crc, crc, n), 2*n {
		if size&n != 0 {
			front, back = combineCRC(front, crc, n), combineCRC(crc, back, done)
			done += n
		}
	}
	if done != size || front != back {
		t.Fatalf("%d bytes of %d: %08x and %08x", done, size, front, back)
	}
}

func BenchmarkCombineCRC(b *testing.B) {
	b.ReportAllocs()
	crc := uint32(1)
	for i := range b.N {
		crc = combineCRC(crc, uint32(i), 131_072+i&0xffff)
	}
}
