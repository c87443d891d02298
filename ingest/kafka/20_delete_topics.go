package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// DeleteTopics (key 20), versions 1 to 6.
//
//	v4  flexible; v5 error messages (KIP-599); v6 topics by id or name
//
// The topic is gone when the answer comes; its objects are deleted afterwards.

func handleDeleteTopics(ctx context.Context, call *call, r *kmsg.DeleteTopicsRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, boundedTimeout(r.TimeoutMillis))
	defer cancel()
	topics := r.Topics
	if r.Version < 6 {
		for i := range r.TopicNames {
			topics = append(topics, kmsg.DeleteTopicsRequestTopic{Topic: &r.TopicNames[i]})
		}
	}
	repeated := repeatedTopics(call, topics)
	response := kmsg.NewPtrDeleteTopicsResponse()
	response.Topics = make([]kmsg.DeleteTopicsResponseTopic, len(topics))
	inParallel(len(topics), func(i int) {
		answer := &response.Topics[i]
		answer.Default()
		answer.Topic, answer.TopicID = topics[i].Topic, topics[i].TopicID
		if repeated[i] {
			answer.ErrorCode, answer.ErrorMessage = refusal(kerr.InvalidRequest, "Duplicate topic.")
			return
		}
		deleteTopic(ctx, call, &topics[i], answer)
	})
	return response, nil
}

// repeatedTopics tells which topics the request names more than once, be it by name and by id: what it wants of them is not clear, so
// none of them is deleted.
func repeatedTopics(call *call, topics []kmsg.DeleteTopicsRequestTopic) []bool {
	type place struct {
		name string
		id   [16]byte
	}
	places, times := make([]place, len(topics)), make(map[place]int, len(topics))
	for i := range topics {
		asked := &topics[i]
		at := place{orEmpty(asked.Topic), asked.TopicID}
		if byID := asked.TopicID != [16]byte{}; byID != (asked.Topic != nil) {
			if id, name, _, known := call.resolve(at.name, at.id, byID); known {
				at = place{name, id}
			}
		}
		places[i] = at
		times[at]++
	}
	repeated := make([]bool, len(topics))
	for i, at := range places {
		repeated[i] = times[at] > 1
	}
	return repeated
}

func deleteTopic(ctx context.Context, call *call, asked *kmsg.DeleteTopicsRequestTopic, answer *kmsg.DeleteTopicsResponseTopic) {
	byID := asked.TopicID != [16]byte{}
	if byID == (asked.Topic != nil) {
		answer.ErrorCode, answer.ErrorMessage = refusal(kerr.InvalidRequest, "Neither topic name nor id was specified, or both were.")
		return
	}
	id, name, partitions, known := call.resolve(orEmpty(asked.Topic), asked.TopicID, byID)
	unknown := kerr.UnknownTopicOrPartition
	if byID {
		unknown = kerr.UnknownTopicID
	}
	if !known {
		answer.ErrorCode, answer.ErrorMessage = refusal(unknown, "")
		return
	}
	if e := call.mayTopic(Delete, name); e != nil {
		answer.ErrorCode, answer.ErrorMessage = refusal(e, "")
		return
	}
	answer.TopicID = id
	if e := call.chargeMutations(int(partitions), 5); e != nil {
		answer.ErrorCode, answer.ErrorMessage = refusal(e, "")
		return
	}
	verdict, err := call.propose(ctx, &metapb.Command{Kind: &metapb.Command_DeleteTopic{DeleteTopic: &metapb.DeleteTopic{TopicId: id[:]}}})
	if err != nil {
		answer.ErrorCode, answer.ErrorMessage = refusal(proposalError(err, kerr.NotController), err.Error())
	} else if e := codeError(verdict.Code); e != nil {
		answer.ErrorCode, answer.ErrorMessage = refusal(e, verdict.Message)
	}
}
