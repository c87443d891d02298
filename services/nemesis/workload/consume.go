//go:build linux

package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/services/nemesis/history"
)

// polled is what an answer brought.
func polled(fetches kgo.Fetches) (parts []history.Part) {
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) == 0 {
			return
		}
		part := history.Part{Partition: place(p.Topic, p.Partition)}
		for _, r := range p.Records {
			part.Records = append(part.Records, history.Record{Offset: r.Offset, Value: valueOf(r.Value)})
		}
		parts = append(parts, part)
	})
	return parts
}

// complain tells of errors that say that records are gone.
func (l *life) complain(fetches kgo.Fetches) {
	fetches.EachError(func(topic string, partition int32, err error) {
		var lost *kgo.ErrDataLoss
		if errors.As(err, &lost) || errors.Is(err, kerr.OffsetOutOfRange) {
			l.w.config.Complain("%s (process %d) reads %s: %v", l.name, l.process, place(topic, partition), err)
		}
	})
}

// seen notes how far partitions reach, for those that begin to read.
func (w *Workload) seen(parts []history.Part) {
	for _, p := range parts {
		w.positions.Store(p.Partition, p.Records[len(p.Records)-1].Offset)
	}
}

// reader makes a client that reads all partitions of all topics, from their start or from somewhere behind it.
func (l *life) reader(isolated bool) (*kgo.Client, error) {
	isolation := kgo.ReadUncommitted()
	if isolated {
		isolation = kgo.ReadCommitted()
	}
	from := map[string]map[int32]kgo.Offset{}
	assigned := history.Event{Kind: history.Assign, Status: history.OK, Invoke: now(), Complete: now()}
	start := l.random.IntN(4) == 0
	for _, topic := range append([]string{input, output}, l.w.topics...) {
		from[topic] = map[int32]kgo.Offset{}
		for p := range int32(partitions) {
			offset := int64(0)
			if seen, ok := l.w.positions.Load(place(topic, p)); ok && !start {
				offset = max(0, seen.(int64)-l.random.Int64N(200))
			}
			from[topic][p] = kgo.NewOffset().At(offset)
			assigned.Parts = append(assigned.Parts, history.Part{Partition: place(topic, p), Offset: offset})
		}
	}
	client, err := l.client(kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(isolation), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	if err == nil {
		l.event(assigned)
	}
	return client, err
}

// read reads on and on.
func (l *life) read(isolated bool) {
	client, err := l.reader(isolated)
	if err != nil {
		l.w.config.Complain("reader: %v", err)
		l.pause(time.Second)
		return
	}
	defer l.close(client)
	for l.ctx.Err() == nil {
		e := history.Event{Kind: history.Poll, Status: history.OK, Committed: isolated, Invoke: now()}
		fetches := client.PollRecords(l.ctx, 1000)
		e.Complete, e.Parts = now(), polled(fetches)
		l.complain(fetches)
		if len(e.Parts) == 0 {
			l.pause(20 * time.Millisecond)
			continue
		}
		l.event(e)
		l.w.seen(e.Parts)
		fetches.EachTopic(func(t kgo.FetchTopic) { l.w.progress.note("read "+t.Topic, e.Invoke) })
	}
}

// tracker writes down what a member of a group is assigned.
type tracker struct {
	l       *life
	group   string
	assigns int64 // when partitions were assigned last
}

func (t *tracker) options() []kgo.Opt {
	return []kgo.Opt{
		kgo.BlockRebalanceOnPoll(), kgo.DisableAutoCommit(), kgo.SessionTimeout(8 * time.Second), kgo.HeartbeatInterval(time.Second), kgo.RebalanceTimeout(15 * time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) {
			t.assigns = now()
			t.l.event(history.Event{Kind: history.Assign, Status: history.OK, Group: t.group, Invoke: t.assigns, Complete: now(), Parts: parts(added)})
		}),
		kgo.OnPartitionsRevoked(t.revoked), kgo.OnPartitionsLost(t.revoked),
		kgo.OnOffsetsFetched(func(_ context.Context, _ *kgo.Client, answer *kmsg.OffsetFetchResponse) error {
			t.fetched(answer)
			return nil
		}),
	}
}

func (t *tracker) revoked(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	if len(lost) > 0 {
		t.l.event(history.Event{Kind: history.Revoke, Status: history.OK, Group: t.group, Invoke: now(), Complete: now(), Parts: parts(lost)})
	}
}

// fetched writes down the group's offsets, which were asked for after the assignment.
func (t *tracker) fetched(answer *kmsg.OffsetFetchResponse) {
	e := history.Event{Kind: history.Committed, Status: history.OK, Group: t.group, Invoke: t.assigns, Complete: now()}
	for _, g := range answer.Groups {
		for _, topic := range g.Topics {
			for _, p := range topic.Partitions {
				if p.ErrorCode == 0 && topic.Topic != "" {
					e.Parts = append(e.Parts, history.Part{Partition: place(topic.Topic, p.Partition), Offset: p.Offset})
				}
			}
		}
	}
	if len(e.Parts) > 0 {
		t.l.event(e)
	}
}

func parts(of map[string][]int32) (list []history.Part) {
	for topic, partitions := range of {
		for _, p := range partitions {
			list = append(list, history.Part{Partition: place(topic, p), Offset: -1})
		}
	}
	return list
}

// member is a member of a group that reads all topics, commits what it was given, and leaves again.
func (l *life) member(group string, serverSide bool) {
	t := &tracker{l: l, group: group}
	options := append(t.options(), kgo.ConsumerGroup(group), kgo.ConsumeTopics(l.w.topics...), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if serverSide {
		options = append(options, kgo.ServerSideBalancer())
	}
	client, err := l.client(options...)
	if err != nil {
		l.w.config.Complain("member of %s: %v", group, err)
		l.pause(time.Second)
		return
	}
	defer l.close(client)
	for l.ctx.Err() == nil {
		l.memberPoll(client, t)
	}
}

func (l *life) memberPoll(client *kgo.Client, t *tracker) {
	polling, cancel := context.WithTimeout(l.ctx, 2*time.Second)
	defer cancel()
	e := history.Event{Kind: history.Poll, Status: history.OK, Committed: true, Group: t.group, Invoke: now()}
	fetches := client.PollRecords(polling, 500)
	defer client.AllowRebalance()
	e.Complete, e.Parts = now(), polled(fetches)
	l.complain(fetches)
	if len(e.Parts) == 0 {
		return
	}
	l.event(e)
	if l.random.IntN(5) == 0 {
		return // it commits with what comes next, or somebody else does
	}
	offsets := map[string]map[int32]kgo.EpochOffset{}
	commit := history.Event{Kind: history.Commit, Group: t.group, Invoke: now()}
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) > 0 {
			last := p.Records[len(p.Records)-1]
			if offsets[p.Topic] == nil {
				offsets[p.Topic] = map[int32]kgo.EpochOffset{}
			}
			offsets[p.Topic][p.Partition] = kgo.EpochOffset{Epoch: last.LeaderEpoch, Offset: last.Offset + 1}
		}
	})
	committing, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), 5*time.Second)
	defer cancel()
	var known, unknown []history.Part
	var failure error
	client.CommitOffsetsSync(committing, offsets, func(_ *kgo.Client, asked *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		failure = err
		if err != nil {
			return
		}
		for _, topic := range answer.Topics {
			for _, p := range topic.Partitions {
				part := history.Part{Partition: place(topic.Topic, p.Partition), Offset: offsets[topic.Topic][p.Partition].Offset}
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					failure = errors.Join(failure, err)
					unknown = append(unknown, part)
				} else {
					known = append(known, part)
				}
			}
		}
	})
	commit.Complete = now()
	if len(known) > 0 {
		commit.Status, commit.Parts = history.OK, known
		l.event(commit)
		for _, p := range known {
			l.w.progress.note("group "+t.group+" in "+p.Partition, commit.Invoke)
		}
	}
	if failure != nil {
		commit.Status, commit.Parts, commit.Note = history.Unknown, unknown, fmt.Sprint(failure)
		l.event(commit)
	}
}
