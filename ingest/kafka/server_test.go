package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/varvelog/varve/coordinator/delivery"
	"github.com/varvelog/varve/coordinator/group"
	"github.com/varvelog/varve/coordinator/metapb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves a cluster of one node on loopback until the test ends, and returns the address.
func start(t testing.TB, c *cluster, config Config) (*Server, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().(*net.TCPAddr)
	config.NodeID = c.addNode("127.0.0.1", int32(addr.Port), "")
	config.ClusterID = "test-cluster"
	if config.Logger == nil {
		config.Logger = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	groups := group.New(group.Limits{InitialDelay: time.Millisecond}, c, config.Logger)
	t.Cleanup(groups.Close)
	shares := delivery.New(c, config.Logger)
	t.Cleanup(shares.Close)
	s, err := New(config, Domain{Metadata: c, Appender: c, Fetcher: c, Offsets: c, Groups: groups, Shares: shares})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shut down: %v", err)
		}
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
		c.wait.Wait()
	})
	return s, addr.String()
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func newClient(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.FetchMaxWait(200 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func (c *cluster) createTopic(t testing.TB, name string, partitions int32, configs ...string) [16]byte {
	t.Helper()
	id := [16]byte{0xee}
	copy(id[1:], name)
	command := &metapb.CreateTopic{Name: name, TopicId: id[:], Partitions: partitions, Configs: []*metapb.ConfigEntry{{Name: durabilityConfig, Value: "local"}}}
	for i := 0; i < len(configs); i += 2 {
		command.Configs = append(command.Configs, &metapb.ConfigEntry{Name: configs[i], Value: configs[i+1]})
	}
	if v := c.apply(&metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: command}}); v.Code != 0 {
		t.Fatalf("create topic %s: %v %s", name, v.Code, v.Message)
	}
	return id
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestClientProducesAndConsumes(t *testing.T) {
	for _, codec := range []struct {
		name  string
		codec kgo.CompressionCodec
	}{{"uncompressed", kgo.NoCompression()}, {"zstd", kgo.ZstdCompression()}, {"gzip", kgo.GzipCompression()}} {
		t.Run(codec.name, func(t *testing.T) {
			ctx, c := testContext(t), newCluster(t)
			_, addr := start(t, c, Config{})
			producer := newClient(t, addr, kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(codec.codec))
			const records = 500
			for i := range records {
				producer.Produce(ctx, &kgo.Record{Topic: "events", Key: fmt.Appendf(nil, "k%d", i), Value: []byte(strings.Repeat("v", i))}, func(_ *kgo.Record, err error) {
					if err != nil {
						t.Errorf("produce: %v", err)
					}
				})
			}
			if err := producer.Flush(ctx); err != nil {
				t.Fatal(err)
			}

			consumer := newClient(t, addr, kgo.ConsumeTopics("events"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			for got := 0; got < records; {
				fetches := consumer.PollFetches(ctx)
				if err := fetches.Err(); err != nil {
					t.Fatal(err)
				}
				fetches.EachRecord(func(r *kgo.Record) {
					if want := fmt.Sprintf("k%d", got); string(r.Key) != want || len(r.Value) != got || r.Offset != int64(got) {
						t.Fatalf("record %d is %s at %d with %d bytes", got, r.Key, r.Offset, len(r.Value))
					}
					got++
				})
			}
		})
	}
}
