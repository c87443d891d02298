package group

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// checkStreamsHeartbeat is what can be said against a request without knowing the group.
func checkStreamsHeartbeat(r *metapb.StreamsHeartbeatRequest) *refusal {
	invalid := func(message string) *refusal { return refuse(metapb.GroupCode_GROUP_INVALID_REQUEST, "%s", message) }
	joins := r.MemberEpoch == epochJoin
	switch {
	case strings.TrimSpace(r.MemberId) == "":
		return invalid("MemberId can't be empty.")
	case strings.TrimSpace(r.Group) == "":
		return invalid("GroupId can't be empty.")
	case r.RackId != nil && strings.TrimSpace(*r.RackId) == "":
		return invalid("RackId can't be empty.")
	case joins && r.RebalanceTimeoutMillis == -1:
		return invalid("RebalanceTimeoutMs must be provided in first request.")
	case joins && (r.Owned == nil || len(r.Owned.Active) > 0):
		return invalid("ActiveTasks must be empty when (re-)joining.")
	case joins && len(r.Owned.Standby) > 0:
		return invalid("StandbyTasks must be empty when (re-)joining.")
	case joins && r.Topology == nil:
		return invalid("Topology must be non-null when (re-)joining.")
	case r.MemberEpoch == epochAwayStatic:
		return invalid("InstanceId can't be null.")
	case r.MemberEpoch < epochAwayStatic:
		return refuse(metapb.GroupCode_GROUP_INVALID_REQUEST, "MemberEpoch is %d, but must be greater than or equal to -2.", r.MemberEpoch)
	case !joins && r.Topology != nil:
		return invalid("Topology can only be provided when (re-)joining.")
	}
	return nil
}

// streamsCluster is what holds for a streams group now.
func (c *Coordinator) streamsCluster(group string) (now streamsCluster) {
	c.log.View(func(s *meta.State) { now = streamsCluster{c.catalogOf(s), s.StreamsConfig(group)} })
	return now
}

// StreamsHeartbeat lets a member in, keeps it in and brings it on, or lets it go. On return with GROUP_OK, what the answer says is durable.
func (c *Coordinator) StreamsHeartbeat(ctx context.Context, r *metapb.StreamsHeartbeatRequest) (*metapb.StreamsHeartbeatResponse, error) {
	return await(ctx, c.BeginStreamsHeartbeat, r)
}

// BeginStreamsHeartbeat is StreamsHeartbeat as Begin functions are.
func (c *Coordinator) BeginStreamsHeartbeat(r *metapb.StreamsHeartbeatRequest, answer func(*metapb.StreamsHeartbeatResponse, error)) {
	if wrong := checkStreamsHeartbeat(r); wrong != nil {
		answer(&metapb.StreamsHeartbeatResponse{Code: wrong.code, Message: wrong.message}, nil)
		return
	}
	now := c.streamsCluster(r.Group)
	if c.with(r.Group, r.MemberEpoch == epochJoin, func(at time.Time, g *guarded) {
		response, wrong := c.streamsHeartbeat(at, g, now, r)
		if wrong != nil {
			answer(&metapb.StreamsHeartbeatResponse{Code: wrong.code, Message: wrong.message}, nil)
			return
		}
		g.streams.WhenStored(func(stored bool) {
			if !stored {
				response = &metapb.StreamsHeartbeatResponse{Code: metapb.GroupCode_GROUP_UNAVAILABLE}
			}
			answer(response, nil)
		})
	}) {
		return
	}
	if c.absent() == metapb.GroupCode_GROUP_UNAVAILABLE {
		answer(&metapb.StreamsHeartbeatResponse{Code: metapb.GroupCode_GROUP_UNAVAILABLE}, nil)
		return
	}
	answer(&metapb.StreamsHeartbeatResponse{Code: metapb.GroupCode_GROUP_NOT_FOUND, Message: fmt.Sprintf("Streams group %s not found.", r.Group)}, nil)
}

// streamsHeartbeat is a heartbeat to a group of whatever protocol. Only a group that there is not becomes a streams group, if the member gets in.
func (c *Coordinator) streamsHeartbeat(now time.Time, g *guarded, cl streamsCluster, r *metapb.StreamsHeartbeatRequest) (*metapb.StreamsHeartbeatResponse, *refusal) {
	if g.streams != nil {
		return g.streams.Heartbeat(now, cl, r)
	}
	if r.MemberEpoch != epochJoin || g.group == nil || g.size() > 0 || c.isStored(g.name) {
		return nil, refuse(metapb.GroupCode_GROUP_NOT_FOUND, "Group %s is not a streams group.", r.Group)
	}
	group := newStreamsGroup(g.name)
	answer, wrong := group.Heartbeat(now, cl, r)
	if wrong != nil {
		return nil, wrong
	}
	g.group, g.streams = nil, group
	return answer, nil
}

func (c *Coordinator) isStored(name string) (stored bool) {
	c.log.View(func(s *meta.State) { stored = s.Group(name) != nil })
	return stored
}

// StreamsDescribe tells of streams groups and their members.
func (c *Coordinator) StreamsDescribe(_ context.Context, r *metapb.StreamsDescribeRequest) (*metapb.StreamsDescribeResponse, error) {
	answer := &metapb.StreamsDescribeResponse{}
	for _, name := range r.Groups {
		d := &metapb.StreamsDescribed{Group: name, Code: metapb.GroupCode_GROUP_NOT_FOUND, Message: fmt.Sprintf("Group %s not found.", name)}
		if name == "" {
			d.Code, d.Message = metapb.GroupCode_GROUP_INVALID_ID, ""
		} else if !c.with(name, false, func(_ time.Time, g *guarded) {
			if g.streams != nil {
				d = g.streams.Describe()
			} else {
				d.Message = fmt.Sprintf("Group %s is not a streams group.", name)
			}
		}) && c.absent() == metapb.GroupCode_GROUP_UNAVAILABLE {
			d.Code, d.Message = metapb.GroupCode_GROUP_UNAVAILABLE, ""
		}
		answer.Groups = append(answer.Groups, d)
	}
	return answer, nil
}
