package jetstream

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/varvelog/varve/infra/bus"
)

// probeBytes is how much must fit on the disk before a stream that ran out of space is opened again: some of the largest entries.
const probeBytes = 4 << 20

// embedded is what is needed of a server in this process. *server.Server is one.
type embedded interface {
	JetStreamConfig() *server.JetStreamConfig
	ShutdownJetStream() error
	EnableJetStream(*server.JetStreamConfig) error
	Healthz(*server.HealthzOptions) *server.HealthStatus
}

// revival opens the stream again after its disk was full: the server's store takes no more writes after a failed one, until it
// is opened anew. That drops what was written in part. It is done for want of space alone: after a failed fsync nobody knows what
// is on the disk, and the process must be restarted by somebody who has looked. A server elsewhere is its operator's to restart.
type revival struct {
	server embedded // nil for a server in another process
	mu     struct {
		sync.Mutex
		due    bool
		config *server.JetStreamConfig // of the server while its JetStream is shut down
	}
}

func newRevival(nc *nats.Conn) *revival {
	r := &revival{}
	r.server, _ = nc.Opts.InProcessServer.(embedded)
	return r
}

// unanswered looks whether an append has no answer for want of space: the server gives none when it cannot write.
func (r *revival) unanswered() {
	if r.server == nil {
		return
	}
	if bus.LacksSpace(r.server.Healthz(nil).Error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.mu.due = true
	}
}

// beforeAppend opens the stream again if that is due and there is space. Its error means that nothing can be appended yet.
func (r *revival) beforeAppend() error {
	if r.server == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.mu.due {
		return nil
	}
	if r.mu.config == nil {
		config := r.server.JetStreamConfig()
		if config == nil {
			return errors.New("jetstream is not enabled")
		}
		config.StoreDir = filepath.Dir(config.StoreDir) // to which the server appends its own part
		r.mu.config = config
	}
	if err := probe(r.mu.config.StoreDir); err != nil {
		return err
	}
	if err := r.server.ShutdownJetStream(); err != nil {
		return fmt.Errorf("close jetstream after its disk was full: %w", err)
	}
	config := *r.mu.config // which the server changes
	if err := r.server.EnableJetStream(&config); err != nil {
		return fmt.Errorf("open jetstream after its disk was full: %w", err)
	}
	r.mu.due, r.mu.config = false, nil
	return nil
}

// probe tells whether there is space in dir.
func probe(dir string) (err error) {
	f, err := os.CreateTemp(dir, "space-*")
	if err != nil {
		return fmt.Errorf("probe for space: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := f.Write(make([]byte, probeBytes)); err != nil {
		return fmt.Errorf("probe for space: %w", err)
	}
	return nil
}
