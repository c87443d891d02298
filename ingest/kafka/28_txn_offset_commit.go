package kafka

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// TxnOffsetCommit (key 28), versions 0 to 5.
//
//	v2  leader epochs
//	v3  flexible; member id, generation and instance id, which the group judges (KIP-447)
//	v4  TRANSACTION_ABORTABLE
//	v5  the group joins the transaction by itself (KIP-890); same bytes

func handleTxnOffsetCommit(ctx context.Context, call *call, r *kmsg.TxnOffsetCommitRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, offsetCommitTimeout)
	defer cancel()
	request := &metapb.GroupCommitRequest{
		Group: r.Group, Generation: -1, Version: 9, // every version may speak for members of the consumer protocol
		Transaction: &metapb.GroupTransaction{
			TransactionalId: r.TransactionalID, ProducerId: r.ProducerID, ProducerEpoch: int32(r.ProducerEpoch), Joins: r.Version >= joinsTxnOffsetCommit,
		},
	}
	if r.Version >= 3 {
		request.Generation, request.MemberId, request.InstanceId = r.Generation, r.MemberID, r.InstanceID
	}
	refused := call.mayTransactionalID(Write, r.TransactionalID)
	if refused == nil {
		refused = call.mayGroup(Read, r.Group)
	}
	response := kmsg.NewPtrTxnOffsetCommitResponse()
	var answers []*int16 // the codes of the request's offsets, to be filled in
	for i := range r.Topics {
		asked := &r.Topics[i]
		id, _, partitions, known := call.resolve(asked.Topic, meta.TopicID{}, false)
		topic := kmsg.TxnOffsetCommitResponseTopic{
			Topic: asked.Topic, Partitions: make([]kmsg.TxnOffsetCommitResponseTopicPartition, len(asked.Partitions)),
		}
		for j := range asked.Partitions {
			p, answer := &asked.Partitions[j], &topic.Partitions[j]
			answer.Partition = p.Partition
			switch {
			case refused != nil:
				answer.ErrorCode = refused.Code
			case call.mayTopic(Read, asked.Topic) != nil:
				answer.ErrorCode = kerr.TopicAuthorizationFailed.Code
			case !known || p.Partition < 0 || p.Partition >= partitions:
				answer.ErrorCode = kerr.UnknownTopicOrPartition.Code
			default:
				request.Offsets = append(request.Offsets, pendingOffset(r.Version, id, p))
				answers = append(answers, &answer.ErrorCode)
			}
		}
		response.Topics = append(response.Topics, topic)
	}
	if len(answers) == 0 {
		return response, nil
	}
	committed, err := call.commitOffsets(ctx, request)
	if errors.Is(err, errCloseConnection) {
		return nil, err
	}
	for i, answer := range answers {
		*answer = groupCode(metapb.GroupCode_GROUP_UNAVAILABLE, err)
		if err == nil && i < len(committed.Codes) {
			*answer = errorCode(abortable(groupError(committed.Codes[i]), r.Version, 4))
		}
	}
	return response, nil
}

func pendingOffset(version int16, topic meta.TopicID, p *kmsg.TxnOffsetCommitRequestTopicPartition) *metapb.CommittedOffset {
	offset := &metapb.CommittedOffset{
		TopicId: topic[:], Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: orEmpty(p.Metadata),
		CommitMillis: time.Now().UnixMilli(),
	}
	if version < 2 {
		offset.LeaderEpoch = -1
	}
	return offset
}
