package kafka

import (
	"fmt"
	"slices"

	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// Varve stores as zstd what producers sent uncompressed, or compressed otherwise, unless the topic says otherwise. Not every client reads
// zstd: those of Fetch versions before 10 do not, and some of later versions only with packages that nobody installs who sends nothing
// compressed. So only clients that are known to bring zstd with them are given it; for all others such batches are inflated, but for topics
// whose compression.type is zstd, where Kafka sends zstd too.

// fetchZstdSince is the version whose clients know zstd (KIP-110).
const fetchZstdSince = 10

// zstdClients are the clients, as they name themselves in ApiVersions, that read zstd wherever they are installed.
var zstdClients = []string{
	"apache-kafka-java", "librdkafka", "confluent-kafka-python", "confluent-kafka-go", "confluent-kafka-dotnet", "confluent-kafka-javascript",
	"kgo", "sarama", "varve",
}

// zstdTopic is the compression.type with which Kafka sends zstd whatever the producer sent.
const zstdTopic = "zstd"

// inflateAnswerBytes bounds what the inflated records of one answer come to, but for a first batch that is larger by itself.
const inflateAnswerBytes = 4 << 20

// readsZstd tells whether the client can be given zstd for what its producer sent otherwise.
func (c *conn) readsZstd(version int16) bool {
	return version >= fetchZstdSince && slices.Contains(zstdClients, c.softwareName)
}

// makePlain puts uncompressed batches in the place of zstd ones in the reads that want it. What would go beyond the client's limits, or
// beyond what one answer may hold, is left for the client's next request. The first batch there is always goes out, however large, as in any
// Fetch answer.
func (f *fetching) makePlain(parts []fetch.PartitionData, rotation uint32, maxBytes int) error {
	if !slices.Contains(f.plain, true) {
		return nil
	}
	c := f.call.conn
	charge, err := c.server.plainBudget.acquire(c.ctx, int64(min(maxBytes, inflateAnswerBytes)))
	if err != nil {
		return fmt.Errorf("wait for room to inflate records: %w", err)
	}
	c.out.then(&plainCharge{c.server.plainBudget, charge})
	left, first := min(maxBytes, inflateAnswerBytes), true
	for i := range parts {
		at := (int(rotation%uint32(len(parts))) + i) % len(parts)
		p := &parts[at]
		if f.plain[at] {
			p.Records, p.Bytes = plainBatches(p.Records, min(left, f.reads[at].MaxBytes), first, c.server.config.Metrics.Inflated)
		}
		left, first = max(left-p.Bytes, 0), first && p.Bytes == 0
	}
	return nil
}

// plainCharge goes back when the answer has been written.
type plainCharge struct {
	budget *byteBudget
	bytes  int64
}

func (p *plainCharge) Release() { p.budget.release(p.bytes) }

// plainBatches returns batches, which stand whole in their pieces, with zstd ones inflated: as many as fit, and at least one where
// there must be one. What does not inflate is the client's to judge, as it came from its producer.
func plainBatches(pieces [][]byte, limit int, mustHave bool, tell func(storedBytes, inflatedBytes int)) (plain [][]byte, sizeBytes int) {
	for _, piece := range pieces {
		for len(piece) > 0 {
			h, err := recordbatch.ParseHeader(piece)
			if err != nil || h.SizeBytes() > len(piece) {
				return plain, sizeBytes
			}
			batch := piece[:h.SizeBytes():h.SizeBytes()]
			piece = piece[len(batch):]
			fits := func(size int) bool { return sizeBytes+size <= limit || mustHave && sizeBytes == 0 }
			if h.Codec() == recordbatch.Zstd && fits(len(batch)) {
				if inflated, err := recordbatch.Decompress(nil, batch, 0); err == nil {
					tell(len(batch), len(inflated))
					batch = inflated
				}
			}
			if !fits(len(batch)) {
				return plain, sizeBytes
			}
			plain, sizeBytes = append(plain, batch), sizeBytes+len(batch)
		}
	}
	return plain, sizeBytes
}

// holdsZstd looks for a zstd batch in records to be sent.
func holdsZstd(records [][]byte) bool {
	for _, piece := range records {
		for len(piece) > 0 {
			h, err := recordbatch.ParseHeader(piece)
			if err != nil || h.SizeBytes() > len(piece) {
				break
			}
			if h.Codec() == recordbatch.Zstd {
				return true
			}
			piece = piece[h.SizeBytes():]
		}
	}
	return false
}
