package main

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/simulate/world"
)

// follow reads what is committed, as it comes.
func (u *workload) follow(ctx context.Context, host *world.Process) {
	cl := u.client(host, kgo.ConsumeTopics(u.topics...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(300*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer cl.Close()
	next := map[partition]int64{}
	for ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			u.polled(next, r)
			u.history.show(string(r.Value))
		})
	}
}

// polled checks that a reader's offsets only grow.
func (u *workload) polled(next map[partition]int64, r *kgo.Record) {
	at := partition{r.Topic, r.Partition}
	if r.Offset < next[at] {
		u.w.Fail("9 monotonic views", "%v: a reader is given offset %d after %d", at, r.Offset, next[at]-1)
	}
	next[at] = r.Offset + 1
	u.history.read(at, r.Offset, string(r.Value))
	u.w.Count("polled")
}

const groupName = "group"

// join is a member of a group, that leaves now and then and comes again: what the group has committed is where it goes on.
func (u *workload) join(ctx context.Context, host *world.Process) {
	for ctx.Err() == nil {
		u.member(ctx, host)
	}
}

func (u *workload) member(ctx context.Context, host *world.Process) {
	cl := u.client(host, kgo.ConsumeTopics(u.topics...), kgo.ConsumerGroup(groupName), kgo.DisableAutoCommit(), kgo.FetchMaxWait(300*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.BlockRebalanceOnPoll()) // what is polled is committed before its partition moves on: nobody else has committed more by then
	defer cl.CloseAllowingRebalance()
	u.w.Trace("group member begins")
	first := map[partition]bool{}
	for range 5 + u.w.IntN(30) {
		bounded, cancel := context.WithTimeout(ctx, time.Second)
		fetches := cl.PollFetches(bounded)
		cancel()
		if ctx.Err() != nil {
			return
		}
		last := map[partition]int64{}
		fetches.EachRecord(func(r *kgo.Record) {
			at := partition{r.Topic, r.Partition}
			if committed := u.history.committedOffset(at); !first[at] && r.Offset < committed {
				u.w.Fail("9 monotonic views", "%v: the group goes on at %d, though %d is committed", at, r.Offset, committed)
			}
			first[at] = true
			last[at] = r.Offset + 1
			u.history.read(at, r.Offset, string(r.Value))
		})
		bounded, cancel = context.WithTimeout(ctx, 5*time.Second)
		if err := cl.CommitRecords(bounded, fetches.Records()...); err == nil {
			for at, offset := range last {
				u.history.commitOffset(at, offset)
				u.w.Count("offset committed")
			}
			u.w.Trace("group commits %v", last)
		} else {
			u.w.Trace("group does not commit %v: %v", last, err)
			// It may arrive behind a later one, and set the group back.
			u.history.doubtOffsets()
		}
		cancel()
		cl.AllowRebalance()
	}
}

// checkOffsets compares what a group has committed with what it was told.
func (u *workload) checkOffsets() {
	cl := u.client(u.hosts[0])
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	admin := kadm.NewClient(cl)
	var offsets kadm.OffsetResponses
	var err error
	for attempt := 0; attempt == 0 || err != nil && attempt < 10 && ctx.Err() == nil; attempt++ {
		if _, err = admin.ListBrokers(ctx); err == nil { // so that the client knows them all
			offsets, err = admin.FetchOffsets(ctx, groupName)
		}
	}
	if err != nil {
		u.w.Fail(world.Progress, "fetch the group's offsets: %v", err)
		return
	}
	for _, at := range u.partitions {
		want := u.history.committedOffset(at)
		if got, _ := offsets.Lookup(at.topic, at.number); want > 0 && got.At < want {
			u.w.Fail("1 one sequencer", "%v: the group has committed %d, and was told %d", at, got.At, want)
		}
	}
}
