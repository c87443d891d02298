package kafka

import (
	"fmt"
	"math"
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
	version    int16
	acks       int16
	timeout    time.Duration
	topics     []produceTopic
	partitions []producePartition // of all topics, in order of the request
	batches    []lane.Batch       // those that may be appended; producePartition.batch refers to them
	pending    Pending            // nil where no batch was appended
	ready      chan struct{}      // closed once pending is set; nil where it was set from the start
	presses    []press            // batches to be compressed
	throttle   time.Duration      // how long the client has to wait
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
	records        *refusedRecords // why it was refused; nil for other reasons

	topic *topic // nil where there is none, or the client may not write to it
	data  []byte // as it came, of the frame
}

var produceRequests = sync.Pool{New: func() any { return new(produceRequest) }}

// zstdSince is the version of Produce whose clients know zstd.
const zstdSince = 7

// maxProduceElements bounds the topics, and the partitions, of one request: an empty one has a few bytes, and takes a hundred when it is decoded.
const maxProduceElements = 1 << 17

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
	if err := c.decodeProduce(p, x.header.version, x.body); err != nil {
		p.free()
		c.server.config.Metrics.Refused("malformed body")
		return fmt.Errorf("decode Produce v%d: %w", x.header.version, err)
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

// throttleProduce charges the request's bytes, and the time it took to validate them, and slows the client down where the node cannot keep up.
func (c *conn) throttleProduce(p *produceRequest, x *exchange) {
	now := time.Now()
	c.readQuota.look(c.server.quotas, x.header.clientID, now)
	p.throttle = max(c.readQuota.charge(produceQuota, float64(len(x.body)), now), c.readQuota.charge(requestQuota, busyPercent(now.Sub(x.received)), now))
	if len(p.batches) > 0 {
		p.throttle = max(p.throttle, c.server.domain.Appender.Delay(p.batches))
	}
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
				part.refuse(kerr.KafkaStorageError, "")
			}
		}
		return
	}
	p.pending = pending
}

// decodeProduce reads the request and judges what it has for each partition.
func (c *conn) decodeProduce(p *produceRequest, version int16, body []byte) error {
	flexible := version >= 9
	r := wireReader{b: body}
	transactionalID := r.nullableString(flexible)
	p.version, p.acks = version, r.int16()
	p.timeout = time.Duration(max(r.int32(), 0)) * time.Millisecond
	for n := r.arrayLen(flexible, 3); n > 0 && !r.failed; n-- {
		if c.decodeProduceTopic(p, &r, version); len(p.topics) > maxProduceElements || len(p.partitions) > maxProduceElements {
			return fmt.Errorf("more than %d topics or partitions", maxProduceElements)
		}
	}
	if flexible {
		r.tags()
	}
	if r.failed {
		return errShort
	}
	p.dropRepeated()
	if p.isCorrupt() { // Kafka looks into all batches first, and refuses a request with one that cannot be looked into as a whole
		p.refuseAll(kerr.CorruptMessage, kerr.CorruptMessage.Description)
		return nil
	}
	if p.holdsTransactional() && (transactionalID == nil || !c.allowed(Write, TransactionalIDResource, unsafeString(transactionalID))) {
		p.refuseAll(kerr.TransactionalIDAuthorizationFailed, "")
		return nil
	}
	if p.acks != 0 && c.server.turnsAway() { // without an answer there is no way to say so
		p.refuseAll(kerr.NotLeaderForPartition, "")
		return nil
	}
	now := time.Now()
	for i := range p.partitions {
		if part := &p.partitions[i]; part.topic != nil {
			c.judge(p, part, now)
		}
	}
	return nil
}

// decodeProduceTopic reads one topic, and finds it and its partitions.
func (c *conn) decodeProduceTopic(p *produceRequest, r *wireReader, version int16) {
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
		if len(p.partitions) > maxProduceElements {
			return
		}
		part := producePartition{index: r.int32(), batch: -1, baseOffset: -1, logAppendTime: -1, logStartOffset: -1}
		part.data = r.nullableBytes(flexible)
		if flexible {
			r.tags()
		}
		if r.failed {
			return
		}
		switch {
		case found == nil:
			part.code = unknown.Code
		case !mayWrite:
			part.code = kerr.TopicAuthorizationFailed.Code
		case part.index < 0 || part.index >= found.partitions:
			part.code = kerr.UnknownTopicOrPartition.Code
		default:
			part.topic = found
		}
		p.partitions = append(p.partitions, part)
	}
	if flexible {
		r.tags()
	}
	p.topics = append(p.topics, named)
}

// dropRepeated drops all but the last of what a topic's partition is given several times, as Kafka does. Producers give each once, in order.
func (p *produceRequest) dropRepeated() {
	next := 0
	for i := range p.topics {
		parts := p.partitions[next : next+p.topics[i].partitions]
		if next += len(parts); strictlyRising(parts) {
			continue
		}
		last := make(map[int32]int, len(parts))
		for j := range parts {
			last[parts[j].index] = j
		}
		kept := 0
		for j := range parts {
			if last[parts[j].index] == j {
				parts[kept] = parts[j]
				kept++
			}
		}
		dropped := len(parts) - kept
		p.partitions = append(p.partitions[:next-dropped], p.partitions[next:]...)
		p.topics[i].partitions, next = kept, next-dropped
	}
}

func strictlyRising(parts []producePartition) bool {
	for j := 1; j < len(parts); j++ {
		if parts[j].index <= parts[j-1].index {
			return false
		}
	}
	return true
}

// isCorrupt tells whether what the request has for a partition does not begin like a batch.
func (p *produceRequest) isCorrupt() bool {
	for i := range p.partitions {
		if recordbatch.IsCorrupt(p.partitions[i].data) {
			return true
		}
	}
	return false
}

// holdsTransactional tells whether a batch of the request belongs to a transaction.
func (p *produceRequest) holdsTransactional() bool {
	for i := range p.partitions {
		if header, err := recordbatch.ParseHeader(p.partitions[i].data); err == nil && header.IsTransactional() {
			return true
		}
	}
	return false
}

// judge validates the one batch of a partition and puts it among those to append, or refuses it.
func (c *conn) judge(p *produceRequest, part *producePartition, now time.Time) {
	topic := part.topic
	batch, err := recordbatch.Cut(part.data)
	if err != nil {
		part.refuse(batchError(err), "")
		return
	}
	if header, err := recordbatch.ParseHeader(batch); err == nil && p.version < zstdSince { // whose requests are looked at for it (KIP-110)
		if codec := header.Codec(); codec == recordbatch.Zstd {
			part.refuse(kerr.UnsupportedCompressionType, "")
			return
		} else if !codec.Valid() {
			part.refuse(kerr.UnknownServerError, "")
			return
		}
	}
	if p.acks < -1 || p.acks > 1 {
		part.refuse(kerr.InvalidRequiredAcks, "")
		return
	}
	limits := topic.limits
	if !topic.config.LogAppendTime {
		limits.OldestMillis, limits.NewestMillis = topic.timestampBounds(now)
	}
	header, err := recordbatch.Validate(batch, limits)
	if err == nil && header.Codec() != recordbatch.None && !limits.Holds(&header) {
		limits.Deep = true // it is refused: only its records tell for which of them
		header, err = recordbatch.Validate(batch, limits)
	}
	if err != nil {
		part.refuse(batchError(err), "")
		part.nameRecords(topic, &limits, err)
		c.tellLogStart(part)
		return
	}
	recordbatch.ClearAttributes(batch, brokersAttributes)
	header.Attributes &^= brokersAttributes
	if topic.config.LogAppendTime {
		part.logAppendTime = now.UnixMilli()
		recordbatch.SetLogAppendTime(batch, part.logAppendTime)
		header.MaxTimestamp = part.logAppendTime
		header.Attributes |= recordbatch.AttrLogAppendTime
	} else {
		recordbatch.SetMaxTimestamp(batch, header.MaxTimestamp)
	}
	part.batch = int32(len(p.batches))
	if codec, wanted := topic.pressTo(header.Codec()); wanted {
		p.presses = append(p.presses, press{batch: len(p.batches), codec: codec, level: topic.level(codec), eager: topic.eager(codec), limit: topic.limits.MaxBatchBytes})
	}
	p.batches = append(p.batches, lane.Batch{
		Topic: topic.id, Partition: part.index, Durability: topic.config.Durability, Header: header, Data: batch,
		JoinsTransaction: header.IsTransactional() && p.version >= joinsTransactions,
	})
}

// brokersAttributes are the bits that a producer's batch must not keep: they say of it what only a broker knows.
const brokersAttributes = recordbatch.AttrLogAppendTime | recordbatch.AttrDeleteHorizon

// timestampBounds are the timestamps that the topic's records may have now.
func (t *topic) timestampBounds(now time.Time) (oldest, newest int64) {
	millis := now.UnixMilli()
	oldest, newest = millis-t.config.TimestampBeforeMaxMillis, millis+t.config.TimestampAfterMaxMillis
	if newest < millis {
		newest = math.MaxInt64
	}
	return oldest, newest
}

// tellLogStart says where the log begins beside a refusal, where Kafka does: where a batch that was whole was looked into.
func (c *conn) tellLogStart(part *producePartition) {
	switch part.code {
	case 0, kerr.CorruptMessage.Code, kerr.MessageTooLarge.Code, kerr.KafkaStorageError.Code, kerr.NotLeaderForPartition.Code,
		kerr.UnknownTopicOrPartition.Code, kerr.RequestTimedOut.Code, kerr.NotEnoughReplicas.Code, kerr.InvalidTxnState.Code,
		kerr.InvalidProducerIDMapping.Code, kerr.TransactionAbortable.Code:
		return
	}
	c.server.domain.Metadata.View(func(s *meta.State) {
		if t := s.Topic(part.topic.id); t != nil && t.Partition(part.index) != nil {
			part.logStartOffset = t.Partition(part.index).LogStartOffset()
		}
	})
}

func (part *producePartition) refuse(e *kerr.Error, message string) {
	part.batch, part.code, part.message = -1, e.Code, message
}

func (p *produceRequest) refuseAll(e *kerr.Error, message string) {
	for i := range p.partitions {
		p.partitions[i].refuse(e, message)
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
		c.take(p, p.pending.Wait(c.ctx, max(p.timeout-time.Since(x.received), time.Millisecond)))
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
func (c *conn) take(p *produceRequest, results []lane.Result) {
	for i := range p.partitions {
		part := &p.partitions[i]
		if part.batch < 0 {
			continue
		}
		result := &results[part.batch]
		part.code, part.message = produceError(result, p.version)
		if part.code != 0 {
			if part.logAppendTime = -1; !p.batches[part.batch].Header.IsTransactional() { // those are judged before the log is looked at
				c.tellLogStart(part)
			}
			continue
		}
		part.baseOffset, part.logStartOffset = result.BaseOffset, result.LogStartOffset
		if result.Code == meta.DuplicateSequence && part.logAppendTime < 0 {
			part.logAppendTime = p.batches[part.batch].Header.MaxTimestamp // as Kafka tells of a batch that it has
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
