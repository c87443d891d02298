package kafka

import (
	"maps"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// tally is what metrics are told of, by name.
type tally struct {
	noMetrics
	mu     sync.Mutex
	counts map[string]int64
}

func (y *tally) add(name string, n int64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.counts == nil {
		y.counts = map[string]int64{}
	}
	y.counts[name] += n
}

func (y *tally) expect(t *testing.T, want map[string]int64) {
	t.Helper()
	y.mu.Lock()
	defer y.mu.Unlock()
	if !maps.Equal(y.counts, want) {
		t.Errorf("counted %v, not %v", y.counts, want)
	}
}

func (y *tally) Shared(records, again int64) {
	y.add("given", records)
	y.add("again", again)
}

func (y *tally) Acknowledged(what string, records int64) { y.add(what, records) }

func (y *tally) Inflated(storedBytes, inflatedBytes int) {
	if storedBytes < inflatedBytes {
		y.add("inflated", 1)
	}
}

func TestRecordsOfShareGroupsAreCounted(t *testing.T) {
	counts := &tally{}
	addr, id := shared(t, Config{Logger: quiet, Metrics: counts})
	member := newSharer(t, addr, "g", "events", id, 0)
	expectAcquired(t, member.fetch(6, 0), [3]int64{0, 5, 1})
	if code := member.acknowledge(acknowledged(0, 2, 1), acknowledged(3, 5, 2, 3, 0)); code != 0 {
		t.Fatal(kerr.ErrorForCode(code))
	}
	if code := member.acknowledge(acknowledged(8, 9, 1)); code == 0 {
		t.Error("what was never given is acknowledged")
	}
	expectAcquired(t, member.fetch(1, 0), [3]int64{3, 3, 2})
	counts.expect(t, map[string]int64{"given": 7, "again": 1, "accept": 3, "release": 1, "reject": 1, "gap": 1})
}
