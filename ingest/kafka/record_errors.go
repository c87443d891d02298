package kafka

import (
	"errors"
	"fmt"
	"strings"

	"github.com/varvelog/varve/ingest/recordbatch"
)

// refusedRecords are the records for which a batch was refused, with a text for each (KIP-467).
type refusedRecords struct {
	named []recordbatch.RecordError
	texts []string
}

// nameRecords names the records that a topic refuses, in the words of Kafka.
func (part *producePartition) nameRecords(topic *topic, limits *recordbatch.Limits, err error) {
	var refused *recordbatch.RecordsError
	if !errors.As(err, &refused) {
		return
	}
	part.records = &refusedRecords{named: refused.Named, texts: make([]string, len(refused.Named))}
	var first []string
	for i, r := range refused.Named {
		text := fmt.Sprintf("Compacted topic cannot accept message without key in topic partition %s-%d", topic.name, part.index)
		if !r.Keyless {
			text = fmt.Sprintf("Timestamp %d of message with offset %d is out of range. The timestamp should be within [%d, %d]",
				r.Timestamp, r.Index, limits.OldestMillis, limits.NewestMillis)
		}
		if part.records.texts[i] = text; i < 3 {
			first = append(first, fmt.Sprintf("RecordError(batchIndex=%d, message='%s')", r.Index, text))
		}
	}
	part.message = "One or more records have been rejected due to invalid timestamp"
	if !refused.Timestamps {
		part.message = fmt.Sprintf("One or more records have been rejected due to %d record errors in total, and only showing the first three errors at most: [%s]",
			refused.Records, strings.Join(first, ", "))
	}
}

// appendRecordErrors names the records for which the batch, which is accepted or refused as a whole, was refused.
func appendRecordErrors(b []byte, flexible bool, part *producePartition) []byte {
	if part.records == nil {
		return appendArrayLen(b, flexible, 0)
	}
	b = appendArrayLen(b, flexible, len(part.records.named))
	for i, r := range part.records.named {
		b = appendInt32(b, r.Index)
		b = appendNullableString(b, flexible, part.records.texts[i])
		b = appendNoTags(b, flexible)
	}
	return b
}
