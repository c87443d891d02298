package kafka

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// StreamsGroupHeartbeat (key 88), version 0 (KIP-1071).
//
// What Kafka 4.1 does not support yet is refused as it does: static members, warm-up tasks, task offsets, source topics by regular expression.
//
// Internal topics that are missing are created by the node that the member speaks to, which knows what the member may do; the answer says
// that they were missing, and the next heartbeat finds them.

const streamsHeartbeatTimeout = 20 * time.Second

func handleStreamsGroupHeartbeat(ctx context.Context, call *call, r *kmsg.StreamsGroupHeartbeatRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, streamsHeartbeatTimeout)
	defer cancel()
	response := kmsg.NewPtrStreamsGroupHeartbeatResponse()
	if e, message := call.mayStream(r); e != nil {
		response.ErrorCode, response.ErrorMessage = refusal(e, message)
		return response, nil
	}
	beat, err := call.domain().Groups.StreamsHeartbeat(ctx, streamsHeartbeat(call, r))
	response.ErrorCode, response.ErrorMessage = groupCode(beat.GetCode(), err), nilIfEmpty(beat.GetMessage())
	if response.ErrorCode != 0 {
		return response, nil
	}
	failed := createInternalTopics(ctx, call, beat.Missing)
	response.MemberID, response.MemberEpoch, response.HeartbeatIntervalMillis = beat.MemberId, beat.MemberEpoch, beat.HeartbeatIntervalMillis
	response.EndpointInformationEpoch = beat.EndpointEpoch
	for _, s := range beat.Status {
		detail := s.Detail
		if s.Code == metapb.StreamsStatusCode_STREAMS_MISSING_INTERNAL_TOPICS && failed != "" {
			detail += "; " + failed
		}
		response.Status = append(response.Status, kmsg.StreamsGroupHeartbeatResponseStatus{StatusCode: int8(s.Code), StatusDetail: detail})
	}
	if beat.Assigned != nil {
		response.ActiveTasks, response.StandbyTasks, response.WarmupTasks = taskIDs(beat.Assigned.Active), taskIDs(beat.Assigned.Standby), taskIDs(beat.Assigned.Warmup)
	}
	for _, e := range beat.Endpoints {
		found := kmsg.NewStreamsGroupHeartbeatResponsePartitionsByUserEndpoint()
		found.UserEndpoint.Host, found.UserEndpoint.Port = e.Endpoint.GetHost(), uint16(e.Endpoint.GetPort())
		for _, t := range e.Active {
			found.ActivePartitions = append(found.ActivePartitions, kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpointActivePartition{Topic: t.Topic, Partitions: t.Partitions})
		}
		for _, t := range e.Standby {
			found.StandbyPartitions = append(found.StandbyPartitions, kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpointStandbyPartition{Topic: t.Topic, Partitions: t.Partitions})
		}
		response.PartitionsByUserEndpoint = append(response.PartitionsByUserEndpoint, found)
	}
	return response, nil
}

// taskIDs is never null: that would mean that nothing has changed.
func taskIDs(from []*metapb.StreamsTaskIds) []kmsg.TaskIDs {
	out := make([]kmsg.TaskIDs, len(from))
	for i, t := range from {
		out[i] = kmsg.TaskIDs{SubtopologyID: t.Subtopology, Partitions: t.Partitions}
	}
	return out
}

// mayStream judges what needs no group: what the client may do, what Kafka does not support yet, and the names of topics.
func (c *call) mayStream(r *kmsg.StreamsGroupHeartbeatRequest) (*kerr.Error, string) {
	if e := c.mayGroup(Read, r.Group); e != nil {
		return e, ""
	}
	if e, message := c.mayRunTopology(r.Topology); e != nil {
		return e, message
	}
	switch {
	case r.InstanceID != nil:
		return kerr.InvalidRequest, "Static membership is not yet supported."
	case r.TaskOffsets != nil:
		return kerr.InvalidRequest, "TaskOffsets are not supported yet."
	case r.TaskEndOffsets != nil:
		return kerr.InvalidRequest, "TaskEndOffsets are not supported yet."
	case len(r.WarmupTasks) > 0:
		return kerr.InvalidRequest, "WarmupTasks are not supported yet."
	case r.Topology != nil && slices.ContainsFunc(r.Topology.Subtopologies, func(s kmsg.StreamsGroupHeartbeatRequestTopologySubtopology) bool { return len(s.SourceTopicRegex) > 0 }):
		return kerr.InvalidRequest, "Regular expressions for source topics are not supported yet."
	case (r.ActiveTasks == nil) != (r.StandbyTasks == nil) || (r.ActiveTasks == nil) != (r.WarmupTasks == nil):
		return kerr.InvalidRequest, "If one task-type is non-null, all must be non-null."
	}
	return nil, ""
}

func (c *call) mayRunTopology(t *kmsg.StreamsGroupHeartbeatRequestTopology) (*kerr.Error, string) {
	if t == nil {
		return nil, ""
	}
	var names, internal, malformed []string
	for i := range t.Subtopologies {
		s := &t.Subtopologies[i]
		names = append(append(names, s.SourceTopics...), s.RepartitionSinkTopics...)
		for _, topics := range [][]kmsg.TopicInfo{s.RepartitionSourceTopics, s.StateChangelogTopics} {
			for j := range topics {
				names = append(names, topics[j].Topic)
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, name := range names {
		if isInternal(name) {
			internal = append(internal, name)
		}
		if meta.ValidTopicName(name) != "" {
			malformed = append(malformed, name)
		}
	}
	switch {
	case len(internal) > 0:
		return kerr.StreamsInvalidTopology, "Use of Kafka internal topics " + strings.Join(internal, ",") + " in a Kafka Streams topology is prohibited."
	case len(malformed) > 0:
		return kerr.StreamsInvalidTopology, "Topic names " + strings.Join(malformed, ",") + " are not valid topic names."
	}
	for _, name := range names {
		if e := c.mayTopic(Describe, name); e != nil {
			return e, ""
		}
	}
	return nil, ""
}

func streamsHeartbeat(call *call, r *kmsg.StreamsGroupHeartbeatRequest) *metapb.StreamsHeartbeatRequest {
	request := &metapb.StreamsHeartbeatRequest{
		Group: r.Group, MemberId: r.MemberID, MemberEpoch: r.MemberEpoch, EndpointEpoch: r.EndpointInformationEpoch, RackId: r.RackID,
		RebalanceTimeoutMillis: r.RebalanceTimeoutMillis, ClientId: call.clientID(), ClientHost: "/" + call.conn.host, ProcessId: r.ProcessID,
		Topology: streamsTopology(r.Topology), ShutdownApplication: r.ShutdownApplication,
	}
	if r.ActiveTasks != nil {
		request.Owned = &metapb.StreamsTasks{Active: streamsTasks(r.ActiveTasks), Standby: streamsTasks(r.StandbyTasks), Warmup: streamsTasks(r.WarmupTasks)}
	}
	if r.UserEndpoint != nil {
		request.Endpoint = &metapb.StreamsEndpoint{Host: r.UserEndpoint.Host, Port: int32(r.UserEndpoint.Port)}
	}
	if r.ClientTags != nil {
		request.ClientTags = &metapb.StreamsClientTags{}
		for _, tag := range r.ClientTags {
			request.ClientTags.Tags = append(request.ClientTags.Tags, &metapb.StreamsKeyValue{Key: tag.Key, Value: tag.Value})
		}
	}
	return request
}

func streamsTasks(from []kmsg.TaskIDs) (out []*metapb.StreamsTaskIds) {
	for i := range from {
		out = append(out, &metapb.StreamsTaskIds{Subtopology: from[i].SubtopologyID, Partitions: from[i].Partitions})
	}
	return out
}

func streamsTopology(from *kmsg.StreamsGroupHeartbeatRequestTopology) *metapb.StreamsTopology {
	if from == nil {
		return nil
	}
	out := &metapb.StreamsTopology{Epoch: from.Epoch}
	for i := range from.Subtopologies {
		s := &from.Subtopologies[i]
		to := &metapb.StreamsSubtopology{
			Id: s.SubtopologyID, SourceTopics: s.SourceTopics, RepartitionSinkTopics: s.RepartitionSinkTopics,
			RepartitionSourceTopics: streamsTopics(s.RepartitionSourceTopics), ChangelogTopics: streamsTopics(s.StateChangelogTopics),
		}
		for _, g := range s.CopartitionGroups {
			to.CopartitionGroups = append(to.CopartitionGroups, &metapb.StreamsCopartitionGroup{
				SourceTopics: widened(g.SourceTopics), RepartitionSourceTopics: widened(g.RepartitionSourceTopics),
			})
		}
		out.Subtopologies = append(out.Subtopologies, to)
	}
	return out
}

func streamsTopics(from []kmsg.TopicInfo) (out []*metapb.StreamsTopicInfo) {
	for i := range from {
		t := &from[i]
		to := &metapb.StreamsTopicInfo{Name: t.Topic, Partitions: t.NumPartitions, ReplicationFactor: int32(t.ReplicationFactor)}
		for _, config := range t.Configs {
			to.Configs = append(to.Configs, &metapb.StreamsKeyValue{Key: config.Key, Value: config.Value})
		}
		out = append(out, to)
	}
	return out
}

func widened(places []int16) (out []int32) {
	for _, p := range places {
		out = append(out, int32(p))
	}
	return out
}

// createInternalTopics creates topics for a streams application, and says what stood in the way.
func createInternalTopics(ctx context.Context, call *call, missing []*metapb.StreamsTopicInfo) string {
	if len(missing) == 0 {
		return ""
	}
	if call.mayCluster(Create) != nil {
		var forbidden []string
		for _, t := range missing {
			if call.mayTopic(Create, t.Name) != nil {
				forbidden = append(forbidden, t.Name)
			}
		}
		if len(forbidden) > 0 {
			return "Unauthorized to CREATE on topics " + strings.Join(forbidden, ",") + "."
		}
	}
	var mu sync.Mutex
	var failures []string
	inParallel(len(missing), func(i int) {
		if failure := createInternalTopic(ctx, call, missing[i]); failure != "" {
			mu.Lock()
			defer mu.Unlock()
			failures = append(failures, failure)
		}
	})
	slices.Sort(failures)
	return strings.Join(failures, "; ")
}

// createInternalTopic creates one topic; it may be there meanwhile. Empty where it is.
func createInternalTopic(ctx context.Context, call *call, t *metapb.StreamsTopicInfo) string {
	configs := make([]*metapb.ConfigEntry, len(t.Configs))
	for i, c := range t.Configs {
		configs[i] = &metapb.ConfigEntry{Name: c.Key, Value: c.Value}
	}
	verdict, err := call.propose(ctx, &metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: newTopicCommand(call, t.Name, t.Partitions, configs)}})
	switch {
	case err != nil:
		return "Creation of topic " + t.Name + " failed: " + err.Error()
	case verdict.Code == meta.OK, verdict.Code == meta.TopicExists:
		return ""
	}
	_, message := refusal(codeError(verdict.Code), verdict.Message)
	return "Creation of topic " + t.Name + " failed: " + orEmpty(message)
}
