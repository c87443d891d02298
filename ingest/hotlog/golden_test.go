package hotlog

import (
	"encoding/hex"
	"testing"
)

// TestGoldenBytes holds the format still: a change here is a change of version.
func TestGoldenBytes(t *testing.T) {
	header := Header{Version: 1, DiskUUID: [16]byte{0xd0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xdf}, Segment: 258, Salt: 0x1122334455667788}
	frame := make([]byte, frameHeaderBytes)
	frameHeader{payloadBytes: 5, payloadCRC: 0x01020304, durableEnd: 64, sequence: 7, kind: KindChunk}.encode(frame, header.Salt, 4096)
	footer := make([]byte, sealFrameBytes)
	encodeSealFrame(footer, header.Salt, 4096, 9, seal{begin: begin{previous: 257, previousEnd: 1000}, chunks: 3})
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"segment header": {header.encode(), "5641525645484f540100000000000000d00102030405060708090a0b0c0d0edf0201000000000000887766554433221100000000000000000000000076081b29"},
		"frame header":   {frame, "48564631050000000403020140000000070000000000000001000000ef7fac98"},
		"footer":         {footer, "4856463120000000073518ab00100000090000000000000003000000f235d50b0101000000000000e80300000000000003000000000000000000000000000000"},
		"high mark":      {encodeState(highMarkMagic, [16]byte{2, 1}), "564152564548574d010000000000000002010000000000000000000000000000000000000b578f23"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s is\n%s, want\n%s", name, got, c.want)
		}
	}
}
