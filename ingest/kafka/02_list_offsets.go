package kafka

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/fetch"
)

// ListOffsets (key 2), versions 1 to 10. Version 11 is not stable in Kafka 4.1, and not offered.
//
//	v1  one offset, with its timestamp
//	v2  isolation level: for read_committed, what is not below the last stable offset is not there
//	v4  leader epochs
//	v6  flexible
//	v7  max timestamp, -3 (KIP-734)
//	v8  earliest local offset, -4 (KIP-405)
//	v9  latest tiered offset, -5 (KIP-1005)
//	v10 timeout (KIP-1075)
//	v11 earliest offset pending upload, -6 (KIP-1023)

// Timestamps that ask for something else than a time.
const (
	latestTimestamp                = -1
	earliestTimestamp              = -2
	maxTimestamp                   = -3
	earliestLocalTimestamp         = -4
	latestTieredTimestamp          = -5
	earliestPendingUploadTimestamp = -6
)

// timestampSince is the version that brought a special timestamp.
var timestampSince = map[int64]int16{
	latestTimestamp: 1, earliestTimestamp: 1, maxTimestamp: 7, earliestLocalTimestamp: 8, latestTieredTimestamp: 9, earliestPendingUploadTimestamp: 11,
}

const listOffsetsTimeout = 30 * time.Second

func handleListOffsets(ctx context.Context, call *call, r *kmsg.ListOffsetsRequest) (kmsg.Response, error) {
	timeout := listOffsetsTimeout
	if r.Version >= 10 {
		timeout = boundedTimeout(r.TimeoutMillis)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	barrier := call.domain().Metadata.Barrier(ctx)
	response := kmsg.NewPtrListOffsetsResponse()
	for i := range r.Topics {
		asked := &r.Topics[i]
		topic := kmsg.ListOffsetsResponseTopic{Topic: asked.Topic}
		times := make(map[int32]int, len(asked.Partitions))
		for j := range asked.Partitions {
			times[asked.Partitions[j].Partition]++
		}
		for j := range asked.Partitions {
			answer, partition := failedListOffset(asked.Partitions[j].Partition, kerr.LeaderNotAvailable), asked.Partitions[j].Partition
			if times[partition] == 0 {
				continue // told of already
			}
			if e := call.mayTopic(Describe, asked.Topic); e != nil {
				answer.ErrorCode = e.Code
			} else if times[partition] > 1 {
				answer.ErrorCode, times[partition] = kerr.InvalidRequest.Code, 0 // a client could not tell the answers apart
			} else if barrier == nil {
				answer = listOffset(ctx, call, r.Version, r.IsolationLevel, asked.Topic, &asked.Partitions[j])
			}
			topic.Partitions = append(topic.Partitions, answer)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response, nil
}

func failedListOffset(partition int32, e *kerr.Error) kmsg.ListOffsetsResponseTopicPartition {
	p := kmsg.NewListOffsetsResponseTopicPartition()
	p.Partition, p.ErrorCode, p.Offset, p.Timestamp, p.LeaderEpoch = partition, e.Code, -1, -1, -1
	return p
}

func listOffset(ctx context.Context, call *call, version int16, isolation int8, topic string, asked *kmsg.ListOffsetsRequestTopicPartition) kmsg.ListOffsetsResponseTopicPartition {
	answer := kmsg.NewListOffsetsResponseTopicPartition()
	answer.Partition, answer.Offset, answer.Timestamp, answer.LeaderEpoch = asked.Partition, -1, -1, -1
	if isolation != readUncommitted && isolation != readCommitted {
		return failedListOffset(asked.Partition, kerr.UnknownServerError) // as Kafka, which looks the level up and does not find it
	}
	committed := isolation == readCommitted
	since, special := timestampSince[asked.Timestamp]
	if asked.Timestamp < 0 && (!special || version < since) {
		return failedListOffset(asked.Partition, kerr.UnsupportedVersion)
	}
	tp, below := meta.TopicPartition{Partition: asked.Partition}, int64(math.MaxInt64)
	answer.ErrorCode = kerr.UnknownTopicOrPartition.Code
	call.domain().Metadata.View(func(s *meta.State) {
		t := s.TopicByName(topic)
		if t == nil || t.Partition(asked.Partition) == nil {
			return
		}
		p := t.Partition(asked.Partition)
		tp.Topic, answer.LeaderEpoch = t.ID, p.LeaderEpoch()
		if answer.ErrorCode = epochError(listedEpoch(asked.CurrentLeaderEpoch), p.LeaderEpoch()); answer.ErrorCode == 0 && special {
			answer.Offset = specialOffset(p, asked.Timestamp)
		}
		if committed {
			below = p.LastStableOffset()
		}
	})
	switch {
	case answer.ErrorCode != 0:
		answer.LeaderEpoch = -1
	case asked.Timestamp >= 0 || asked.Timestamp == maxTimestamp:
		found, ok, err := lookUpTime(ctx, call, tp, asked.Timestamp)
		if err != nil {
			return failedListOffset(asked.Partition, timeLookupError(err))
		}
		if ok && found.Offset < below {
			answer.Offset, answer.Timestamp = found.Offset, found.Timestamp
		}
	}
	if asked.Timestamp == latestTimestamp {
		answer.Offset = min(answer.Offset, below)
	}
	if answer.Offset < 0 {
		answer.LeaderEpoch = -1
	}
	return answer
}

// listedEpoch is the epoch a client believes in: here only -1 is none, and anything below it lies behind every epoch.
func listedEpoch(epoch int32) int32 {
	if epoch < -1 {
		return behindEveryEpoch
	}
	return epoch
}

func lookUpTime(ctx context.Context, call *call, tp meta.TopicPartition, timestamp int64) (fetch.TimedOffset, bool, error) {
	if timestamp == maxTimestamp {
		return call.domain().Offsets.OffsetOfMaxTimestamp(ctx, tp)
	}
	return call.domain().Offsets.OffsetForTimestamp(ctx, tp, timestamp)
}

// timeLookupError is retriable, unless the partition has gone.
func timeLookupError(err error) *kerr.Error {
	switch {
	case errors.Is(err, fetch.ErrUnknownPartition):
		return kerr.UnknownTopicOrPartition
	case errors.Is(err, context.DeadlineExceeded):
		return kerr.RequestTimedOut
	}
	return kerr.KafkaStorageError
}

// specialOffset answers what the state knows by itself.
func specialOffset(p *meta.Partition, timestamp int64) int64 {
	switch timestamp {
	case latestTimestamp:
		return p.HighWatermark()
	case earliestTimestamp:
		return p.LogStartOffset()
	case earliestLocalTimestamp:
		return max(p.EarliestLocalOffset(), p.LogStartOffset())
	case latestTieredTimestamp:
		return p.LatestTieredOffset()
	case earliestPendingUploadTimestamp:
		// Kafka answers -1 where nothing has been tiered, as it cannot tell; here everything goes to the bucket.
		return max(p.LatestTieredOffset()+1, p.LogStartOffset())
	default:
		return -1
	}
}
