package kafka

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// discarder takes batches and answers at once.
type discarder struct{ results []lane.Result }

func (*discarder) Delay([]lane.Batch) time.Duration { return 0 }

func (d *discarder) Append(_ context.Context, r lane.Request) (Pending, error) {
	r.Memory.Release()
	return answered(d.results[:len(r.Batches)]), nil
}

// answered is a Pending that has its results.
type answered []lane.Result

var settled = func() chan struct{} {
	done := make(chan struct{}, 1)
	done <- struct{}{}
	return done
}()

func (a answered) Done() <-chan struct{}                             { return settled }
func (a answered) Wait(context.Context, time.Duration) []lane.Result { return a }
func (a answered) Free()                                             {}

func newDiscarder(batches int) *discarder { return &discarder{make([]lane.Result, batches)} }

// replay is a connection that says the same frame n times and swallows the answers.
type replay struct {
	net.Conn
	frame []byte
	at, n int
}

func (r *replay) Read(b []byte) (int, error) {
	if r.n == 0 {
		return 0, io.EOF
	}
	n := copy(b, r.frame[r.at:])
	if r.at += n; r.at == len(r.frame) {
		r.at = 0
		r.n--
	}
	return n, nil
}

func (r *replay) Write(b []byte) (int, error)      { return len(b), nil }
func (r *replay) Close() error                     { return nil }
func (r *replay) SetReadDeadline(time.Time) error  { return nil }
func (r *replay) SetWriteDeadline(time.Time) error { return nil }
func (r *replay) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// random is a zstd batch of about size bytes.
func randomBatch(b *testing.B, size int) []byte {
	value := make([]byte, size)
	for i := range value {
		value[i] = byte(rand.Uint32())
	}
	batch := testBatch(string(value))
	batch[recordbatch.LengthEnd+10] |= byte(recordbatch.Zstd) // the bytes are none, and nobody looks
	header, err := recordbatch.ParseHeader(batch)
	if err != nil {
		b.Fatal(err)
	}
	recordbatch.SetMaxTimestamp(batch, header.MaxTimestamp+1)
	return batch
}

func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func benchmarkServer(b *testing.B, partitions int, domain func(*cluster) Domain) (*Server, [16]byte) {
	c := newCluster(nil)
	c.addNode("localhost", 9092, "")
	id := c.createTopic(b, "topic", int32(partitions), "max.message.bytes", "10000000")
	s, err := New(Config{Logger: quiet}, domain(c))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return s, id
}

// BenchmarkProduce replays Produce frames without sockets into an appender that discards: what the protocol itself costs.
func BenchmarkProduce(b *testing.B) {
	for _, size := range []struct {
		name              string
		bytes, partitions int
	}{{"1KiB", 1 << 10, 1}, {"128KiB", 128 << 10, 1}, {"1MiB", 1 << 20, 1}, {"12x16KiB", 16 << 10, 12}} {
		b.Run(size.name, func(b *testing.B) {
			s, id := benchmarkServer(b, size.partitions, func(c *cluster) Domain {
				return Domain{Metadata: c, Appender: newDiscarder(size.partitions), Fetcher: c, Offsets: c, Groups: noGroups{}, Shares: noShares{}}
			})
			var batches [][]byte
			for range size.partitions {
				batches = append(batches, randomBatch(b, size.bytes))
			}
			frame := kmsg.NewRequestFormatter().AppendRequest(nil, produceRequestOf(9, "topic", id, batches...), 1)
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			before := cpuTime(b)
			b.ResetTimer()
			newConn(s, &replay{frame: frame, n: b.N}).run()
			b.StopTimer()
			b.ReportMetric(float64(b.N)*float64(len(frame))/(cpuTime(b)-before).Seconds()/1e9, "GB/cpu-s")
		})
	}
}

// BenchmarkProduceSocket does it over loopback, whose client's writing is in the figure too.
func BenchmarkProduceSocket(b *testing.B) {
	s, id := benchmarkServer(b, 1, func(c *cluster) Domain {
		return Domain{Metadata: c, Appender: newDiscarder(1), Fetcher: c, Offsets: c, Groups: noGroups{}, Shares: noShares{}}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	client := dial(b, listener.Addr().String())
	if err := client.nc.SetDeadline(time.Time{}); err != nil {
		b.Fatal(err)
	}
	frame := client.formatter.AppendRequest(nil, produceRequestOf(9, "topic", id, randomBatch(b, 128<<10)), 1)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	before := cpuTime(b)
	b.ResetTimer()
	go func() {
		for range b.N {
			client.write(frame)
		}
	}()
	for range b.N {
		client.frame()
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)*float64(len(frame))/(cpuTime(b)-before).Seconds()/1e9, "GB/cpu-s")
	if err := s.Shutdown(context.Background()); err != nil {
		b.Error(err)
	}
	<-served
}

// tail answers every fetch with the same records.
type tail struct{ records [][]byte }

func (f *tail) Read(_ context.Context, r *fetch.Request) FetchAnswer {
	answer := FetchAnswer{Partitions: make([]fetch.PartitionData, len(r.Partitions))}
	for i := range answer.Partitions {
		answer.Partitions[i] = fetch.PartitionData{Records: f.records, Bytes: len(f.records) * len(f.records[0])}
	}
	return answer
}

// BenchmarkFetch does the same for fetches of 12 partitions with 64 KiB each.
func BenchmarkFetch(b *testing.B) {
	records := make([]byte, 64<<10)
	s, id := benchmarkServer(b, 12, func(c *cluster) Domain {
		return Domain{Metadata: c, Appender: newDiscarder(1), Fetcher: &tail{[][]byte{records}}, Offsets: c, Groups: noGroups{}, Shares: noShares{}}
	})
	request := fetchRequestOf(13, "", id, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
	frame := kmsg.NewRequestFormatter().AppendRequest(nil, request, 1)
	b.SetBytes(12 * 64 << 10)
	b.ReportAllocs()
	before := cpuTime(b)
	b.ResetTimer()
	newConn(s, &replay{frame: frame, n: b.N}).run()
	b.StopTimer()
	b.ReportMetric(float64(b.N)*(12*64<<10)/(cpuTime(b)-before).Seconds()/1e9, "GB/cpu-s")
}

// noGroups is for servers that are asked for none.
type noGroups struct{ Groups }
