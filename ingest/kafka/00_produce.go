package kafka

import (
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// Produce (key 0), versions 3 to 13.
//
//	v3  transactional id; message format v2 only
//	v4  may answer KAFKA_STORAGE_ERROR
//	v5  LogStartOffset in the answer
//	v7  zstd
//	v8  ErrorRecords and ErrorMessage in the answer (KIP-467)
//	v9  flexible
//	v10 CurrentLeader and NodeEndpoints in the answer (KIP-951); leaderless, we never send them
//	v11 TRANSACTION_ABORTABLE; v12 transactions without AddPartitionsToTxn (KIP-890); same bytes
//	v13 topic ids instead of names (KIP-516)
//
// The reading goroutine decodes and validates, and hands the batches to the lane; the answering goroutine waits for their verdicts. The
// request is decoded and the answer encoded here rather than by kmsg: the frame's bytes go to the lane as they are.

// produceRequest is a Produce request between its decoding and its answer. They are pooled.
type produceRequest struct {
	version int16
	acks    int16
	// transactional: the request names a transactional id that the client may write under.
	transactional bool
	timeout       time.Duration
	topics        []produceTopic
	partitions    []producePartition // of all topics, in order of the request
	batches       []lane.Batch       // those that may be appended; producePartition.batch refers to them
	pending       Pending            // nil where no batch was appended
	ready         chan struct{}      // closed once pending is set; nil where it was set from the start
	presses       []press            // batches to be compressed
	throttle      time.Duration      // how long the client has to wait
}

type produceTopic struct {
	name       []byte // of the frame; before v13
	id         meta.TopicID
	partitions int // how many of produceRequest.partitions
}

type producePartition struct {
	index          int32
	batch          int32 // -1 where it was refused
	code           int16
	message        string
	baseOffset     int64
	logAppendTime  int64
	logStartOffset int64
	keyless        *recordbatch.KeylessError // why it was refused, with keylessMessage of each record; nil for other reasons
	keylessMessage string
}

var produceRequests = sync.Pool{New: func() any { return new(produceRequest) }}

// zstdSince is the version of Produce whose clients know zstd.
const zstdSince = 7

// keepPartitions is how many partitions a pooled request keeps room for.
const keepPartitions = 4096

func (p *produceRequest) free() {
	if cap(p.partitions) > keepPartitions {
		return
	}
	clear(p.topics)
	clear(p.partitions)
	clear(p.batches)
	clear(p.presses)
	*p = produceRequest{topics: p.topics[:0], partitions: p.partitions[:0], batches: p.batches[:0], presses: p.presses[:0]}
	produceRequests.Put(p)
}

// beginProduce decodes and validates a request and appends its batches. An error closes the connection, and nothing was appended.
func (c *conn) beginProduce(x *exchange) error {
	p := produceRequests.Get().(*produceRequest) //nolint:forcetypeassert // the pool holds nothing else
	refused, err := c.decodeProduce(p, x.header.version, x.body)
	if err != nil {
		p.free()
		c.server.config.Metrics.Refused("malformed body")
		return fmt.Errorf("decode Produce v%d: %w", x.header.version, err)
	}
	if refused != nil {
		p.refuseAll(refused)
	}
	c.throttleProduce(p, x)
	if x.produce = p; len(p.batches) == 0 {
		return nil
	}
	if err := c.stage.append(c, x); err != nil {
		x.produce = nil
		p.free()
		return err
	}
	return nil
}

// throttleProduce charges the request's bytes, and the time it took to validate them.
func (c *conn) throttleProduce(p *produceRequest, x *exchange) {
	now := time.Now()
	c.readQuota.look(c.server.quotas, x.header.clientID, now)
	p.throttle = max(c.readQuota.charge(produceQuota, float64(len(x.body)), now), c.readQuota.charge(requestQuota, busyPercent(now.Sub(x.received)), now))
	c.mute(p.throttle)
}

// appendBatches hands x's batches to the lane, which holds the frame until they are settled.
func (c *conn) appendBatches(x *exchange) {
	p := x.produce
	if len(p.batches) == 0 {
		return
	}
	x.frame.retain()
	pending, err := c.server.domain.Appender.Append(c.ctx, lane.Request{Batches: p.batches, Memory: x.frame})
	if err != nil {
		x.frame.release()
		for i := range p.partitions {
			if part := &p.partitions[i]; part.batch >= 0 {
				part.refuse(kerr.KafkaStorageError, err.Error())
			}
		}
		return
	}
	p.pending = pending
}

// decodeProduce reads the request. refused is the error every partition is answered with, where the request as a whole is refused.
func (c *conn) decodeProduce(p *produceRequest, version int16, body []byte) (refused *kerr.Error, err error) {
	flexible := version >= 9
	r := wireReader{b: body}
	transactionalID := r.nullableString(flexible)
	p.version, p.acks = version, r.int16()
	p.timeout = time.Duration(max(r.int32(), 0)) * time.Millisecond
	p.transactional = transactionalID != nil
	switch {
	case transactionalID != nil && !c.allowed(Write, TransactionalIDResource, unsafeString(transactionalID)):
		refused = kerr.TransactionalIDAuthorizationFailed
	case p.acks < -1 || p.acks > 1:
		refused = kerr.InvalidRequiredAcks
	}
	now := time.Now()
	for n := r.arrayLen(flexible, 3); n > 0 && !r.failed; n-- {
		c.decodeProduceTopic(p, &r, version, now, refused == nil)
	}
	if flexible {
		r.tags()
	}
	if r.failed {
		return nil, errShort
	}
	return refused, nil
}

func (c *conn) decodeProduceTopic(p *produceRequest, r *wireReader, version int16, now time.Time, judge bool) {
	flexible := version >= 9
	var named produceTopic
	var found *topic
	unknown := kerr.UnknownTopicOrPartition
	if version >= 13 {
		copy(named.id[:], r.span(16))
		found = c.server.catalog.topicByID(named.id)
		unknown = kerr.UnknownTopicID
	} else {
		named.name = r.nullableString(flexible)
		found = c.server.catalog.topic(unsafeString(named.name))
	}
	mayWrite := found != nil && c.allowed(Write, TopicResource, found.name)
	named.partitions = r.arrayLen(flexible, 6)
	for range named.partitions {
		part := producePartition{index: r.int32(), batch: -1, baseOffset: -1, logAppendTime: -1, logStartOffset: -1}
		records := r.nullableBytes(flexible)
		if flexible {
			r.tags()
		}
		if r.failed {
			return
		}
		switch {
		case !judge:
		case found == nil:
			part.code = unknown.Code
		case !mayWrite:
			part.code = kerr.TopicAuthorizationFailed.Code
		case part.index < 0 || part.index >= found.partitions:
			part.code = kerr.UnknownTopicOrPartition.Code
		default:
			p.judge(&part, found, records, now)
		}
		p.partitions = append(p.partitions, part)
	}
	if flexible {
		r.tags()
	}
	p.topics = append(p.topics, named)
}

// judge validates the one batch of a partition and puts it among those to append, or refuses it.
func (p *produceRequest) judge(part *producePartition, topic *topic, records []byte, now time.Time) {
	if len(records) == 0 {
		part.refuse(kerr.InvalidRecord, "the partition has no record batch")
		return
	}
	header, err := recordbatch.Validate(records, topic.limits)
	if err != nil {
		part.refuse(batchError(err), err.Error())
		part.nameKeyless(topic, err)
		return
	}
	if header.Codec() == recordbatch.Zstd && p.version < zstdSince {
		part.refuse(kerr.UnsupportedCompressionType, "zstd needs Produce version 7 (KIP-110)")
		return
	}
	if header.IsTransactional() && !p.transactional {
		part.refuse(kerr.TransactionalIDAuthorizationFailed, "a transactional batch in a request without a transactional id")
		return
	}
	if topic.config.LogAppendTime {
		part.logAppendTime = now.UnixMilli()
		recordbatch.SetLogAppendTime(records, part.logAppendTime)
		header.MaxTimestamp = part.logAppendTime
		header.Attributes |= recordbatch.AttrLogAppendTime
	} else {
		if message := checkTimestamps(&header, topic, now); message != "" {
			part.refuse(kerr.InvalidTimestamp, message)
			return
		}
		recordbatch.SetMaxTimestamp(records, header.MaxTimestamp)
	}
	part.batch = int32(len(p.batches))
	if codec, wanted := topic.pressTo(header.Codec()); wanted {
		p.presses = append(p.presses, press{batch: len(p.batches), codec: codec, level: topic.level(codec), limit: topic.limits.MaxBatchBytes})
	}
	p.batches = append(p.batches, lane.Batch{
		Topic: topic.id, Partition: part.index, Durability: topic.config.Durability, Header: header, Data: records,
		JoinsTransaction: header.IsTransactional() && p.version >= joinsTransactions,
	})
}

// checkTimestamps judges the batch's largest timestamp, and its first where that is known to be a record's. A broker that inflates
// judges every record; ours keeps compressed batches closed, so a record in between may lie further back than the bound.
func checkTimestamps(h *recordbatch.Header, topic *topic, now time.Time) string {
	nowMillis := now.UnixMilli()
	if bound := topic.config.TimestampAfterMaxMillis; h.MaxTimestamp-nowMillis > bound {
		return fmt.Sprintf("timestamp %d is more than %d ms ahead of the node's time %d", h.MaxTimestamp, bound, nowMillis)
	}
	if bound := topic.config.TimestampBeforeMaxMillis; h.BaseTimestamp != recordbatch.NoTimestamp && nowMillis-h.BaseTimestamp > bound {
		return fmt.Sprintf("timestamp %d is more than %d ms behind the node's time %d", h.BaseTimestamp, bound, nowMillis)
	}
	return ""
}

func (part *producePartition) refuse(e *kerr.Error, message string) {
	part.batch, part.code, part.message = -1, e.Code, message
}

func (p *produceRequest) refuseAll(e *kerr.Error) {
	for i := range p.partitions {
		p.partitions[i].refuse(e, "")
	}
}

// resolved tells whether the answer can be given without waiting.
func (p *produceRequest) resolved() bool {
	if p.ready != nil {
		select {
		case <-p.ready:
		default:
			return false
		}
	}
	return p.pending == nil || len(p.pending.Done()) > 0
}

// settle ends the request: nothing refers to it any more.
func (p *produceRequest) settle() {
	if p.ready != nil {
		<-p.ready
	}
	if p.pending != nil {
		p.pending.Free()
	}
	p.free()
}

// answerProduce waits for the verdicts and encodes the answer.
func (c *conn) answerProduce(x *exchange) error {
	p := x.produce
	if p.ready != nil {
		<-p.ready
	}
	if p.pending != nil {
		p.take(p.pending.Wait(c.ctx, max(p.timeout-time.Since(x.received), time.Millisecond)))
	}
	if p.acks == 0 {
		for i := range p.partitions {
			if part := &p.partitions[i]; part.code != 0 {
				// As Kafka does it: the only way to tell a producer that listens to nothing to look for its leader anew.
				return errCloseConnection
			}
		}
		return nil
	}
	if c.ctx.Err() != nil {
		return errCloseConnection
	}
	c.encodeProduce(x)
	return nil
}

// take copies the verdicts to their partitions.
func (p *produceRequest) take(results []lane.Result) {
	for i := range p.partitions {
		part := &p.partitions[i]
		if part.batch < 0 {
			continue
		}
		result := &results[part.batch]
		part.code, part.message = produceError(result, p.version)
		if part.code == 0 {
			part.baseOffset, part.logStartOffset = result.BaseOffset, result.LogStartOffset
		} else {
			part.logAppendTime = -1
		}
	}
}

func (c *conn) encodeProduce(x *exchange) {
	p, version := x.produce, x.header.version
	flexible := version >= 9
	c.out.begin(x.header.correlationID, flexible)
	b := appendArrayLen(c.out.buf, flexible, len(p.topics))
	next := 0
	for i := range p.topics {
		topic := &p.topics[i]
		if version >= 13 {
			b = append(b, topic.id[:]...)
		} else {
			b = appendString(b, flexible, topic.name)
		}
		b = appendArrayLen(b, flexible, topic.partitions)
		for j := range topic.partitions {
			b = appendProducePartition(b, version, &p.partitions[next+j])
		}
		next += topic.partitions
		b = appendNoTags(b, flexible)
	}
	b = appendInt32(b, throttleMillis(p.throttle))
	c.out.buf = appendNoTags(b, flexible)
	c.out.end()
}

func appendProducePartition(b []byte, version int16, part *producePartition) []byte {
	flexible := version >= 9
	b = appendInt32(b, part.index)
	b = appendInt16(b, part.code)
	b = appendInt64(b, part.baseOffset)
	b = appendInt64(b, part.logAppendTime)
	if version >= 5 {
		b = appendInt64(b, part.logStartOffset)
	}
	if version >= 8 {
		b = appendRecordErrors(b, flexible, part)
		b = appendNullableString(b, flexible, part.message)
	}
	return appendNoTags(b, flexible)
}
