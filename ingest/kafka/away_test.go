package kafka

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
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

// An attempt that takes too long is made again, as long as the client waits.
func TestACommitThatIsOnItsWayForTooLongIsSentAgain(t *testing.T) {
	t.Parallel() // it takes as long as an attempt may
	c := newCluster(t)
	c.createTopic(t, "topic", 1)
	s, addr := start(t, c, Config{})
	var attempts atomic.Int64
	s.domain.Groups = &beats{commit: func(ctx context.Context) error {
		if attempts.Add(1) > 1 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	contact := &reachable{close: make(chan struct{})}
	contact.away.Store(new(time.Time))
	close(contact.close)
	s.domain.Contact = contact
	answer := dial(t, addr).request(offsetCommit()).(*kmsg.OffsetCommitResponse)
	if code := answer.Topics[0].Partitions[0].ErrorCode; code != 0 || attempts.Load() != 2 {
		t.Errorf("%v after %d attempts", kerr.ErrorForCode(code), attempts.Load())
	}
}
