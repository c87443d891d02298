package recordbatch

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func drawBytes(t *rapid.T, label string) []byte {
	if rapid.IntRange(0, 4).Draw(t, label+" nil") == 0 {
		return nil
	}
	return rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, label)
}

// drawRecords draws records of ascending offsets from base on, perhaps none, and the last offset their batch covers.
func drawRecords(t *rapid.T, base int64) (records []plain, last int64) {
	offset := base - 1
	timestamp := rapid.Int64Range(-1, 1<<45).Draw(t, "timestamp")
	for range rapid.IntRange(0, 8).Draw(t, "records") {
		offset += rapid.SampledFrom([]int64{1, 1, 1, 2, 1000}).Draw(t, "step")
		r := plain{Offset: offset, Timestamp: max(-1, timestamp+rapid.Int64Range(-1000, 1000).Draw(t, "delta")),
			Key: drawBytes(t, "key"), Value: drawBytes(t, "value")}
		for range rapid.IntRange(0, 2).Draw(t, "headers") {
			key := rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "header key")
			r.Headers = append(r.Headers, RecordHeader{append([]byte{}, key...), drawBytes(t, "header")})
		}
		records = append(records, r)
	}
	return records, max(offset, base) + rapid.Int64Range(0, 3).Draw(t, "tail")
}

func appendPlain(t *rapid.T, b *Builder, records []plain) {
	for _, r := range records {
		if err := b.Append(r.Offset, r.Timestamp, r.Key, r.Value, AppendRecordHeaders(nil, r.Headers...)); err != nil {
			t.Fatal(err)
		}
	}
}

// Building, compressing by any chain of codecs and copying record by record keep the records.
func TestRoundTripProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.Int64Range(0, 1<<50).Draw(t, "base")
		want, last := drawRecords(t, base)
		builder := NewBuilder(BuilderOptions{Codec: rapid.SampledFrom(allCodecs).Draw(t, "codec")})
		builder.Reset(base, 3)
		appendPlain(t, builder, want)
		if err := builder.SetLastOffset(last); err != nil {
			t.Fatal(err)
		}
		b, h, err := builder.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		if h.LastOffset() != last || int(h.RecordCount) != len(want) || h.SizeBytes() != len(b) {
			t.Fatalf("header %+v", h)
		}
		requireSame(t, readAll(t, b), want)
		for range rapid.IntRange(1, 4).Draw(t, "chain") {
			codec := rapid.SampledFrom(allCodecs).Draw(t, "to")
			source := bytes.Clone(b)
			out, err := Compress(nil, b, codec, rapid.IntRange(0, 12).Draw(t, "level"))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b, source) {
				t.Fatal("Compress changed its source")
			}
			b = out
			requireSame(t, readAll(t, b), want)
		}
		flat, err := Decompress(nil, b, 0)
		if err != nil {
			t.Fatal(err)
		}
		requireSame(t, readAll(t, flat), want)
		var r Reader
		if err := r.Reset(b, new(Scratch)); err != nil {
			t.Fatal(err)
		}
		builder.Reset(base, 3)
		for r.Next() {
			if err := builder.AppendRecord(r.Record()); err != nil {
				t.Fatal(err)
			}
		}
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		copied, _, err := builder.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		requireSame(t, readAll(t, copied), want)
	})
}

// The look-ups by time agree with reading all records.
func TestLookupProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, last := drawRecords(t, 50)
		builder := NewBuilder(BuilderOptions{Codec: rapid.SampledFrom(allCodecs).Draw(t, "codec")})
		builder.Reset(50, 0)
		appendPlain(t, builder, want)
		if err := builder.SetLastOffset(last); err != nil {
			t.Fatal(err)
		}
		b, h, err := builder.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "append time") && len(want) > 0 {
			SetLogAppendTime(b, h.MaxTimestamp+5)
			for i := range want {
				want[i].Timestamp = h.MaxTimestamp + 5
			}
		}
		at := h.MaxTimestamp + rapid.Int64Range(-1500, 10).Draw(t, "at")
		var first, largest *plain
		for i := range want {
			if first == nil && want[i].Timestamp >= at {
				first = &want[i]
			}
			if largest == nil || want[i].Timestamp > largest.Timestamp {
				largest = &want[i]
			}
		}
		requirePosition(t, first)(FirstAtOrAfter(b, at, nil))
		requirePosition(t, largest)(AtMaxTimestamp(b, nil))
	})
}

func requirePosition(t *rapid.T, want *plain) func(Position, bool, error) {
	return func(got Position, found bool, err error) {
		if err != nil || found != (want != nil) || (found && got != Position{want.Offset, want.Timestamp}) {
			t.Fatalf("got %+v, %v, %v, want %+v", got, found, err, want)
		}
	}
}
