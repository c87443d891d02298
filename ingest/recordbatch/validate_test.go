package recordbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// patched returns a valid producer's batch of three records, changed by patch and sealed again.
func patched(t testing.TB, opts BuilderOptions, patch func(b []byte) []byte) []byte {
	t.Helper()
	return reseal(patch(build(t, opts, 0, sample(0, 3, 50)...)))
}

func TestValidateFields(t *testing.T) {
	set := func(at int, bytes ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], bytes); return b }
	}
	cases := []struct {
		name  string
		patch func([]byte) []byte
		want  error
	}{
		{"good", set(0), nil},
		{"any leader epoch", set(posLeaderEpoch, 1, 2, 3, 4), nil},
		{"no producer id, epoch and sequence 0 (kafkajs)", set(posProducerEpoch, 0, 0, 0, 0, 0, 0), nil},
		{"idempotent", set(posProducerID, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0), nil},
		{"idempotent without sequence", set(posProducerID, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0), ErrInvalidRecord},
		{"idempotent without epoch", set(posProducerID, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0), ErrEpoch},
		{"producer id -2", set(posProducerID+7, 0xfe), ErrInvalidRecord},
		{"transactional", func(b []byte) []byte {
			b[posAttributes+1] |= AttrTransactional
			copy(b[posProducerID:], make([]byte, 14))
			return b
		}, nil},
		{"transactional without producer", set(posAttributes+1, AttrTransactional), ErrInvalidRecord},
		{"control", set(posAttributes+1, AttrControl), ErrInvalidRecord},
		{"log append time", set(posAttributes+1, AttrLogAppendTime), nil},
		{"delete horizon", set(posAttributes+1, AttrDeleteHorizon), nil},
		{"unknown attribute", set(posAttributes, 0x01), nil},
		{"codec 5", set(posAttributes+1, 5), ErrUndecodable},
		{"codec 7", set(posAttributes+1, 7), ErrUndecodable},
		{"base offset", set(posBaseOffset+7, 1), ErrInvalidRecord},
		{"count 0", set(posRecordCount, 0, 0, 0, 0), ErrInvalidRecord},
		{"count negative", set(posRecordCount, 0xff), ErrInvalidRecord},
		{"count too small", set(posRecordCount, 0, 0, 0, 2), ErrInvalidRecord},
		{"count and delta too small", func(b []byte) []byte { b[posRecordCount+3], b[posLastOffsetDelta+3] = 2, 1; return b }, ErrInvalidRecord},
		{"count and delta too large", func(b []byte) []byte { b[posRecordCount+3], b[posLastOffsetDelta+3] = 4, 3; return b }, ErrInvalidRecord},
		{"count beyond the inflated limit", func(b []byte) []byte {
			copy(b[posRecordCount:], []byte{0x7f, 0xff, 0xff, 0xff})
			copy(b[posLastOffsetDelta:], []byte{0x7f, 0xff, 0xff, 0xfe})
			return b
		}, ErrTooLarge},
		{"delta negative", set(posLastOffsetDelta, 0xff), ErrInvalidRecord},
		{"timestamps below -1", set(posBaseTimestamp, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe), ErrInvalidRecord},
		{"timestamp overflow", set(posBaseTimestamp, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), ErrInvalidRecord},
		{"byte behind the records", func(b []byte) []byte { return append(b, 0) }, ErrInvalidRecord},
		{"records end early", func(b []byte) []byte { return b[:len(b)-1] }, ErrInvalidRecord},
		{"no records", func(b []byte) []byte { return b[:HeaderBytes] }, ErrInvalidRecord},
		{"magic 1", set(posMagic, 1), ErrMagic},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Validate(patched(t, BuilderOptions{}, c.patch), Limits{}); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestValidateEnvelope(t *testing.T) {
	good := build(t, BuilderOptions{}, 0, sample(0, 3, 50)...)
	flipped := bytes.Clone(good)
	flipped[len(flipped)-3] ^= 1
	cases := []struct {
		name   string
		b      []byte
		limits Limits
		want   error
	}{
		{"nothing", nil, Limits{}, ErrTruncated},
		{"cut", good[:len(good)-1], Limits{}, ErrTruncated},
		{"two batches", append(bytes.Clone(good), good...), Limits{}, ErrInvalidRecord},
		{"flipped bit", flipped, Limits{}, ErrCorrupt},
		{"at the limit", good, Limits{MaxBatchBytes: len(good)}, nil},
		{"above the limit", good, Limits{MaxBatchBytes: len(good) - 1}, ErrTooLarge},
		{"header above the limit", good[:HeaderBytes], Limits{MaxBatchBytes: len(good) - 1}, ErrTooLarge},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Validate(c.b, c.limits); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

// rawBatch seals payload as a producer's batch of count records.
func rawBatch(codec Codec, count int, payload []byte) []byte {
	h := Header{Attributes: int16(codec), LastOffsetDelta: int32(count - 1), ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1, RecordCount: int32(count)}
	b := make([]byte, HeaderBytes, HeaderBytes+len(payload))
	h.put(b)
	return reseal(append(b, payload...))
}

func TestValidateRecords(t *testing.T) {
	cases := []struct {
		name string
		body []byte // a record without its length
		want error
	}{
		{"smallest", []byte{0, 0, 0, 1, 1, 0}, nil},
		{"any attributes", []byte{0xff, 0, 0, 1, 1, 0}, nil},
		{"too short", []byte{0, 0, 0, 1, 1}, ErrInvalidRecord},
		{"offsetDelta 1", []byte{0, 0, 2, 1, 1, 0}, ErrInvalidRecord},
		{"offsetDelta -1", []byte{0, 0, 1, 1, 1, 0}, ErrInvalidRecord},
		{"timestamp -1", []byte{0, 1, 0, 1, 1, 0}, nil},
		{"timestamp -2", []byte{0, 3, 0, 1, 1, 0}, ErrInvalidRecord},
		{"key length -2", []byte{0, 0, 0, 3, 1, 0}, ErrInvalidRecord},
		{"key beyond the record", []byte{0, 0, 0, 8, 1, 0}, ErrInvalidRecord},
		{"key takes the rest", []byte{0, 0, 0, 4, 1, 0}, ErrInvalidRecord},
		{"value length -2", []byte{0, 0, 0, 1, 3, 0}, ErrInvalidRecord},
		{"value beyond the record", []byte{0, 0, 0, 1, 4, 0}, ErrInvalidRecord},
		{"value length 2^31-1", []byte{0, 0, 0, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0}, ErrInvalidRecord},
		{"value length 2^32", []byte{0, 0, 0, 1, 0x80, 0x80, 0x80, 0x80, 0x20, 0}, ErrInvalidRecord},
		{"varint without end", bytes.Repeat([]byte{0x80}, 12), ErrInvalidRecord},
		{"header count -1", []byte{0, 0, 0, 1, 1, 1}, ErrInvalidRecord},
		{"header count above the bytes", []byte{0, 0, 0, 1, 1, 2, 0}, ErrInvalidRecord},
		{"empty header", []byte{0, 0, 0, 1, 1, 2, 0, 0}, nil},
		{"header without key", []byte{0, 0, 0, 1, 1, 2, 1, 0}, ErrInvalidRecord},
		{"header without value", []byte{0, 0, 0, 1, 1, 2, 0, 1}, nil},
		{"header value length -2", []byte{0, 0, 0, 1, 1, 2, 0, 3}, ErrInvalidRecord},
		{"byte behind the headers", []byte{0, 0, 0, 1, 1, 0, 0}, ErrInvalidRecord},
		{"header count 2^30", []byte{0, 0, 0, 1, 1, 0x80, 0x80, 0x80, 0x80, 0x08}, ErrInvalidRecord},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			payload := append(binary.AppendVarint(nil, int64(len(c.body))), c.body...)
			if _, err := Validate(rawBatch(None, 1, payload), Limits{}); !errors.Is(err, c.want) {
				t.Errorf("uncompressed: got %v, want %v", err, c.want)
			}
			for _, codec := range allCodecs[1:] {
				compressed, err := deflate(nil, codec, 0, payload)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := Validate(rawBatch(codec, 1, compressed), Limits{Deep: true}); !errors.Is(err, c.want) {
					t.Errorf("%s: got %v, want %v", codec, err, c.want)
				}
				if _, err := Validate(rawBatch(codec, 1, compressed), Limits{}); err != nil {
					t.Errorf("%s: inflated without being told to: %v", codec, err)
				}
			}
		})
	}
}

func TestValidateComputesMaxTimestamp(t *testing.T) {
	wrong := func(b []byte) []byte { binary.BigEndian.PutUint64(b[posMaxTimestamp:], ^uint64(0)); return b }
	want := sample(0, 3, 50)[2].Timestamp
	for _, codec := range allCodecs {
		b := patched(t, BuilderOptions{Codec: codec}, wrong)
		h, err := Validate(b, Limits{})
		if err != nil || h.MaxTimestamp != want {
			t.Fatalf("%s: maxTimestamp %d, want %d, %v", codec, h.MaxTimestamp, want, err)
		}
		SetMaxTimestamp(b, h.MaxTimestamp)
		if err := CheckCRC(b); err != nil {
			t.Fatal(err)
		}
		if h, err = ParseHeader(b); err != nil || h.MaxTimestamp != want {
			t.Fatalf("%s: corrected to %d, %v", codec, h.MaxTimestamp, err)
		}
	}
}

func TestValidateRequiresKeys(t *testing.T) {
	for _, codec := range allCodecs {
		records := sample(0, 3, 100)
		limits := Limits{RequireKeys: true}
		if _, err := Validate(build(t, BuilderOptions{Codec: codec}, 0, records...), limits); err != nil {
			t.Fatal(err)
		}
		records[1].Key = []byte{}
		if _, err := Validate(build(t, BuilderOptions{Codec: codec}, 0, records...), limits); err != nil {
			t.Fatalf("an empty key is a key: %v", err)
		}
		records[1].Key = nil
		records[2].Key = nil
		_, err := Validate(build(t, BuilderOptions{Codec: codec}, 0, records...), limits)
		var refused *RecordsError
		if !errors.Is(err, ErrInvalidRecord) || !errors.As(err, &refused) || refused.Records != 2 || !slices.Equal(refused.Named, []RecordError{{Index: 1, Keyless: true}, {Index: 2, Keyless: true}}) {
			t.Fatalf("got %v", err)
		}
	}
}

func TestRecordsErrorIsBounded(t *testing.T) {
	records := sample(0, maxNamedRecords+9, 1)
	for i := range records {
		records[i].Key = nil
	}
	_, err := Validate(build(t, BuilderOptions{Codec: Zstd}, 0, records...), Limits{RequireKeys: true})
	var refused *RecordsError
	if !errors.As(err, &refused) || refused.Records != len(records) || len(refused.Named) != maxNamedRecords {
		t.Fatalf("got %v", err)
	}
}

func TestValidateNamesTimestampsOutOfBounds(t *testing.T) {
	records := sample(0, 4, 100)
	for i, millis := range []int64{100, 99, NoTimestamp, 201} {
		records[i].Timestamp = millis
	}
	_, err := Validate(build(t, BuilderOptions{}, 0, records...), Limits{OldestMillis: 100, NewestMillis: 200})
	var refused *RecordsError
	if !errors.As(err, &refused) || !refused.Timestamps || !slices.Equal(refused.Named, []RecordError{{Index: 1, Timestamp: 99}, {Index: 3, Timestamp: 201}}) {
		t.Fatalf("got %v", err)
	}
}

func TestCutIsWhatABrokerReads(t *testing.T) {
	good := build(t, BuilderOptions{}, 0, sample(0, 3, 50)...)
	with := func(at int, b byte) []byte { c := bytes.Clone(good); c[at] = b; return c }
	for _, test := range []struct {
		name string
		b    []byte
		want error
	}{
		{"one", good, nil},
		{"some bytes behind it", append(bytes.Clone(good), 1, 2, 3), nil},
		{"a part of another behind it", append(bytes.Clone(good), good[:40]...), nil},
		{"another behind it", append(bytes.Clone(good), good...), ErrInvalidRecord},
		{"garbage behind it", append(bytes.Clone(good), make([]byte, 12)...), ErrCorrupt},
		{"nothing", nil, ErrTruncated},
		{"cut", good[:len(good)-1], ErrTruncated},
		{"no room for a length", good[:11], ErrTruncated},
		{"length 0", append(make([]byte, 12), good...), ErrCorrupt},
		{"magic 1", with(posMagic, 1), ErrMagic},
		{"magic 3", with(posMagic, 3), ErrCorrupt},
		{"magic -1", with(posMagic, 0xff), ErrCorrupt},
	} {
		b, err := Cut(test.b)
		if !errors.Is(err, test.want) || test.want == nil && !bytes.Equal(b, good) {
			t.Errorf("%s: %d bytes, %v", test.name, len(b), err)
		}
	}
}

func TestClearAttributes(t *testing.T) {
	b := build(t, BuilderOptions{}, 0, sample(0, 1, 50)...)
	same := bytes.Clone(b)
	if ClearAttributes(b, AttrLogAppendTime|AttrDeleteHorizon); !bytes.Equal(b, same) {
		t.Error("a batch without the bits was changed")
	}
	SetLogAppendTime(b, 5)
	ClearAttributes(b, AttrLogAppendTime|AttrDeleteHorizon)
	if h, err := ParseHeader(b); err != nil || h.Attributes != 0 || CheckCRC(b) != nil {
		t.Errorf("%+v, %v, %v", h, err, CheckCRC(b))
	}
}
