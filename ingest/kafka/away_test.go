package kafka

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// reachable is a Contact that says what the test does.
type reachable struct {
	away  atomic.Pointer[time.Time]
	close chan struct{} // closed when the leader is in reach
}

func (r *reachable) Await(ctx context.Context) (away, checked time.Time, err error) {
	select {
	case <-r.close:
		return *r.away.Load(), time.Now(), nil
	case <-ctx.Done():
		return away, checked, ctx.Err()
	}
}

// A commit that stood in a connection while its client may have gone to another node, and committed more there, must not be taken: it would take the group back.
func TestACommitFromBeforeTheNodeWasAwayIsNotTaken(t *testing.T) {
	c := newCluster(t)
	c.createTopic(t, "topic", 1)
	s, addr := start(t, c, Config{})
	var commits atomic.Int64
	s.domain.Groups = &beats{commit: func(context.Context) error { commits.Add(1); return nil }}
	contact := &reachable{close: make(chan struct{})}
	contact.away.Store(new(time.Time))
	s.domain.Contact = contact
	commit := func(client *rawClient) int16 {
		return client.request(offsetCommit()).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode
	}

	held := dial(t, addr)
	held.send(offsetCommit())
	other := dial(t, addr)
	other.request(heartbeat())
	if commits.Load() != 0 {
		t.Error("committed without contact to the leader")
	}
	close(contact.close)
	if answer := held.receive(offsetCommit()).(*kmsg.OffsetCommitResponse); answer.Topics[0].Partitions[0].ErrorCode != 0 || commits.Load() != 1 {
		t.Errorf("in contact: %v, %d commits", kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode), commits.Load())
	}
	now := time.Now()
	contact.away.Store(&now)
	held.send(offsetCommit())
	if _, err := io.ReadAll(held.nc); err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("a connection of before: %v", err)
	}
	if commits.Load() != 1 {
		t.Error("what stood in a connection of before was committed")
	}
	if code := commit(dial(t, addr)); code != 0 || commits.Load() != 2 {
		t.Errorf("a new connection: %v, %d commits", kerr.ErrorForCode(code), commits.Load())
	}
}

// contactOf is in contact, and says when clients may have been elsewhere last.
func contactOf(away time.Time) *reachable {
	contact := &reachable{close: make(chan struct{})}
	contact.away.Store(&away)
	close(contact.close)
	return contact
}

// The same for offsets that a transaction is to take along: it would take the group back when it is committed.
func TestOffsetsOfATransactionFromBeforeTheNodeWasAwayAreNotTaken(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	cutOff, other := start(t, c, Config{})
	commit := func(x *transactor, offset int64) *kmsg.TxnOffsetCommitRequest {
		r := kmsg.NewPtrTxnOffsetCommitRequest()
		r.Version, r.TransactionalID, r.Group, r.ProducerID, r.ProducerEpoch, r.Generation = 5, x.id, "g", x.producerID, x.epoch, -1
		r.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "topic", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Offset: offset, LeaderEpoch: -1}}}}
		return r
	}
	x := newTransactor(t, dial(t, addr), "x", id)
	held := dial(t, other)
	held.request(heartbeat())
	cutOff.domain.Contact = contactOf(time.Now())
	expectCode(t, "produce", x.produce(12), nil)
	x.request(commit(x, 100)) // again, since no answer comes from the other node
	x.request(commit(x, 150))
	held.send(commit(x, 100))
	if _, err := io.ReadAll(held.nc); err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("a connection of before: %v", err)
	}
	expectCode(t, "commit", x.end(5, true), nil)
	c.View(func(s *meta.State) {
		if o, _ := s.Group("g").Offset(meta.TopicPartition{Topic: id}); o.Offset != 150 {
			t.Errorf("the last offset of the transaction was 150, and the group is at %d", o.Offset)
		}
	})
}

// lossy is a Contact that is lost for a time.
type lossy struct{ from, until time.Time }

func (l lossy) Await(ctx context.Context) (away, checked time.Time, err error) {
	if now := time.Now(); !now.Before(l.from) && now.Before(l.until) && !sleep(ctx, l.until.Sub(now)) {
		return away, now, ctx.Err()
	}
	return time.Time{}, time.Now(), nil
}

// A commit that waits for a slow log waits for as long as its client does. Where contact is lost meanwhile it is ended while no client can have been elsewhere, and made again.
func TestACommitIsSentAgainWhereContactIsLostAndNotWhereTheLogIsSlow(t *testing.T) {
	for _, c := range []struct {
		name    string
		takes   time.Duration
		lost    time.Duration // contact, for so long from the first second on
		local   bool          // the leader is in this process
		ended   time.Duration // the first attempt, by then
		want    int           // attempts
		expires bool
	}{
		{name: "quick", takes: time.Millisecond, want: 1},
		{name: "slow", takes: 8 * time.Second, want: 1},
		{name: "slow, leader in this process", takes: 8 * time.Second, local: true, want: 1},
		{name: "too slow", takes: 10 * time.Second, want: 1, expires: true},
		{name: "lost", takes: 4 * time.Second, lost: 3500 * time.Millisecond, ended: commitAttempt, want: 2},
		{name: "lost, leader in this process", takes: 4 * time.Second, lost: 3500 * time.Millisecond, local: true, ended: commitAttempt, want: 2},
		{name: "lost for a moment", takes: 8 * time.Second, lost: time.Second, want: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, attempts := time.Now(), 0
				groups := committing{commit: func(ctx context.Context) (*metapb.GroupCommitResponse, error) {
					attempts++
					if sleep(ctx, c.takes) {
						return &metapb.GroupCommitResponse{Codes: []metapb.GroupCode{metapb.GroupCode_GROUP_OK}}, nil
					}
					if took := time.Since(began); attempts == 1 && c.ended > 0 && took > c.ended {
						t.Errorf("the first attempt ended after %v", took)
					}
					if c.local {
						return &metapb.GroupCommitResponse{Codes: []metapb.GroupCode{metapb.GroupCode_GROUP_UNAVAILABLE}}, nil
					}
					return nil, ctx.Err()
				}}
				contact := lossy{began.Add(time.Second), began.Add(time.Second + c.lost)}
				request := &call{conn: &conn{server: &Server{domain: Domain{Groups: groups, Contact: contact}}, since: began}}
				ctx, cancel := context.WithTimeout(t.Context(), offsetCommitTimeout)
				defer cancel()
				answer, err := request.commitOffsets(ctx, &metapb.GroupCommitRequest{})
				if committed := err == nil && isCommitted(answer); committed == c.expires || attempts != c.want {
					t.Errorf("%v, %v after %d attempts", answer, err, attempts)
				}
			})
		})
	}
}

// committing are Groups that take commits alone.
type committing struct {
	Groups
	commit func(context.Context) (*metapb.GroupCommitResponse, error)
}

func (c committing) Commit(ctx context.Context, _ *metapb.GroupCommitRequest) (*metapb.GroupCommitResponse, error) {
	return c.commit(ctx)
}
