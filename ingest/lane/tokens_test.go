package lane

import (
	"testing"
	"time"
)

func TestTokens(t *testing.T) {
	b := newTokens(4, 2)
	now := b.at
	for i := range 2 {
		if wait := b.wait(now); wait != 0 {
			t.Fatalf("token %d of a full bucket: wait %v", i, wait)
		}
		b.charge(now)
	}
	wait := b.wait(now)
	if wait < 249*time.Millisecond || wait > 251*time.Millisecond {
		t.Errorf("wait for the next token: %v", wait)
	}
	if again := b.wait(now.Add(wait)); again != 0 {
		t.Errorf("after the wait: %v more", again)
	}
	for range 100 {
		b.charge(now)
	}
	if wait := b.wait(now.Add(time.Second)); wait > 0 {
		t.Errorf("debt is above a burst: %v", wait)
	}
}

func TestQueuePutsBack(t *testing.T) {
	q := newQueue()
	for i := range 5 {
		q.push(entry{Batch: Batch{Partition: int32(i), Data: []byte("x")}})
	}
	taken, ticket := q.take(nil, 3)
	if len(taken) != 3 || ticket != 3 {
		t.Fatalf("took %d, ticket %d", len(taken), ticket)
	}
	q.putBack(taken[1:])
	for _, again := range []bool{false, true} {
		rest, ticket := q.take(nil, 100)
		if len(rest) != 4 || ticket != 5 || rest[0].Partition != 1 || rest[3].Partition != 4 || q.bytes != 0 || q.len() != 0 {
			t.Fatalf("took %d from %d on, ticket %d", len(rest), rest[0].Partition, ticket)
		}
		if !again {
			q.putBack(rest) // into an empty queue
		}
	}
}
