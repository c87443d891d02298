package bench

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/coordinator/leader"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/jetstream"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/bus"
)

const (
	// coordinatorNodes commit at once, so many chunks in a submission.
	coordinatorNodes     = 8
	coordinatorChunks    = 4
	requiredRunsPerCore  = 30_000
	requiredBytesPerRun  = 48
	benchClusterID       = "bench"
	stateMachineRuns     = 1_500_000
	coordinatorRuns      = 600_000
	quickCoordinatorPart = 5
)

var benchLogID = [16]byte{0xbe}

// measureCoordinator measures, in this process, what a commit costs where it is sequenced: the state machine, the log and a replica's apply on their own, and all
// of it together.
func measureCoordinator(ctx context.Context, e *env) ([]Result, error) {
	results, err := measureStateMachine(e)
	if err != nil {
		return nil, err
	}
	server, err := bus.StartServer(bus.ServerConfig{StoreDir: filepath.Join(e.dir, "jetstream")})
	if err != nil {
		return nil, err
	}
	defer server.Shutdown()
	conn, err := bus.Connect(ctx, bus.ConnConfig{Server: server})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	open := func(cluster string) (metalog.Log, error) {
		return jetstream.Open(ctx, conn, jetstream.Config{ClusterID: cluster, LogID: benchLogID})
	}
	log, err := open(benchClusterID)
	if err != nil {
		return nil, err
	}
	together, err := measureSequencing(ctx, e, log)
	if err != nil {
		return nil, err
	}
	alone, err := open(benchClusterID + "-alone")
	if err != nil {
		return nil, err
	}
	parts, err := measureParts(ctx, log, alone, pick(e, coordinatorRuns, coordinatorRuns/quickCoordinatorPart))
	return append(append(results, parts...), together...), err
}

// measureStateMachine applies chunks on one core, and weighs what the state holds of their runs.
func measureStateMachine(e *env) ([]Result, error) {
	state := meta.New(benchLogID)
	apply := func(commands ...*metapb.Command) error {
		return state.Apply(state.Seq()+1, &metapb.Entry{
			Format: meta.EntryFormat, LogId: benchLogID[:], LeaderEpoch: 1, TimeMillis: state.TimeMillis() + 1, Commands: commands,
		}, nil)
	}
	begin := &metapb.Command{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: 1, FeatureLevel: meta.FeatureLevel}}}
	if err := errors.Join(apply(begin), apply(loadSetup(1)...)); err != nil {
		return nil, fmt.Errorf("set up: %w", err)
	}
	load := newChunkLoad(1, 1)
	before := heapBytes()
	var applying time.Duration
	runs := pick(e, stateMachineRuns, stateMachineRuns/quickCoordinatorPart)
	for range runs / loadRuns / coordinatorChunks {
		var commands []*metapb.Command
		for range coordinatorChunks {
			commands = append(commands, load.next())
		}
		begun := time.Now()
		if err := apply(commands...); err != nil {
			return nil, fmt.Errorf("apply: %w", err)
		}
		applying += time.Since(begun)
	}
	unshipped := state.UnshippedRuns()
	perRun := ratio(float64(heapBytes()-before), float64(unshipped))
	runtime.KeepAlive(state)
	runtime.KeepAlive(load)
	return []Result{
		required("state machine: runs a second on a core", ratio(float64(unshipped), applying.Seconds()), "", atLeast, requiredRunsPerCore,
			fmt.Sprintf("%d runs in chunks of %d, one batch of an idempotent producer each", unshipped, loadRuns)),
		required("memory per unshipped run", perRun, "B", atMost, requiredBytesPerRun, fmt.Sprintf("%d runs in %d partitions", unshipped, loadTopics*loadPartitions)),
	}, nil
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// measureSequencing has nodes commit through a leader whose log is synced on every write.
func measureSequencing(ctx context.Context, e *env, log metalog.Log) (results []Result, err error) {
	r, err := replica.Open(ctx, replica.Config{LogID: benchLogID, Log: log})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	l, err := leader.New(leader.Config{ClusterID: benchClusterID, LogID: benchLogID, Log: log, Replica: r, Exclusive: true, SnapshotEntries: 1 << 60, SnapshotBytes: 1 << 60})
	if err != nil {
		return nil, err
	}
	r.SetSubmitter(l)
	leading, stop := context.WithCancel(ctx)
	ended, started := make(chan error, 1), make(chan struct{})
	go func() { ended <- l.Run(leading, func() { close(started) }) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
	}()
	select {
	case <-started:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for _, command := range loadSetup(coordinatorNodes) {
		if v, err := r.Propose(ctx, command); err != nil || v.Code != meta.OK {
			return nil, fmt.Errorf("set up: %v: %w", v.Code, err)
		}
	}
	first := r.Seq()
	before, err := processCPU(os.Getpid())
	if err != nil {
		return nil, err
	}
	submissions := pick(e, coordinatorRuns, coordinatorRuns/quickCoordinatorPart) / loadRuns / coordinatorChunks / coordinatorNodes
	begun := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	for i := range coordinatorNodes {
		load := newChunkLoad(meta.NodeID(i+1), 1)
		group.Go(func() error {
			for range submissions {
				var commands []*metapb.Command
				for range coordinatorChunks {
					commands = append(commands, load.next())
				}
				if err := r.SubmitChunks(groupCtx, commands); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	took := time.Since(begun)
	after, err := processCPU(os.Getpid())
	if err != nil {
		return nil, err
	}
	runs := 0
	r.View(func(s *meta.State) { runs = s.UnshippedRuns() })
	entries := r.Seq() - first
	return []Result{
		info("together: runs a second", ratio(float64(runs), took.Seconds()), "", fmt.Sprintf("leader, log and replica; %d nodes; %.0f runs an entry", coordinatorNodes, ratio(float64(runs), float64(entries)))),
		info("together: runs a second of processor", ratio(float64(runs), (after-before).Seconds()), "", "with what makes the chunks"),
	}, nil
}

// measureParts goes through the entries that were sequenced: a second replica applies them, and a second log appends them.
func measureParts(ctx context.Context, log, alone metalog.Log, runs int) ([]Result, error) {
	var entries [][]byte
	for record, err := range log.Read(ctx, 1) {
		if err != nil {
			return nil, err
		}
		entries = append(entries, record.Entry)
	}
	begun := time.Now()
	for i, entry := range entries {
		if err := alone.Append(ctx, uint64(i+1), entry, metalog.Ordinary); err != nil {
			return nil, fmt.Errorf("append: %w", err)
		}
	}
	appending := time.Since(begun)
	r, err := replica.Open(ctx, replica.Config{LogID: benchLogID, Log: emptyLog{log}})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	begun = time.Now()
	for i, entry := range entries {
		if err := r.ApplyEncoded(uint64(i+1), entry); err != nil {
			return nil, fmt.Errorf("apply: %w", err)
		}
	}
	applying := time.Since(begun)
	detail := fmt.Sprintf("%d entries", len(entries))
	return []Result{
		info("log: runs a second", ratio(float64(runs), appending.Seconds()), "", detail+", each synced"),
		info("replica: runs a second on a core", ratio(float64(runs), applying.Seconds()), "", detail+", decoded and applied"),
	}, nil
}

// emptyLog hides what is in a log from a replica that is given the entries.
type emptyLog struct{ metalog.Log }

func (emptyLog) Bounds(context.Context) (first, next uint64, err error) { return 1, 1, nil }

func (emptyLog) Read(context.Context, uint64) iter.Seq2[metalog.Record, error] {
	return func(func(metalog.Record, error) bool) {}
}
