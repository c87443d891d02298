package leader

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/infra/objstore/faulty"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
)

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// uncutLog cannot be cut.
type uncutLog struct{ metalog.Log }

func (uncutLog) Truncate(context.Context, uint64) error { return errors.New("not allowed") }

// It was said of every failure that the snapshot was not written.
func TestWhatIsLoggedOfASnapshotIsTrue(t *testing.T) {
	rule := func(ops faulty.Op, prefix string) faulty.Rule {
		return faulty.Rule{Ops: ops, Key: func(key string) bool { return strings.HasPrefix(key, prefix) }, Fail: true}
	}
	uncut := func(log metalog.Log) metalog.Log { return uncutLog{log} }
	same := func(log metalog.Log) metalog.Log { return log }
	for name, row := range map[string]struct {
		rule faulty.Rule
		log  func(metalog.Log) metalog.Log
		want string
	}{
		"it cannot be written":        {rule(faulty.Put, "meta/snapshot/"), same, "snapshot was not written, the log grows on"},
		"parts cannot be listed":      {rule(faulty.List, "meta/snapshot/part/"), same, "snapshot was written, but not all that it makes superfluous was deleted, and the log was not cut"},
		"manifests cannot be deleted": {rule(faulty.Delete, "meta/snapshot/"), same, "snapshot was written, but not all that it makes superfluous was deleted, and the log was not cut"},
		"the log cannot be cut":       {rule(faulty.Write, "nothing"), uncut, "snapshot was written, but the log was not cut, or not all of it"},
		"nor its archive":             {rule(faulty.Delete, "meta/archive/"), same, "snapshot was written and the log cut, but not all of its archive"},
	} {
		t.Run(name, func(t *testing.T) {
			var logged lockedBuffer
			ctx, store := timeout(t), faulty.New(memstore.New("bucket"), faulty.Config{Rules: []faulty.Rule{row.rule}})
			n := start(t, row.log(mem.New().Open()), store, func(c *Config) {
				c.SnapshotEntries, c.Archive, c.Logger = 5, store, slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelWarn}))
			})
			for !strings.Contains(logged.String(), "snapshot") {
				if _, err := n.replica.Propose(ctx, allocate()); err != nil {
					t.Fatal(err)
				}
			}
			n.halt(t)
			for line := range strings.Lines(logged.String()) {
				if strings.Contains(line, "snapshot") && !strings.Contains(line, row.want) {
					t.Errorf("logged %q", line)
				}
			}
		})
	}
}
