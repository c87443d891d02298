package leader

import (
	"context"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/bus"
)

// publish tells followers of an entry that is durable. A lost hint is filled from the log.
func (l *Leader) publish(seq uint64, encoded []byte) {
	if l.cfg.Bus == nil || l.cfg.Bus.Ready() != nil {
		return
	}
	subject := bus.MetalogSubject(l.cfg.ClusterID)
	if !l.cfg.Bus.Wanted(subject) {
		return
	}
	l.hint = l.cfg.Key.AppendEntryHint(l.hint[:0], seq, encoded)
	if err := l.cfg.Bus.Publish(subject, l.hint); err != nil {
		l.complain("cannot publish metalog entries", err)
	}
	if cap(l.hint) > 64<<10 {
		l.hint = nil
	}
}

// notifier gathers partitions whose high watermark has moved, so that notifications cost the commit path a map entry.
type notifier struct {
	filled chan struct{} // with room for one
	mu     struct {
		sync.Mutex
		dirty map[meta.TopicPartition]struct{}
		jobs  bool // containers were sealed or wait again
	}
	spare map[meta.TopicPartition]struct{} // of runNotifier
}

func (n *notifier) init() {
	n.filled = make(chan struct{}, 1)
	n.mu.dirty = map[meta.TopicPartition]struct{}{}
	n.spare = map[meta.TopicPartition]struct{}{}
}

// Applied implements replica.Listener.
func (n *notifier) Applied(a *replica.Applied) {
	jobs := a.Has(meta.ChangedContainers)
	if len(a.Committed) == 0 && !jobs {
		return
	}
	n.mu.Lock()
	for _, p := range a.Committed {
		n.mu.dirty[p] = struct{}{}
	}
	n.mu.jobs = n.mu.jobs || jobs
	n.mu.Unlock()
	select {
	case n.filled <- struct{}{}:
	default:
	}
}

func (n *notifier) take() (dirty map[meta.TopicPartition]struct{}, jobs bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.spare)
	n.mu.dirty, n.spare = n.spare, n.mu.dirty
	jobs, n.mu.jobs = n.mu.jobs, false
	return n.spare, jobs
}

// runNotifier publishes what has gathered, then lets it gather again for NotifyInterval.
func (l *Leader) runNotifier(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	var notifications []bus.CommitNotification
	var body []byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-l.notifier.filled:
		}
		pause.Reset(l.cfg.NotifyInterval)
		dirty, jobs := l.notifier.take()
		if l.cfg.Bus == nil || l.cfg.Bus.Ready() != nil {
			continue
		}
		notifications = l.notifications(notifications[:0], dirty)
		for i := range notifications {
			body = l.notify(body[:0], &notifications[i])
		}
		if jobs {
			if err := l.cfg.Bus.Publish(bus.JobsSubject(l.cfg.ClusterID), nil); err != nil {
				l.complain("cannot tell of jobs", err)
			}
		}
	}
}

func (l *Leader) notifications(dst []bus.CommitNotification, dirty map[meta.TopicPartition]struct{}) []bus.CommitNotification {
	l.cfg.Replica.View(func(s *meta.State) {
		for tp := range dirty {
			if p := s.Partition(tp); p != nil {
				dst = append(dst, bus.CommitNotification{Topic: p.Topic().Name, Partition: tp.Partition, HighWatermark: p.HighWatermark()})
			}
		}
	})
	return dst
}

// notify publishes n, if anybody listens, in the room of body, which it returns.
func (l *Leader) notify(body []byte, n *bus.CommitNotification) []byte {
	subject := bus.CommitSubject(n.Topic, n.Partition)
	if !l.cfg.Bus.Wanted(subject) {
		return body
	}
	body = n.AppendJSON(body)
	if err := l.cfg.Bus.Publish(subject, body); err != nil {
		l.complain("cannot publish commit notifications", err)
	}
	return body
}

// AnswerLeader is the answer to a question on the bus who leads, nil for none.
func (l *Leader) AnswerLeader(question []byte) []byte {
	epoch, leading := l.Leading()
	if !leading {
		return nil
	}
	return l.cfg.Key.AnswerLeader(question, bus.LeaderAnswer{Address: l.cfg.InternalAddress, Epoch: epoch, Seq: l.cfg.Replica.Seq()})
}
