package meta

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// EntryFormat is the format of entries this build reads and writes.
const EntryFormat = 1

// What can make Apply refuse an entry. The state is unchanged then, and the log is not one this build can follow.
var (
	ErrSequence     = errors.New("meta: entry out of sequence")
	ErrForeignLog   = errors.New("meta: entry of another log")
	ErrFormat       = errors.New("meta: unsupported format")
	ErrFeatureLevel = errors.New("meta: unsupported feature level")
	ErrCorrupt      = errors.New("meta: corrupt")
	ErrRecovered    = errors.New("meta: the snapshot of a recovery is missing")
)

// State is the state after one entry of the log. Views that its read methods return are valid until the next Apply, and not to be
// changed.
type State struct {
	logID       [16]byte
	seq         uint64
	timeMillis  int64
	voidEntries uint64
	leader      leaderInfo
	pending     frames

	nextProducerID int64
	nextContainer  ContainerID
	nextJob        JobID

	topics         map[TopicID]*Topic
	topicsByName   map[string]*Topic
	topicOrder     []*Topic // by name
	partitions     []*Partition
	freePartitions []uint32

	nodes      []*Node // by id
	nextNode   NodeID
	nodeByDisk map[[16]byte]*Node
	// nodeEpochFloor is what the epochs of new nodes begin above: a recovery does not know which epochs were given before it.
	nodeEpochFloor uint64

	containers map[ContainerID]*container
	// oldestContainer and newestContainer are the ends of the list of all containers, by id.
	oldestContainer, newestContainer *container
	containerSlots                   []*container
	freeSlots                        []uint32
	hot                              map[hotKeys]*container
	files                            map[hotKey][]*container // by each hot segment they are in
	chunks                           map[ChunkID]*container

	objects     map[SegmentID]*object
	garbage     []Garbage // in order of becoming garbage
	garbageKeys map[string]struct{}

	groups  map[string]*Group
	configs map[configKey]map[string]string
	cluster ClusterConfig
	quotas  *ClientQuotas // derived from configs
	jobs    map[JobID]*job

	transactions  map[string]*transaction // by transactional id
	transactionOf map[int64]*transaction  // by present producer id

	lastRetentionMillis int64
	topicsSeq           uint64 // see TopicsSeq

	commit commitScratch
	// dueMillis is a lower bound of when a Tick is next due. It is a cache, no part of the state.
	dueMillis atomic.Int64
}

type leaderInfo struct {
	epoch        uint64
	address      string
	name         string
	featureLevel uint32
}

// New is the state before the first entry of the log.
func New(logID [16]byte) *State {
	return &State{
		logID: logID, nextProducerID: 1, nextContainer: 1, nextJob: 1, nextNode: 1,
		topics: map[TopicID]*Topic{}, topicsByName: map[string]*Topic{},
		nodeByDisk: map[[16]byte]*Node{},
		containers: map[ContainerID]*container{}, hot: map[hotKeys]*container{}, files: map[hotKey][]*container{}, chunks: map[ChunkID]*container{},
		objects: map[SegmentID]*object{}, garbageKeys: map[string]struct{}{},
		groups: map[string]*Group{}, configs: map[configKey]map[string]string{}, cluster: defaultClusterConfig(),
		jobs: map[JobID]*job{}, transactions: map[string]*transaction{}, transactionOf: map[int64]*transaction{},
	}
}

// Seq is the sequence number of the last entry applied, 0 before the first.
func (s *State) Seq() uint64 { return s.seq }

// TopicsSeq moves when topics or their partitions may have changed; it is at least the sequence at which they last did.
func (s *State) TopicsSeq() uint64 { return s.topicsSeq }

// LogID is the identity of the log this is the state of.
func (s *State) LogID() [16]byte { return s.logID }

// TimeMillis is the state time.
func (s *State) TimeMillis() int64 { return s.timeMillis }

// LeaderEpoch is the epoch of the latest LeaderStart, 0 before the first.
func (s *State) LeaderEpoch() uint64 { return s.leader.epoch }

// LeaderAddress is the internal address that the latest LeaderStart named.
func (s *State) LeaderAddress() string { return s.leader.address }

// LeaderName is the name for people that the latest LeaderStart gave.
func (s *State) LeaderName() string { return s.leader.name }

// VoidEntries counts the entries of succeeded leaders that were void.
func (s *State) VoidEntries() uint64 { return s.voidEntries }

// Apply applies the entry at seq, which must be the one after Seq. obs may be nil. On an error the state is unchanged, and the log
// cannot be followed by this build. The entry must not be changed afterwards: the state keeps parts of it.
func (s *State) Apply(seq uint64, e *metapb.Entry, obs Observer) error {
	if err := s.admit(seq, e); err != nil {
		return fmt.Errorf("apply entry %d: %w", seq, err)
	}
	a := applier{State: s, obs: obs}
	s.seq = seq
	if !s.current(e) {
		s.voidEntries++
		for _, c := range e.Commands {
			a.verdict(c.GetId(), Verdict{Code: StaleLeader})
			if chunk := c.GetCommitChunk(); chunk != nil {
				a.chunkVerdict(chunk, &ChunkVerdict{Code: StaleLeader})
			}
		}
		return nil
	}
	s.timeMillis = max(s.timeMillis, e.TimeMillis)
	for i, c := range e.Commands {
		a.apply(c, i == 0)
	}
	return nil
}

// admit checks what a leader of any epoch gets right.
func (s *State) admit(seq uint64, e *metapb.Entry) error {
	switch {
	case e.GetFormat() != EntryFormat:
		return fmt.Errorf("%w: entry format %d, this build reads %d", ErrFormat, e.GetFormat(), EntryFormat)
	case string(e.LogId) != string(s.logID[:]):
		return fmt.Errorf("%w: %x, not %x", ErrForeignLog, e.LogId, s.logID)
	case seq != s.seq+1:
		return fmt.Errorf("%w: the state is at %d", ErrSequence, s.seq)
	}
	for _, c := range e.Commands {
		if c.GetRecovered() != nil {
			return fmt.Errorf("%w: the log begins with a recovery, whose result is in the snapshot of this entry alone", ErrRecovered)
		}
	}
	return s.admitLevel(e)
}

// current says whether the entry's leader is the present one, or begins its epoch with this entry.
func (s *State) current(e *metapb.Entry) bool {
	if len(e.Commands) > 0 {
		if l := e.Commands[0].GetLeaderStart(); l != nil {
			return l.Epoch == e.LeaderEpoch && l.Epoch > s.leader.epoch
		}
	}
	return e.LeaderEpoch == s.leader.epoch
}

// applier is one Apply: the state and who watches.
type applier struct {
	*State
	obs Observer
	// recovering: what is there is taken, at whatever durability, but for what elsewhere tells of. holder is the node on whose disk a chunk was
	// found, nil for none.
	recovering bool
	elsewhere  Elsewhere
	endings    *endings // that were adopted
	holder     *Node
	// precedes says whether a batch that precedes what its producer has sent to a partition may have been acknowledged, and takes it for that.
	precedes func(p *Partition, d *chunk.Detail) bool
	// noteStored notes a batch that is in a segment, isSeen says whether one is there that the partition may not remember. Both are a recovery's.
	noteStored func(p *Partition, d *chunk.Detail)
	isSeen     func(p *Partition, d *chunk.Detail) bool
}

func (a *applier) verdict(id []byte, v Verdict) {
	if a.obs != nil && len(id) > 0 && a.obs.Wants(id) {
		a.obs.Verdict(id, v)
	}
}

func (a *applier) chunkVerdict(c *metapb.CommitChunk, v *ChunkVerdict) {
	if a.obs != nil && a.obs.WantsChunks(NodeID(c.NodeId), c.NodeEpoch) {
		a.obs.ChunkVerdict(c, v)
	}
}

func (a *applier) changed(k ChangeKind) {
	if k == ChangedTopics {
		a.topicsSeq = a.seq
	}
	if a.obs != nil {
		a.obs.Changed(k)
	}
}

// refuse makes a verdict with a message.
func refuse(code Code, format string, args ...any) Verdict {
	return Verdict{Code: code, Message: fmt.Sprintf(format, args...)}
}
