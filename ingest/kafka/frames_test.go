package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// logLines is a log that a test can read.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logLines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// eventually polls a condition that another goroutine brings about.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !condition(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// rawFrame is a request frame of any shape.
func rawFrame(key, version int16, rest []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(rest)))
	b = appendInt16(appendInt16(b, key), version)
	return append(appendInt32(b, 77), rest...)
}

// noClientID is a null client id.
var noClientID = []byte{0xff, 0xff}

func TestBadFramesCloseTheConnection(t *testing.T) {
	huge := binary.BigEndian.AppendUint32(nil, 1<<30)
	for _, test := range []struct {
		name  string
		bytes []byte
		log   string
	}{
		{"garbage", []byte("GET / HTTP/1.1\r\nHost: kafka\r\n\r\n"), "refuse frame: length"},
		{"negative length", []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, "refuse frame: length -1"},
		{"no room for a header", []byte{0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0}, "refuse frame: length 7"},
		{"oversized", append(huge, make([]byte, 16)...), "refuse frame: length 1073741824"},
		{"oversized for what it is", append(binary.BigEndian.AppendUint32(nil, 5<<20), 0, 3, 0, 9, 0, 0, 0, 1), "refuse frame: Metadata of 5242880 bytes"},
		{"unknown key", rawFrame(999, 0, noClientID), "unknown api key 999"},
		{"negative key", rawFrame(-1, 0, noClientID), "unknown api key -1"},
		{"a key that is not served", rawFrame(5, 0, noClientID), "unknown api key 5"},
		{"unknown version", rawFrame(3, 99, noClientID), "Metadata version 99"},
		{"a version that Kafka removed", rawFrame(0, 2, noClientID), "Produce version 2"},
		{"client id beyond the frame", rawFrame(3, 1, []byte{0x7f, 0xff}), "read header of request 3"},
		{"header tags beyond the frame", rawFrame(3, 9, append(bytes.Clone(noClientID), 5)), "read header of request 3"},
		{"body beyond the frame", rawFrame(3, 9, append(bytes.Clone(noClientID), 0, 0xff, 0xff, 0xff, 0xff, 0x0f)), "decode Metadata v9"},
		{"more tagged fields than bytes", rawFrame(3, 9, append(bytes.Clone(noClientID), 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f)), "decode Metadata v9"},
		{"produce body beyond the frame", rawFrame(0, 9, append(bytes.Clone(noClientID), 0, 0, 0, 0)), "decode Produce v9"},
		{"produce with more topics than bytes", rawFrame(0, 8, append(bytes.Clone(noClientID), 0xff, 0xff, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff)), "decode Produce v8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var lines logLines
			_, addr := start(t, newCluster(t), Config{Logger: lines.logger()})
			client := dial(t, addr)
			client.write(test.bytes)
			client.closed()
			eventually(t, "a log line with "+test.log, func() bool { return strings.Contains(lines.String(), test.log) })
			if n := strings.Count(lines.String(), "\n"); n != 1 {
				t.Errorf("%d log lines:\n%s", n, lines.String())
			}
		})
	}
}

func TestTruncatedFramesEndQuietly(t *testing.T) {
	_, addr := start(t, newCluster(t), Config{Logger: quiet})
	whole := kmsg.NewRequestFormatter().AppendRequest(nil, kmsg.NewPtrMetadataRequest(), 1)
	for n := range len(whole) {
		client := dial(t, addr)
		client.write(whole[:n])
		closeQuietly(client.nc)
	}
	client := dial(t, addr)
	client.request(kmsg.NewPtrMetadataRequest())
}

func TestUnsupportedApiVersionsIsAnsweredInVersion0(t *testing.T) {
	_, addr := start(t, newCluster(t), Config{})
	client := dial(t, addr)
	client.write(rawFrame(keyApiVersions, 99, append(bytes.Clone(noClientID), 0xde, 0xad)))
	id, body := client.frame()
	answer := kmsg.NewPtrApiVersionsResponse()
	answer.Version = 0
	if err := answer.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	if id != 77 || answer.ErrorCode != kerr.UnsupportedVersion.Code || len(answer.ApiKeys) != 1 || answer.ApiKeys[0].MaxVersion != 4 {
		t.Errorf("answer %d: %+v", id, answer)
	}
	again := kmsg.NewPtrApiVersionsRequest()
	again.Version, again.ClientSoftwareName, again.ClientSoftwareVersion = 4, "test", "1"
	versions := client.request(again).(*kmsg.ApiVersionsResponse)
	if versions.ErrorCode != 0 || len(versions.ApiKeys) != len(newApis().list) || versions.ApiKeys[0].MinVersion != 0 {
		t.Errorf("answer: %+v", versions)
	}
}

func TestAnswersComeInTheOrderOfTheRequests(t *testing.T) {
	c := newCluster(t)
	_, addr := start(t, c, Config{})
	id := c.createTopic(t, "topic", 1)
	c.hold = make(chan struct{})
	client := dial(t, addr)

	var sent []kmsg.Request
	for range 5 {
		sent = append(sent, produceRequestOf(13, "", id, testBatch("record")), kmsg.NewPtrMetadataRequest(), fetchRequestOf(13, "", id, 0))
	}
	var ids []int32
	for _, r := range sent {
		ids = append(ids, client.send(r))
	}
	// Every produce is appended although the first has no verdict yet.
	eventually(t, "all produce requests are appended", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.mu.seq == 5
	})
	close(c.hold)
	for i, r := range sent {
		answered, body := client.frame()
		if answered != ids[i] {
			t.Fatalf("answer %d is to request %d, not %d", i, answered, ids[i])
		}
		if p, ok := r.(*kmsg.ProduceRequest); ok {
			response := p.ResponseKind().(*kmsg.ProduceResponse)
			if err := response.ReadFrom(body[1:]); err != nil {
				t.Fatal(err)
			}
			if offset := response.Topics[0].Partitions[0].BaseOffset; offset != int64(i/3) {
				t.Errorf("produce %d is at offset %d", i/3, offset)
			}
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	_, addr := start(t, newCluster(t), Config{MaxConnections: 2, Logger: quiet})
	first, second := dial(t, addr), dial(t, addr)
	first.request(kmsg.NewPtrMetadataRequest())
	second.request(kmsg.NewPtrMetadataRequest())
	dial(t, addr).closed()
	closeQuietly(first.nc)
	eventually(t, "there is room again", func() bool {
		client := dial(t, addr)
		defer closeQuietly(client.nc)
		client.write(client.formatter.AppendRequest(nil, kmsg.NewPtrMetadataRequest(), 1))
		_, err := client.nc.Read(make([]byte, 1))
		return err == nil
	})
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	_, addr := start(t, newCluster(t), Config{ConnectionsMaxIdle: 20 * time.Millisecond})
	dial(t, addr).closed()
}

func TestAFrameThatStallsIsGivenUp(t *testing.T) {
	_, addr := start(t, newCluster(t), Config{StallTimeout: 20 * time.Millisecond, Logger: quiet})
	client := dial(t, addr)
	client.write(rawFrame(0, 9, make([]byte, 1000))[:500])
	client.closed()
}

func TestAPromiseHoldsNoRoom(t *testing.T) {
	c := newCluster(t)
	id := c.createTopic(t, "topic", 1)
	_, addr := start(t, c, Config{InFlightBytes: 64 << 10, StallTimeout: time.Hour, Logger: quiet})
	for range 10 {
		dial(t, addr).write(rawFrame(0, 9, make([]byte, 60<<10))[:500])
	}
	client := dial(t, addr)
	client.send(produceRequestOf(13, "", id, testBatch(strings.Repeat("x", 20<<10))))
	client.frame()
}

func TestBytesInFlightAreBounded(t *testing.T) {
	c := newCluster(t)
	id := c.createTopic(t, "topic", 1)
	_, addr := start(t, c, Config{InFlightBytes: 64 << 10, Logger: quiet})
	c.hold = make(chan struct{})
	batch := testBatch(strings.Repeat("x", 20<<10))
	client := dial(t, addr)
	const requests = 10
	frames := client.formatter.AppendRequest(nil, produceRequestOf(13, "", id, batch), 1)
	size := len(frames)
	done := make(chan struct{})
	go func() { // the socket's buffers may not take it all before the server reads
		defer close(done)
		for range requests {
			client.write(frames)
		}
	}()
	appended := func() uint64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.mu.seq
	}
	fits := uint64(64 << 10 / (size - 4))
	eventually(t, "the budget is used", func() bool { return appended() == fits })
	// Another connection waits, too, and nobody gets more than there is.
	other := dial(t, addr)
	other.send(produceRequestOf(13, "", id, batch))
	for range 1000 {
		runtime.Gosched()
	}
	if n := appended(); n != fits {
		t.Errorf("%d requests are in the lane, %d fit", n, fits)
	}
	close(c.hold)
	for range requests {
		client.frame()
	}
	other.frame()
	<-done
}

func TestLongPollsHoldNoRoomForWhatTheyMightHaveBeen(t *testing.T) {
	c := newCluster(t)
	id := c.createTopic(t, "topic", 100)
	_, addr := start(t, c, Config{InFlightBytes: 1 << 20})
	everything := make([]int32, 100)
	for i := range everything {
		everything[i] = int32(i)
	}
	poll := fetchRequestOf(12, "topic", [16]byte{}, everything...)
	poll.MaxWaitMillis = 10_000
	const consumers = 50
	for range consumers {
		dial(t, addr).send(poll)
	}
	eventually(t, "all consumers wait for records", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.mu.polls >= consumers
	})
	producer := dial(t, addr)
	producer.request(produceRequestOf(13, "", id, testBatch("record")))
}

func TestRequestsAreChargedForWhatTheyDecodeInto(t *testing.T) {
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.InstanceID = "group", kmsg.StringPtr("instance")
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: make([]byte, 1000)}, {Name: "sticky", Metadata: make([]byte, 500)}}
	if size := decodedBytes(join); size < 1500 || size > 2500 {
		t.Errorf("JoinGroup with 1500 bytes of metadata: %d", size)
	}
	fetch := fetchRequestOf(13, "", [16]byte{1}, 0, 1, 2)
	fetch.Topics[0].Partitions[1].UnknownTags.Set(77, nil)
	v := reflect.ValueOf(fetch).Elem()
	if size, walked := decodedBytes(fetch), int64(v.Type().Size())+pointedBytes(v); size != walked {
		t.Errorf("Fetch: %d bytes reckoned, %d found", size, walked)
	}
}

func TestAProduceOfEmptyPartitionsTakesNoMoreMemoryThanItMay(t *testing.T) {
	for name, elements := range map[string]func(n int) []byte{
		"topics": func(n int) []byte {
			return append(appendUvarint(nil, uint32(n)+1), bytes.Repeat([]byte{1, 1, 0}, n)...)
		},
		"partitions": func(n int) []byte {
			return append(appendUvarint([]byte{2, 1}, uint32(n)+1), append(bytes.Repeat([]byte{0, 0, 0, 0, 0, 0}, n), 0)...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var lines logLines
			_, addr := start(t, newCluster(t), Config{Logger: lines.logger()})
			body := append(bytes.Clone(noClientID), 0, 0, 0xff, 0xff, 0, 0, 0, 1) // header tags, no transactional id, acks, timeout
			client := dial(t, addr)
			client.write(rawFrame(0, 9, append(append(body, elements(1<<20)...), 0)))
			client.closed()
			eventually(t, "the request is refused", func() bool { return strings.Contains(lines.String(), "more than 131072 topics or partitions") })
		})
	}
}

func TestAClientThatHasToWaitForLongerThanItMayBeIdleIsLetGo(t *testing.T) {
	c := newCluster(t)
	c.delay.Store(int64(time.Hour))
	id := c.createTopic(t, "topic", 1)
	_, addr := start(t, c, Config{ConnectionsMaxIdle: 200 * time.Millisecond})
	client := dial(t, addr)
	first := produceRequestOf(13, "", id, testBatch("record"))
	both := client.formatter.AppendRequest(nil, first, 1)
	client.write(client.formatter.AppendRequest(both, first, 2))
	client.frame()
	client.closed()
}

func TestAnswersAreWrittenAsLongAsTheClientTakesSomething(t *testing.T) {
	synctest.Test(t, answersAreWrittenAsLongAsTheClientTakesSomething)
}

func answersAreWrittenAsLongAsTheClientTakesSomething(t *testing.T) {
	server, client := net.Pipe()
	defer closeQuietly(server)
	defer closeQuietly(client)
	const stall = time.Minute
	for _, spliced := range []bool{false, true} {
		var o outbox
		piece := bytes.Repeat([]byte("x"), directMinBytes)
		for range 4 {
			if o.buf = append(o.buf, piece...); spliced {
				o.splice(piece)
			}
		}
		size, written := o.size(), make(chan error, 1)
		go func() { written <- o.writeTo(server, stall) }()
		for took := 0; took < size; { // a part in each half of the stall, for several stalls
			time.Sleep(stall / 2)
			n, err := client.Read(make([]byte, size/8))
			if err != nil {
				t.Fatal(err)
			}
			took += n
		}
		if err := <-written; err != nil {
			t.Errorf("a slow client: %v", err)
		}
	}
	o := outbox{buf: []byte("answer")}
	if err := o.writeTo(server, stall); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a client that takes nothing: %v", err)
	}
}

func TestAPanicClosesOnlyItsConnection(t *testing.T) {
	var lines logLines
	s, addr := start(t, newCluster(t), Config{Logger: lines.logger()})
	s.apis.lookup(60).handle = nil // calling it panics
	client, other := dial(t, addr), dial(t, addr)
	client.send(kmsg.NewPtrDescribeClusterRequest())
	client.closed()
	other.request(kmsg.NewPtrMetadataRequest())
	eventually(t, "the panic is logged with its place", func() bool { return strings.Contains(lines.String(), "panic answering DescribeCluster v0") })
}

func TestLogLinesAreLimited(t *testing.T) {
	var l logLimiter
	now := time.Unix(100, 0)
	for i := range 25 {
		if _, ok := l.allow(now); ok != (i < maxLinesPerSecond) {
			t.Errorf("line %d: %v", i, ok)
		}
	}
	if suppressed, ok := l.allow(now.Add(time.Second)); !ok || suppressed != 15 {
		t.Errorf("a second later: %v with %d suppressed", ok, suppressed)
	}
}
