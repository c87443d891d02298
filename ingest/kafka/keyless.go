package kafka

import (
	"errors"
	"fmt"
	"strings"
)

// nameKeyless names the records that a compacted topic refuses for want of a key, in the words of Kafka (KIP-467).
func (part *producePartition) nameKeyless(topic *topic, err error) {
	if !errors.As(err, &part.keyless) {
		return
	}
	part.keylessMessage = fmt.Sprintf("Compacted topic cannot accept message without key in topic partition %s-%d", topic.name, part.index)
	var named []string
	for _, index := range part.keyless.Indexes[:min(3, len(part.keyless.Indexes))] {
		named = append(named, fmt.Sprintf("RecordError(batchIndex=%d, message='%s')", index, part.keylessMessage))
	}
	part.message = fmt.Sprintf("One or more records have been rejected due to %d record errors in total, and only showing the first three errors at most: [%s]",
		part.keyless.Records, strings.Join(named, ", "))
}

// appendRecordErrors names the records for which the batch, which is accepted or refused as a whole, was refused.
func appendRecordErrors(b []byte, flexible bool, part *producePartition) []byte {
	if part.keyless == nil {
		return appendArrayLen(b, flexible, 0)
	}
	b = appendArrayLen(b, flexible, len(part.keyless.Indexes))
	for _, index := range part.keyless.Indexes {
		b = appendInt32(b, index)
		b = appendNullableString(b, flexible, part.keylessMessage)
		b = appendNoTags(b, flexible)
	}
	return b
}
