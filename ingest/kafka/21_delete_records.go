package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// DeleteRecords (key 21), versions 0 to 2.
//
//	v1  same bytes; v2 flexible
//
// Offset -1 is the high watermark. An offset below the log start changes nothing and succeeds.

const highWatermarkOffset = -1

func handleDeleteRecords(ctx context.Context, call *call, r *kmsg.DeleteRecordsRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, boundedTimeout(r.TimeoutMillis))
	defer cancel()
	barrier := call.domain().Metadata.Barrier(ctx)
	response := kmsg.NewPtrDeleteRecordsResponse()
	response.Topics = make([]kmsg.DeleteRecordsResponseTopic, len(r.Topics))
	type place struct{ topic, partition int }
	var places []place
	for i := range r.Topics {
		response.Topics[i].Topic = r.Topics[i].Topic
		response.Topics[i].Partitions = make([]kmsg.DeleteRecordsResponseTopicPartition, len(r.Topics[i].Partitions))
		for j := range r.Topics[i].Partitions {
			places = append(places, place{i, j})
		}
	}
	inParallel(len(places), func(k int) {
		topic, asked := r.Topics[places[k].topic].Topic, r.Topics[places[k].topic].Partitions[places[k].partition]
		answer := &response.Topics[places[k].topic].Partitions[places[k].partition]
		answer.Partition, answer.LowWatermark = asked.Partition, -1
		e := proposalError(barrier, kerr.NotLeaderForPartition)
		if barrier == nil {
			answer.LowWatermark, e = deleteRecords(ctx, call, topic, asked.Partition, asked.Offset)
		}
		if e != nil {
			answer.ErrorCode, answer.LowWatermark = e.Code, -1
		}
	})
	return response, nil
}

// deleteRecords raises the log start to offset, and returns what it then is.
func deleteRecords(ctx context.Context, call *call, name string, partition int32, offset int64) (int64, *kerr.Error) {
	if e := call.mayTopic(Delete, name); e != nil {
		return -1, e
	}
	refused := kerr.UnknownTopicOrPartition
	var id meta.TopicID
	call.domain().Metadata.View(func(s *meta.State) {
		t := s.TopicByName(name)
		if t == nil || t.Partition(partition) == nil {
			return
		}
		p := t.Partition(partition)
		id, refused = t.ID, nil
		if offset == highWatermarkOffset {
			offset = p.HighWatermark()
		}
		switch {
		case isInternal(name):
			refused = kerr.InvalidTopicException
		case !t.Config.Delete:
			refused = kerr.PolicyViolation
		case offset < 0 || offset > p.HighWatermark():
			refused = kerr.OffsetOutOfRange
		}
	})
	if refused != nil {
		return -1, refused
	}
	command := &metapb.AdvanceLogStart{TopicId: id[:], Partition: partition, Offset: offset}
	verdict, err := call.propose(ctx, &metapb.Command{Kind: &metapb.Command_AdvanceLogStart{AdvanceLogStart: command}})
	if err != nil {
		return -1, proposalError(err, kerr.NotLeaderForPartition)
	}
	return verdict.LogStartOffset, codeError(verdict.Code)
}
