package archive

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"github.com/varvelog/varve/coordinator/metalog"
)

var logID = [16]byte{0xfe, 0xed}

func sample() *Batch {
	return &Batch{LogID: logID, First: 7, Entries: [][]byte{[]byte("seventh"), []byte("eighth")}}
}

func TestGoldenBytes(t *testing.T) {
	const golden = "564152564541524300010000c7bad436feed000000000000000000000000000000000000000000070000000000000009" +
		"000000000000001d0000000732ecb250736576656e74680000000631af1e1e656967687468"
	if got := hex.EncodeToString(Encode(sample())); got != golden {
		t.Errorf("version %d is now encoded as\n%s", Version, got)
	}
}

func TestRoundTrip(t *testing.T) {
	got, err := Decode(Encode(sample()))
	if err != nil || !reflect.DeepEqual(got, sample()) {
		t.Fatalf("decoded %+v, %v", got, err)
	}
}

func TestEveryFlippedBitAndEveryCutIsRefused(t *testing.T) {
	object := Encode(sample())
	for i := range object {
		if _, err := Decode(object[:i]); !errors.Is(err, metalog.ErrCorrupt) {
			t.Errorf("cut at %d: %v", i, err)
		}
		damaged := append([]byte(nil), object...)
		damaged[i] ^= 0x10
		if _, err := Decode(damaged); !errors.Is(err, metalog.ErrCorrupt) {
			t.Errorf("bit flipped at %d: %v", i, err)
		}
	}
}

func TestUnknownVersionIsRefusedByItsNumber(t *testing.T) {
	object := Encode(sample())
	binary.BigEndian.PutUint16(object[8:], 2)
	binary.BigEndian.PutUint32(object[checksumAt:], checksum(object))
	if _, err := Decode(object); !errors.Is(err, ErrFormat) {
		t.Fatalf("decode: %v, want ErrFormat", err)
	}
}

// Whatever bytes come, Decode answers within their bounds, and what it accepts is what Encode writes.
func FuzzDecode(f *testing.F) {
	f.Add(Encode(sample()))
	f.Fuzz(func(t *testing.T, object []byte) {
		if len(object) > headerSize {
			binary.BigEndian.PutUint32(object[checksumAt:], checksum(object)) // so that the fuzzer comes past it
		}
		batch, err := Decode(object)
		if err == nil && string(Encode(batch)) != string(object) {
			t.Errorf("%x is accepted and encoded differently", object)
		}
	})
}
