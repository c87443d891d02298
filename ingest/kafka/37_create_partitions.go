package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// CreatePartitions (key 37), versions 0 to 3.
//
//	v1  same bytes; v2 flexible; v3 quotas, same bytes
//
// A replica assignment must fit the number of new partitions, and means nothing: see CreateTopics.

func handleCreatePartitions(ctx context.Context, call *call, r *kmsg.CreatePartitionsRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, boundedTimeout(r.TimeoutMillis))
	defer cancel()
	asked, repeated := onceNamed(r.Topics, func(t *kmsg.CreatePartitionsRequestTopic) string { return t.Topic })
	response := kmsg.NewPtrCreatePartitionsResponse()
	response.Topics = make([]kmsg.CreatePartitionsResponseTopic, len(asked), len(asked)+len(repeated))
	inParallel(len(asked), func(i int) {
		answer := &response.Topics[i]
		answer.Topic = asked[i].Topic
		answer.ErrorCode, answer.ErrorMessage = createPartitions(ctx, call, r.ValidateOnly, asked[i])
	})
	for _, name := range repeated {
		answer := kmsg.CreatePartitionsResponseTopic{Topic: name}
		answer.ErrorCode, answer.ErrorMessage = refusal(kerr.InvalidRequest, "Duplicate topic name.")
		response.Topics = append(response.Topics, answer)
	}
	return response, nil
}

func createPartitions(ctx context.Context, call *call, validateOnly bool, asked *kmsg.CreatePartitionsRequestTopic) (int16, *string) {
	id, _, have, known := call.resolve(asked.Topic, meta.TopicID{}, false)
	if !known {
		return kerr.UnknownTopicOrPartition.Code, nil
	}
	if e := call.mayTopic(Alter, asked.Topic); e != nil {
		return refusal(e, "")
	}
	if asked.Assignment != nil && asked.Count > have {
		if len(asked.Assignment) != int(asked.Count-have) {
			return refusal(kerr.InvalidReplicaAssignment, fmt.Sprintf(
				"Increasing the number of partitions by %d but %d assignments provided.", asked.Count-have, len(asked.Assignment)))
		}
		for i := range asked.Assignment {
			if message := checkReplicas(call, asked.Assignment[i].Replicas); message != "" {
				return refusal(kerr.InvalidReplicaAssignment, message)
			}
		}
	}
	command := &metapb.CreatePartitions{TopicId: id[:], Count: asked.Count, MaxPartitions: call.server().config.MaxPartitions}
	var verdict meta.Verdict
	call.domain().Metadata.View(func(s *meta.State) { verdict = s.CheckCreatePartitions(command) })
	if !validateOnly {
		if verdict.Code == meta.OK {
			if e := call.chargeMutations(int(asked.Count-have), 3); e != nil {
				return refusal(e, "")
			}
		}
		var err error
		if verdict, err = call.propose(ctx, &metapb.Command{Kind: &metapb.Command_CreatePartitions{CreatePartitions: command}}); err != nil {
			return refusal(proposalError(err, kerr.NotController), err.Error())
		}
	}
	return refusal(codeError(verdict.Code), verdict.Message)
}
