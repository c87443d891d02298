package group

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
)

// wire is a Caller that brings messages of heartbeats to a coordinator, and remembers when and how many each had.
type wire struct {
	to    *Coordinator
	takes time.Duration // each way
	mu    struct {
		sync.Mutex
		sizes []int
		at    []time.Duration
		alone []string // methods that were called by themselves
		err   error
	}
	begun time.Time
}

func newWire(to *Coordinator) *wire { return &wire{to: to, begun: time.Now()} }

func (w *wire) Call(ctx context.Context, method string, request, response proto.Message) error {
	w.mu.Lock()
	err := w.mu.err
	beats, ok := request.(*metapb.GroupBeatsRequest)
	if ok {
		w.mu.sizes, w.mu.at = append(w.mu.sizes, len(beats.Beats)), append(w.mu.at, time.Since(w.begun))
	} else {
		w.mu.alone = append(w.mu.alone, method)
	}
	w.mu.Unlock()
	if err != nil {
		return err
	}
	timer := time.NewTimer(w.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	switch q := request.(type) {
	case *metapb.GroupBeatsRequest:
		return into(response)(w.to.Beats(ctx, q))
	case *metapb.ConsumerHeartbeatRequest:
		return into(response)(w.to.ConsumerHeartbeat(ctx, q))
	}
	return fmt.Errorf("method %s", method)
}

func into(response proto.Message) func(proto.Message, error) error {
	return func(answer proto.Message, err error) error {
		if err == nil {
			proto.Merge(response, answer)
		}
		return err
	}
}

func (w *wire) messages() ([]int, []time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.sizes, w.mu.at
}

// consumers lets members into a group and returns their ids and epoch.
func consumers(t *testing.T, c *Coordinator, members int) (ids []string, epoch int32) {
	t.Helper()
	join := func(id string, epoch int32, owned *metapb.ConsumerAssignment) *metapb.ConsumerHeartbeatResponse {
		answer, err := c.ConsumerHeartbeat(t.Context(), &metapb.ConsumerHeartbeatRequest{
			Group: "crew", MemberId: id, MemberEpoch: epoch, RebalanceTimeoutMillis: 60_000, Version: 1, Topics: &metapb.ConsumerTopics{Names: []string{"orders"}}, Owned: owned,
		})
		if err != nil || answer.Code != metapb.GroupCode_GROUP_OK {
			t.Fatalf("join: %v %v", answer, err)
		}
		return answer
	}
	epochs := map[string]int32{}
	owned := map[string]*metapb.ConsumerAssignment{}
	for i := range members {
		id := fmt.Sprintf("m%d", i)
		answer := join(id, epochJoin, &metapb.ConsumerAssignment{})
		ids, epochs[id], owned[id] = append(ids, id), answer.MemberEpoch, answer.Assignment
	}
	for range 3 { // until every one has given up what it was to
		for _, id := range ids {
			answer := join(id, epochs[id], owned[id])
			epochs[id], owned[id] = answer.MemberEpoch, answer.Assignment
			epoch = answer.MemberEpoch
		}
	}
	return ids, epoch
}

func plain(id string, epoch int32) *metapb.ConsumerHeartbeatRequest {
	return &metapb.ConsumerHeartbeatRequest{Group: "crew", MemberId: id, MemberEpoch: epoch, RebalanceTimeoutMillis: -1, Version: 1}
}

func TestHeartbeatsThatComeTogetherLeaveTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator(newLog(t))
		defer c.Close()
		ids, epoch := consumers(t, c, 4)
		w := newWire(c)
		w.takes = time.Millisecond
		r := NewRemote(w)
		defer r.Close()
		var asking sync.WaitGroup
		beat := func(id string) {
			asking.Go(func() {
				answer, err := await(t.Context(), r.BeginConsumerHeartbeat, plain(id, epoch))
				if err != nil || answer.Code != metapb.GroupCode_GROUP_OK || answer.MemberId != id || answer.MemberEpoch != epoch {
					t.Errorf("heartbeat of %s: %v %v", id, answer, err)
				}
			})
		}
		beat(ids[0])
		synctest.Wait() // it is on its way
		for _, id := range ids[1:] {
			beat(id)
		}
		asking.Wait()
		if took := time.Since(w.begun); took > gatherFor+w.takes {
			t.Errorf("the last was answered after %v", took)
		}
		time.Sleep(time.Second) // virtual
		beat(ids[0])
		asking.Wait()
		sizes, at := w.messages()
		if want := []int{1, 3, 1}; fmt.Sprint(sizes) != fmt.Sprint(want) {
			t.Errorf("messages of %v heartbeats, want %v", sizes, want)
		}
		if at[0] != 0 || at[1] != gatherFor || at[2] != time.Since(w.begun)-w.takes {
			t.Errorf("messages left at %v", at)
		}
	})
}

func TestAHeartbeatIsRefusedAloneAmongOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator(newLog(t))
		defer c.Close()
		ids, epoch := consumers(t, c, 1)
		r := NewRemote(newWire(c))
		defer r.Close()
		var asking sync.WaitGroup
		asking.Go(func() {
			if answer, err := await(t.Context(), r.BeginConsumerHeartbeat, plain(ids[0], epoch)); err != nil || answer.Code != metapb.GroupCode_GROUP_OK {
				t.Errorf("heartbeat of a member: %v %v", answer, err)
			}
		})
		asking.Go(func() {
			if answer, err := await(t.Context(), r.BeginConsumerHeartbeat, plain("nobody", epoch)); err != nil || answer.Code != metapb.GroupCode_GROUP_UNKNOWN_MEMBER {
				t.Errorf("heartbeat of nobody: %v %v", answer, err)
			}
		})
		asking.Go(func() {
			answer, err := await(t.Context(), r.BeginHeartbeat, &metapb.GroupHeartbeatRequest{Group: "none", MemberId: "m", Generation: 1})
			if err != nil || answer.Code != metapb.GroupCode_GROUP_UNKNOWN_MEMBER {
				t.Errorf("classic heartbeat to no group: %v %v", answer, err)
			}
		})
		asking.Wait()
	})
}

func TestAHeartbeatWithNewsGoesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator(newLog(t))
		defer c.Close()
		w := newWire(c)
		r := NewRemote(w)
		defer r.Close()
		answer, err := await(t.Context(), r.BeginConsumerHeartbeat, &metapb.ConsumerHeartbeatRequest{
			Group: "crew", MemberId: "m", RebalanceTimeoutMillis: 60_000, Version: 1, Topics: &metapb.ConsumerTopics{Names: []string{"orders"}}, Owned: &metapb.ConsumerAssignment{},
		})
		if err != nil || answer.Code != metapb.GroupCode_GROUP_OK || len(w.mu.alone) != 1 || len(w.mu.sizes) != 0 {
			t.Errorf("join: %v %v, alone %v, together %v", answer, err, w.mu.alone, w.mu.sizes)
		}
	})
}

func TestAMessageThatIsLostFailsItsHeartbeatsAndNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator(newLog(t))
		defer c.Close()
		ids, epoch := consumers(t, c, 1)
		w := newWire(c)
		lost := errors.New("nobody leads")
		w.mu.err = lost
		r := NewRemote(w)
		if _, err := await(t.Context(), r.BeginConsumerHeartbeat, plain(ids[0], epoch)); !errors.Is(err, lost) {
			t.Errorf("heartbeat without a leader: %v", err)
		}
		w.mu.Lock()
		w.mu.err = nil
		w.mu.Unlock()
		if answer, err := await(t.Context(), r.BeginConsumerHeartbeat, plain(ids[0], epoch)); err != nil || answer.Code != metapb.GroupCode_GROUP_OK {
			t.Errorf("heartbeat after that: %v %v", answer, err)
		}
		w.takes = time.Hour // what is under way ends with the remote
		asked := make(chan error, 1)
		go func() {
			_, err := await(t.Context(), r.BeginConsumerHeartbeat, plain(ids[0], epoch))
			asked <- err
		}()
		synctest.Wait()
		r.Close()
		if err := <-asked; err == nil {
			t.Error("a heartbeat was answered by nobody")
		}
		if _, err := await(t.Context(), r.BeginConsumerHeartbeat, plain(ids[0], epoch)); !errors.Is(err, ErrClosed) {
			t.Errorf("heartbeat after Close: %v", err)
		}
	})
}
