package lane

import (
	"testing"
	"time"
)

func TestTokens(t *testing.T) {
	b := newTokens(4, 2)
	now := b.mu.at
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
	now = now.Add(wait)
	for range 100 {
		b.charge(now)
	}
	if wait := b.wait(now.Add(time.Second)); wait > 0 {
		t.Errorf("debt is above a burst: %v", wait)
	}
}

func TestTokensFollowTheRate(t *testing.T) {
	b := newTokens(2, 0)
	now := b.mu.at
	if b.mu.level != minBurst {
		t.Errorf("a new bucket holds %g, want %d", b.mu.level, minBurst)
	}
	for range 2 * minBurst {
		b.charge(now)
	}
	b.setRate(100, now)
	if wait := b.wait(now); wait < 49*time.Millisecond || wait > 51*time.Millisecond {
		t.Errorf("wait for 5 tokens at 100 a second: %v", wait)
	}
	now = now.Add(time.Hour)
	if b.wait(now); b.mu.level != 100 {
		t.Errorf("an idle bucket holds %g, want a second's worth", b.mu.level)
	}
	b.setRate(1, now)
	if b.mu.level != minBurst {
		t.Errorf("after the rate fell the bucket holds %g, want %d", b.mu.level, minBurst)
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
