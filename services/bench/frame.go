package bench

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/ingest/recordbatch"
)

// Versions at which requests are replayed: the newest that name topics, so that a frame outlives a topic's id.
const (
	produceVersion      = 12
	fetchVersion        = 12
	createTopicsVersion = 7
)

// A request begins with its length (4 bytes), API key (2), version (2) and correlation id (4).
const (
	posCorrelationID = 8
	frameHeaderBytes = 12
)

var formatter = kmsg.NewRequestFormatter(kmsg.FormatterClientID("varve-bench"))

// frame is an encoded request. It belongs to one connection, since sending patches it.
type frame []byte

// setCorrelationID makes the frame the id-th request of its connection.
func (f frame) setCorrelationID(id int32) {
	binary.BigEndian.PutUint32(f[posCorrelationID:frameHeaderBytes], uint32(id))
}

// partitionBatch is one batch of a Produce request.
type partitionBatch struct {
	partition int32
	batch     []byte
}

// produceFrame encodes a Produce request with acks=all.
func produceFrame(topic string, batches ...partitionBatch) frame {
	request := kmsg.NewPtrProduceRequest()
	request.Version = produceVersion
	request.Acks = -1
	request.TimeoutMillis = 30_000
	requestTopic := kmsg.NewProduceRequestTopic()
	requestTopic.Topic = topic
	for _, b := range batches {
		partition := kmsg.NewProduceRequestTopicPartition()
		partition.Partition, partition.Records = b.partition, b.batch
		requestTopic.Partitions = append(requestTopic.Partitions, partition)
	}
	request.Topics = append(request.Topics, requestTopic)
	return formatter.AppendRequest(nil, request, 0)
}

var errShortAnswer = errors.New("answer too short")

// answerBody checks that an answer is the one to the request id, and returns its body.
func answerBody(answer []byte, id int32, flexible bool) ([]byte, error) {
	if len(answer) < 5 {
		return nil, errShortAnswer
	}
	if got := int32(binary.BigEndian.Uint32(answer)); got != id {
		return nil, fmt.Errorf("answer to request %d where %d was awaited", got, id)
	}
	if !flexible {
		return answer[4:], nil
	}
	if answer[4] != 0 {
		return nil, fmt.Errorf("answer's header has %d tagged fields", answer[4])
	}
	return answer[5:], nil
}

// checkProduced returns the first error in the answer to a Produce frame.
func checkProduced(answer []byte, id int32) error {
	body, err := answerBody(answer, id, true)
	if err != nil {
		return fmt.Errorf("read Produce answer: %w", err)
	}
	response := kmsg.NewPtrProduceResponse()
	response.Version = produceVersion
	if err := response.ReadFrom(body); err != nil {
		return fmt.Errorf("decode Produce answer: %w", err)
	}
	for _, topic := range response.Topics {
		for _, partition := range topic.Partitions {
			if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
				message := ""
				if partition.ErrorMessage != nil {
					message = *partition.ErrorMessage
				}
				return fmt.Errorf("produce to %s/%d: %w %s", topic.Topic, partition.Partition, err, message)
			}
		}
	}
	return nil
}

// nextOffset walks the batches of a Fetch answer and returns the offset after the last whole one, or from if there is none.
func nextOffset(records []byte, from int64) (int64, error) {
	for len(records) >= recordbatch.HeaderBytes {
		header, err := recordbatch.ParseHeader(records)
		if err != nil {
			return 0, fmt.Errorf("read fetched batch: %w", err)
		}
		if header.SizeBytes() > len(records) {
			break // Fetch may cut the last batch short
		}
		from = header.NextOffset()
		records = records[header.SizeBytes():]
	}
	return from, nil
}
