package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/ingest/recordbatch"
)

func produceTo(topic target, acks int16, batches []byte, more ...[]byte) *kmsg.ProduceRequest {
	r := kmsg.NewPtrProduceRequest()
	r.Acks, r.TimeoutMillis = acks, 5000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic.name, topic.id
	for i, b := range append([][]byte{batches}, more...) {
		t.Partitions = append(t.Partitions, kmsg.ProduceRequestTopicPartition{Partition: int32(i), Records: b})
	}
	r.Topics = append(r.Topics, t)
	return r
}

func (s *session) produce(label string, version int16, topic target, batches []byte) *kmsg.ProduceResponse {
	s.t.Helper()
	return ask[*kmsg.ProduceResponse](s, label, version, produceTo(topic, -1, batches))
}

// fetchAll records all that a partition holds.
func (s *session) fetchAll(label string, topic target) {
	s.t.Helper()
	ask[kmsg.Response](s, label, 16, fetchFrom(topic, 0))
}

func askProduce(s *session, version int16) {
	topic := s.create("topic", 2)
	try := func(label string, b []byte) {
		s.t.Helper()
		s.produce(label, version, topic, b)
	}
	plain := func() *batch { return newBatch(records(3, s.now)...) }
	try("three records", plain().encode())
	for _, acks := range []int16{0, 1, -1, 2, -2} {
		r := produceTo(topic, acks, newBatch(rec("k", fmt.Sprint(acks), s.now)).encode())
		if acks != 0 {
			ask[kmsg.Response](s, fmt.Sprintf("acks=%d", acks), version, r)
			continue
		}
		r.SetVersion(version)
		if err := s.conn.request(r); err != nil {
			s.t.Fatal(err)
		}
		ask[kmsg.Response](s, "after acks=0", 9, metadataOf()) // on the same connection: nothing was answered before
	}
	noAnswer := produceTo(topic, 0, plain().with(func(b *batch) { b.crcDelta = 1 }).encode())
	ask[kmsg.Response](s, "acks=0, wrong CRC", version, noAnswer)
	try("one record without key and value", newBatch(record{timestamp: s.now}).encode())
	try("headers", newBatch(record{key: []byte("k"), value: []byte("v"), timestamp: s.now, headers: []kmsg.Header{{Key: "a", Value: []byte("b")}, {Key: "a"}, {Key: ""}}}).encode())
	try("two batches", joined(plain(), plain()))
	try("two batches, the second damaged", joined(plain(), plain().with(func(b *batch) { b.crcDelta = 7 })))
	try("no records", newBatch().encode())
	try("no bytes", []byte{})
	if version == 3 { // Kafka answers it with nothing at all, which takes the time of a time-out
		try("null", nil)
	}
	try("cut short", plain().encode()[:50])
	try("cut short in the header", plain().encode()[:20])
	type mistake struct {
		label  string
		change func(*batch)
	}
	oddities := []mistake{ // one of the two servers takes them
		{"delete horizon set", func(b *batch) { b.attributes = 1 << 6 }},
		{"LogAppendTime from a producer", func(b *batch) { b.attributes = 1 << 3 }},
		{"unknown attribute", func(b *batch) { b.attributes = 1 << 9 }},
		{"not gzip", func(b *batch) { b.attributes = 1 }},
		{"not snappy", func(b *batch) { b.attributes = 2 }},
		{"not lz4", func(b *batch) { b.attributes = 3 }},
		{"not zstd", func(b *batch) { b.attributes = 4 }},
	}
	changes := []mistake{
		{"wrong CRC", func(b *batch) { b.crcDelta = 1 }},
		{"magic 0", func(b *batch) { b.magic = 0 }},
		{"magic 1", func(b *batch) { b.magic = 1 }},
		{"magic 3", func(b *batch) { b.magic = 3 }},
		{"magic -1", func(b *batch) { b.magic = -1 }},
		{"length too small", func(b *batch) { b.lengthDelta = -5 }},
		{"length too large", func(b *batch) { b.lengthDelta = 5 }},
		{"length negative", func(b *batch) { b.lengthDelta = -1000 }},
		{"count too small", func(b *batch) { b.count-- }},
		{"count too large", func(b *batch) { b.count++ }},
		{"count and delta too large", func(b *batch) { b.count++; b.lastDelta++ }},
		{"count negative", func(b *batch) { b.count = -1 }},
		{"last delta too small", func(b *batch) { b.lastDelta-- }},
		{"last delta too large", func(b *batch) { b.lastDelta += 10 }},
		{"last delta negative", func(b *batch) { b.lastDelta = -1 }},
		{"base offset not zero", func(b *batch) { b.baseOffset = 77 }},
		{"leader epoch set", func(b *batch) { b.leaderEpoch = 5 }},
		{"control batch", func(b *batch) { b.attributes = 1 << 5 }},
		{"transactional without producer", func(b *batch) { b.attributes = 1 << 4 }},
		{"codec 5", func(b *batch) { b.attributes = 5 }},
		{"codec 7", func(b *batch) { b.attributes = 7 }},
		{"max timestamp wrong", func(b *batch) { b.maxTimestamp += 1000 }},
		{"max timestamp -1", func(b *batch) { b.maxTimestamp = -1 }},
		{"base timestamp -1", func(b *batch) { b.baseTimestamp, b.maxTimestamp = -1, 1 }},
		{"producer id without sequence", func(b *batch) { b.producerID, b.producerEpoch = 5, 0 }},
		{"garbage records", func(b *batch) { b.payload = []byte("garbage that is no record at all") }},
		{"payload too long", func(b *batch) { b.payload = append(b.payload, 1, 2, 3) }},
	}
	for _, c := range changes {
		try(c.label, plain().with(c.change).encode())
	}
	odd := s.create("odd", 1)
	for _, c := range oddities {
		s.produce(c.label, version, odd, plain().with(c.change).encode())
	}
	behind := s.create("behind", 1)
	s.produce("bytes behind the batch", version, behind, append(plain().encode(), 1, 2, 3))
	s.produce("a part of a batch behind the batch", version, behind, append(plain().encode(), plain().encode()[:50]...))
	s.produce("garbage behind the batch", version, behind, append(plain().encode(), make([]byte, 20)...))
	s.produce("magic 3 behind the batch", version, behind, joined(plain(), plain().with(func(b *batch) { b.magic = 3 })))
	corrupt := produceTo(topic, -1, plain().with(func(b *batch) { b.magic = 3 }).encode(), plain().encode())
	ask[kmsg.Response](s, "one of magic 3, one good", version, corrupt)
	const day = 24 * 60 * 60 * 1000
	for _, millis := range []int64{-1, 0, s.now - 400*day, s.now + day, s.now + 30*60*1000} {
		r := s.produce("", version, topic, newBatch(rec("k", "v", millis)).encode())
		label := fmt.Sprintf("timestamp %d", millis)
		if millis > 0 {
			label = fmt.Sprintf("timestamp now %+d min", (millis-s.now)/60_000)
		}
		s.note(versioned(produceTo(topic, -1, nil), version), label, s.symbols.flatten(r))
	}
	large := rec("k", string(bytes.Repeat([]byte("x"), 1_100_000)), s.now)
	try("too large", newBatch(large).encode())
	one := produceTo(topic, -1, plain().encode(), newBatch(large).encode(), plain().encode())
	ask[kmsg.Response](s, "one good, one too large, one unknown partition", version, one)
	unknown := target{s.name("unknown"), [16]byte{1, 2}}
	ask[kmsg.Response](s, "unknown topic", version, produceTo(unknown, -1, plain().encode()))
	ask[kmsg.Response](s, "invalid topic name", version, produceTo(target{name: "a b", id: [16]byte{1}}, -1, plain().encode()))
	ask[kmsg.Response](s, "zero topic id", version, produceTo(target{name: ""}, -1, plain().encode()))
	wrong := produceTo(topic, -1, plain().encode())
	wrong.Topics[0].Partitions[0].Partition = -1
	ask[kmsg.Response](s, "partition -1", version, wrong)
	mixed := produceTo(topic, -1, plain().encode())
	mixed.Topics = append(mixed.Topics, produceTo(unknown, -1, plain().encode()).Topics...)
	ask[kmsg.Response](s, "one topic known, one not", version, mixed)
	empty := produceTo(topic, -1, nil)
	empty.Topics = nil
	ask[kmsg.Response](s, "nothing", version, empty)
	s.fetchAll("all that was produced", topic)
	doubled := s.create("doubled", 1)
	twice := produceTo(doubled, -1, plain().encode(), plain().encode())
	twice.Topics[0].Partitions[1].Partition = 0
	ask[kmsg.Response](s, "a partition twice", version, twice)
	s.produceConfigured(version)
}

// produceConfigured produces to topics whose configuration matters.
func (s *session) produceConfigured(version int16) {
	const hour = 60 * 60 * 1000
	plain := func() []byte { return newBatch(records(2, s.now)...).encode() }
	appended := s.create("append-time", 1, "message.timestamp.type", "LogAppendTime")
	s.produce("LogAppendTime", version, appended, plain())
	s.produce("LogAppendTime, old timestamp", version, appended, newBatch(rec("k", "v", 5)).encode())
	strict := s.create("strict", 1, "message.timestamp.before.max.ms", "1000", "message.timestamp.after.max.ms", "1000")
	s.produce("timestamp an hour before", version, strict, newBatch(rec("k", "v", s.now-hour)).encode())
	s.produce("timestamp an hour after", version, strict, newBatch(rec("k", "v", s.now+hour)).encode())
	s.produce("the second timestamp an hour before", version, strict, newBatch(rec("k", "v", s.now+2*hour), rec("k", "v", s.now-hour)).encode())
	s.produce("no timestamp", version, strict, newBatch(rec("k", "v", -1)).encode())
	small := s.create("small", 1, "max.message.bytes", "200")
	s.produce("exactly small", version, small, newBatch(rec("k", string(bytes.Repeat([]byte("x"), 100)), s.now)).encode())
	s.produce("too large for a small topic", version, small, newBatch(rec("k", string(bytes.Repeat([]byte("x"), 200)), s.now)).encode())
	s.produce("two small batches, together too large", version, small, joined(newBatch(rec("k", string(bytes.Repeat([]byte("x"), 100)), s.now)), newBatch(rec("k", string(bytes.Repeat([]byte("x"), 100)), s.now))))
	compacted := s.create("compacted", 1, "cleanup.policy", "compact")
	s.produce("keys where it is compacted", version, compacted, plain())
	nobody := record{value: []byte("v"), timestamp: s.now}
	s.produce("an empty key where it is compacted", version, compacted, newBatch(rec("", "v", s.now)).encode())
	s.produce("no key where it is compacted", version, compacted, newBatch(nobody).encode())
	s.produce("some without a key where it is compacted", version, compacted, newBatch(rec("k", "v", s.now), nobody, rec("k", "v", s.now), nobody, nobody, nobody).encode())
	s.produce("no key and an old timestamp where it is compacted", version, compacted, newBatch(nobody, rec("k", "v", 5)).encode())
	s.fetchAll("what was compacted", compacted)
	both := s.create("both", 1, "cleanup.policy", "delete,compact")
	s.produce("no key where both policies hold", version, both, newBatch(nobody).encode())
	zstd := s.create("uncompressed", 1, "compression.type", "uncompressed")
	s.produce("to be kept uncompressed", version, zstd, plain())
	s.fetchAll("kept uncompressed", zstd)
}

// notEnoughReplicas is what Kafka answers transactional producers while its topic of transactions is being made.
const notEnoughReplicas = 19

func (s *session) producerID() (int64, int16) {
	s.t.Helper()
	r := kmsg.NewPtrInitProducerIDRequest()
	var id int64
	var epoch int16
	until(s, "", 4, r, func(r *kmsg.InitProducerIDResponse) bool {
		id, epoch = r.ProducerID, r.ProducerEpoch
		return r.ErrorCode == 0
	})
	return id, epoch
}

func askIdempotent(s *session, version int16) {
	topic := s.create("topic", 1)
	id, epoch := s.producerID()
	try := func(label string, producer int64, epoch int16, sequence int32, n int) {
		s.t.Helper()
		s.produce(label, version, topic, newBatch(records(n, s.now)...).producer(producer, epoch, sequence).encode())
	}
	try("first, not at 0", id, epoch, 5, 2)
	try("the next", id, epoch, 7, 3)
	try("the next again", id, epoch, 7, 3)
	try("the first again", id, epoch, 5, 2)
	try("a gap", id, epoch, 20, 1)
	try("overlapping", id, epoch, 9, 3)
	try("a part of a known one", id, epoch, 7, 2)
	try("older than all known", id, epoch, 0, 1)
	for i := range 6 {
		try(fmt.Sprintf("one more, %d", i), id, epoch, int32(10+i), 1)
	}
	try("the very first again, out of the window", id, epoch, 5, 2)
	try("the last again", id, epoch, 15, 1)
	try("five back", id, epoch, 11, 1)
	try("six back", id, epoch, 10, 1)
	try("higher epoch, not at 0", id, epoch+2, 16, 1)
	try("higher epoch at 0", id, epoch+2, 0, 1)
	try("lower epoch", id, epoch+1, 1, 1)
	try("negative epoch", id, -1, 0, 1)
	try("negative sequence", id, epoch+2, -1, 1)
	try("unknown producer, not at 0", 987654321, 0, 3, 1)
	try("unknown producer at 0", 987654322, 0, 0, 1)
	wrapping, e := s.producerID()
	try("at the last sequence", wrapping, e, 2147483646, 2)
	try("wrapped to 0", wrapping, e, 0, 1)
	several, e := s.producerID()
	s.produce("two batches of one producer", version, topic, joined(newBatch(records(2, s.now)...).producer(several, e, 0), newBatch(records(2, s.now)...).producer(several, e, 2)))
	transactional := newBatch(records(1, s.now)...).producer(several, e, 4).with(func(b *batch) { b.attributes = 1 << 4 })
	s.produce("transactional outside a transaction", version, topic, transactional.encode())
	r := produceTo(topic, -1, transactional.encode())
	r.TransactionID = kmsg.StringPtr("unknown-transaction")
	find := kmsg.NewPtrFindCoordinatorRequest() // Kafka makes its topic of transactions when it is first asked
	find.CoordinatorType, find.CoordinatorKey = 1, *r.TransactionID
	until(s, "", 3, find, func(r *kmsg.FindCoordinatorResponse) bool { return r.ErrorCode == 0 })
	until(s, "transactional id of nobody", version, r, func(r *kmsg.ProduceResponse) bool {
		return r.Topics[0].Partitions[0].ErrorCode != notEnoughReplicas
	})
	s.fetchAll("all that was produced", topic)
}

func askInitProducerID(s *session, version int16) {
	r := kmsg.NewPtrInitProducerIDRequest()
	until(s, "plain", version, r, func(r *kmsg.InitProducerIDResponse) bool { return r.ErrorCode == 0 })
	ask[kmsg.Response](s, "another", version, r)
	r.TransactionTimeoutMillis = -1
	ask[kmsg.Response](s, "timeout -1", version, r)
	r.TransactionalID = kmsg.StringPtr("")
	ask[kmsg.Response](s, "empty transactional id", version, r)
	if version < 3 {
		return
	}
	for _, pair := range [][2]int64{{5, -1}, {-1, 3}, {5, 3}} {
		r = kmsg.NewPtrInitProducerIDRequest()
		r.ProducerID, r.ProducerEpoch = pair[0], int16(pair[1])
		ask[kmsg.Response](s, fmt.Sprintf("with producer id %d and epoch %d", pair[0], pair[1]), version, r)
	}
}

// askDeeply produces what cannot be told from a batch's header, to a Varve that looks into batches (varve.validate=deep) as Kafka does.
func askDeeply(s *session, version int16) {
	if s.server.name == "varve" {
		s.server.configure(s.t, map[string]string{"varve.validate": "deep"})
		defer s.server.configure(s.t, map[string]string{"varve.validate": "basic"})
	}
	topic := s.create("topic", 1, "message.timestamp.before.max.ms", "1000000", "message.timestamp.after.max.ms", "1000000")
	compacted := s.create("compacted", 1, "cleanup.policy", "compact")
	for _, codec := range []recordbatch.Codec{recordbatch.Gzip, recordbatch.Snappy, recordbatch.LZ4, recordbatch.Zstd} {
		s.deeply(version, topic, compacted, codec.String(), codec)
	}
	s.fetchAll("all that was produced", topic)
}

func (s *session) deeply(version int16, topic, compacted target, name string, codec recordbatch.Codec) {
	s.t.Helper()
	if codec == recordbatch.Zstd && version < 7 {
		return
	}
	const hour = 60 * 60 * 1000
	packed := func(b *batch) []byte {
		s.t.Helper()
		whole := b.encode()
		out, err := recordbatch.Compress(nil, whole, codec, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		return out
	}
	long := func(key string, millis int64) record {
		return record{key: []byte(key), value: bytes.Repeat([]byte("v"), 500), timestamp: millis}
	}
	good := newBatch(long("a", s.now), long("b", s.now+1))
	s.produce(name+", good", version, topic, packed(good))
	s.produce(name+", a record far back", version, topic, packed(newBatch(long("a", s.now), long("b", s.now-hour))))
	s.produce(name+", the first far back", version, topic, packed(newBatch(long("a", s.now-hour), long("b", s.now))))
	s.produce(name+", a record far ahead", version, topic, packed(newBatch(long("a", s.now), long("b", s.now+hour))))
	keyless := newBatch(record{value: bytes.Repeat([]byte("v"), 500), timestamp: s.now}, long("b", s.now))
	s.produce(name+", a record without a key", version, compacted, packed(keyless))
	broken := append([]byte(nil), newBatch(long("a", s.now)).encode()...)
	lying, err := recordbatch.Compress(nil, broken, codec, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := recordbatch.HeaderBytes; i < len(lying); i++ {
		lying[i] = 0xee
	}
	s.produce(name+", payload overwritten", version, topic, resealed(lying))
}

// resealed is a batch with the CRC that its bytes have now.
func resealed(b []byte) []byte {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}
