package kafka

import (
	"cmp"
	"context"
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
	bytes      int
}

// shareFetchRow is the answer for one partition.
type shareFetchRow struct {
	code, acknowledged int16
	records            []byte
	acquired           []kmsg.ShareFetchResponseTopicPartitionAcquiredRecord
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
	deadline := time.Now().Add(wait)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(f.call.conn.poll, cancel)() // a server that drains does not wait
	for first := true; len(wishes) > 0 && (first || time.Now().Before(deadline)) && ctx.Err() == nil; first = false {
		offer, err := f.call.domain().Shares.Offer(ctx, &metapb.DeliveryOfferRequest{
			Group: f.key.group, MemberId: f.key.member, WaitMillis: max(time.Until(deadline).Milliseconds(), 0), Partitions: wishes,
		})
		if err != nil {
			f.call.waitIdly(ctx, int32(time.Until(deadline).Milliseconds())) // there is no leader just now
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
		default:
			offers = append(offers, o)
		}
	}
	if len(offers) > 0 {
		f.take(ctx, offers, offer.Committed)
	}
	return wishes
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
	read := fetch.Request{MinBytes: int(max(f.request.MinBytes, 1)), MaxBytes: maxBytes, Committed: committed}
	// What was offered is there, though perhaps not here yet.
	read.MaxWait = min(max(time.Duration(f.request.MaxWaitMillis)*time.Millisecond, 0), time.Second)
	for _, o := range offers {
		read.Partitions = append(read.Partitions, fetch.PartitionRead{
			TopicPartition: meta.TopicPartition{Topic: topicIDOf(o.TopicId), Partition: o.Partition},
			Offset:         o.Offset, MaxBytes: max(maxBytes/len(offers), 1), LeaderEpoch: -1,
		})
	}
	answer := c.server.domain.Fetcher.Read(c.poll, &read)
	if answer.Memory != nil {
		defer answer.Memory.Release()
	}
	request := &metapb.DeliveryTakeRequest{
		Group: f.key.group, MemberId: f.key.member, MaxRecords: int64(f.request.MaxRecords), BatchSize: int64(f.request.BatchSize),
	}
	batches := make([][]sharedBatch, len(offers))
	for i, o := range offers {
		p := &metapb.DeliveryRead{TopicId: o.TopicId, Partition: o.Partition, Offset: o.Offset, Reservation: o.Reservation}
		if data := &answer.Partitions[i]; data.Code == fetch.OK {
			batches[i] = sharedBatches(data)
		} else if data.Code == fetch.StorageError || data.Code == fetch.UnknownTopic {
			f.fail(read.Partitions[i].TopicPartition, readError(data.Code, false))
		}
		for _, b := range batches[i] {
			p.Batches = append(p.Batches, &metapb.DeliveryReadBatch{BaseOffset: b.base, NextOffset: b.next, Aborted: b.aborted})
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
		}
	}
}

// give puts what was acquired into the answer, with the batches that it lies in.
func (f *shareFetching) give(tp meta.TopicPartition, given []*metapb.DeliveryGiven, batches []sharedBatch) {
	row := f.row(tp)
	for _, g := range given {
		row.acquired = append(row.acquired, kmsg.ShareFetchResponseTopicPartitionAcquiredRecord{
			FirstOffset: g.BaseOffset, LastOffset: g.NextOffset - 1, DeliveryCount: int16(g.DeliveryCount),
		})
	}
	first, next := given[0].BaseOffset, given[len(given)-1].NextOffset
	for _, b := range batches {
		if b.next > first && b.base < next {
			row.records = append(row.records, b.bytes...)
		}
	}
	f.bytes += len(row.records)
}

// sharedBatch is a record batch that was read.
type sharedBatch struct {
	base, next int64
	aborted    bool
	bytes      []byte // of the fetcher's memory, or a copy
}

// sharedBatches parts what was read into its batches. A batch that stands in two pieces is put together.
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
			batches = append(batches, sharedBatch{h.BaseOffset, h.NextOffset(), isAborted(&h, data.Aborted), rest[:h.SizeBytes()]})
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

// fill makes the answer of the rows.
func (f *shareFetching) fill(response *kmsg.ShareFetchResponse) {
	response.AcquisitionLockTimeoutMillis = int32(f.lockMillis)
	partitions := make([]meta.TopicPartition, 0, len(f.rows))
	for tp := range f.rows {
		partitions = append(partitions, tp)
	}
	slices.SortFunc(partitions, func(x, y meta.TopicPartition) int {
		return cmp.Or(slices.Compare(x.Topic[:], y.Topic[:]), cmp.Compare(x.Partition, y.Partition))
	})
	for _, tp := range partitions {
		row := f.rows[tp]
		p := kmsg.NewShareFetchResponseTopicPartition()
		p.Partition, p.ErrorCode, p.AcknowledgeErrorCode = tp.Partition, row.code, row.acknowledged
		p.Records, p.AcquiredRecords = row.records, row.acquired
		if p.Records == nil {
			p.Records = []byte{}
		}
		if row.code != 0 {
			p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = unknownShareLeader, unknownShareLeader
		}
		if n := len(response.Topics); n == 0 || response.Topics[n-1].TopicID != tp.Topic {
			topic := kmsg.NewShareFetchResponseTopic()
			topic.TopicID = tp.Topic
			response.Topics = append(response.Topics, topic)
		}
		t := &response.Topics[len(response.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
	client, now := &f.call.conn.answerQuota, time.Now()
	client.look(f.call.server().quotas, f.call.header.clientID, now)
	f.call.addWait(client.charge(fetchQuota, float64(f.bytes), now))
}
