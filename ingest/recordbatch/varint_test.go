package recordbatch

import (
	"encoding/binary"
	"testing"
)

// The short ways of decoding must agree with the long one, on encodings longer than need be as well.
func TestShortVarintsDecodeAsLongOnes(t *testing.T) {
	for i := range 1 << 16 {
		b := []byte{byte(i), byte(i >> 8), 0x03}
		want, wantN := binary.Varint(b)
		if v, n := varint32(b); int64(v) != want || n != wantN {
			t.Fatalf("varint32(%x) = %d, %d, want %d, %d", b, v, n, want, wantN)
		}
		if v, n := varint64(b); v != want || n != wantN {
			t.Fatalf("varint64(%x) = %d, %d, want %d, %d", b, v, n, want, wantN)
		}
		if _, n := varint32(b[:1]); b[0] >= 0x80 && n > 0 {
			t.Fatalf("varint32(%x) takes %d bytes", b[:1], n)
		}
	}
}
