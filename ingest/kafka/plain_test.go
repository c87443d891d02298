package kafka

import (
	"bytes"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/ingest/recordbatch"
)

// introduce names a client, as ApiVersions does.
func introduce(client *rawClient, name string) {
	client.t.Helper()
	r := kmsg.NewPtrApiVersionsRequest()
	r.Version, r.ClientSoftwareName, r.ClientSoftwareVersion = 3, name, "1"
	if code := client.request(r).(*kmsg.ApiVersionsResponse).ErrorCode; code != 0 {
		client.t.Fatalf("ApiVersions: %v", kerr.ErrorForCode(code))
	}
}

// codecsOf are the codecs of record batches that stand behind each other.
func codecsOf(t *testing.T, records []byte) (codecs []recordbatch.Codec) {
	t.Helper()
	for len(records) > 0 {
		h, err := recordbatch.ParseHeader(records)
		if err != nil {
			t.Fatal(err)
		}
		if err := recordbatch.CheckCRC(records[:h.SizeBytes()]); err != nil {
			t.Fatal(err)
		}
		codecs, records = append(codecs, h.Codec()), records[h.SizeBytes():]
	}
	return codecs
}

func fetched(client *rawClient, r *kmsg.FetchRequest) kmsg.FetchResponseTopicPartition {
	client.t.Helper()
	return client.request(r).(*kmsg.FetchResponse).Topics[0].Partitions[0]
}

// What Varve compressed by itself reaches only those who are known to read it: KafkaJS, for one, has no zstd unless somebody adds it.
func TestOnlyClientsKnownToReadZstdAreGivenIt(t *testing.T) {
	c, counts := newCluster(t), &tally{}
	_, addr := start(t, c, Config{Metrics: counts})
	id := c.createTopic(t, "topic", 1)
	producer := dial(t, addr)
	text := strings.Repeat("compresses well ", 100)
	produced(producer, produceRequestOf(13, "", id, testBatch(text)))
	if codecs := codecsOf(t, bytes.Join(c.stored(id, 0), nil)); codecs[0] != recordbatch.Zstd {
		t.Fatalf("stored as %v", codecs)
	}
	for _, client := range []struct {
		name    string // none where it is empty: the client says only which versions it has
		version int16
		want    recordbatch.Codec
	}{
		{"", 11, recordbatch.None}, {"", 4, recordbatch.None}, {"kafka-python", 13, recordbatch.None},
		{"apache-kafka-java", 17, recordbatch.Zstd}, {"librdkafka", 11, recordbatch.Zstd}, {"apache-kafka-java", 8, recordbatch.None},
	} {
		conn := dial(t, addr)
		if client.name != "" {
			introduce(conn, client.name)
		}
		got := fetched(conn, fetchRequestOf(client.version, "topic", id, 0))
		if codecs := codecsOf(t, got.RecordBatches); got.ErrorCode != 0 || len(codecs) != 1 || codecs[0] != client.want {
			t.Errorf("%q at version %d: code %d, codecs %v, want %v", client.name, client.version, got.ErrorCode, codecs, client.want)
		}
		if plain := client.want == recordbatch.None; plain != bytes.Contains(got.RecordBatches, []byte(text)) {
			t.Errorf("%q at version %d: the text is there: %v", client.name, client.version, !plain)
		}
	}
	counts.expect(t, map[string]int64{"inflated": 4})
}

// Where the operator wants zstd, Kafka sends zstd to everybody, and refuses those whose version knows none.
func TestTopicsOfZstdAreSentAsTheyAre(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1, "compression.type", "zstd")
	client := dial(t, addr)
	produced(client, produceRequestOf(13, "", id, testBatch(strings.Repeat("compresses well ", 100))))
	got := fetched(client, fetchRequestOf(11, "topic", id, 0))
	if codecs := codecsOf(t, got.RecordBatches); codecs[0] != recordbatch.Zstd {
		t.Errorf("codecs %v", codecs)
	}
	if got := fetched(client, fetchRequestOf(9, "topic", id, 0)); got.ErrorCode != kerr.UnsupportedCompressionType.Code {
		t.Errorf("version 9: code %d", got.ErrorCode)
	}
}

// Records grow when they are inflated: what the client has no room for comes with its next request, and one batch always comes.
func TestInflatedRecordsKeepToTheClientsLimits(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	client := dial(t, addr)
	for range 4 {
		produced(client, produceRequestOf(13, "", id, testBatch(strings.Repeat("x", 10_000))))
	}
	for _, limit := range []struct {
		name    string
		change  func(*kmsg.FetchRequest)
		batches int
	}{
		{"of a partition", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].PartitionMaxBytes = 25_000 }, 2},
		{"of the answer", func(r *kmsg.FetchRequest) { r.MaxBytes = 35_000 }, 3},
		{"below one batch", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].PartitionMaxBytes = 5_000 }, 1},
	} {
		r := fetchRequestOf(11, "topic", id, 0)
		limit.change(r)
		if codecs := codecsOf(t, fetched(client, r).RecordBatches); len(codecs) != limit.batches {
			t.Errorf("limit %s: %d batches, want %d", limit.name, len(codecs), limit.batches)
		}
	}
}

// A batch that a producer compressed is stored unseen. If it does not inflate, it goes out as it came.
func TestBatchesThatDoNotInflateAreSentAsTheyAre(t *testing.T) {
	good := testBatch("good")
	bad, err := recordbatch.Compress(nil, testBatch(strings.Repeat("bad", 100)), recordbatch.Zstd, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := recordbatch.HeaderBytes; i < len(bad); i++ {
		bad[i] = 0xff
	}
	got, size := plainBatches([][]byte{append(bytes.Clone(good), bad...)}, 1<<20, true, func(int, int) {})
	if len(got) != 2 || size != len(good)+len(bad) || !bytes.Equal(got[0], good) || !bytes.Equal(got[1], bad) {
		t.Errorf("%d batches of %d bytes", len(got), size)
	}
}
