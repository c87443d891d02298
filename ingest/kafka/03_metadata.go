package kafka

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// Metadata (key 3), versions 0 to 13.
//
//	v0  an empty list of topics asks for all; from v1 on null does, and empty asks for none
//	v1  controller, racks, internal topics; v2 cluster id; v3 throttle time
//	v4  allow auto-creation; before, it is allowed
//	v5  offline replicas; v7 leader epochs
//	v8  authorized operations of topics and (to v10) of the cluster
//	v9  flexible
//	v10 topic ids in the answer; v12 a topic may be asked for by id
//	v13 top-level error code (KIP-1102)

func handleMetadata(ctx context.Context, call *call, r *kmsg.MetadataRequest) (kmsg.Response, error) {
	if e := impossibleMetadata(r); e != nil {
		return failedMetadata(r, e), nil
	}
	response := kmsg.NewPtrMetadataResponse()
	call.server().config.CheckNodes(ctx)
	nodes, named := call.brokers()
	for _, n := range named {
		broker := kmsg.MetadataResponseBroker{NodeID: n.id, Host: n.host, Port: n.port}
		if n.zone != "" {
			broker.Rack = kmsg.StringPtr(n.zone)
		}
		response.Brokers = append(response.Brokers, broker)
	}
	response.ClusterID = kmsg.StringPtr(call.server().config.ClusterID)
	response.ControllerID = controllerOf(nodes)
	if r.IncludeClusterAuthorizedOperations {
		response.AuthorizedOperations = clusterOperations
	}
	d := newTopicDescriber(call, nodes, r.IncludeTopicAuthorizedOperations)
	if r.Topics == nil || r.Version == 0 && len(r.Topics) == 0 {
		call.domain().Metadata.View(func(s *meta.State) {
			for _, t := range s.Topics() {
				if call.mayTopic(Describe, t.Name) == nil {
					response.Topics = append(response.Topics, d.describe(t))
				}
			}
		})
		return response, nil
	}
	mayCreate := r.AllowAutoTopicCreation || r.Version < 4
	type place struct {
		name string
		id   [16]byte
	}
	seen := make(map[place]bool, len(r.Topics)) // a topic that is named twice is told of once
	byID := slices.ContainsFunc(r.Topics, func(t kmsg.MetadataRequestTopic) bool { return t.TopicID != [16]byte{} })
	for i := range r.Topics {
		if byID && r.Topics[i].TopicID == ([16]byte{}) {
			continue // beside ids Kafka does not look at names
		}
		if at := (place{orEmpty(r.Topics[i].Topic), r.Topics[i].TopicID}); !seen[at] {
			seen[at] = true
			response.Topics = append(response.Topics, d.lookUp(ctx, &r.Topics[i], mayCreate))
		}
	}
	return response, nil
}

// impossibleMetadata judges a request for topics that are named in no way, or in one that its version does not know.
func impossibleMetadata(r *kmsg.MetadataRequest) *kerr.Error {
	byID := false
	for i := range r.Topics {
		if r.Version < 12 && (r.Topics[i].Topic == nil || r.Topics[i].TopicID != [16]byte{}) {
			return kerr.InvalidRequest
		}
		byID = byID || r.Topics[i].TopicID != [16]byte{}
	}
	for i := range r.Topics {
		if !byID && r.Topics[i].Topic == nil {
			return kerr.UnknownServerError // as Kafka, which looks for a name
		}
	}
	return nil
}

// failedMetadata refuses a request as a whole.
func failedMetadata(r *kmsg.MetadataRequest, e *kerr.Error) *kmsg.MetadataResponse {
	response := kmsg.NewPtrMetadataResponse()
	response.ControllerID, response.ErrorCode = -1, e.Code
	for i := range r.Topics {
		t := kmsg.NewMetadataResponseTopic()
		t.ErrorCode, t.Topic, t.TopicID = e.Code, kmsg.StringPtr(orEmpty(r.Topics[i].Topic)), r.Topics[i].TopicID
		response.Topics = append(response.Topics, t)
	}
	return response
}

// topicDescriber makes the Metadata answer's topics.
type topicDescriber struct {
	call       *call
	nodes      []node
	zones      [][]node          // all nodes by zone
	alone      map[int32][]int32 // where there is one zone: a list of itself for each node, shared by all its partitions
	operations bool
}

func newTopicDescriber(call *call, nodes []node, operations bool) *topicDescriber {
	d := &topicDescriber{call: call, nodes: candidates(nodes, call.zone()), zones: byZone(nodes), operations: operations, alone: make(map[int32][]int32, len(nodes))}
	for _, n := range nodes {
		d.alone[n.id] = []int32{n.id}
	}
	return d
}

// replicas are the nodes for a partition that clients may read from by their rack (KIP-392): the leader, and one of each other zone.
func (d *topicDescriber) replicas(leader int32, topic meta.TopicID, partition int32) []int32 {
	if len(d.zones) < 2 || leader < 0 {
		return d.alone[leader]
	}
	replicas := make([]int32, 1, len(d.zones))
	replicas[0] = leader
	for _, nodes := range d.zones {
		if !slices.ContainsFunc(nodes, func(n node) bool { return n.id == leader }) {
			replicas = append(replicas, leaderOf(nodes, topic, partition))
		}
	}
	return replicas
}

// lookUp answers for one topic of the request.
func (d *topicDescriber) lookUp(ctx context.Context, asked *kmsg.MetadataRequestTopic, mayCreate bool) kmsg.MetadataResponseTopic {
	answer, found := d.find(asked)
	switch {
	case found:
		return answer
	case asked.TopicID != ([16]byte{}):
		return d.failed(asked, kerr.UnknownTopicID)
	case meta.ValidTopicName(*asked.Topic) != "":
		return d.failed(asked, kerr.InvalidTopicException)
	case !mayCreate:
		return d.failed(asked, kerr.UnknownTopicOrPartition)
	case d.call.mayTopic(Create, *asked.Topic) != nil:
		return d.failed(asked, kerr.TopicAuthorizationFailed)
	}
	refused := autoCreateTopic(ctx, d.call, *asked.Topic)
	if answer, found = d.find(asked); found {
		return answer
	}
	if refused == nil {
		refused = kerr.LeaderNotAvailable // deleted again, or not visible yet: the client asks again
	}
	return d.failed(asked, refused)
}

func (d *topicDescriber) find(asked *kmsg.MetadataRequestTopic) (answer kmsg.MetadataResponseTopic, found bool) {
	d.call.domain().Metadata.View(func(s *meta.State) {
		t := s.Topic(asked.TopicID)
		if t == nil && asked.Topic != nil && asked.TopicID == ([16]byte{}) {
			t = s.TopicByName(*asked.Topic)
		}
		if t == nil {
			return
		}
		if found = true; d.call.mayTopic(Describe, t.Name) == nil {
			answer = d.describe(t)
		} else {
			answer = d.failed(asked, kerr.TopicAuthorizationFailed)
		}
	})
	return answer, found
}

func (d *topicDescriber) failed(asked *kmsg.MetadataRequestTopic, e *kerr.Error) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.ErrorCode, t.Topic, t.TopicID = e.Code, asked.Topic, asked.TopicID
	if t.Topic == nil && d.call.header.version < 12 {
		t.Topic = kmsg.StringPtr("")
	}
	return t
}

func (d *topicDescriber) describe(topic *meta.Topic) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.Topic, t.TopicID, t.IsInternal = kmsg.StringPtr(topic.Name), topic.ID, isInternal(topic.Name)
	if d.operations {
		t.AuthorizedOperations = topicOperations
	}
	t.Partitions = make([]kmsg.MetadataResponseTopicPartition, topic.Partitions())
	for i := range t.Partitions {
		p := &t.Partitions[i]
		p.Default()
		p.Partition, p.Leader = int32(i), leaderOf(d.nodes, topic.ID, int32(i))
		p.LeaderEpoch = topic.Partition(int32(i)).LeaderEpoch()
		p.Replicas = d.replicas(p.Leader, topic.ID, int32(i))
		p.ISR = p.Replicas
		if p.Leader < 0 {
			p.ErrorCode = kerr.LeaderNotAvailable.Code
		}
	}
	return t
}

// Bits of AclOperation (KIP-430): everything is allowed until there are ACLs.
const (
	topicOperations   = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	groupOperations   = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11
	clusterOperations = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
)

// isInternal names the topics that Kafka keeps for itself; tools hide them.
func isInternal(name string) bool {
	return name == "__consumer_offsets" || name == "__transaction_state" || name == "__share_group_state"
}
