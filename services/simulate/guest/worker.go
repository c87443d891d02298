package main

import (
	"context"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/bus"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/services/simulate/world"
	"github.com/varvelog/varve/services/tieringd"
	"github.com/varvelog/varve/tiering/compact"
	"github.com/varvelog/varve/tiering/ship"
	"github.com/varvelog/varve/tiering/sweep"
)

// startWorker is a tiering worker, wired as services/tieringd wires one.
func (c *cluster) startWorker(_ *seat, p *world.Process) (func(context.Context), error) {
	log := logger(c.w, p.Name, nil)
	client, _, err := c.network(p)
	if err != nil {
		return nil, err
	}
	leader := tieringd.NewRemote(replica.NewRemote(replica.RemoteConfig{
		Client: client, Bus: p.Bus(), Key: busKey, Addresses: c.internalAddresses(),
	}))
	hints := make(chan struct{}, 1)
	cancel, err := p.Bus().Subscribe(bus.JobsSubject(clusterID), func([]byte) {
		select {
		case hints <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return nil, err
	}
	store, observer := c.bucket.Open(p), &observer{c.w}
	shipper, err := ship.New(ship.Config{
		Name: p.Name, JobBytes: uint64(16+c.w.IntN(256)) << 10, ObjectBytes: 32 << 10, Lease: time.Duration(2+c.w.IntN(20)) * time.Second, Poll: time.Second,
		Rebatch: recordbatch.RebatchOptions{TargetBytes: 4 << 10},
	}, leader, &tieringd.HotReader{Client: client}, store, hints, observer, log)
	if err != nil {
		return nil, err
	}
	sweeper, err := sweep.New(sweep.Config{GarbageInterval: time.Second, OrphanInterval: 3 * time.Second, OrphanAge: 1}, leader, store, observer, log)
	if err != nil {
		return nil, err
	}
	compacter, err := compact.New(compact.Config{
		Name: p.Name, Poll: 2 * time.Second, Lease: 5 * time.Second, MergeAge: time.Second, MergeParts: 2 + c.w.IntN(3), MergeBytes: 1,
	}, leader, store, observer, log)
	if err != nil {
		return nil, err
	}
	var running sync.WaitGroup
	running.Go(func() { shipper.Run(p.Context()) })
	running.Go(func() { sweeper.Run(p.Context()) })
	running.Go(func() { compacter.Run(p.Context()) })
	return func(context.Context) {
		cancel()
		p.Kill()
		running.Wait()
		client.Close()
	}, nil
}

// observer counts what workers do.
type observer struct{ w *world.World }

// Shipped implements ship.Observer.
func (o *observer) Shipped(int, int64, int64, time.Duration) { o.w.Count("shipped") }

// ShipFailed implements ship.Observer.
func (o *observer) ShipFailed() { o.w.Count("ship failed") }

// ShipDamaged implements ship.Observer.
func (o *observer) ShipDamaged(bool) { o.w.Count("ship damaged") }

// Deleted implements sweep.Observer.
func (o *observer) Deleted(garbage, orphans int) {
	for range garbage {
		o.w.Count("deleted garbage")
	}
	for range orphans {
		o.w.Count("deleted orphans")
	}
}

// Compacted implements compact.Observer.
func (o *observer) Compacted(s compact.Stats, _ time.Duration) {
	if s.Merged {
		o.w.Count("merged")
		return
	}
	o.w.Count("compacted")
}

// CompactionFailed implements compact.Observer.
func (o *observer) CompactionFailed() { o.w.Count("compaction failed") }
