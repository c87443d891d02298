package kafka

import (
	"cmp"
	"context"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/fetch"
)

// Fetch (key 1), versions 4 to 18.
//
//	v4  isolation level, last stable offset, aborted transactions; message format v2
//	v5  log start offset
//	v7  incremental fetch sessions (KIP-227)
//	v9  the client's leader epoch, for fencing (KIP-320)
//	v10 zstd
//	v11 rack and preferred read replica (KIP-392)
//	v12 flexible
//	v13 topic ids instead of names (KIP-516)
//	v15 replica id moves to tagged fields; v16 node endpoints in the answer (KIP-951), which we never send
//	v17 directory ids of replicas; v18 the follower's high watermark (KIP-1166); both from brokers only
//
// The answer is encoded here rather than by kmsg: record batches are spliced into it and written from where they are.

// answerFetch answers a Fetch request.
func answerFetch(_ context.Context, call *call, request kmsg.Request) error {
	r := request.(*kmsg.FetchRequest) //nolint:forcetypeassert // the table's key made it
	if r.IsolationLevel != readUncommitted && r.IsolationLevel != readCommitted {
		refuseFetch(call, r, kerr.UnknownServerError) // as Kafka, which looks the level up and does not find it
		return nil
	}
	session, incremental, refused := call.server().sessions.begin(r, time.Now())
	if refused != nil {
		encodeFetch(call, r, refused.Code, 0, nil, nil, 0)
		return nil
	}
	defer session.Unlock()
	f := fetching{call: call, request: r, session: session, incremental: incremental}
	began := time.Now()
	if f.plan(fetch.UnknownTopic) {
		f.planAgain()
	}
	planned := time.Since(began)
	if err := f.read(); err != nil {
		return err
	}
	encodeFetch(call, r, 0, session.id, session.partitions, f.rows, f.throttle(planned))
	return nil
}

// refuseFetch answers a request as a whole. Before v13 its partitions get the error too: the oldest answers have no other place for it.
func refuseFetch(call *call, r *kmsg.FetchRequest, e *kerr.Error) {
	asked := fetchSession{}
	if r.Version < 13 {
		asked.update(r)
	}
	rows := make([]fetchRow, len(asked.partitions))
	for i := range rows {
		rows[i].code, rows[i].unread = e.Code, true
	}
	encodeFetch(call, r, e.Code, r.SessionID, asked.partitions, rows, 0)
}

// fetching is the work of one Fetch request.
type fetching struct {
	call        *call
	request     *kmsg.FetchRequest
	session     *fetchSession
	incremental bool
	rows        []fetchRow            // one per partition of the session
	reads       []fetch.PartitionRead // of those that can be read
	rowOf       []int                 // the row of each read
	plain       []bool                // of each read: zstd is to be inflated; see plain.go
	near        []node                // those that the client is to read from instead; see nearNodes
}

// fetchRow is the answer for one partition.
type fetchRow struct {
	code    int16
	unread  bool  // refused before Kafka looks into the log, which shows in a list that is empty rather than null
	omitted bool  // nothing changed, in an incremental answer
	nearer  int32 // the node that the client is to read from instead (KIP-392), 0 for none
	data    *fetch.PartitionData
}

// openedPartitions are those that have been read on this connection behind a barrier: from there on their high watermarks never go back
// here. Above maxOpened it forgets, which costs barriers and nothing else.
type openedPartitions map[meta.TopicPartition]struct{}

const (
	maxOpened       = 100_000
	maxFetchMaxWait = 5 * time.Minute
)

// unknownTopicPatience bounds how long a fetch of a topic that is not known here waits for the leader's word.
const unknownTopicPatience = time.Second

// planAgain plans behind a barrier, where there is a topic of which this node may not have heard yet and another has told the client.
func (f *fetching) planAgain() {
	bounded, cancel := context.WithTimeout(f.call.conn.fetchPoll, unknownTopicPatience)
	defer cancel()
	absent := fetch.UnknownTopic
	if f.call.domain().Metadata.Barrier(bounded) != nil {
		absent = fetch.OffsetNotAvailable // it may be known elsewhere
	}
	f.plan(absent)
}

// plan finds the partitions that can be read. Those of topics that are not known here are answered with absent; unknown says whether there are any.
func (f *fetching) plan(absent fetch.Code) (unknown bool) {
	f.rows = make([]fetchRow, len(f.session.partitions))
	f.reads, f.rowOf = make([]fetch.PartitionRead, 0, len(f.rows)), make([]int, 0, len(f.rows))
	opened, readsZstd := f.call.conn.opened, f.call.conn.readsZstd(f.request.Version)
	f.plain = make([]bool, 0, len(f.rows))
	f.near = f.nearNodes()
	f.call.domain().Metadata.View(func(s *meta.State) {
		for i := range f.rows {
			p := &f.session.partitions[i]
			t := s.Topic(p.topic)
			if !f.session.byID {
				t = s.TopicByName(p.name)
			}
			if t == nil {
				f.rows[i].code, unknown = readError(absent, f.session.byID), true
				continue
			}
			if e := f.call.mayTopic(Read, t.Name); e != nil {
				f.rows[i].code = e.Code
				continue
			}
			if e := f.impossible(t.Partition(p.partition), p); e != nil {
				f.rows[i].code = e.Code
				continue
			}
			if known := t.Partition(p.partition); known != nil && len(f.near) > 0 {
				f.rows[i].nearer = leaderOf(f.near, t.ID, p.partition)
				f.rows[i].data = &fetch.PartitionData{
					HighWatermark: known.HighWatermark(), LastStableOffset: known.LastStableOffset(), LogStartOffset: known.LogStartOffset(), LeaderEpoch: -1,
				}
				continue
			}
			read := fetch.PartitionRead{
				TopicPartition: meta.TopicPartition{Topic: t.ID, Partition: p.partition},
				Offset:         p.offset, MaxBytes: int(max(p.maxBytes, 0)), LeaderEpoch: p.leaderEpoch,
			}
			_, known := opened[read.TopicPartition]
			read.Open = !known
			f.reads, f.rowOf = append(f.reads, read), append(f.rowOf, i)
			f.plain = append(f.plain, !readsZstd && t.Config.CompressionType != zstdTopic)
		}
	})
	return unknown
}

// nearNodes are the nodes of the zone that the client says it is in by its rack, where this node is in another.
func (f *fetching) nearNodes() []node {
	f.call.conn.rack = f.request.Rack
	if f.request.Rack == "" {
		return nil
	}
	own := int32(f.call.server().config.NodeID)
	var near []node
	for _, n := range f.call.nodes() {
		if n.id == own && n.zone == f.request.Rack {
			return nil
		}
		if n.zone == f.request.Rack {
			near = append(near, n)
		}
	}
	return near
}

// impossible judges what no consumer asks for. A node never follows another, so nobody who says that he does is one.
func (f *fetching) impossible(known *meta.Partition, p *fetchPartition) *kerr.Error {
	switch replica := max(f.request.ReplicaID, f.request.ReplicaState.ID); {
	case known == nil:
		return nil // which the reader tells
	case replica >= 0, f.call.server().turnsAway():
		return kerr.NotLeaderForPartition
	case p.lastFetchedEpoch >= 0 && diverged(known, p):
		return kerr.OffsetOutOfRange
	case min(p.maxBytes, f.request.MaxBytes) < 0:
		return kerr.UnknownServerError // as Kafka, which fails within
	}
	return nil
}

// diverged says whether a reader has records that are not in the partition any more, or never were.
func diverged(known *meta.Partition, p *fetchPartition) bool {
	_, end, ok := known.EpochEnd(p.lastFetchedEpoch)
	return !ok || p.lastFetchedEpoch != known.LeaderEpoch() && p.offset > end
}

// read reads what was planned. The memory it is in goes back when the answer has been written.
func (f *fetching) read() error {
	c := f.call.conn
	request := fetch.Request{
		Partitions: f.reads,
		MinBytes:   int(max(f.request.MinBytes, 0)),
		MaxBytes:   min(int(max(f.request.MaxBytes, 0)), c.server.config.FetchMaxBytes, quotaBytes(f.call)),
		MaxWait:    min(max(time.Duration(f.request.MaxWaitMillis)*time.Millisecond, 0), maxFetchMaxWait),
		Committed:  f.request.IsolationLevel == readCommitted,
	}
	if len(f.reads) < len(f.rows) || len(f.reads) == 0 {
		request.MaxWait = 0 // something must be told at once
	}
	rotation := &c.rotation
	if f.session.id != 0 {
		rotation = &f.session.rotation
	}
	// Clients without sessions may rotate by themselves: with one step more in each round, the two together pass over nobody.
	request.Rotation = *rotation + *rotation/uint32(max(len(f.reads), 1))
	*rotation++

	// The context ends too when the server turns clients away; the fetcher then returns what there is.
	answer := c.server.domain.Fetcher.Read(c.fetchPoll, &request)
	if answer.Memory != nil {
		c.out.then(answer.Memory)
	}
	if err := f.makePlain(answer.Partitions, request.Rotation, request.MaxBytes); err != nil {
		return err
	}
	if c.opened == nil || len(c.opened) > maxOpened {
		c.opened = make(openedPartitions)
	}
	for k, i := range f.rowOf {
		row := &f.rows[i]
		row.data = &answer.Partitions[k]
		row.code = readError(row.data.Code, false) // the topic is known: what may be unknown is its partition
		if row.code == 0 && f.request.Version < fetchZstdSince && holdsZstd(row.data.Records) {
			row.code = kerr.UnsupportedCompressionType.Code
		}
		if f.reads[k].Open && row.data.Code == fetch.OK {
			c.opened[f.reads[k].TopicPartition] = struct{}{}
		}
	}
	f.note()
	return nil
}

// quotaBytes is the most that a client with a quota is given at once.
func quotaBytes(call *call) int {
	client := &call.conn.answerQuota
	client.look(call.server().quotas, call.header.clientID, time.Now())
	if bucket := client.buckets[fetchQuota]; bucket != nil {
		return int(min(bucket.capacity(), math.MaxInt32))
	}
	return math.MaxInt
}

// throttle charges the records' bytes, and the time that went into planning. Kafka holds the records back where they are above the quota; here
// they go out, and the client waits as long afterwards.
func (f *fetching) throttle(planned time.Duration) time.Duration {
	size := 0
	for i := range f.rows {
		if f.rows[i].data != nil {
			size += f.rows[i].data.Bytes
		}
	}
	client, now := &f.call.conn.answerQuota, time.Now()
	wait := max(client.charge(fetchQuota, float64(size), now), client.charge(requestQuota, busyPercent(planned), now))
	f.call.conn.mute(wait)
	return wait
}

// note keeps what the client is told, and decides what an incremental answer leaves out.
func (f *fetching) note() {
	for i := range f.rows {
		row, p := &f.rows[i], &f.session.partitions[i]
		if row.code != 0 {
			p.sent = false // so that the end of the error is told
			continue
		}
		row.omitted = f.incremental && row.nearer == 0 && p.sent && row.data.Bytes == 0 &&
			p.sentHighWatermark == row.data.HighWatermark && p.sentLogStartOffset == row.data.LogStartOffset &&
			p.sentLastStableOffset == row.data.LastStableOffset
		p.sent, p.sentHighWatermark, p.sentLogStartOffset = true, row.data.HighWatermark, row.data.LogStartOffset
		p.sentLastStableOffset = row.data.LastStableOffset
	}
}

// encodeFetch encodes an answer: rows are those of partitions, in their order.
func encodeFetch(call *call, r *kmsg.FetchRequest, code int16, sessionID int32, partitions []fetchPartition, rows []fetchRow, throttle time.Duration) {
	version, flexible, out := r.Version, r.Version >= 12, &call.conn.out
	out.begin(call.header.correlationID, flexible)
	out.buf = appendInt32(out.buf, throttleMillis(throttle))
	if version >= 7 {
		out.buf = appendInt16(out.buf, code)
		out.buf = appendInt32(out.buf, sessionID)
	}
	out.buf = appendArrayLen(out.buf, flexible, countTopics(partitions, rows))
	for i := 0; i < len(rows); {
		if rows[i].omitted {
			i++
			continue
		}
		i = encodeFetchTopic(out, r, partitions, rows, i)
	}
	out.buf = appendNoTags(out.buf, flexible)
	out.end()
}

// nextTopic returns the end of the run of partitions of one topic that begins at i, and how many of them are not omitted.
func nextTopic(partitions []fetchPartition, rows []fetchRow, i int) (end, told int) {
	for end = i; end < len(rows) && sameTopic(&partitions[i], &partitions[end]); end++ {
		if !rows[end].omitted {
			told++
		}
	}
	return end, told
}

func countTopics(partitions []fetchPartition, rows []fetchRow) (n int) {
	for i := 0; i < len(rows); {
		end, told := nextTopic(partitions, rows, i)
		if told > 0 {
			n++
		}
		i = end
	}
	return n
}

func encodeFetchTopic(out *outbox, r *kmsg.FetchRequest, partitions []fetchPartition, rows []fetchRow, i int) int {
	flexible := r.Version >= 12
	if r.Version >= 13 {
		out.buf = append(out.buf, partitions[i].topic[:]...)
	} else {
		out.buf = appendString(out.buf, flexible, partitions[i].name)
	}
	end, told := nextTopic(partitions, rows, i)
	out.buf = appendArrayLen(out.buf, flexible, told)
	for ; i < end; i++ {
		if !rows[i].omitted {
			encodeFetchPartition(out, r, partitions[i].partition, &rows[i])
		}
	}
	out.buf = appendNoTags(out.buf, flexible)
	return end
}

func encodeFetchPartition(out *outbox, r *kmsg.FetchRequest, partition int32, row *fetchRow) {
	version, flexible := r.Version, r.Version >= 12
	highWatermark, lastStableOffset, logStartOffset, size, records := int64(-1), int64(-1), int64(-1), 0, [][]byte(nil)
	var aborted []meta.AbortedTransaction
	if row.code == 0 {
		highWatermark, lastStableOffset, logStartOffset = row.data.HighWatermark, row.data.LastStableOffset, row.data.LogStartOffset
		size, records, aborted = row.data.Bytes, row.data.Records, row.data.Aborted
	}
	b := appendInt32(out.buf, partition)
	b = appendInt16(b, row.code)
	b = appendInt64(b, highWatermark)
	b = appendInt64(b, lastStableOffset)
	if version >= 5 {
		b = appendInt64(b, logStartOffset)
	}
	if row.unread || beforeTheLog(row.code) {
		b = appendArrayLen(b, flexible, 0)
	} else {
		b = appendAbortedTransactions(b, flexible, r.IsolationLevel, aborted)
	}
	if version >= 11 {
		b = appendInt32(b, cmp.Or(row.nearer, -1)) // preferred read replica
	}
	out.buf = appendBytesLen(b, flexible, size)
	for _, piece := range records {
		out.splice(piece)
	}
	out.buf = appendNoTags(out.buf, flexible)
}

// beforeTheLog tells the codes with which a partition is refused unread.
func beforeTheLog(code int16) bool {
	return code == kerr.UnknownTopicOrPartition.Code || code == kerr.UnknownTopicID.Code || code == kerr.TopicAuthorizationFailed.Code
}

// Isolation levels. Consumers of readCommitted see nothing of aborted and open transactions.
const (
	readUncommitted = 0
	readCommitted   = 1
)

// appendAbortedTransactions: null for read_uncommitted, as Kafka answers.
func appendAbortedTransactions(b []byte, flexible bool, isolationLevel int8, aborted []meta.AbortedTransaction) []byte {
	switch {
	case isolationLevel == readCommitted:
		b = appendArrayLen(b, flexible, len(aborted))
		for _, t := range aborted {
			b = appendInt64(b, t.ProducerID)
			b = appendInt64(b, t.FirstOffset)
			b = appendNoTags(b, flexible)
		}
		return b
	case flexible:
		return append(b, 0)
	default:
		return appendInt32(b, -1)
	}
}
