package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	spaceInterval = time.Second
	// spaceGrace is more than the server takes to shut its JetStream down, in which it hands over what it leads.
	spaceGrace = 6 * time.Second
	// spaceContact is how long JetStream, opened again, may be without contact with the other servers' before that is tried anew.
	spaceContact = 30 * time.Second
	// spaceBytes is how much must fit on the disk before streams are opened again: some of the largest entries.
	spaceBytes = 4 << 20
)

// space opens a clustered server's JetStream again. The server shuts it down when its disk is full, and by itself never opens it again: a
// coordinator would be without its copy of the log until somebody starts it anew. Opening drops what was written in part, and the copy
// catches up from the others. It is done for want of space alone: after a failed fsync nobody knows what is on the disk.
type space struct {
	nats   *server.Server
	config server.JetStreamConfig
	logger *slog.Logger

	isFull   atomic.Bool // a write has failed for want of space since JetStream was opened
	poisoned atomic.Bool // something else has failed
}

// LacksSpace says by the server's words whether something could not be written for want of space: "... write error: write <file>: no space left on
// device". Of a failed fsync, which is another thing, it says "sync <file>".
func LacksSpace(message string) bool {
	return strings.Contains(message, syscall.ENOSPC.Error()) && !strings.Contains(message, ": sync ")
}

// heard looks at the server's complaints for failed writes.
func (p *space) heard(message string) {
	switch {
	case !strings.Contains(message, "Critical write error"):
	case LacksSpace(message):
		p.isFull.Store(true)
	default:
		p.poisoned.Store(true)
	}
}

// run looks until stop is closed whether JetStream is to be opened again.
func (p *space) run(stop <-chan struct{}) {
	ticker := time.NewTicker(spaceInterval)
	defer ticker.Stop()
	var since time.Time  // when it was found shut down
	var opened time.Time // when it was opened again, until it has been in contact
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		if !opened.IsZero() && p.nats.JetStreamEnabled() {
			opened = p.retry(opened)
		}
		switch {
		case p.nats.JetStreamEnabled() || !p.isFull.Load() || p.poisoned.Load():
			since = time.Time{}
			continue
		case since.IsZero():
			since = time.Now()
			continue
		case time.Since(since) < spaceGrace || probeSpace(p.config.StoreDir) != nil:
			continue
		}
		p.isFull.Store(false)
		opened = time.Now()
		config := p.config // which the server changes
		err := p.nats.EnableJetStream(&config)
		switch {
		case p.logger == nil:
		case err != nil:
			p.logger.Warn("nats server: cannot open JetStream after its disk was full", "error", err)
		default:
			p.logger.Info("nats server: JetStream is open again after its disk was full")
		}
		if err != nil {
			p.isFull.Store(true)
			since = time.Now()
		}
	}
}

// retry shuts JetStream down once more where it has no contact since it was opened again, though other servers are connected: then it is opened anew. It
// returns from when on that counts, zero where there is contact.
func (p *space) retry(opened time.Time) time.Time {
	switch {
	case p.nats.JetStreamIsCurrent():
		return time.Time{}
	case time.Since(opened) < spaceContact:
		return opened
	case p.nats.NumRoutes() == 0:
		return time.Now()
	}
	err := p.nats.ShutdownJetStream()
	if p.logger != nil {
		p.logger.Warn("nats server: JetStream has no contact since it was opened again, and is opened anew", "after", spaceContact, "error", err)
	}
	p.isFull.Store(true)
	return time.Time{}
}

// probeSpace tells whether there is space in dir.
func probeSpace(dir string) (err error) {
	f, err := os.CreateTemp(filepath.Clean(dir), "space-*")
	if err != nil {
		return fmt.Errorf("probe for space: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := f.Write(make([]byte, spaceBytes)); err != nil {
		return fmt.Errorf("probe for space: %w", err)
	}
	return nil
}
