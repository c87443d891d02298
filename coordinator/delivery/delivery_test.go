package delivery

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// member is a member of the group as a node speaks for one.
type member struct {
	t  *testing.T
	c  *Coordinator
	id string
}

func wishFor(partitions ...int32) (wishes []*metapb.DeliveryWish) {
	for _, p := range partitions {
		wishes = append(wishes, &metapb.DeliveryWish{TopicId: topic[:], Partition: p})
	}
	return wishes
}

func (m member) offer(wait time.Duration, wishes ...*metapb.DeliveryWish) *metapb.DeliveryOfferResponse {
	m.t.Helper()
	answer, err := m.c.Offer(m.t.Context(), &metapb.DeliveryOfferRequest{Group: "g", MemberId: m.id, WaitMillis: wait.Milliseconds(), Partitions: wishes})
	if err != nil {
		m.t.Fatal(err)
	}
	return answer
}

// take takes what was offered, of batches of ten records.
func (m member) take(o *metapb.DeliveryOffer, records int64) []*metapb.DeliveryGiven {
	m.t.Helper()
	var batches []*metapb.DeliveryReadBatch
	for base := o.Offset / 10 * 10; base < o.Offset/10*10+100; base += 10 {
		batches = append(batches, &metapb.DeliveryReadBatch{BaseOffset: base, NextOffset: base + 10})
	}
	end := int64(0)
	m.c.log.View(func(s *meta.State) { end = s.Partition(tp(o.Partition)).HighWatermark() })
	for len(batches) > 0 && batches[len(batches)-1].NextOffset > end {
		batches = batches[:len(batches)-1]
	}
	answer, err := m.c.Take(m.t.Context(), &metapb.DeliveryTakeRequest{Group: "g", MemberId: m.id, MaxRecords: records, BatchSize: 500, Partitions: []*metapb.DeliveryRead{
		{TopicId: topic[:], Partition: o.Partition, Offset: o.Offset, Reservation: o.Reservation, Batches: batches},
	}})
	if err != nil {
		m.t.Fatal(err)
	}
	return answer.Partitions[0].Given
}

// fetch takes records of partition 0 that are there.
func (m member) fetch(records int64) []*metapb.DeliveryGiven {
	m.t.Helper()
	answer := m.offer(0, wishFor(0)...)
	if len(answer.Partitions) == 0 {
		return nil
	}
	if o := answer.Partitions[0]; o.Code != metapb.DeliveryCode_DELIVERY_OK {
		m.t.Fatalf("offer %v", o)
	}
	return m.take(answer.Partitions[0], records)
}

func (m member) acknowledge(base, next int64, kind byte) metapb.DeliveryCode {
	m.t.Helper()
	answer, err := m.c.Acknowledge(m.t.Context(), &metapb.DeliveryAcknowledgeRequest{Group: "g", MemberId: m.id, Partitions: []*metapb.DeliveryAcknowledgements{
		{TopicId: topic[:], Batches: []*metapb.DeliveryAcknowledgement{{BaseOffset: base, NextOffset: next, Types: []byte{kind}}}},
	}})
	if err != nil {
		m.t.Fatal(err)
	}
	return answer.Codes[0]
}

func expectGiven(t *testing.T, given []*metapb.DeliveryGiven, base, next int64, count int32) {
	t.Helper()
	if len(given) != 1 || given[0].BaseOffset != base || given[0].NextOffset != next || given[0].DeliveryCount != count {
		t.Errorf("given %v, not [%d, %d) for the %d. time", given, base, next, count)
	}
}

const (
	accept  = 1
	release = 2
)

// story runs in virtual time, with a coordinator and two members.
func story(t *testing.T, tell func(t *testing.T, l *stateLog, c *Coordinator, a, b member)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		c := newCoordinator(l)
		defer func() {
			c.Close()
			synctest.Wait()
		}()
		tell(t, l, c, member{t, c, "a"}, member{t, c, "b"})
	})
}

func TestTwoMembersShareAPartition(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		l.produce(t, 0, 30)
		expectGiven(t, a.fetch(10), 0, 10, 1)
		expectGiven(t, b.fetch(15), 10, 30, 1) // up to the end of a batch
		if got := a.fetch(10); got != nil {
			t.Errorf("given %v", got)
		}
		if code := b.acknowledge(0, 10, accept); code != metapb.DeliveryCode_DELIVERY_RECORD_STATE {
			t.Errorf("of another's records: %v", code)
		}
		if code := a.acknowledge(0, 10, accept); code != metapb.DeliveryCode_DELIVERY_OK {
			t.Errorf("accepted: %v", code)
		}
		if p := l.partition(0); p.StartOffset != 10 {
			t.Errorf("%+v", p)
		}
		if code := a.acknowledge(0, 10, accept); code != metapb.DeliveryCode_DELIVERY_OK {
			t.Errorf("below the start: %v", code)
		}
		if code := b.acknowledge(20, 31, accept); code != metapb.DeliveryCode_DELIVERY_INVALID_REQUEST {
			t.Errorf("never given: %v", code)
		}
	})
}

func TestAnOfferWaitsForRecords(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		began := time.Now()
		time.AfterFunc(time.Second, func() { l.produce(t, 1, 10) })
		answer := a.offer(time.Minute, wishFor(0, 1)...)
		if len(answer.Partitions) != 1 || answer.Partitions[0].Partition != 1 || time.Since(began) != time.Second {
			t.Errorf("%v after %v", answer, time.Since(began))
		}
		if answer := b.offer(2*time.Second, wishFor(0, 1)...); len(answer.Partitions) != 0 || time.Since(began) != 3*time.Second {
			t.Errorf("what is reserved is offered: %v after %v", answer, time.Since(began))
		}
		// Who reserved it has not come back: others have it.
		time.Sleep(reservationTime)
		if answer := b.offer(0, wishFor(1)...); len(answer.Partitions) != 1 {
			t.Errorf("%v", answer)
		}
	})
}

func TestReleasedRecordsWakeOthers(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		l.produce(t, 0, 10)
		a.fetch(10)
		time.AfterFunc(time.Second, func() { a.acknowledge(0, 10, release) })
		began := time.Now()
		answer := b.offer(time.Minute, wishFor(0)...)
		if time.Since(began) != time.Second {
			t.Errorf("woken after %v", time.Since(began))
		}
		expectGiven(t, b.take(answer.Partitions[0], 10), 0, 10, 2)
	})
}

func TestLocksEnd(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		l.configure(t, "share.record.lock.duration.ms", "15000")
		l.configure(t, "group.share.delivery.count.limit", "2")
		l.produce(t, 0, 10)
		expectGiven(t, a.fetch(10), 0, 10, 1)
		began := time.Now()
		answer := b.offer(time.Minute, wishFor(0)...)
		if time.Since(began) != 15*time.Second || answer.LockMillis != 15_000 {
			t.Errorf("after %v: %v", time.Since(began), answer)
		}
		expectGiven(t, b.take(answer.Partitions[0], 10), 0, 10, 2)
		if code := a.acknowledge(0, 10, accept); code != metapb.DeliveryCode_DELIVERY_RECORD_STATE {
			t.Errorf("after the lock: %v", code)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if p := l.partition(0); p.StartOffset != 10 {
			t.Errorf("given as often as it may be: %+v", p)
		}
	})
}

func TestASessionThatEndsGivesBack(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		l.produce(t, 0, 20)
		a.fetch(10)
		if _, err := c.Release(t.Context(), &metapb.DeliveryReleaseRequest{Group: "g", MemberId: "a", Topics: []*metapb.AssignedTopic{{TopicId: topic[:], Partitions: []int32{0, 1, 2}}}}); err != nil {
			t.Fatal(err)
		}
		expectGiven(t, b.fetch(20), 0, 20, 1)
	})
}

func TestAnotherLeaderGoesOnFromWhatIsDurable(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		l.configure(t, "share.auto.offset.reset", "latest")
		l.produce(t, 0, 10)
		if got := a.fetch(10); got != nil {
			t.Errorf("given %v", got)
		}
		synctest.Wait()
		l.produce(t, 0, 20) // after the first fetch: nobody is to miss them
		expectGiven(t, a.fetch(20), 10, 30, 1)
		if code := a.acknowledge(15, 20, accept); code != metapb.DeliveryCode_DELIVERY_OK {
			t.Fatal(code)
		}
		next := newCoordinator(l)
		defer next.Close()
		b.c = next
		given := b.fetch(100)
		if len(given) != 2 || given[0].BaseOffset != 10 || given[0].NextOffset != 15 || given[1].BaseOffset != 20 || given[1].NextOffset != 30 {
			t.Errorf("given %v", given)
		}
	})
}

// Records were given out while where the partition begins was on its way into the log. Another leader would have begun behind them.
func TestNothingIsOfferedBeforeItsBeginningIsDurable(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		l.configure(t, "share.auto.offset.reset", "latest")
		hold := make(chan struct{})
		l.with(func(l *stateLog) { l.mu.hold = hold })
		l.produce(t, 0, 10)
		answers := make(chan *metapb.DeliveryOfferResponse, 2)
		for _, m := range []member{a, b} {
			go func() { answers <- m.offer(time.Minute, wishFor(0)...) }()
			synctest.Wait()
		}
		l.produce(t, 0, 20)
		synctest.Wait()
		if len(answers) > 0 {
			t.Fatalf("offered %v, and what another leader begins with is %+v", <-answers, l.partition(0))
		}
		close(hold)
		if answer := <-answers; len(answer.Partitions) != 1 || answer.Partitions[0].Offset != 10 || l.partition(0).StartOffset != 10 {
			t.Errorf("offered %v, stored %+v", answer, l.partition(0))
		}
		<-answers
	})
}

func TestABeginningThatIsNotStoredIsNotOffered(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		l.with(func(l *stateLog) { l.mu.failing = true })
		l.produce(t, 0, 10)
		if answer := a.offer(0, wishFor(0)...); len(answer.Partitions) != 1 || answer.Partitions[0].Code != metapb.DeliveryCode_DELIVERY_UNAVAILABLE {
			t.Errorf("offered %v", answer)
		}
		l.with(func(l *stateLog) { l.mu.failing = false })
		expectGiven(t, a.fetch(10), 0, 10, 1)
	})
}

func TestABeginningByTimeIsAskedFor(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		l.configure(t, "share.auto.offset.reset", "by_duration:PT1H")
		l.produce(t, 0, 20)
		asked := a.offer(time.Minute, wishFor(0)...).Partitions[0]
		if asked.BeginsAtMillis == nil || *asked.BeginsAtMillis > time.Now().Add(-time.Hour).UnixMilli() {
			t.Fatalf("%v", asked)
		}
		first := int64(10)
		wish := wishFor(0)[0]
		wish.FirstOffset = &first
		expectGiven(t, a.take(a.offer(0, wish).Partitions[0], 100), 10, 20, 1)
	})
}

func TestAnAcknowledgementIsAnsweredWhenItIsDurable(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		l.produce(t, 0, 30)
		a.fetch(30)
		synctest.Wait()
		hold := make(chan struct{})
		l.with(func(l *stateLog) { l.mu.hold, l.mu.stores = hold, 0 })
		answers := make(chan metapb.DeliveryCode, 3)
		for i := range int64(3) {
			go func() { answers <- a.acknowledge(i*10, i*10+10, accept) }()
			synctest.Wait()
		}
		if len(answers) > 0 {
			t.Error("answered before it is in the log")
		}
		close(hold)
		for range 3 {
			if code := <-answers; code != metapb.DeliveryCode_DELIVERY_OK {
				t.Error(code)
			}
		}
		if l.with(func(l *stateLog) {
			if l.mu.stores != 2 {
				t.Errorf("%d commands: what gathers goes together", l.mu.stores)
			}
		}); l.partition(0).StartOffset != 30 {
			t.Errorf("%+v", l.partition(0))
		}
	})
}

func TestAFailedStoreGivesEverythingBack(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		l.produce(t, 0, 20)
		a.fetch(20)
		synctest.Wait()
		l.with(func(l *stateLog) { l.mu.failing = true })
		if code := a.acknowledge(0, 10, accept); code != metapb.DeliveryCode_DELIVERY_UNAVAILABLE {
			t.Errorf("not stored: %v", code)
		}
		l.with(func(l *stateLog) { l.mu.failing = false })
		expectGiven(t, b.fetch(20), 0, 20, 1)

		// One that comes to pass although nobody knows: its records are never given again, whoever was told what.
		l.with(func(l *stateLog) { l.mu.losing = true })
		if code := b.acknowledge(0, 10, accept); code != metapb.DeliveryCode_DELIVERY_UNAVAILABLE {
			t.Errorf("not known: %v", code)
		}
		expectGiven(t, a.fetch(20), 10, 20, 1)
	})
}

func TestWhatWaitsBehindAFailedStoreFailsWithIt(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		l.produce(t, 0, 20)
		a.fetch(20)
		synctest.Wait()
		hold := make(chan struct{})
		l.with(func(l *stateLog) { l.mu.hold, l.mu.failing = hold, true })
		answers := make(chan metapb.DeliveryCode, 2)
		for i := range int64(2) {
			go func() { answers <- a.acknowledge(i*10, i*10+10, accept) }()
			synctest.Wait()
		}
		close(hold)
		for range 2 {
			if code := <-answers; code != metapb.DeliveryCode_DELIVERY_UNAVAILABLE {
				t.Error(code)
			}
		}
		if p := l.partition(0); p.StartOffset != 0 || len(p.Batches) > 0 {
			t.Errorf("%+v", p)
		}
	})
}

func TestAlteredOffsetsAreNoticed(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		l.produce(t, 0, 30)
		a.fetch(10)
		synctest.Wait()
		l.apply(t, &metapb.Command{Kind: &metapb.Command_ResetShareOffsets{ResetShareOffsets: &metapb.ResetShareOffsets{
			Group: "g", Offsets: []*metapb.ShareOffset{{TopicId: topic[:], StartOffset: 20}},
		}}})
		if code := a.acknowledge(0, 10, accept); code != metapb.DeliveryCode_DELIVERY_RECORD_STATE {
			t.Errorf("of what is no more: %v", code)
		}
		expectGiven(t, a.fetch(100), 20, 30, 1)
	})
}

func TestNoMoreThanTheBoundIsOut(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		l.configure(t, "group.share.partition.max.record.locks", "100")
		for range 3 {
			l.produce(t, 0, 60)
		}
		expectGiven(t, a.fetch(60), 0, 60, 1)
		expectGiven(t, a.fetch(60), 60, 120, 1)
		if got := a.fetch(60); got != nil {
			t.Errorf("given %v", got)
		}
		if code := a.acknowledge(0, 30, accept); code != metapb.DeliveryCode_DELIVERY_OK {
			t.Error(code)
		}
		expectGiven(t, a.fetch(60), 120, 180, 1)
	})
}

func TestWhatIsNotThereIsSaid(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		l.apply(t, &metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: &metapb.CreateTopic{Name: "other", TopicId: []byte("other-----------"), Partitions: 1}}})
		answer := a.offer(time.Minute, wishFor(7)[0], &metapb.DeliveryWish{TopicId: []byte("other-----------")}, &metapb.DeliveryWish{TopicId: []byte("x")})
		want := []metapb.DeliveryCode{metapb.DeliveryCode_DELIVERY_UNKNOWN_TOPIC, metapb.DeliveryCode_DELIVERY_NO_STATE, metapb.DeliveryCode_DELIVERY_UNKNOWN_TOPIC}
		for i, code := range want {
			if i >= len(answer.Partitions) || answer.Partitions[i].Code != code {
				t.Errorf("%v, not %v", answer, want)
				break
			}
		}
		stranger, err := c.Offer(t.Context(), &metapb.DeliveryOfferRequest{Group: "nobody", WaitMillis: 1000, Partitions: wishFor(0)})
		if err != nil || stranger.Partitions[0].Code != metapb.DeliveryCode_DELIVERY_NO_STATE {
			t.Errorf("%v %v", stranger, err)
		}
		unknown, err := c.Acknowledge(t.Context(), &metapb.DeliveryAcknowledgeRequest{Group: "nobody", Partitions: []*metapb.DeliveryAcknowledgements{{TopicId: topic[:]}}})
		if err != nil || unknown.Codes[0] != metapb.DeliveryCode_DELIVERY_UNKNOWN_TOPIC {
			t.Errorf("%v %v", unknown, err)
		}
		l.apply(t, &metapb.Command{Kind: &metapb.Command_DeleteTopic{DeleteTopic: &metapb.DeleteTopic{TopicId: topic[:]}}})
		if code := a.acknowledge(0, 10, accept); code != metapb.DeliveryCode_DELIVERY_UNKNOWN_TOPIC {
			t.Errorf("of a deleted topic: %v", code)
		}
	})
}

func TestCloseAnswersWhoWaits(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		l.produce(t, 0, 10)
		a.fetch(10)
		synctest.Wait()
		l.with(func(l *stateLog) { l.mu.hold = make(chan struct{}) })
		offered, acknowledged := make(chan *metapb.DeliveryOfferResponse, 1), make(chan metapb.DeliveryCode, 1)
		go func() { offered <- b.offer(time.Hour, wishFor(0)...) }()
		go func() { acknowledged <- a.acknowledge(0, 10, accept) }()
		synctest.Wait()
		c.Close()
		if answer := <-offered; answer.Partitions[0].Code != metapb.DeliveryCode_DELIVERY_UNAVAILABLE {
			t.Errorf("%v", answer)
		}
		if code := <-acknowledged; code != metapb.DeliveryCode_DELIVERY_UNAVAILABLE {
			t.Errorf("%v", code)
		}
		if code := a.acknowledge(0, 10, accept); code != metapb.DeliveryCode_DELIVERY_UNAVAILABLE {
			t.Errorf("after Close: %v", code)
		}
	})
}

func TestTheSweepLetsGoOfWhatNobodyUses(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		l.produce(t, 0, 10)
		a.fetch(10)
		a.acknowledge(0, 5, accept)
		time.Sleep(sweepInterval + time.Second)
		synctest.Wait()
		c.mu.Lock()
		groups := len(c.mu.groups)
		c.mu.Unlock()
		if groups != 0 {
			t.Errorf("%d groups", groups)
		}
		expectGiven(t, b.fetch(10), 5, 10, 2) // the lock's end was stored
	})
}

func TestACallerThatGivesUpIsLetGo(t *testing.T) {
	story(t, func(t *testing.T, l *stateLog, c *Coordinator, a, b member) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Offer(ctx, &metapb.DeliveryOfferRequest{Group: "g", MemberId: "a", WaitMillis: 60_000, Partitions: wishFor(0)}); err == nil {
			t.Error("no error")
		}
	})
}
