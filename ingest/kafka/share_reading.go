package kafka

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// shareFetching is the work of one ShareFetch request: what is offered is read and taken.
type shareFetching struct {
	call    *call
	key     shareSessionKey
	request *kmsg.ShareFetchRequest
	rows    map[meta.TopicPartition]*shareFetchRow

	lockMillis int64
	deadline   time.Time // of the client's wait
	bytes      int       // of records
	wantsMore  bool      // there were records, and too few of them
}

// shareFetchRow is the answer for one partition.
type shareFetchRow struct {
	code, acknowledged int16
	batches            [][]byte // of the fetcher's memory
	bytes              int
	acquired           []*metapb.DeliveryGiven
}

func (f *shareFetching) row(tp meta.TopicPartition) *shareFetchRow {
	r := f.rows[tp]
	if r == nil {
		r = &shareFetchRow{}
		f.rows[tp] = r
	}
	return r
}

// fail notes an error of a partition.
func (f *shareFetching) fail(tp meta.TopicPartition, code int16) { f.row(tp).code = code }

// run waits until records of one of the partitions are acquired, or the client's wait is over. Partitions with errors are told of then.
func (f *shareFetching) run(ctx context.Context, partitions []meta.TopicPartition) {
	f.call.domain().Metadata.View(func(s *meta.State) { f.lockMillis = int64(s.ShareConfig(f.key.group).LockMillis) })
	wishes := make([]*metapb.DeliveryWish, 0, len(partitions))
	for _, tp := range partitions {
		if e := f.call.sharedPartition(tp); e != nil {
			f.fail(tp, e.Code)
			continue
		}
		wishes = append(wishes, &metapb.DeliveryWish{TopicId: tp.Topic[:], Partition: tp.Partition})
	}
	if f.request.MaxRecords <= 0 {
		return
	}
	wait := min(max(time.Duration(f.request.MaxWaitMillis)*time.Millisecond, 0), maxFetchMaxWait)
	f.deadline = time.Now().Add(wait)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(f.call.conn.poll, cancel)() // a server that drains does not wait
	for first := true; len(wishes) > 0 && (first || f.wantsMore || time.Now().Before(f.deadline)) && ctx.Err() == nil; first = false {
		f.wantsMore = false
		offer, err := f.call.domain().Shares.Offer(ctx, &metapb.DeliveryOfferRequest{
			Group: f.key.group, MemberId: f.key.member, WaitMillis: max(time.Until(f.deadline).Milliseconds(), 0), Partitions: wishes,
		})
		if err != nil {
			f.call.waitIdly(ctx, int32(time.Until(f.deadline).Milliseconds())) // there is no leader just now
			for _, w := range wishes {
				f.fail(meta.TopicPartition{Topic: topicIDOf(w.TopicId), Partition: w.Partition}, kerr.NotLeaderForPartition.Code)
			}
			return
		}
		if offer.LockMillis > 0 {
			f.lockMillis = offer.LockMillis
		}
		if wishes = f.consider(ctx, offer, wishes); f.acquired() {
			return
		}
	}
}

func (f *shareFetching) acquired() bool {
	for _, r := range f.rows {
		if len(r.acquired) > 0 {
			return true
		}
	}
	return false
}

// consider does what an offer asks for, and returns what is still to be wished for.
func (f *shareFetching) consider(ctx context.Context, offer *metapb.DeliveryOfferResponse, wishes []*metapb.DeliveryWish) []*metapb.DeliveryWish {
	var offers []*metapb.DeliveryOffer
	var begun []*metapb.DeliveryWish
	for _, o := range offer.Partitions {
		tp := meta.TopicPartition{Topic: topicIDOf(o.TopicId), Partition: o.Partition}
		switch i := slices.IndexFunc(wishes, func(w *metapb.DeliveryWish) bool {
			return w.Partition == o.Partition && string(w.TopicId) == string(o.TopicId)
		}); {
		case i < 0:
		case o.Code != metapb.DeliveryCode_DELIVERY_OK:
			f.fail(tp, deliveryError(o.Code, kerr.NotLeaderForPartition))
			wishes = slices.Delete(wishes, i, i+1)
		case o.BeginsAtMillis != nil:
			first, err := f.firstSince(ctx, tp, *o.BeginsAtMillis)
			if err != nil {
				f.fail(tp, timeLookupError(err).Code)
				wishes = slices.Delete(wishes, i, i+1)
				continue
			}
			wishes[i].FirstOffset = &first
			begun = append(begun, wishes[i])
		default:
			offers = append(offers, o)
		}
	}
	if len(begun) > 0 {
		offers = append(offers, f.begin(ctx, begun)...)
	}
	if len(offers) > 0 {
		f.take(ctx, offers, offer.Committed)
	}
	return wishes
}

// begin tells where partitions begin, before anything else is done: else they would do so only when no other has records, and the time from which on
// they have some moves on. What there is to say of them otherwise is said with the next offer.
func (f *shareFetching) begin(ctx context.Context, begun []*metapb.DeliveryWish) (offers []*metapb.DeliveryOffer) {
	answer, err := f.call.domain().Shares.Offer(ctx, &metapb.DeliveryOfferRequest{Group: f.key.group, MemberId: f.key.member, Partitions: begun})
	if err != nil {
		return nil
	}
	for _, o := range answer.Partitions {
		if o.Code == metapb.DeliveryCode_DELIVERY_OK && o.BeginsAtMillis == nil {
			offers = append(offers, o)
		}
	}
	return offers
}

// firstSince is the offset of the first record at or after a time, else the end.
func (f *shareFetching) firstSince(ctx context.Context, tp meta.TopicPartition, millis int64) (int64, error) {
	end := int64(0)
	f.call.domain().Metadata.View(func(s *meta.State) {
		if p := s.Partition(tp); p != nil {
			end = p.HighWatermark()
		}
	})
	found, ok, err := f.call.domain().Offsets.OffsetForTimestamp(ctx, tp, millis)
	if err != nil || !ok {
		return end, err
	}
	return found.Offset, nil
}

// take reads what was offered, and acquires it.
func (f *shareFetching) take(ctx context.Context, offers []*metapb.DeliveryOffer, committed bool) {
	c := f.call.conn
	maxBytes := min(int(max(f.request.MaxBytes, 0)), c.server.config.FetchMaxBytes, quotaBytes(f.call))
	// What was offered is there, though perhaps not here yet.
	read := fetch.Request{MinBytes: 1, MaxBytes: maxBytes, MaxWait: min(max(time.Until(f.deadline), 0), time.Second), Committed: committed}
	for _, o := range offers {
		read.Partitions = append(read.Partitions, fetch.PartitionRead{
			TopicPartition: meta.TopicPartition{Topic: topicIDOf(o.TopicId), Partition: o.Partition},
			Offset:         o.Offset, MaxBytes: max(maxBytes/len(offers), 1), LeaderEpoch: -1,
		})
	}
	answer := c.server.domain.Fetcher.Read(c.poll, &read)
	kept := false
	defer func() {
		if answer.Memory != nil && !kept {
			answer.Memory.Release()
		}
	}()
	size := 0
	for i := range answer.Partitions {
		size += answer.Partitions[i].Bytes
	}
	tooFew := size < int(f.request.MinBytes) && time.Now().Before(f.deadline)
	request := &metapb.DeliveryTakeRequest{
		Group: f.key.group, MemberId: f.key.member, MaxRecords: int64(f.request.MaxRecords), BatchSize: int64(f.request.BatchSize),
	}
	batches := make([][]sharedBatch, len(offers))
	for i, o := range offers {
		p := &metapb.DeliveryRead{TopicId: o.TopicId, Partition: o.Partition, Offset: o.Offset, Reservation: o.Reservation}
		if data := &answer.Partitions[i]; data.Code == fetch.OK && !tooFew {
			batches[i] = sharedBatches(data)
		} else if data.Code == fetch.StorageError || data.Code == fetch.UnknownTopic {
			f.fail(read.Partitions[i].TopicPartition, readError(data.Code, false))
		}
		for _, b := range batches[i] {
			p.Batches = append(p.Batches, &metapb.DeliveryReadBatch{BaseOffset: b.base, NextOffset: b.next, Aborted: b.withheld})
		}
		request.Partitions = append(request.Partitions, p)
	}
	taken, err := f.call.domain().Shares.Take(context.WithoutCancel(ctx), request)
	if err != nil {
		return // whatever was taken comes back when its lock ends
	}
	for i, t := range taken.Partitions {
		if i < len(offers) && len(t.Given) > 0 {
			f.give(read.Partitions[i].TopicPartition, t.Given, batches[i])
			kept = true
		}
	}
	switch {
	case kept && answer.Memory != nil:
		c.out.then(answer.Memory)
	case tooFew:
		f.wantsMore = true
		f.call.pause(ctx, min(minBytesPause, time.Until(f.deadline)))
	}
}

// minBytesPause is how long a fetch that wants more bytes than there are leaves the records to others before it looks again.
const minBytesPause = 50 * time.Millisecond

// give puts what was acquired into the answer, with the batches that it lies in.
func (f *shareFetching) give(tp meta.TopicPartition, given []*metapb.DeliveryGiven, batches []sharedBatch) {
	row := f.row(tp)
	row.code, row.acquired = 0, given // what failed before has not now, and clients leave records beside an error alone
	var records, again int64
	for _, g := range given {
		records += g.NextOffset - g.BaseOffset
		if g.DeliveryCount > 1 {
			again += g.NextOffset - g.BaseOffset
		}
	}
	f.call.server().config.Metrics.Shared(records, again)
	first, next := given[0].BaseOffset, given[len(given)-1].NextOffset
	for _, b := range batches {
		if b.next > first && b.base < next {
			row.batches, row.bytes = append(row.batches, b.bytes), row.bytes+len(b.bytes)
		}
	}
	f.bytes += row.bytes
}

// sharedBatch is a record batch that was read.
type sharedBatch struct {
	base, next int64
	withheld   bool   // aborted, or without records: nobody is to have it
	bytes      []byte // of the fetcher's memory, or a copy
}

// sharedBatches parts what was read into its batches. A batch that stands in two pieces is put together. One without records stands for offsets that
// are lost or compacted away, maybe for millions of them: clients list the offsets that they are given one by one, so nobody is given these.
func sharedBatches(data *fetch.PartitionData) (batches []sharedBatch) {
	var rest []byte
	for _, piece := range data.Records {
		if len(rest) > 0 {
			piece = append(slices.Clip(rest), piece...)
		}
		for rest = piece; len(rest) > 0; {
			h, err := recordbatch.ParseHeader(rest)
			if err != nil || h.SizeBytes() > len(rest) {
				break // it goes on in the next piece
			}
			batches = append(batches, sharedBatch{h.BaseOffset, h.NextOffset(), h.RecordCount == 0 || isAborted(&h, data.Aborted), rest[:h.SizeBytes()]})
			rest = rest[h.SizeBytes():]
		}
	}
	return batches
}

// isAborted says whether a batch belongs to an aborted transaction.
func isAborted(h *recordbatch.Header, aborted []meta.AbortedTransaction) bool {
	if !h.IsTransactional() || h.IsControl() {
		return false
	}
	return slices.ContainsFunc(aborted, func(t meta.AbortedTransaction) bool {
		return t.ProducerID == h.ProducerID && t.FirstOffset <= h.BaseOffset && h.BaseOffset <= t.LastOffset
	})
}

// encode writes the answer, in the only version there is; records are spliced into it and written from where they are.
func (f *shareFetching) encode(refused *kerr.Error, throttle time.Duration) {
	out := &f.call.conn.out
	out.begin(f.call.header.correlationID, true)
	b := appendInt32(out.buf, throttleMillis(throttle))
	if refused != nil {
		b = appendInt16(b, refused.Code)
	} else {
		b = appendInt16(b, 0)
	}
	b = appendNullableString(b, true, "") // Kafka names the error alone
	out.buf = appendInt32(b, int32(f.lockMillis))
	partitions := slices.SortedFunc(maps.Keys(f.rows), func(x, y meta.TopicPartition) int {
		return cmp.Or(slices.Compare(x.Topic[:], y.Topic[:]), cmp.Compare(x.Partition, y.Partition))
	})
	topics := slices.Collect(chunkBy(partitions, func(x, y meta.TopicPartition) bool { return x.Topic == y.Topic }))
	out.buf = appendArrayLen(out.buf, true, len(topics))
	for _, topic := range topics {
		out.buf = append(out.buf, topic[0].Topic[:]...)
		out.buf = appendArrayLen(out.buf, true, len(topic))
		for _, tp := range topic {
			f.rows[tp].encode(out, tp.Partition)
		}
		out.buf = appendNoTags(out.buf, true)
	}
	out.buf = appendArrayLen(out.buf, true, 0) // node endpoints
	out.buf = appendNoTags(out.buf, true)
	out.end()
}

func (r *shareFetchRow) encode(out *outbox, partition int32) {
	leader := int32(0)
	if r.code != 0 {
		leader = unknownShareLeader
	}
	b := appendInt32(out.buf, partition)
	b = appendInt16(b, r.code)
	b = appendNullableString(b, true, "")
	b = appendInt16(b, r.acknowledged)
	b = appendNullableString(b, true, "")
	b = appendInt32(b, leader)
	b = appendInt32(b, leader) // its epoch
	b = appendNoTags(b, true)
	out.buf = appendBytesLen(b, true, r.bytes)
	for _, batch := range r.batches {
		out.splice(batch)
	}
	b = appendArrayLen(out.buf, true, len(r.acquired))
	for _, g := range r.acquired {
		b = appendInt64(b, g.BaseOffset)
		b = appendInt64(b, g.NextOffset-1)
		b = appendInt16(b, int16(g.DeliveryCount))
		b = appendNoTags(b, true)
	}
	out.buf = appendNoTags(b, true)
}

// chunkBy parts a list where neighbours do not belong together.
func chunkBy[T any](list []T, together func(x, y T) bool) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for len(list) > 0 {
			n := 1
			for n < len(list) && together(list[0], list[n]) {
				n++
			}
			if !yield(list[:n]) {
				return
			}
			list = list[n:]
		}
	}
}

// throttle charges the records' bytes, and the time that was not spent waiting.
func (f *shareFetching) throttle(planned time.Duration) time.Duration {
	client, now := &f.call.conn.answerQuota, time.Now()
	client.look(f.call.server().quotas, f.call.header.clientID, now)
	wait := max(client.charge(fetchQuota, float64(f.bytes), now), client.charge(requestQuota, busyPercent(planned), now))
	f.call.conn.mute(wait)
	return wait
}
