package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/infra/objstore/s3server"
)

// S3's latencies within a region: of small PUTs, and of GETs to their first byte.
var (
	putLatency = faulty.Latency{Median: 60 * time.Millisecond, P99: 200 * time.Millisecond}
	getLatency = faulty.Latency{Median: 30 * time.Millisecond, P99: 100 * time.Millisecond}
)

// slowStore is a bucket in this process's memory that answers as late as S3 does, served over S3's protocol on a free loopback port.
type slowStore struct {
	*faulty.Store
	server   http.Server
	listener net.Listener
	ended    chan error
}

func startSlowStore(ctx context.Context) (*slowStore, error) {
	var listening net.ListenConfig
	listener, err := listening.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the store: %w", err)
	}
	s := &slowStore{
		Store: faulty.New(mem.New("slow"), faulty.Config{Seed: 1, Rules: []faulty.Rule{
			{Ops: faulty.Put, Latency: putLatency}, {Ops: faulty.Get | faulty.Head, Latency: getLatency},
		}}),
		listener: listener, ended: make(chan error, 1),
	}
	s.server.Handler = s3server.Handler(s.Store)
	s.server.ReadHeaderTimeout = time.Minute
	go func() { s.ended <- s.server.Serve(listener) }()
	return s, nil
}

// flags make a server use the store, under a prefix.
func (s *slowStore) flags(prefix string) []string {
	return []string{"--bucket", fmt.Sprintf("s3://bench/%s?region=us-east-1&endpoint=http://%s", prefix, s.listener.Addr())}
}

func (s *slowStore) close() error {
	err := s.server.Close()
	if ended := <-s.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return errors.Join(err, s.Store.Close())
}
