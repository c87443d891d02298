package kafka

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/ingest/recordbatch"
)

// keyedBatch is a batch of a record per key, nil for none.
func keyedBatch(keys ...[]byte) []byte {
	now := time.Now().UnixMilli()
	var records []byte
	for i, key := range keys {
		r := []byte{0, 0} // attributes, timestamp delta
		r = binary.AppendVarint(r, int64(i))
		if key == nil {
			r = binary.AppendVarint(r, -1)
		} else {
			r = append(binary.AppendVarint(r, int64(len(key))), key...)
		}
		r = append(binary.AppendVarint(r, 1), 'v', 0) // value, no headers
		records = append(binary.AppendVarint(records, int64(len(r))), r...)
	}
	return sealedBatch(now, int32(len(keys)), records)
}

func TestCompactedTopicsRequireKeys(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1, "cleanup.policy", "compact,delete")
	client := dial(t, addr)
	a := []byte("a")
	for _, version := range []int16{3, 7, 8, 9, 13} {
		for _, codec := range []recordbatch.Codec{recordbatch.None, recordbatch.Gzip} {
			before := len(c.stored(id, 0))
			send := func(batch []byte) kmsg.ProduceResponseTopicPartition {
				t.Helper()
				if codec != recordbatch.None {
					packed, err := recordbatch.Compress(nil, batch, codec, 0)
					if err != nil {
						t.Fatal(err)
					}
					batch = packed
				}
				return produced(client, produceRequestOf(version, "topic", id, batch))
			}
			if p := send(keyedBatch(a, []byte{})); p.ErrorCode != 0 || len(c.stored(id, 0)) != before+1 {
				t.Fatalf("v%d, %s: keys are refused: %v", version, codec, kerr.ErrorForCode(p.ErrorCode))
			}
			p := send(keyedBatch(a, nil, a, nil, nil, nil))
			if p.ErrorCode != kerr.InvalidRecord.Code || p.BaseOffset != -1 || len(c.stored(id, 0)) != before+1 {
				t.Fatalf("v%d, %s: got %v, offset %d", version, codec, kerr.ErrorForCode(p.ErrorCode), p.BaseOffset)
			}
			if version < 8 {
				continue
			}
			var indexes []int32
			for _, e := range p.ErrorRecords {
				indexes = append(indexes, e.RelativeOffset)
				if e.ErrorMessage == nil || *e.ErrorMessage != "Compacted topic cannot accept message without key in topic partition topic-0" {
					t.Errorf("v%d: record %d: %v", version, e.RelativeOffset, e.ErrorMessage)
				}
			}
			if len(indexes) != 4 || indexes[0] != 1 || indexes[3] != 5 {
				t.Errorf("v%d: records %v are named", version, indexes)
			}
			if p.ErrorMessage == nil || !strings.HasPrefix(*p.ErrorMessage, "One or more records have been rejected due to 4 record errors in total") ||
				strings.Count(*p.ErrorMessage, "RecordError(batchIndex=") != 3 {
				t.Errorf("v%d: message %v", version, p.ErrorMessage)
			}
		}
	}
}
