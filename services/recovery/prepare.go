package recovery

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/salvage"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/vfs"
)

// Config says what to recover from.
type Config struct {
	// Store is the bucket.
	Store objstore.Store
	// HotLogs are directories of hot logs that are there. What they hold becomes part of the log.
	HotLogs []string
	// Disks names further nodes, by number or "all", whose disks are there, though not in this machine: what the metadata has on them stays.
	Disks []string
	// Alive says whether the coordinator at an address leads the cluster. Where the bucket has lost its identity, cluster is nil, and whoever answers there as
	// a process of Varve counts: nobody can tell whose it is.
	Alive func(ctx context.Context, cluster *identity.Cluster, address string) bool
	// Files is where hot logs are; the operating system's by default.
	Files vfs.FS
	// Parallel is how many objects are read at once; 4 by default.
	Parallel int
	// Progress is told, from several goroutines, of every object that has been looked at; nil for none.
	Progress func(bytes int64)
	// Logger is nil for none.
	Logger *slog.Logger
}

// ErrAlive: a coordinator leads the cluster, so that nothing needs to be recovered.
var ErrAlive = errors.New("a coordinator leads this cluster")

// ErrNothing: there is nothing in the bucket that a cluster could be rebuilt from.
var ErrNothing = errors.New("nothing to recover from")

// Plan is a recovery that has been thought through to its end, and has changed nothing.
type Plan struct {
	Report Report

	cfg      Config
	version  objstore.Version // of the cluster.json that is to be replaced, "" for none
	next     *identity.Cluster
	recovery *meta.Recovery
	job      meta.JobID // of the recovery's own objects
	ordinals uint32     // how many of these there are
	cuts     []*piece
	fillers  []filler
	state    *meta.State
	former   [16]byte
	log      formerLog       // that of former
	unnamed  bool            // the bucket has lost its identity
	others   []formerLog     // that of a recovery which was not used, and is done again
	objects  []*storedObject // that the state does not know of
	orphans  map[meta.SegmentID]objstore.Info
	gone     []goneObject
	// wasDeleted are topics that the state does not know any more.
	wasDeleted map[meta.TopicID]bool
	hot        hotRanges
	locks      []io.Closer
}

// Prepare reads everything and works out what a recovery would do. The plan must be closed.
func Prepare(ctx context.Context, cfg Config) (_ *Plan, err error) {
	if cfg.Parallel <= 0 {
		cfg.Parallel = 4
	}
	if cfg.Progress == nil {
		cfg.Progress = func(int64) {}
	}
	if cfg.Files == nil {
		cfg.Files = vfs.OS{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Plan{cfg: cfg, hot: hotRanges{}}
	p.Report.Bucket = cfg.Store.String()
	p.Report.Lost, p.Report.Missing = []Lost{}, []string{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if err := objstore.Probe(ctx, cfg.Store); err != nil {
		return nil, fmt.Errorf("probe bucket %s: %w", cfg.Store, err)
	}
	found, err := p.findLog(ctx)
	if err != nil {
		return nil, err
	}
	state := found.State
	if state == nil {
		state = meta.New(found.LogID)
	}
	p.recovery = meta.NewRecovery(state, len(p.next.Former))
	if err := p.adopt(ctx, found); err != nil {
		return nil, err
	}
	if err := p.giveUp(ctx); err != nil {
		return nil, err
	}
	return p, p.conclude(found)
}

// Close lets go of the hot logs.
func (p *Plan) Close() error {
	var failed error
	for _, lock := range p.locks {
		failed = errors.Join(failed, lock.Close())
	}
	p.locks = nil
	return failed
}

// findLog finds out which log is to be recovered, reads what there is of it, and makes the identity of its successor.
func (p *Plan) findLog(ctx context.Context) (*salvage.Found, error) {
	cluster, version, err := identity.LoadVersion(ctx, p.cfg.Store)
	p.version = version
	switch {
	case errors.Is(err, identity.ErrNewer):
		return nil, err
	case errors.Is(err, identity.ErrNone), errors.Is(err, identity.ErrRefused):
		p.damaged(identity.Key, err)
		p.unnamed = true
		return p.findLogWithoutIdentity(ctx)
	case err != nil:
		return nil, err
	}
	base := cluster
	found, err := p.salvage(ctx, cluster)
	if err != nil {
		return nil, err
	}
	if cluster.Recovered() && unused(found) {
		p.others = append(p.others, describeFormer(cluster.Metadata(p.cfg.Store), cluster, found))
		base = cluster.Formerly()
		p.Report.Again = true
		if found, err = p.salvage(ctx, base); err != nil {
			return nil, err
		}
	}
	if err := p.refuseWhereAlive(ctx, cluster, found); err != nil {
		return nil, err
	}
	if err := found.Newer(); err != nil {
		return nil, err
	}
	p.former = base.LogID
	p.log = describeFormer(base.Metadata(p.cfg.Store), base, found)
	p.next = identity.Successor(base)
	p.describe(base.ClusterID, base.Metalog, base.LogID)
	return found, nil
}

// unused says whether a recovered log holds nothing but what the recovery has put there.
func unused(f *salvage.Found) bool {
	return f.State != nil && f.State.Seq() == 1 && f.End == 2 && len(f.Damaged) == 0
}

func (p *Plan) describe(clusterID, metalog string, former [16]byte) {
	p.next.Metalog = metalog
	p.Report.ClusterID, p.Report.Metalog = clusterID, metalog
	p.Report.FormerLog, p.Report.NewLog = hex.EncodeToString(former[:]), hex.EncodeToString(p.next.LogID[:])
}

// refuseWhereAlive asks the coordinator that led last whether it still does. cluster is nil where the bucket has lost its identity.
func (p *Plan) refuseWhereAlive(ctx context.Context, cluster *identity.Cluster, found *salvage.Found) error {
	if found.State == nil || found.State.LeaderAddress() == "" || p.cfg.Alive == nil {
		return nil
	}
	switch address := found.State.LeaderAddress(); {
	case !p.cfg.Alive(ctx, cluster, address):
		return nil
	case cluster == nil:
		return fmt.Errorf("bucket %s: a process of Varve answers at %s, where its coordinator led last, and without %s nobody can tell whether it is that one; "+
			"stop it first: %w", p.cfg.Store, address, identity.Key, ErrAlive)
	default:
		return fmt.Errorf("bucket %s: at %s: %w", p.cfg.Store, address, ErrAlive)
	}
}

func (p *Plan) salvage(ctx context.Context, c *identity.Cluster) (*salvage.Found, error) {
	return salvage.Read(ctx, salvage.Source{
		Store: c.Metadata(p.cfg.Store), LogID: c.LogID, Metalog: c.Metalog, Looked: func(string) { p.cfg.Progress(0) },
	})
}

// findLogWithoutIdentity looks at the metadata to learn whose it is. Of several logs, of which recoveries have left all but one, the one with
// the most is taken.
func (p *Plan) findLogWithoutIdentity(ctx context.Context) (*salvage.Found, error) {
	prefixes, err := metadataPrefixes(ctx, p.cfg.Store)
	if err != nil {
		return nil, err
	}
	var best *salvage.Found
	var bestPrefix string
	metalog := identity.MetalogJetStream
	for _, prefix := range prefixes {
		for _, kind := range []string{identity.MetalogJetStream, identity.MetalogBucket} {
			found, err := salvage.Read(ctx, salvage.Source{Store: prefixed(p.cfg.Store, prefix), Metalog: kind, Looked: func(string) { p.cfg.Progress(0) }})
			if err != nil {
				return nil, err
			}
			if err := found.Newer(); err != nil {
				return nil, err
			}
			if best == nil || better(found, best) {
				best, bestPrefix, metalog = found, prefix, kind
			}
		}
	}
	if err := p.refuseWhereAlive(ctx, nil, best); err != nil {
		return nil, err
	}
	p.former = best.LogID
	lost := identity.Lost(metalog, best.LogID, bestPrefix != "")
	p.next = identity.Successor(lost)
	p.log = describeFormer(prefixed(p.cfg.Store, bestPrefix), lost, best)
	p.describe(p.next.ClusterID, metalog, best.LogID)
	p.Report.Missing = append(p.Report.Missing, "the cluster's id: clients are told a new one, and data directories of the former one are refused")
	return best, nil
}

// better says whether more can be made of x than of y. A log that holds nothing but what a recovery has put there, which may have died before its last step,
// comes behind all others of which anything is left. Where it is as much, since snapshots stand for everything, the backend was that which has left
// entries, sound or not: a log in the bucket has no archive.
func better(x, y *salvage.Found) bool {
	if (x.State == nil) != (y.State == nil) {
		return x.State != nil
	}
	if unused(x) != unused(y) { // what an unused one was made from says as much, and a recovery from it can be given more
		return unused(y)
	}
	traces := func(f *salvage.Found) uint64 { return f.Entries + uint64(len(f.Damaged)) }
	order := cmp.Compare(traces(x), traces(y))
	if x.State != nil {
		order = cmp.Or(cmp.Compare(x.State.TimeMillis(), y.State.TimeMillis()), cmp.Compare(x.State.Seq(), y.State.Seq()), order)
	}
	return order > 0
}

func (p *Plan) damaged(where string, err error) {
	p.Report.Damaged = append(p.Report.Damaged, Finding{Where: where, Why: err.Error()})
}

func (p *Plan) notAdopted(where, why string) {
	p.Report.NotAdopted = append(p.Report.NotAdopted, Finding{Where: where, Why: why})
}

// giveUp decides what is lost, and stores in its place what readers can pass over.
func (p *Plan) giveUp(ctx context.Context) error {
	kept, err := p.keptDisks()
	if err != nil {
		return err
	}
	r := p.recovery
	r.KeepDisks(func(n *meta.Node) bool { return kept[n.ID] }, p.hot.holds)
	p.Report.Aborted, p.Report.OtherAborted = r.EndTransactions()
	r.SealAll()
	if err := p.rescue(ctx); err != nil {
		return err
	}
	p.judgeGone()
	for _, l := range r.Lost() {
		_, read := p.hot[l.Node]
		p.Report.Lost = append(p.Report.Lost, Lost{
			Topic: l.Topic, Partition: l.Partition, BaseOffset: l.BaseOffset, NextOffset: l.NextOffset, Node: int32(l.Node), Read: read, Known: l.Known,
			Deletable: l.Deletable,
		})
		p.Report.LostOffsets += l.NextOffset - l.BaseOffset
		if l.Deletable {
			p.Report.DeletableOffsets += l.NextOffset - l.BaseOffset
		}
	}
	r.DeclareLost()
	return p.fill()
}

// keptDisks are the nodes whose disks are there.
func (p *Plan) keptDisks() (map[meta.NodeID]bool, error) {
	kept := map[meta.NodeID]bool{}
	state := p.recovery.State()
	for _, name := range p.cfg.Disks {
		if name == "all" {
			for _, n := range state.Nodes() {
				kept[n.ID] = true
			}
			continue
		}
		id, err := strconv.ParseInt(name, 10, 32)
		if err != nil || state.Node(meta.NodeID(id)) == nil {
			return nil, fmt.Errorf("keep disk %q: want the number of a node, or all", name)
		}
		kept[meta.NodeID(id)] = true
	}
	for _, n := range state.Nodes() {
		if disk := hex.EncodeToString(n.DiskID[:]); slices.Contains(p.next.Disks, disk) {
			kept[n.ID] = true // a hot log that was read
		} else if kept[n.ID] {
			p.next.Disks = append(p.next.Disks, disk)
		}
	}
	p.Report.Disks = p.next.Disks
	return kept, nil
}

// conclude says what the result is, and what cannot be had.
func (p *Plan) conclude(found *salvage.Found) (err error) {
	if p.state, err = p.finish(); err != nil {
		return err
	}
	r := &p.Report
	r.Snapshot, r.Unused = found.Snapshot, found.Unused
	for _, d := range found.Damaged {
		where := d.Key
		if where == "" {
			where = "metadata log"
		}
		p.damaged(where, d.Err)
	}
	r.Topics, r.Partitions, r.Groups = len(p.state.Topics()), p.state.PartitionCount(), len(p.state.Groups())
	switch {
	case r.Seq == 0 && r.Topics == 0:
		return fmt.Errorf("bucket %s: %w: it holds neither metadata nor segments", p.cfg.Store, ErrNothing)
	case r.Seq == 0:
		r.Missing = append(r.Missing, missingBehind(0, 0)...)
	case r.Seq+1 < found.End || found.Unused > 0:
		// Entries, snapshots or traces of them are known from further on: whatever the log was about may be of before, or gone.
		r.Missing = append(r.Missing, missingBehind(r.Seq, found.End-1)...)
	default:
		r.Missing = append(r.Missing, fmt.Sprintf("what the log held behind entry %d and the bucket does not show: mostly its last second of group offsets, settings and, "+
			"of topics with varve.durability=local, records", r.Seq))
	}
	return nil
}
