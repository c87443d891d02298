package ingestd

import (
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/ingest/fetch"
)

const (
	// damageInterval is how often one damaged place is named: whoever reads there comes back several times a second.
	damageInterval = time.Minute
	// maxDamagePlaces bounds the places that are remembered, and so the lines in damageInterval: a lost disk is damaged everywhere.
	maxDamagePlaces = 100
)

// damageReport names the places where reads found bytes that are not what was written.
type damageReport struct {
	found prometheus.Counter
	log   *slog.Logger

	mu struct {
		sync.Mutex
		since time.Time
		named map[string]bool // since then
	}
}

func newDamageReport(registry *prometheus.Registry, log *slog.Logger) *damageReport {
	r := &damageReport{log: log}
	r.found = prometheus.NewCounter(prometheus.CounterOpts{Name: "varve_fetch_damaged_total", Help: "Reads that found bytes which are not what was written."})
	registry.MustRegister(r.found)
	return r
}

// add is fetch.Dependencies.Damaged.
func (r *damageReport) add(d fetch.Damage) {
	r.found.Inc()
	place := d.Place()
	if r.isNew(place) {
		r.log.Error("bytes are damaged; they are read from another place where there is one", "place", place, "topic_id", d.Partition.Topic.String(),
			"partition", d.Partition.Partition, "base_offset", d.BaseOffset, "next_offset", d.NextOffset, "error", d.Err)
	}
}

func (r *damageReport) isNew(place string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.mu.since) >= damageInterval {
		r.mu.since, r.mu.named = now, map[string]bool{}
	}
	if r.mu.named[place] || len(r.mu.named) >= maxDamagePlaces {
		return false
	}
	r.mu.named[place] = true
	return true
}
