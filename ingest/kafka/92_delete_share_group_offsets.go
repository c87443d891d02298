package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// DeleteShareGroupOffsets (key 92), version 0 (KIP-932). Of groups without members only, topic by topic.

func handleDeleteShareGroupOffsets(ctx context.Context, call *call, r *kmsg.DeleteShareGroupOffsetsRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, shareOffsetsTimeout)
	defer cancel()
	response := kmsg.NewPtrDeleteShareGroupOffsetsResponse()
	fail := func(e *kerr.Error) (kmsg.Response, error) {
		response.ErrorCode, response.ErrorMessage = refusal(e, "")
		response.Topics = nil
		return response, nil
	}
	if e := call.mayGroup(Delete, r.GroupID); e != nil {
		return fail(e)
	}
	command := &metapb.ResetShareOffsets{Group: r.GroupID}
	var places []int
	mayAny := false
	for i := range r.Topics {
		topic := kmsg.NewDeleteShareGroupOffsetsResponseTopic()
		topic.Topic = r.Topics[i].Topic
		id, _, _, known := call.resolve(topic.Topic, [16]byte{}, false)
		switch e := call.mayTopic(Read, topic.Topic); {
		case e != nil:
			topic.ErrorCode, topic.ErrorMessage = refusal(e, "")
		case !known:
			topic.ErrorCode, topic.ErrorMessage = refusal(kerr.UnknownTopicOrPartition, "")
			mayAny = true
		default:
			topic.TopicID = id
			command.RemovedTopics, places = append(command.RemovedTopics, id[:]), append(places, i)
			mayAny = true
		}
		response.Topics = append(response.Topics, topic)
	}
	if !mayAny {
		return response, nil
	}
	if r.GroupID == "" || !isText(r.GroupID) {
		return fail(kerr.InvalidGroupID)
	}
	verdict, err := call.propose(ctx, &metapb.Command{Kind: &metapb.Command_ResetShareOffsets{ResetShareOffsets: command}})
	switch {
	case err != nil:
		return fail(proposalError(err, kerr.CoordinatorNotAvailable))
	case verdict.Code != meta.OK:
		return fail(codeError(verdict.Code))
	}
	for k, i := range places {
		if k < len(verdict.Codes) && verdict.Codes[k] != meta.OK {
			topic := &response.Topics[i]
			topic.TopicID = [16]byte{}
			topic.ErrorCode, topic.ErrorMessage = refusal(kerr.UnknownTopicOrPartition, "There is no offset information to delete.")
		}
	}
	return response, nil
}
