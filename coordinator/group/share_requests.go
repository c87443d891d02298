package group

import (
	"context"
	"fmt"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// shareCluster is what holds for a share group now.
func (c *Coordinator) shareCluster(group string) (now shareCluster) {
	now.topics = c.cluster(group).topics
	c.log.View(func(s *meta.State) { now.config = s.ShareConfig(group) })
	now.has = func(tp meta.TopicPartition) (has bool) {
		c.log.View(func(s *meta.State) {
			g := s.Group(group)
			has = g != nil && g.Share != nil && g.Share.Partition(tp) != nil
		})
		return has
	}
	return now
}

// ShareHeartbeat lets a member in, keeps it in, or lets it go. On return with GROUP_OK, what the answer says is durable.
func (c *Coordinator) ShareHeartbeat(ctx context.Context, r *metapb.ShareHeartbeatRequest) (*metapb.ShareHeartbeatResponse, error) {
	return await(ctx, c.BeginShareHeartbeat, r)
}

// BeginShareHeartbeat is ShareHeartbeat as Begin functions are.
func (c *Coordinator) BeginShareHeartbeat(r *metapb.ShareHeartbeatRequest, answer func(*metapb.ShareHeartbeatResponse, error)) {
	if wrong := checkShareHeartbeat(r); wrong != nil {
		answer(&metapb.ShareHeartbeatResponse{Code: wrong.code, Message: wrong.message}, nil)
		return
	}
	now := c.shareCluster(r.Group)
	if c.with(r.Group, r.MemberEpoch == epochJoin, func(at time.Time, g *guarded) {
		response, wrong := c.shareHeartbeat(at, g, now, r)
		if wrong != nil {
			answer(&metapb.ShareHeartbeatResponse{Code: wrong.code, Message: wrong.message}, nil)
			return
		}
		g.share.WhenStored(func(stored bool) {
			if !stored {
				response = &metapb.ShareHeartbeatResponse{Code: metapb.GroupCode_GROUP_UNAVAILABLE}
			}
			answer(response, nil)
		})
	}) {
		return
	}
	if c.absent() == metapb.GroupCode_GROUP_UNAVAILABLE {
		answer(&metapb.ShareHeartbeatResponse{Code: metapb.GroupCode_GROUP_UNAVAILABLE}, nil)
		return
	}
	answer(&metapb.ShareHeartbeatResponse{Code: metapb.GroupCode_GROUP_NOT_FOUND, Message: fmt.Sprintf("Group %s not found.", r.Group)}, nil)
}

// shareHeartbeat is a heartbeat to a group of whatever protocol. A name that nothing is known of becomes a share group when its first
// member gets in.
func (c *Coordinator) shareHeartbeat(now time.Time, g *guarded, cl shareCluster, r *metapb.ShareHeartbeatRequest) (*metapb.ShareHeartbeatResponse, *refusal) {
	if g.share != nil {
		return g.share.Heartbeat(now, cl, r)
	}
	if r.MemberEpoch != epochJoin || !c.isUnknown(g) {
		return nil, refuse(metapb.GroupCode_GROUP_NOT_FOUND, "Group %s is not a share group.", r.Group)
	}
	group := newShareGroup(g.name)
	answer, wrong := group.Heartbeat(now, cl, r)
	if wrong != nil {
		return nil, wrong
	}
	g.group, g.share = nil, group
	return answer, nil
}

// isUnknown says that there is nothing under the group's name but the name; the group's lock is held.
func (c *Coordinator) isUnknown(g *guarded) bool {
	if g.group == nil || g.size() > 0 || g.isStoring || len(g.stores) > 0 {
		return false
	}
	return !c.isStored(g.name)
}

// ShareDescribe tells of share groups and their members.
func (c *Coordinator) ShareDescribe(_ context.Context, r *metapb.ShareDescribeRequest) (*metapb.ShareDescribeResponse, error) {
	answer := &metapb.ShareDescribeResponse{}
	for _, name := range r.Groups {
		d := &metapb.ShareDescribed{Group: name, Code: metapb.GroupCode_GROUP_NOT_FOUND, Message: fmt.Sprintf("Group %s not found.", name)}
		if name == "" {
			d.Code, d.Message = metapb.GroupCode_GROUP_INVALID_ID, ""
		} else if !c.with(name, false, func(_ time.Time, g *guarded) {
			if g.share != nil {
				d = g.share.Describe()
			} else {
				d.Message = fmt.Sprintf("Group %s is not a share group.", name)
			}
		}) && c.absent() == metapb.GroupCode_GROUP_UNAVAILABLE {
			d.Code, d.Message = metapb.GroupCode_GROUP_UNAVAILABLE, ""
		}
		answer.Groups = append(answer.Groups, d)
	}
	return answer, nil
}
