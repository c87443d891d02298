package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// AlterShareGroupOffsets (key 91), version 0 (KIP-932). Of groups without members only.

func handleAlterShareGroupOffsets(ctx context.Context, call *call, r *kmsg.AlterShareGroupOffsetsRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, shareOffsetsTimeout)
	defer cancel()
	response := kmsg.NewPtrAlterShareGroupOffsetsResponse()
	fail := func(e *kerr.Error) (kmsg.Response, error) {
		response.ErrorCode, response.ErrorMessage = refusal(e, "")
		response.Topics = nil
		return response, nil
	}
	if e := call.mayGroup(Read, r.GroupID); e != nil {
		return fail(e)
	}
	if r.GroupID == "" || !isText(r.GroupID) {
		return fail(kerr.InvalidGroupID)
	}
	command := &metapb.ResetShareOffsets{Group: r.GroupID}
	type place struct{ topic, partition int }
	var places []place
	for i := range r.Topics {
		asked := &r.Topics[i]
		topic := kmsg.NewAlterShareGroupOffsetsResponseTopic()
		topic.Topic = asked.Topic
		id, _, partitions, known := call.resolve(asked.Topic, [16]byte{}, false)
		if known {
			topic.TopicID = id
		}
		for j := range asked.Partitions {
			p := kmsg.NewAlterShareGroupOffsetsResponseTopicPartition()
			p.Partition = asked.Partitions[j].Partition
			switch e := call.mayTopic(Read, asked.Topic); {
			case e != nil:
				p.ErrorCode, p.ErrorMessage = refusal(e, "")
			case !known || p.Partition < 0 || p.Partition >= partitions:
				p.ErrorCode, p.ErrorMessage = refusal(kerr.UnknownTopicOrPartition, "")
			default:
				command.Offsets = append(command.Offsets, &metapb.ShareOffset{TopicId: id[:], Partition: p.Partition, StartOffset: max(asked.Partitions[j].StartOffset, 0)})
				places = append(places, place{i, j})
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		response.Topics = append(response.Topics, topic)
	}
	if len(r.Topics) == 0 {
		return response, nil
	}
	verdict, err := call.propose(ctx, &metapb.Command{Kind: &metapb.Command_ResetShareOffsets{ResetShareOffsets: command}})
	switch {
	case err != nil:
		return fail(proposalError(err, kerr.CoordinatorNotAvailable))
	case verdict.Code != meta.OK:
		return fail(codeError(verdict.Code))
	}
	for k, at := range places {
		if k < len(verdict.Codes) {
			p := &response.Topics[at.topic].Partitions[at.partition]
			p.ErrorCode, p.ErrorMessage = refusal(codeError(verdict.Codes[k]), "")
		}
	}
	return response, nil
}
