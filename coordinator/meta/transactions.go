package meta

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/varvelog/varve/coordinator/metapb"
)

// MaxTransactionalIDs bounds the transactional ids that are remembered.
const MaxTransactionalIDs = 1 << 20

const (
	noEpoch      = -1
	noProducerID = -1
	// lastUsableEpoch: a producer is not given an epoch above it, so that there is always one left to fence it with.
	lastUsableEpoch = math.MaxInt16 - 1
)

// TransactionState is where a transactional id's transaction is. As its end is one command there is nothing between Ongoing and
// the complete ones.
type TransactionState uint8

// The states, with the numbers of the snapshot.
const (
	TransactionEmpty TransactionState = iota
	TransactionOngoing
	TransactionCommitted
	TransactionAborted
)

// String is Kafka's name of the state.
func (t TransactionState) String() string {
	return [...]string{"Empty", "Ongoing", "CompleteCommit", "CompleteAbort"}[t&3]
}

// transaction is what is known of a transactional id.
type transaction struct {
	id                 string
	producerID         int64
	epoch              int16
	previousProducerID int64 // before the epochs of it were used up, -1 for none
	lastEpoch          int16 // the one before, where the producer itself asked for the present one; -1 for none
	timeoutMillis      int32
	state              TransactionState
	startMillis        int64
	updateMillis       int64
	bumped             bool // the last end has given the producer its next epoch (KIP-890)

	partitions map[*Partition]int64 // the first offset written in each, -1 for none yet
	groups     map[string]struct{}  // their offsets to come are in Group.pending
}

// beginIfNone begins a transaction unless one is open.
func (a *applier) beginIfNone(t *transaction) {
	if t.state == TransactionOngoing {
		return
	}
	t.state, t.startMillis, t.updateMillis = TransactionOngoing, a.timeMillis, a.timeMillis
	a.dueBy(t.dueMillis(&a.cluster))
}

// dueMillis is when the open transaction times out, or the id that has none is forgotten.
func (t *transaction) dueMillis(config *ClusterConfig) int64 {
	if t.state == TransactionOngoing {
		return addMillis(t.startMillis, int64(t.timeoutMillis))
	}
	return addMillis(t.updateMillis, config.TransactionalIDExpirationMillis)
}

// initTransactionalProducer follows Kafka's TransactionCoordinator, but aborts an open transaction at once where Kafka has the client
// come again.
func (a *applier) initTransactionalProducer(c *metapb.InitTransactionalProducer) Verdict {
	switch {
	case c.TransactionalId == "":
		return refuse(Malformed, "an empty transactional id")
	case c.TimeoutMillis <= 0 || int64(c.TimeoutMillis) > a.cluster.TransactionMaxTimeoutMillis:
		return Verdict{Code: InvalidTransactionTimeout}
	}
	t := a.transactions[c.TransactionalId]
	if t == nil {
		return a.newTransactionalID(c)
	}
	expects, expected := c.ExpectedProducerId >= 0, int16(c.ExpectedProducerEpoch)
	current := !expects || c.ExpectedProducerId == t.producerID && expected == t.epoch
	known := c.ExpectedProducerId == t.producerID || c.ExpectedProducerId == t.previousProducerID && expected >= lastUsableEpoch
	if expects && !known || t.state == TransactionOngoing && !current {
		return Verdict{Code: ProducerFenced}
	}
	last := int16(noEpoch)
	if expects {
		last = t.epoch
	}
	if t.state == TransactionOngoing {
		a.fence(t)
	}
	switch {
	case current && t.epoch >= lastUsableEpoch:
		a.rotateProducerID(t)
		t.lastEpoch = last
	case current:
		t.epoch, t.lastEpoch = t.epoch+1, last
	case expected != t.lastEpoch: // else a repeat, whose answer was lost
		return Verdict{Code: ProducerFenced}
	}
	t.state, t.timeoutMillis, t.updateMillis, t.bumped = TransactionEmpty, c.TimeoutMillis, a.timeMillis, false
	a.dueBy(t.dueMillis(&a.cluster))
	return t.verdict()
}

func (a *applier) newTransactionalID(c *metapb.InitTransactionalProducer) Verdict {
	if len(a.transactions) >= MaxTransactionalIDs {
		return refuse(PolicyViolation, "The cluster remembers %d transactional ids and is bounded to that.", MaxTransactionalIDs)
	}
	t := &transaction{
		id: c.TransactionalId, producerID: a.nextProducerID, previousProducerID: noProducerID, lastEpoch: noEpoch,
		timeoutMillis: c.TimeoutMillis, updateMillis: a.timeMillis,
	}
	a.nextProducerID++
	a.addTransaction(t)
	a.dueBy(t.dueMillis(&a.cluster))
	return t.verdict()
}

func (s *State) addTransaction(t *transaction) {
	t.partitions, t.groups = map[*Partition]int64{}, map[string]struct{}{}
	s.transactions[t.id] = t
	s.transactionOf[t.producerID] = t
}

func (t *transaction) verdict() Verdict {
	return Verdict{ProducerID: t.producerID, ProducerEpoch: t.epoch}
}

// rotateProducerID goes on with a fresh producer id: the epochs of the old one are used up.
func (a *applier) rotateProducerID(t *transaction) {
	delete(a.transactionOf, t.producerID)
	t.previousProducerID, t.producerID, t.epoch, t.lastEpoch = t.producerID, a.nextProducerID, 0, noEpoch
	a.nextProducerID++
	a.transactionOf[t.producerID] = t
}

// fence aborts the open transaction under an epoch that its producer does not know.
func (a *applier) fence(t *transaction) {
	t.epoch = min(t.epoch, lastUsableEpoch) + 1
	t.lastEpoch, t.bumped = noEpoch, false
	a.complete(t, false)
}

// complete writes the markers, under the transaction's epoch, and gives the groups their offsets.
func (a *applier) complete(t *transaction, commit bool) {
	m := TransactionMarker{
		ProducerID: t.producerID, ProducerEpoch: t.epoch, Commit: commit, TimestampMillis: a.timeMillis, CoordinatorEpoch: int32(a.leader.epoch),
	}
	for p, first := range t.partitions {
		a.mark(p, m, first)
	}
	for name := range t.groups {
		a.endPendingOffsets(name, t.producerID, commit)
	}
	clear(t.partitions)
	clear(t.groups)
	t.updateMillis = a.timeMillis
	t.state = TransactionAborted
	if commit {
		t.state = TransactionCommitted
	}
	a.dueBy(t.dueMillis(&a.cluster))
}

// speaksFor judges whether a producer is the present one of a transactional id.
func (s *State) speaksFor(id string, producerID int64, epoch int32) (*transaction, Code) {
	t := s.transactions[id]
	switch {
	case t == nil || t.producerID != producerID:
		return nil, InvalidProducerIDMapping
	case int32(t.epoch) != epoch:
		return nil, ProducerFenced
	}
	return t, OK
}

func (a *applier) addToTransaction(c *metapb.AddToTransaction) Verdict {
	t, code := a.speaksFor(c.TransactionalId, c.ProducerId, c.ProducerEpoch)
	if code != OK {
		return Verdict{Code: code}
	}
	var added []*Partition
	for _, asked := range c.Topics {
		topic := a.topicOf(asked.GetTopicId())
		for _, index := range asked.GetPartitions() {
			if topic == nil || topic.Partition(index) == nil {
				return Verdict{Code: UnknownTopic}
			}
			added = append(added, topic.Partition(index))
		}
	}
	a.beginIfNone(t)
	for _, p := range added {
		if _, known := t.partitions[p]; !known {
			t.partitions[p] = -1
		}
	}
	for _, g := range c.Groups {
		t.groups[g] = struct{}{}
	}
	return Verdict{}
}

// endTransaction follows Kafka's TransactionCoordinator, with and without KIP-890's bump of the epoch.
func (a *applier) endTransaction(c *metapb.EndTransaction) Verdict {
	t := a.transactions[c.TransactionalId]
	switch {
	case t == nil:
		return Verdict{Code: InvalidProducerIDMapping}
	case c.Fences:
		return a.endByForce(t, c)
	case !c.BumpsEpoch:
		return a.endKeepingEpoch(t, c)
	}
	epoch := int16(c.ProducerEpoch)
	// The answer to the first attempt was lost: the producer does not know its next epoch yet.
	overflown := t.bumped && t.previousProducerID == c.ProducerId && epoch == lastUsableEpoch && t.epoch == 0
	repeat := overflown || t.bumped && t.producerID == c.ProducerId && t.epoch == epoch+1
	complete := t.state == TransactionCommitted || t.state == TransactionAborted
	switch {
	case t.producerID != c.ProducerId && !overflown:
		return Verdict{Code: InvalidProducerIDMapping}
	case epoch != t.epoch && !(complete && repeat):
		return Verdict{Code: ProducerFenced}
	case repeat && c.Commit == (t.state == TransactionCommitted):
		return t.verdict()
	case t.state != TransactionOngoing && (repeat || c.Commit):
		return Verdict{Code: InvalidTransactionState}
	}
	// An abort of nothing bumps the epoch too.
	exhausted := t.epoch >= lastUsableEpoch
	t.lastEpoch = t.epoch
	t.epoch = min(t.epoch, lastUsableEpoch) + 1
	a.complete(t, c.Commit)
	if exhausted {
		a.rotateProducerID(t)
	}
	t.bumped = true
	return t.verdict()
}

// endKeepingEpoch is EndTxn before KIP-890.
func (a *applier) endKeepingEpoch(t *transaction, c *metapb.EndTransaction) Verdict {
	if _, code := a.speaksFor(t.id, c.ProducerId, c.ProducerEpoch); code != OK {
		return Verdict{Code: code}
	}
	switch {
	case t.state == TransactionOngoing:
		a.complete(t, c.Commit)
		t.bumped = false
	case t.state == TransactionEmpty, c.Commit != (t.state == TransactionCommitted):
		return Verdict{Code: InvalidTransactionState}
	}
	return t.verdict()
}

// endByForce aborts for an administrator, whom an epoch above the producer's does not stop.
func (a *applier) endByForce(t *transaction, c *metapb.EndTransaction) Verdict {
	switch {
	case t.producerID != c.ProducerId:
		return Verdict{Code: InvalidProducerIDMapping}
	case c.ProducerEpoch < int32(t.epoch):
		return Verdict{Code: InvalidProducerEpoch}
	case c.Commit:
		return Verdict{Code: InvalidTransactionState}
	case t.state == TransactionOngoing:
		a.fence(t)
	}
	return t.verdict()
}

// tickTransactions aborts those whose time is over, and forgets ids that were not used for long. It goes in order of ids: markers
// of one partition take their offsets in it.
func (a *applier) tickTransactions() {
	var due []*transaction
	for _, t := range a.transactions {
		if t.dueMillis(&a.cluster) <= a.timeMillis {
			due = append(due, t)
		}
	}
	slices.SortFunc(due, compareTransaction)
	for _, t := range due {
		if t.state == TransactionOngoing {
			a.fence(t)
			continue
		}
		delete(a.transactions, t.id)
		delete(a.transactionOf, t.producerID)
	}
}

func compareTransaction(x, y *transaction) int { return cmp.Compare(x.id, y.id) }

// leaveTransactions takes the partitions of a topic that is no more out of the open transactions. It goes through the transactional ids once, whatever the number of
// partitions: there may be very many of both, and everybody who follows the log waits meanwhile.
func (a *applier) leaveTransactions(topic *Topic) {
	for _, p := range topic.partitions {
		before := p.LastStableOffset()
		p.open = nil
		a.settle(p, before)
	}
	for _, t := range a.transactions {
		for p := range t.partitions {
			if p.topic == topic {
				delete(t.partitions, p)
			}
		}
	}
}

// Transaction is a view of a transactional id.
type Transaction struct {
	ID            string
	ProducerID    int64
	ProducerEpoch int16
	State         TransactionState
	TimeoutMillis int32
	StartMillis   int64 // of the open transaction, -1 where none is open
	UpdateMillis  int64
	Partitions    []TopicPartition // of the open transaction, in order; the caller's
	Groups        []string         // likewise
}

// Transaction is what is known of a transactional id, false for nothing.
func (s *State) Transaction(id string) (Transaction, bool) {
	t := s.transactions[id]
	if t == nil {
		return Transaction{}, false
	}
	v := t.view()
	for p := range t.partitions {
		v.Partitions = append(v.Partitions, TopicPartition{p.topic.ID, p.index})
	}
	slices.SortFunc(v.Partitions, compareTopicPartition)
	v.Groups = slices.Sorted(maps.Keys(t.groups))
	return v, true
}

// TransactionOf is the transactional id that a producer id belongs to, empty for none.
func (s *State) TransactionOf(producerID int64) string {
	if t := s.transactionOf[producerID]; t != nil {
		return t.id
	}
	return ""
}

// InTransaction says whether the partition is one of the producer's open transaction (KIP-890's verification), else why not.
func (s *State) InTransaction(id string, producerID int64, epoch int32, tp TopicPartition) Code {
	t, code := s.speaksFor(id, producerID, epoch)
	if code != OK {
		return code
	}
	if p := s.Partition(tp); p != nil && t.state == TransactionOngoing {
		if _, in := t.partitions[p]; in {
			return OK
		}
	}
	return InvalidTransactionState
}

// Transactions calls yield for every transactional id, in order, until it answers false. The views lack Partitions and Groups.
func (s *State) Transactions(yield func(Transaction) bool) {
	for _, t := range s.transactionsInOrder() {
		if !yield(t.view()) {
			return
		}
	}
}

func (s *State) transactionsInOrder() []*transaction {
	return slices.SortedFunc(maps.Values(s.transactions), compareTransaction)
}

func (t *transaction) view() Transaction {
	v := Transaction{
		ID: t.id, ProducerID: t.producerID, ProducerEpoch: t.epoch, State: t.state, TimeoutMillis: t.timeoutMillis,
		StartMillis: -1, UpdateMillis: t.updateMillis,
	}
	if t.state == TransactionOngoing {
		v.StartMillis = t.startMillis
	}
	return v
}
