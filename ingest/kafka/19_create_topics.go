package kafka

import (
	"context"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// CreateTopics (key 19), versions 2 to 7.
//
//	v4  partition count and replication factor may be -1, for the default (KIP-464)
//	v5  flexible; the answer tells the topic's configuration (KIP-525)
//	v6  quotas; same bytes
//	v7  topic ids in the answer
//
// There are no replica sets: any replication factor of at least 1 is taken and means what the topic's durability class means; answers
// say 1. A replica assignment of nodes that are there gives the number of
// partitions and nothing else.

func handleCreateTopics(ctx context.Context, call *call, r *kmsg.CreateTopicsRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, boundedTimeout(r.TimeoutMillis))
	defer cancel()
	asked, repeated := onceNamed(r.Topics, func(t *kmsg.CreateTopicsRequestTopic) string { return t.Topic })
	response := kmsg.NewPtrCreateTopicsResponse()
	response.Topics = make([]kmsg.CreateTopicsResponseTopic, len(asked)+len(repeated))
	for i := range response.Topics {
		answer := &response.Topics[i]
		answer.Default()
		answer.NumPartitions, answer.ReplicationFactor, answer.Configs = -1, -1, []kmsg.CreateTopicsResponseTopicConfig{}
	}
	inParallel(len(asked), func(i int) {
		answer := &response.Topics[i]
		answer.Topic = asked[i].Topic
		if e := call.mayTopic(Create, answer.Topic); e != nil {
			answer.ErrorCode, answer.ErrorMessage = refusal(e, "")
			return
		}
		createTopic(ctx, call, r.ValidateOnly, asked[i], answer)
	})
	for i, name := range repeated {
		answer := &response.Topics[len(asked)+i]
		answer.Topic = name
		answer.ErrorCode, answer.ErrorMessage = refusal(kerr.InvalidRequest, "Duplicate topic name.")
	}
	return response, nil
}

// onceNamed parts the elements of a request into those whose name comes once and the names that come several times: what is wanted of those is
// not clear, so nothing is done, and the answer tells of them once, behind the others.
func onceNamed[T any](elements []T, name func(*T) string) (once []*T, repeated []string) {
	times := make(map[string]int, len(elements))
	for i := range elements {
		if times[name(&elements[i])]++; times[name(&elements[i])] == 2 {
			repeated = append(repeated, name(&elements[i]))
		}
	}
	for i := range elements {
		if times[name(&elements[i])] == 1 {
			once = append(once, &elements[i])
		}
	}
	return once, repeated
}

// createTopic judges and, unless validateOnly, creates one topic.
func createTopic(ctx context.Context, call *call, validateOnly bool, asked *kmsg.CreateTopicsRequestTopic, answer *kmsg.CreateTopicsResponseTopic) {
	command, e, message := createTopicCommand(ctx, call, asked)
	var verdict meta.Verdict
	if command != nil { // the name and the configuration are judged first, whatever is wrong with the partitions
		call.domain().Metadata.View(func(s *meta.State) { verdict = s.CheckCreateTopic(command) })
	}
	if e != nil {
		if codeError(verdict.Code) != nil {
			e, message = codeError(verdict.Code), verdict.Message
		}
		answer.ErrorCode, answer.ErrorMessage = refusal(e, message)
		return
	}
	if !validateOnly {
		if verdict.Code == meta.OK {
			if e := call.chargeMutations(int(command.Partitions), 6); e != nil {
				answer.ErrorCode, answer.ErrorMessage = refusal(e, "")
				return
			}
		}
		var err error
		if verdict, err = call.propose(ctx, &metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: command}}); err != nil {
			answer.ErrorCode, answer.ErrorMessage = refusal(proposalError(err, kerr.NotController), err.Error())
			return
		}
	}
	if e := codeError(verdict.Code); e != nil {
		answer.ErrorCode, answer.ErrorMessage = refusal(e, verdict.Message)
		return
	}
	answer.NumPartitions, answer.ReplicationFactor = command.Partitions, 1
	answer.TopicID = [16]byte(command.TopicId)
	answer.Configs = createdConfigs(call, command)
}

// createTopicCommand turns what a client asks for into a command. Names and configuration are the state machine's to judge: where the number of
// partitions or of replicas is refused, the command has one partition.
func createTopicCommand(ctx context.Context, call *call, asked *kmsg.CreateTopicsRequestTopic) (*metapb.CreateTopic, *kerr.Error, string) {
	entries := make([]*metapb.ConfigEntry, 0, len(asked.Configs)+1)
	for i := range asked.Configs {
		if asked.Configs[i].Value == nil {
			return nil, kerr.InvalidConfig, "Null value not supported for topic configs: " + asked.Configs[i].Name
		}
		entries = append(entries, &metapb.ConfigEntry{Name: asked.Configs[i].Name, Value: *asked.Configs[i].Value})
	}
	partitions, e, message := askedPartitions(call, asked)
	command := newTopicCommand(call, asked.Topic, partitions, entries)
	if e == nil {
		e, message = unmetDurability(ctx, call, command)
	}
	return command, e, message
}

// askedPartitions is how many partitions a client asks for, 1 beside an error.
func askedPartitions(call *call, asked *kmsg.CreateTopicsRequestTopic) (int32, *kerr.Error, string) {
	partitions := asked.NumPartitions
	switch {
	case len(asked.ReplicaAssignment) > 0:
		if asked.NumPartitions != -1 || asked.ReplicationFactor != -1 {
			return 1, kerr.InvalidRequest, "A manual partition assignment was specified, but numPartitions or replicationFactor was not set to -1."
		}
		if message := checkAssignment(call, asked.ReplicaAssignment); message != "" {
			return 1, kerr.InvalidReplicaAssignment, message
		}
		partitions = int32(len(asked.ReplicaAssignment))
	case asked.ReplicationFactor == 0 || asked.ReplicationFactor < -1:
		return 1, kerr.InvalidReplicationFactor, "Replication factor must be larger than 0, or -1 to use the default value."
	case partitions == -1:
		call.domain().Metadata.View(func(s *meta.State) { partitions = s.Cluster().NumPartitions })
	case partitions <= 0:
		return 1, kerr.InvalidPartitions, "Number of partitions was set to an invalid non-positive value."
	}
	return partitions, nil, ""
}

// checkAssignment wants partitions from 0 on, each with replicas that differ.
func checkAssignment(call *call, assignment []kmsg.CreateTopicsRequestTopicReplicaAssignment) string {
	seen := make(map[int32]bool, len(assignment))
	for i := range assignment {
		p := assignment[i].Partition
		if p < 0 || int(p) >= len(assignment) || seen[p] {
			return "partitions should be a consecutive 0-based integer sequence"
		}
		seen[p] = true
		if message := checkReplicas(call, assignment[i].Replicas); message != "" {
			return fmt.Sprintf("partition %d: %s", p, message)
		}
	}
	return ""
}

func checkReplicas(call *call, replicas []int32) string {
	if len(replicas) == 0 {
		return "The manual partition assignment includes an empty replica list."
	}
	seen := make(map[int32]bool, len(replicas))
	for _, r := range replicas {
		if seen[r] {
			return fmt.Sprintf("The manual partition assignment includes the broker %d more than once.", r)
		}
		seen[r] = true
		if !call.isNode(strconv.Itoa(int(r))) {
			return fmt.Sprintf("The manual partition assignment includes broker %d, but no such broker is registered.", r)
		}
	}
	return ""
}

func createdConfigs(call *call, command *metapb.CreateTopic) (configs []kmsg.CreateTopicsResponseTopicConfig) {
	call.domain().Metadata.View(func(s *meta.State) {
		for _, v := range s.DescribeNewTopic(command) {
			configs = append(configs, kmsg.CreateTopicsResponseTopicConfig{
				Name: v.Name, Value: shownValue(&v), ReadOnly: v.Def.ReadOnly, Source: int8(v.Source),
			})
		}
	})
	return configs
}
