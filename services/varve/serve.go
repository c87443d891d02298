package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/coordinator/delivery"
	"github.com/varvelog/varve/coordinator/group"
	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/telemetry"
	"github.com/varvelog/varve/services/config"
	"github.com/varvelog/varve/services/coordinatord"
	"github.com/varvelog/varve/services/ingestd"
	"github.com/varvelog/varve/services/process"
	"github.com/varvelog/varve/services/tieringd"
)

func newServers() []*cobra.Command {
	return []*cobra.Command{
		newServer("serve", "Run everything in one process", "Run coordinator, ingest node and tiering worker in one process. Nothing needs to be configured.", config.RoleServe, serveAll),
		newServer("coordinator", "Run the coordinator", "Run the coordinator: it gives records their offsets and runs groups.", config.RoleCoordinator, serveCoordinator),
		newServer("ingest", "Run an ingest node", "Run an ingest node: it serves Kafka clients.", config.RoleIngest, serveIngest),
		newServer("tiering", "Run a tiering worker", "Run a tiering worker: it ships what is written to the bucket, and deletes what is not needed any more.", config.RoleTiering, serveTiering),
	}
}

// newServer makes the command of one role. run starts the role and returns when it has stopped.
func newServer(name, short, long string, role config.Role, run func(context.Context, *process.Process) error) *cobra.Command {
	c := &config.Config{}
	command := &cobra.Command{
		Use: name, Short: short, Long: long, Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := c.Load(command.Flags(), os.LookupEnv); err != nil {
				return err
			}
			if err := c.Validate(role); err != nil {
				return err
			}
			log, level, err := telemetry.NewLogger(command.ErrOrStderr(), c.LogLevel, c.LogFormat)
			if err != nil {
				return err
			}
			if unknown := c.UnknownEnvironment(os.Environ(), brokersVariable); len(unknown) > 0 {
				log.Warn("environment variables that are no settings are ignored", "names", fmt.Sprint(unknown))
			}
			p, err := process.Start(command.Context(), c, role, log, level)
			if err != nil {
				return err
			}
			err = run(command.Context(), p)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(command.Context()), c.DrainTimeout)
			defer cancel()
			return errors.Join(err, p.Close(ctx))
		},
	}
	c.Register(command.Flags())
	return command
}

func serveAll(ctx context.Context, p *process.Process) (err error) {
	coordinator, err := coordinatord.Start(ctx, p, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, coordinator.Close()) }()
	node, err := ingestd.Start(ctx, p, coordinator.Replica, coordinator.Groups, coordinator.Shares)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeNode(ctx, p, node)) }()
	worker, err := tieringd.Start(ctx, p, tieringd.Resume(coordinator.Replica, node.HotLog().DiskUUID().String()), coordinator.Leader, &tieringd.HotReader{Client: p.Client, Own: node.HotLog()})
	if err != nil {
		return err
	}
	defer worker.Close()
	p.Internal.Serve()
	if err := await(ctx, p, coordinator.Failed(), node.Failed()); err != nil {
		return err
	}
	return drainNode(ctx, p, node)
}

func serveCoordinator(ctx context.Context, p *process.Process) (err error) {
	if len(p.Config.Peers) > 0 {
		defer p.SetServing(false)
		return whileItsOwn(ctx, p, func(ctx context.Context) error {
			return coordinatord.RunMember(ctx, p, func() { p.SetServing(true) })
		})
	}
	coordinator, err := coordinatord.Start(ctx, p, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, coordinator.Close()) }()
	p.Internal.Serve()
	return await(ctx, p, coordinator.Failed(), nil)
}

// whileItsOwn runs what ends with its context, until a recovery has put another log in the place of this process's.
func whileItsOwn(ctx context.Context, p *process.Process, run func(context.Context) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() {
		if err := p.WatchIdentity(ctx); err != nil {
			stop(err)
		}
	})
	err := run(ctx)
	stop(nil)
	watcher.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, identity.ErrSucceeded) {
		return cause
	}
	return err
}

func serveIngest(ctx context.Context, p *process.Process) (err error) {
	r, log, err := coordinatord.OpenReplica(ctx, p, false)
	if err != nil {
		return err
	}
	defer func() {
		r.Close()
		err = errors.Join(err, log.Close())
	}()
	remote := replica.NewRemote(replica.RemoteConfig{Client: p.Client, Bus: p.Bus, Key: p.Key, Replica: r, Addresses: p.Config.Peers.Addresses()})
	r.SetSubmitter(remote)
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	lost := make(chan error, 1)
	var follower sync.WaitGroup
	follower.Go(func() { lost <- r.Follow(following, p.Bus, p.Key) })
	defer follower.Wait()
	defer stop()
	groups := group.NewRemote(remote)
	defer groups.Close()
	node, err := ingestd.Start(ctx, p, r, groups, delivery.NewRemote(remote))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeNode(ctx, p, node)) }()
	p.Internal.Serve()
	if err := await(ctx, p, lost, node.Failed()); err != nil {
		return err
	}
	return drainNode(ctx, p, node)
}

func serveTiering(ctx context.Context, p *process.Process) error {
	remote := replica.NewRemote(replica.RemoteConfig{Client: p.Client, Bus: p.Bus, Key: p.Key, Addresses: p.Config.Peers.Addresses()})
	id, err := tieringd.NewIdentity()
	if err != nil {
		return err
	}
	worker, err := tieringd.Start(ctx, p, id, tieringd.NewRemote(remote), &tieringd.HotReader{Client: p.Client})
	if err != nil {
		return err
	}
	defer worker.Close()
	return await(ctx, p, nil, nil)
}

// await returns when the process is told to stop, or a part of it has failed.
func await(ctx context.Context, p *process.Process, coordinator, node <-chan error) error {
	p.SetServing(true)
	defer p.SetServing(false)
	watching, stop := context.WithCancel(ctx)
	succeeded := make(chan error, 1)
	var watcher sync.WaitGroup
	watcher.Go(func() { succeeded <- p.WatchIdentity(watching) })
	defer watcher.Wait()
	defer stop()
	select {
	case err := <-succeeded:
		return err
	case <-ctx.Done():
		p.Log.Info("stopping")
		return nil
	case err := <-coordinator:
		return fmt.Errorf("coordination ended: %w", err)
	case err := <-node:
		return err
	}
}

// drainNode has a node leave the cluster, within the time that an operator gives it.
func drainNode(ctx context.Context, p *process.Process, node *ingestd.Node) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.Config.DrainTimeout)
	defer cancel()
	return node.Drain(ctx)
}

func closeNode(ctx context.Context, p *process.Process, node *ingestd.Node) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.Config.DrainTimeout)
	defer cancel()
	return node.Close(ctx)
}
