package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/salvage"
	"github.com/varvelog/varve/infra/objstore"
)

// Config says what to verify.
type Config struct {
	// Store is the bucket.
	Store objstore.Store
	// HotLogs are directories of hot logs.
	HotLogs []string
	// Patience is how long newer metadata is waited for that explains what seems wrong, as it will where a cluster works.
	Patience time.Duration
	// Parallel is how many objects are read at once; 4 by default.
	Parallel int
	// Progress is told, from several goroutines, of every object that has been looked at; nil for none.
	Progress func(bytes int64)
}

// Run verifies. The error is the store's, or ctx's; what is wrong with what is stored is in the report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if cfg.Parallel <= 0 {
		cfg.Parallel = 4
	}
	if cfg.Progress == nil {
		cfg.Progress = func(int64) {}
	}
	v := &verifier{Config: cfg, report: &Report{Bucket: cfg.Store.String(), Findings: []Finding{}}}
	v.findings.report = v.report
	if err := v.metadata(ctx); err != nil {
		return nil, err
	}
	if err := v.objects(ctx); err != nil {
		return nil, err
	}
	for _, dir := range cfg.HotLogs {
		if err := v.hotLog(ctx, dir); err != nil {
			return nil, err
		}
	}
	return v.report, nil
}

type verifier struct {
	Config
	report   *Report
	findings findings
	cluster  *identity.Cluster // nil where cluster.json cannot be read
	state    *meta.State       // nil where there is none
	whole    bool              // the metadata was read to its end
	expected map[meta.SegmentID]*expectedSegment
	found    found
}

// metadata checks cluster.json, snapshots and log, and builds the state up.
func (v *verifier) metadata(ctx context.Context) error {
	cluster, err := identity.Load(ctx, v.Store)
	switch {
	case errors.Is(err, identity.ErrNone), errors.Is(err, identity.ErrRefused):
		v.findings.add(identity.Key, err)
		return nil
	case err != nil:
		return err
	}
	v.cluster = cluster
	v.report.ClusterID, v.report.LogID, v.report.Metalog = cluster.ClusterID, fmt.Sprintf("%x", cluster.LogID), cluster.Metalog
	found, err := v.salvage(ctx)
	if err != nil {
		return err
	}
	for _, d := range found.Damaged {
		where := cluster.MetadataPrefix() + d.Key
		if d.Key == "" {
			where = "metadata log"
		}
		v.findings.add(where, d.Err)
	}
	v.report.Snapshots, v.report.Entries = len(found.Snapshots), found.Entries
	v.take(found.State)
	v.whole = found.Unused == 0
	return nil
}

// salvage reads the metadata.
func (v *verifier) salvage(ctx context.Context) (*salvage.Found, error) {
	return salvage.ReadLive(ctx, salvage.Source{
		Store: v.cluster.Metadata(v.Store), LogID: v.cluster.LogID, Metalog: v.cluster.Metalog,
		Spares: true, Looked: func(string) { v.Progress(0) },
	})
}

// settle reads the metadata again until it explains what seemed wrong, or Patience is over.
func (v *verifier) settle(ctx context.Context, explains func(*meta.State) bool) error {
	if v.cluster == nil {
		return nil
	}
	for began := time.Now(); ; {
		again, err := v.salvage(ctx)
		if err != nil {
			return err
		}
		if again.State != nil && explains(again.State) || time.Since(began) >= v.Patience {
			return nil
		}
		timer := time.NewTimer(settleInterval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// settleInterval is how often newer metadata is looked for.
const settleInterval = 500 * time.Millisecond

// take makes state the one that references are held against.
func (v *verifier) take(state *meta.State) {
	v.state = state
	v.expected = map[meta.SegmentID]*expectedSegment{}
	if state == nil {
		return
	}
	v.report.Seq = state.Seq()
	v.report.Topics, v.report.Parts = len(state.Topics()), state.PartitionCount()
	v.expect()
}

// classify counts an object that is not verified as a segment or chunk that is referred to.
func (v *verifier) classify(info objstore.Info) {
	r := v.report
	key := info.Key
	_, isChunk := meta.ParseChunkKey(key)
	_, isSegment := meta.ParseSegmentKey(key)
	switch {
	case isChunk, isSegment:
		switch {
		case v.state == nil || v.found.garbage[key]:
			r.Garbage.add(info.SizeBytes)
		case v.state.Referenced(key):
			r.Pending.add(info.SizeBytes)
		default:
			r.Orphans.add(info.SizeBytes)
			if len(r.Orphaned) < maxKeys {
				r.Orphaned = append(r.Orphaned, key)
			}
		}
	case key == identity.Key:
	case objstore.IsProbe(key):
		r.Probes.add(info.SizeBytes)
	case v.cluster != nil && strings.HasPrefix(key, v.cluster.MetadataPrefix()+"meta/") && knownMetadata(strings.TrimPrefix(key, v.cluster.MetadataPrefix())):
	case v.cluster != nil && v.cluster.Recovered() && (strings.HasPrefix(key, "meta/") || strings.HasPrefix(key, identity.RecoveredPrefix)):
		r.Former.add(info.SizeBytes)
	default:
		r.Strange.add(info.SizeBytes)
		if len(r.Unknown) < maxKeys {
			r.Unknown = append(r.Unknown, key)
		}
	}
}
