package group

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// Join waits until the next generation begins.
func (c *Coordinator) Join(ctx context.Context, r *metapb.GroupJoinRequest) (*metapb.GroupJoinResponse, error) {
	if r.Group == "" {
		return &metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_INVALID_ID, MemberId: r.MemberId, Generation: noGeneration}, nil
	}
	answers := make(chan *metapb.GroupJoinResponse, 1)
	limits, cl := c.limitsNow(), c.cluster(r.Group)
	if !c.with(r.Group, r.MemberId == "", func(now time.Time, g *guarded) {
		c.join(now, g, limits, cl, r, func(answer *metapb.GroupJoinResponse) { answers <- answer })
	}) {
		return &metapb.GroupJoinResponse{Code: c.absent(), MemberId: r.MemberId, Generation: noGeneration}, nil
	}
	return wait(ctx, answers)
}

// Sync waits until the generation has its assignments.
func (c *Coordinator) Sync(ctx context.Context, r *metapb.GroupSyncRequest) (*metapb.GroupSyncResponse, error) {
	if r.Group == "" {
		return &metapb.GroupSyncResponse{Code: metapb.GroupCode_GROUP_INVALID_ID}, nil
	}
	answers := make(chan *metapb.GroupSyncResponse, 1)
	cl := c.cluster(r.Group)
	if !c.with(r.Group, false, func(now time.Time, g *guarded) {
		if !g.takesClassic() {
			answers <- &metapb.GroupSyncResponse{Code: metapb.GroupCode_GROUP_UNKNOWN_MEMBER}
			return
		}
		if g.consumer == nil {
			g.group.Sync(now, r, func(answer *metapb.GroupSyncResponse) { answers <- answer })
			return
		}
		answer := g.consumer.SyncClassic(now, cl, r)
		g.consumer.WhenStored(func(stored bool) {
			if !stored {
				answer = &metapb.GroupSyncResponse{Code: metapb.GroupCode_GROUP_UNAVAILABLE}
			}
			answers <- answer
		})
	}) {
		return &metapb.GroupSyncResponse{Code: c.absent()}, nil
	}
	return wait(ctx, answers)
}

// join is a classic join to a group of whatever protocol. A consumer group without members becomes a classic one.
func (c *Coordinator) join(now time.Time, g *guarded, limits Limits, cl cluster, r *metapb.GroupJoinRequest, answer func(*metapb.GroupJoinResponse)) {
	if !g.takesClassic() {
		answer(&metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_INCONSISTENT_PROTOCOL, Generation: noGeneration})
		return
	}
	if g.consumer != nil && len(g.consumer.members) == 0 {
		if g.consumer.IsDirty() {
			c.flush(g)
		}
		c.classic(g)
	}
	if g.consumer == nil {
		g.group.limits = limits
		g.group.Join(now, r, answer)
		return
	}
	if code := limits.checkSession(r); code != metapb.GroupCode_GROUP_OK {
		answer(&metapb.GroupJoinResponse{Code: code, MemberId: r.MemberId, Generation: noGeneration})
		return
	}
	was := g.consumer
	joined := was.JoinClassic(now, cl, r, newMemberID)
	if joined.Code == metapb.GroupCode_GROUP_OK && was.isClassicAlone() {
		c.downgrade(now, g)
		if g.consumer == nil { // it was the last with the consumer protocol: a rebalance of the classic group takes it along
			r.MemberId = joined.MemberId
			g.group.Join(now, r, answer)
			return
		}
	}
	was.WhenStored(func(stored bool) {
		if !stored {
			joined = &metapb.GroupJoinResponse{Code: metapb.GroupCode_GROUP_UNAVAILABLE, MemberId: r.MemberId, Generation: noGeneration}
		}
		answer(joined)
	})
}

func wait[T any](ctx context.Context, answers <-chan T) (T, error) {
	select {
	case answer := <-answers:
		return answer, nil
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// absent is the code for a member of a group that is not there.
func (c *Coordinator) absent() metapb.GroupCode {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return metapb.GroupCode_GROUP_UNAVAILABLE
	}
	return metapb.GroupCode_GROUP_UNKNOWN_MEMBER
}

// hasOffsets tells whether a group without members is there nevertheless.
func (c *Coordinator) hasOffsets(name string) (known bool) {
	c.log.View(func(s *meta.State) { known = s.Group(name) != nil })
	return known
}

// Heartbeat keeps a member alive.
func (c *Coordinator) Heartbeat(ctx context.Context, r *metapb.GroupHeartbeatRequest) (*metapb.GroupHeartbeatResponse, error) {
	return await(ctx, c.BeginHeartbeat, r)
}

// BeginHeartbeat is Heartbeat as Begin functions are.
func (c *Coordinator) BeginHeartbeat(r *metapb.GroupHeartbeatRequest, answer func(*metapb.GroupHeartbeatResponse, error)) {
	if r.Group == "" {
		answer(&metapb.GroupHeartbeatResponse{Code: metapb.GroupCode_GROUP_INVALID_ID}, nil)
		return
	}
	var code metapb.GroupCode
	if !c.with(r.Group, false, func(now time.Time, g *guarded) {
		if !g.takesClassic() {
			code = metapb.GroupCode_GROUP_UNKNOWN_MEMBER
		} else if g.consumer != nil {
			code = g.consumer.HeartbeatClassic(now, r)
		} else {
			code = g.group.Heartbeat(now, r)
		}
	}) {
		code = c.absent()
	}
	answer(&metapb.GroupHeartbeatResponse{Code: code}, nil)
}

// Leave takes members out.
func (c *Coordinator) Leave(_ context.Context, r *metapb.GroupLeaveRequest) (*metapb.GroupLeaveResponse, error) {
	if r.Group == "" {
		return &metapb.GroupLeaveResponse{Code: metapb.GroupCode_GROUP_INVALID_ID}, nil
	}
	answer := &metapb.GroupLeaveResponse{}
	if !c.with(r.Group, false, func(now time.Time, g *guarded) {
		if !g.takesClassic() {
			answer.Members = nobodyLeft(r.Members, metapb.GroupCode_GROUP_UNKNOWN_MEMBER)
		} else if g.consumer != nil {
			answer.Members = g.consumer.LeaveClassic(r.Members)
		} else {
			answer.Members = g.group.Leave(now, r.Members)
		}
	}) {
		code := c.absent()
		if code == metapb.GroupCode_GROUP_UNAVAILABLE {
			answer.Code = code
			return answer, nil
		}
		answer.Members = nobodyLeft(r.Members, code)
	}
	return answer, nil
}

func nobodyLeft(leavers []*metapb.GroupLeaver, code metapb.GroupCode) []*metapb.GroupLeft {
	left := make([]*metapb.GroupLeft, len(leavers))
	for i, l := range leavers {
		left[i] = &metapb.GroupLeft{MemberId: l.MemberId, InstanceId: l.InstanceId, Code: code}
	}
	return left
}

// Commit stores offsets. The group without a name has offsets, too, as it has in Kafka, though it can have no members. On return with GROUP_OK for an offset, it is durable.
func (c *Coordinator) Commit(ctx context.Context, r *metapb.GroupCommitRequest) (*metapb.GroupCommitResponse, error) {
	codes := make([]metapb.GroupCode, len(r.Offsets))
	all := func(code metapb.GroupCode) *metapb.GroupCommitResponse {
		for i := range codes {
			codes[i] = code
		}
		return &metapb.GroupCommitResponse{Codes: codes}
	}
	limits, now := c.limitsNow(), c.logTime()
	var offsets []*metapb.CommittedOffset
	places := make([]int, 0, len(r.Offsets))
	for i, offset := range r.Offsets {
		if len(offset.Metadata) > limits.MaxMetadataBytes {
			codes[i] = metapb.GroupCode_GROUP_METADATA_TOO_LARGE
			continue
		}
		offsets = append(offsets, stamped(offset, now))
		places = append(places, i)
	}
	if len(offsets) == 0 {
		if code := c.mayCommit(r); code != metapb.GroupCode_GROUP_OK {
			return all(code), nil
		}
		return &metapb.GroupCommitResponse{Codes: codes}, nil
	}
	code := metapb.GroupCode_GROUP_OK
	// While the log takes nothing the group goes on: what a member was let to commit before it was out, or before another had its partitions, it is not any more.
	verdict, err := c.log.ProposeWhile(ctx, commitCommand(r, offsets), func() bool {
		code = c.mayCommit(r)
		return code == metapb.GroupCode_GROUP_OK
	})
	if code != metapb.GroupCode_GROUP_OK {
		return all(code), nil
	}
	if err != nil {
		return all(metapb.GroupCode_GROUP_UNAVAILABLE), nil
	}
	for i, place := range places {
		codes[place] = offsetCode(verdict, i)
	}
	return &metapb.GroupCommitResponse{Codes: codes}, nil
}

// mayCommit judges a commit by its group as it is now.
func (c *Coordinator) mayCommit(r *metapb.GroupCommitRequest) (code metapb.GroupCode) {
	if c.with(r.Group, false, func(now time.Time, g *guarded) {
		if m := g.managed(); m != nil {
			code = m.mayCommit(r)
		} else {
			code = g.group.mayCommit(now, r)
		}
	}) {
		return code
	}
	switch code = c.absent(); {
	case code != metapb.GroupCode_GROUP_UNKNOWN_MEMBER:
	case r.Generation < 0:
		return metapb.GroupCode_GROUP_OK // offsets alone do not need a group
	case c.hasOffsets(r.Group): // a group that is there, without members
	case r.Version >= 9:
		return metapb.GroupCode_GROUP_NOT_FOUND
	default:
		return metapb.GroupCode_GROUP_ILLEGAL_GENERATION
	}
	return code
}

// logTime is what the log's time will be about now.
func (c *Coordinator) logTime() int64 {
	now := time.Now().UnixMilli()
	c.log.View(func(s *meta.State) { now = max(now, s.TimeMillis()) })
	return now
}

// stamped is an offset that a node was given, with the time by which it expires: the log's, which the node's clock does not move.
func stamped(o *metapb.CommittedOffset, now int64) *metapb.CommittedOffset {
	expires := o.ExpireMillis
	if expires > 0 {
		expires += now - o.CommitMillis
	}
	return &metapb.CommittedOffset{ // another: what is on its way from an earlier attempt is not changed
		TopicId: o.TopicId, Partition: o.Partition, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata, CommitMillis: now, ExpireMillis: expires,
	}
}

func offsetCode(v meta.Verdict, i int) metapb.GroupCode {
	code := v.Code
	if code == meta.OK && i < len(v.Codes) {
		code = v.Codes[i]
	}
	if code, ok := transactionCode(code); ok {
		return code
	}
	switch code {
	case meta.OK:
		return metapb.GroupCode_GROUP_OK
	case meta.UnknownTopic:
		return metapb.GroupCode_GROUP_UNKNOWN_TOPIC
	default:
		return metapb.GroupCode_GROUP_UNAVAILABLE
	}
}

// Describe tells of groups and their members.
func (c *Coordinator) Describe(_ context.Context, r *metapb.GroupDescribeRequest) (*metapb.GroupDescribeResponse, error) {
	answer := &metapb.GroupDescribeResponse{}
	for _, name := range r.Groups {
		var described *metapb.GroupDescribed
		if !c.with(name, false, func(_ time.Time, g *guarded) {
			if g.group != nil {
				described = g.group.Describe()
				return
			}
			described = &metapb.GroupDescribed{
				Group: name, State: Dead.String(), Code: metapb.GroupCode_GROUP_NOT_FOUND, Message: "Group " + name + " is not a classic group.",
			}
		}) {
			described = c.describeAbsent(name)
		}
		answer.Groups = append(answer.Groups, described)
	}
	return answer, nil
}

// describeAbsent describes a group that has no members: it may have offsets.
func (c *Coordinator) describeAbsent(name string) *metapb.GroupDescribed {
	d := &metapb.GroupDescribed{Group: name, State: Dead.String(), Code: metapb.GroupCode_GROUP_NOT_FOUND, Message: "Group " + name + " not found."}
	if c.absent() == metapb.GroupCode_GROUP_UNAVAILABLE {
		return &metapb.GroupDescribed{Group: name, State: Dead.String(), Code: metapb.GroupCode_GROUP_UNAVAILABLE}
	}
	c.log.View(func(s *meta.State) {
		if s.Group(name) != nil {
			d.State, d.Code, d.Message = Empty.String(), metapb.GroupCode_GROUP_OK, ""
		}
	})
	return d
}

// List tells which groups there are.
func (c *Coordinator) List(_ context.Context, r *metapb.GroupListRequest) (*metapb.GroupListResponse, error) {
	listed := map[string]*metapb.GroupListed{}
	c.log.View(func(s *meta.State) {
		for _, g := range s.Groups() {
			listed[g.Name] = &metapb.GroupListed{Group: g.Name, State: Empty.String(), Type: "classic"}
			if g.Consumer != nil {
				listed[g.Name].ProtocolType, listed[g.Name].Type = consumerProtocol, "consumer"
			} else if g.Streams != nil {
				listed[g.Name].ProtocolType, listed[g.Name].Type = streamsProtocol, streamsProtocol
			} else if g.Share != nil {
				listed[g.Name].ProtocolType, listed[g.Name].Type = shareProtocol, shareProtocol
			} else if g.Stored != nil {
				listed[g.Name].ProtocolType = g.Stored.ProtocolType
			}
		}
	})
	c.mu.Lock()
	names := make([]string, 0, len(c.mu.groups))
	for name := range c.mu.groups {
		names = append(names, name)
	}
	c.mu.Unlock()
	for _, name := range names {
		c.with(name, false, func(_ time.Time, g *guarded) {
			listed[name] = g.listed()
		})
	}
	answer := &metapb.GroupListResponse{}
	for _, g := range listed {
		if (len(r.States) == 0 || containsFold(r.States, g.State)) && (len(r.Types) == 0 || containsFold(r.Types, g.Type)) {
			answer.Groups = append(answer.Groups, g)
		}
	}
	slices.SortFunc(answer.Groups, func(a, b *metapb.GroupListed) int { return cmp.Compare(a.Group, b.Group) })
	return answer, nil
}

// Delete removes groups that have no members, with their offsets.
func (c *Coordinator) Delete(ctx context.Context, r *metapb.GroupDeleteRequest) (*metapb.GroupDeleteResponse, error) {
	answer := &metapb.GroupDeleteResponse{Codes: make([]metapb.GroupCode, len(r.Groups))}
	for i, name := range r.Groups {
		answer.Codes[i] = c.delete(ctx, name)
	}
	return answer, nil
}

func (c *Coordinator) delete(ctx context.Context, name string) metapb.GroupCode {
	// That the last member has left may be on its way into the log still.
	if err := c.awaitStored(ctx, name); err != nil {
		return metapb.GroupCode_GROUP_UNAVAILABLE
	}
	exists, code := false, metapb.GroupCode_GROUP_OK
	c.with(name, false, func(_ time.Time, g *guarded) {
		exists = true
		if g.size() > 0 {
			code = metapb.GroupCode_GROUP_NOT_EMPTY
		} else if g.group != nil {
			g.group.state = Dead
		}
	})
	if code != metapb.GroupCode_GROUP_OK {
		return code
	}
	if exists {
		c.forget(name)
	}
	c.log.View(func(s *meta.State) { exists = exists || s.Group(name) != nil })
	if !exists {
		return metapb.GroupCode_GROUP_NOT_FOUND
	}
	verdict, err := c.log.Propose(ctx, &metapb.Command{Kind: &metapb.Command_DeleteGroups{DeleteGroups: &metapb.DeleteGroups{Groups: []string{name}}}})
	switch {
	case err != nil:
		return metapb.GroupCode_GROUP_UNAVAILABLE
	case verdict.Code == meta.GroupNotEmpty, len(verdict.Codes) > 0 && verdict.Codes[0] == meta.GroupNotEmpty:
		return metapb.GroupCode_GROUP_NOT_EMPTY
	}
	return metapb.GroupCode_GROUP_OK
}

// forget drops a dead group, so that the next join makes a new one.
func (c *Coordinator) forget(name string) {
	c.mu.Lock()
	g := c.mu.groups[name]
	delete(c.mu.groups, name)
	c.mu.Unlock()
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.end()
}

func containsFold(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}
