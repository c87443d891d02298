package group

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// newUUID is an id as Kafka writes them, for members that have none.
func newUUID() string {
	var random [16]byte
	rand.Read(random[:])
	return base64.RawURLEncoding.EncodeToString(random[:])
}

// cluster is what holds for a group now.
func (c *Coordinator) cluster(group string) (now cluster) {
	c.log.View(func(s *meta.State) {
		now.config, now.topics = s.GroupConfig(group), c.catalogOf(s)
	})
	return now
}

// catalogOf is the catalog as the state has it.
func (c *Coordinator) catalogOf(s *meta.State) *catalog {
	topics := c.topics.Load()
	if topics.seq != s.TopicsSeq() {
		topics = newCatalog(s)
		c.topics.Store(topics)
	}
	return topics
}

// ConsumerHeartbeat lets a member in, keeps it in and brings it on, or lets it go. On return with GROUP_OK, what the answer says is durable.
func (c *Coordinator) ConsumerHeartbeat(ctx context.Context, r *metapb.ConsumerHeartbeatRequest) (*metapb.ConsumerHeartbeatResponse, error) {
	return await(ctx, c.BeginConsumerHeartbeat, r)
}

// BeginConsumerHeartbeat is ConsumerHeartbeat as Begin functions are.
func (c *Coordinator) BeginConsumerHeartbeat(r *metapb.ConsumerHeartbeatRequest, answer func(*metapb.ConsumerHeartbeatResponse, error)) {
	if wrong := checkHeartbeat(r); wrong != nil {
		answer(&metapb.ConsumerHeartbeatResponse{Code: wrong.code, Message: wrong.message}, nil)
		return
	}
	now := c.cluster(r.Group)
	if c.with(r.Group, r.MemberEpoch == epochJoin, func(at time.Time, g *guarded) {
		response, wrong := c.consumerHeartbeat(at, g, now, r)
		if wrong != nil {
			answer(&metapb.ConsumerHeartbeatResponse{Code: wrong.code, Message: wrong.message}, nil)
			return
		}
		g.consumer.WhenStored(func(stored bool) {
			if !stored {
				response = &metapb.ConsumerHeartbeatResponse{Code: metapb.GroupCode_GROUP_UNAVAILABLE}
			}
			answer(response, nil)
		})
	}) {
		return
	}
	if c.absent() == metapb.GroupCode_GROUP_UNAVAILABLE {
		answer(&metapb.ConsumerHeartbeatResponse{Code: metapb.GroupCode_GROUP_UNAVAILABLE}, nil)
		return
	}
	answer(&metapb.ConsumerHeartbeatResponse{Code: metapb.GroupCode_GROUP_NOT_FOUND, Message: fmt.Sprintf("Consumer group %s not found.", r.Group)}, nil)
}

// consumerHeartbeat is a heartbeat to a group of whatever protocol. A classic one becomes a consumer group only if the member gets in.
func (c *Coordinator) consumerHeartbeat(now time.Time, g *guarded, cl cluster, r *metapb.ConsumerHeartbeatRequest) (*metapb.ConsumerHeartbeatResponse, *refusal) {
	if g.consumer != nil {
		return g.consumer.Heartbeat(now, cl, r, newUUID)
	}
	if !g.takesClassic() {
		return nil, refuse(metapb.GroupCode_GROUP_NOT_FOUND, "Group %s is not a consumer group.", r.Group)
	}
	if r.MemberEpoch != epochJoin {
		if len(g.group.members) == 0 && g.group.state == Empty {
			return nil, refuse(metapb.GroupCode_GROUP_NOT_FOUND, "Consumer group %s not found.", r.Group)
		}
		return nil, refuse(metapb.GroupCode_GROUP_NOT_FOUND, "Group %s is not a consumer group.", r.Group)
	}
	group := newConsumerGroup(g.name)
	if len(g.group.members) > 0 {
		var readable bool
		switch group, readable = upgrade(now, g.group, cl); {
		case !cl.config.MayUpgrade, g.group.protocolType != consumerProtocol, len(g.group.members) > int(cl.config.ConsumerMaxSize):
			return nil, refuse(metapb.GroupCode_GROUP_NOT_FOUND, "Group %s is not a consumer group.", r.Group)
		case !readable:
			return nil, refuse(metapb.GroupCode_GROUP_NOT_FOUND, "Cannot upgrade classic group %s to consumer group because the embedded consumer protocol is malformed.", r.Group)
		}
	}
	answer, wrong := group.Heartbeat(now, cl, r, newUUID)
	if wrong != nil {
		return nil, wrong
	}
	g.group.giveUp()
	g.group, g.consumer = nil, group
	return answer, nil
}

// downgrade makes a classic group of a consumer group whose last member with the consumer protocol is gone.
func (c *Coordinator) downgrade(now time.Time, g *guarded) {
	from := g.consumer
	if !from.isClassicAlone() {
		return
	}
	cl := c.cluster(g.name)
	if !cl.config.MayDowngrade || len(from.members) > int(cl.config.ClassicMaxSize) {
		return
	}
	if from.IsDirty() {
		c.flush(g) // those who wait for it are answered by it
		c.startStoring(g)
	}
	c.classic(g)
	g.group.downgrade(now, from, cl)
}

// ConsumerDescribe tells of consumer groups and their members.
func (c *Coordinator) ConsumerDescribe(_ context.Context, r *metapb.ConsumerDescribeRequest) (*metapb.ConsumerDescribeResponse, error) {
	answer := &metapb.ConsumerDescribeResponse{}
	for _, name := range r.Groups {
		d := &metapb.ConsumerDescribed{Group: name, Code: metapb.GroupCode_GROUP_NOT_FOUND, Message: fmt.Sprintf("Group %s not found.", name)}
		if name == "" {
			d.Code, d.Message = metapb.GroupCode_GROUP_INVALID_ID, ""
		} else if !c.with(name, false, func(_ time.Time, g *guarded) {
			if g.consumer != nil {
				d = g.consumer.Describe()
			} else {
				d.Message = fmt.Sprintf("Group %s is not a consumer group.", name)
			}
		}) && c.absent() == metapb.GroupCode_GROUP_UNAVAILABLE {
			d.Code, d.Message = metapb.GroupCode_GROUP_UNAVAILABLE, ""
		}
		answer.Groups = append(answer.Groups, d)
	}
	return answer, nil
}

// DeleteOffsets forgets offsets, apart from those in topics that members want.
func (c *Coordinator) DeleteOffsets(ctx context.Context, r *metapb.GroupDeleteOffsetsRequest) (*metapb.GroupDeleteOffsetsResponse, error) {
	now := c.cluster(r.Group)
	code, subscribes := metapb.GroupCode_GROUP_OK, func(string) bool { return false }
	found := c.with(r.Group, false, func(_ time.Time, g *guarded) { code, subscribes = g.mayDeleteOffsets() })
	if !found {
		c.log.View(func(s *meta.State) { found = s.Group(r.Group) != nil })
	}
	switch {
	case c.isClosed():
		code = metapb.GroupCode_GROUP_UNAVAILABLE
	case r.Group == "":
		code = metapb.GroupCode_GROUP_INVALID_ID
	case !found:
		code = metapb.GroupCode_GROUP_NOT_FOUND
	}
	if code != metapb.GroupCode_GROUP_OK {
		return &metapb.GroupDeleteOffsetsResponse{Code: code}, nil
	}
	answer := &metapb.GroupDeleteOffsetsResponse{Codes: make([]metapb.GroupCode, len(r.Offsets))}
	command := &metapb.DeleteOffsets{Group: r.Group}
	for i, o := range r.Offsets {
		if t, ok := now.topics.byID[meta.TopicID(o.TopicId)]; ok && subscribes(t.name) {
			answer.Codes[i] = metapb.GroupCode_GROUP_SUBSCRIBED_TO_TOPIC
			continue
		}
		command.Offsets = append(command.Offsets, o)
	}
	if len(command.Offsets) == 0 {
		return answer, nil
	}
	verdict, err := c.log.Propose(ctx, &metapb.Command{Kind: &metapb.Command_DeleteOffsets{DeleteOffsets: command}})
	switch {
	case err != nil:
		answer.Code = metapb.GroupCode_GROUP_UNAVAILABLE
	case verdict.Code == meta.UnknownGroup: // no offsets, and no members that it was stored for
	case verdict.Code != meta.OK:
		answer.Code = metapb.GroupCode_GROUP_UNAVAILABLE
	}
	return answer, nil
}

// mayDeleteOffsets judges a deletion of offsets: of a group without members all may go; of a group of consumers, what they do not want.
func (g *guarded) mayDeleteOffsets() (metapb.GroupCode, func(topic string) bool) {
	if g.share != nil {
		return metapb.GroupCode_GROUP_NOT_FOUND, nil // it has none
	}
	if m := g.managed(); m != nil {
		return metapb.GroupCode_GROUP_OK, m.Subscribes
	}
	none := func(string) bool { return false }
	if g.group.state == Empty {
		return metapb.GroupCode_GROUP_OK, none
	}
	topics, known := g.group.subscribedTopics()
	if g.group.protocolType != consumerProtocol {
		return metapb.GroupCode_GROUP_NOT_EMPTY, none
	}
	wanted := make(map[string]bool, len(topics))
	for _, name := range topics {
		wanted[name] = true
	}
	// Before the protocol is chosen nobody knows what they want.
	return metapb.GroupCode_GROUP_OK, func(name string) bool { return !known || wanted[name] }
}

func (c *Coordinator) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.closed
}
