package recordbatch

import "fmt"

// Codec is how a batch's records are compressed: the low three bits of its attributes.
type Codec int8

// The codecs of the format.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

var codecNames = [...]string{None: "none", Gzip: "gzip", Snappy: "snappy", LZ4: "lz4", Zstd: "zstd"}

// Valid tells whether the codec exists.
func (c Codec) Valid() bool { return c >= None && c <= Zstd }

// String is Kafka's name of the codec.
func (c Codec) String() string {
	if !c.Valid() {
		return fmt.Sprintf("codec(%d)", int8(c))
	}
	return codecNames[c]
}

// ParseCodec is the inverse of String; it also takes Kafka's "uncompressed".
func ParseCodec(name string) (Codec, error) {
	for c, n := range codecNames {
		if n == name {
			return Codec(c), nil
		}
	}
	if name == "uncompressed" {
		return None, nil
	}
	return None, fmt.Errorf("unknown compression codec %q: none, gzip, snappy, lz4 and zstd exist", name)
}
