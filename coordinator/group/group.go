package group

import (
	"slices"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
)

// State is where a group stands in the protocol; the names are Kafka's.
type State uint8

// The states.
const (
	Empty State = iota
	PreparingRebalance
	CompletingRebalance
	Stable
	Dead
)

func (s State) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}[s]
}

const noGeneration = -1

// member is one member of a group. The times are the ends of what it was given; zero where nothing runs.
type member struct {
	id               string
	instanceID       *string
	clientID         string
	clientHost       string
	sessionTimeout   time.Duration
	rebalanceTimeout time.Duration
	protocols        []*metapb.GroupProtocol
	assignment       []byte
	held             []byte // its last assignment that was in the log: until it has another it may go on with that

	sessionEnds time.Time // by then it must have been heard of
	onJoin      func(*metapb.GroupJoinResponse)
	onSync      func(*metapb.GroupSyncResponse)
	isSynced    bool // has asked for its assignment in this generation
}

func (m *member) awaitsJoin() bool { return m.onJoin != nil }

func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

func (m *member) supports(protocol string) bool {
	return slices.ContainsFunc(m.protocols, func(p *metapb.GroupProtocol) bool { return p.Name == protocol })
}

// answerJoin answers a waiting join, if there is one.
func (m *member) answerJoin(r *metapb.GroupJoinResponse) {
	if answer := m.onJoin; answer != nil {
		m.onJoin = nil
		answer(r)
	}
}

func (m *member) answerSync(r *metapb.GroupSyncResponse) {
	if answer := m.onSync; answer != nil {
		m.onSync = nil
		answer(r)
	}
}

// Group is one group under the classic protocol. It is not safe for concurrent use; Coordinator guards it. Answers are given
// through callbacks, during the call or in a later one.
type Group struct {
	name   string
	limits Limits
	newID  func(clientID string) string
	// store asks for the group to be stored. done is nil or told the outcome, and Stored is in any case.
	store func(s *metapb.StoreGroup, done func(now time.Time, ok bool))

	state        State
	generation   int32
	protocolType string
	protocol     string
	leader       string
	members      []*member            // in order of joining
	static       map[string]string    // instance id → member id
	pending      map[string]time.Time // ids given out and not yet joined with, and until when

	joinEnds  time.Time // of the rebalance that is being prepared: by then members have joined or are out
	joinOpens time.Time // not before this, so that members who start together meet
	syncEnds  time.Time // by then members have asked for their assignments or are out; zero where all have
	storing   bool      // the assignments of this generation are on their way into the log
}

func newGroup(name string, limits Limits, newID func(string) string, store func(*metapb.StoreGroup, func(time.Time, bool))) *Group {
	return &Group{name: name, limits: limits, newID: newID, store: store, static: map[string]string{}, pending: map[string]time.Time{}, generation: 0}
}

// restore takes the group's durable part; every member gets a new session.
func (g *Group) restore(now time.Time, stored *metapb.StoreGroup) {
	g.generation, g.protocolType, g.protocol, g.leader = stored.Generation, stored.ProtocolType, stored.Protocol, stored.Leader
	for _, s := range stored.Members {
		m := &member{
			id: s.MemberId, clientID: s.ClientId, clientHost: s.ClientHost, protocols: s.Protocols, assignment: s.Assignment, held: s.Assignment,
			sessionTimeout:   time.Duration(s.SessionTimeoutMillis) * time.Millisecond,
			rebalanceTimeout: time.Duration(s.RebalanceTimeoutMillis) * time.Millisecond,
			isSynced:         true,
		}
		if s.InstanceId != "" {
			instance := s.InstanceId
			m.instanceID = &instance
			g.static[instance] = m.id
		}
		m.sessionEnds = now.Add(m.sessionTimeout)
		g.members = append(g.members, m)
	}
	if len(g.members) > 0 {
		g.state = Stable
	}
}

// stored is the group's durable part as of now.
func (g *Group) stored(now time.Time, assignments map[string][]byte) *metapb.StoreGroup {
	s := &metapb.StoreGroup{
		Group: g.name, Kind: "classic", ProtocolType: g.protocolType, Protocol: g.protocol, Generation: g.generation,
		Leader: g.leader, StateSinceMillis: now.UnixMilli(),
	}
	for _, m := range g.members {
		kept := &metapb.GroupMember{
			MemberId: m.id, ClientId: m.clientID, ClientHost: m.clientHost, Protocols: m.protocols, Assignment: assignments[m.id],
			SessionTimeoutMillis: int32(m.sessionTimeout.Milliseconds()), RebalanceTimeoutMillis: int32(m.rebalanceTimeout.Milliseconds()),
		}
		if m.instanceID != nil {
			kept.InstanceId = *m.instanceID
		}
		s.Members = append(s.Members, kept)
	}
	s.SubscribedTopics, s.KnowsSubscriptions = g.subscribedTopics()
	return s
}

// subscribedTopics are the topics that the members want, in order; known is false where not all of them say so.
func (g *Group) subscribedTopics() (topics []string, known bool) {
	if g.protocolType != consumerProtocol || len(g.members) == 0 {
		return nil, false
	}
	for _, m := range g.members {
		s, readable := readSubscription(m.metadata(g.protocol))
		if !readable {
			return nil, false
		}
		topics = append(topics, s.Topics...)
	}
	return sortedNames(topics), true
}

func (g *Group) assignments() map[string][]byte {
	all := make(map[string][]byte, len(g.members))
	for _, m := range g.members {
		all[m.id] = m.assignment
	}
	return all
}

func (g *Group) member(id string) *member {
	for _, m := range g.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

// find returns the member a request speaks for, or why it does not speak for one.
func (g *Group) find(id string, instanceID *string) (*member, metapb.GroupCode) {
	if instanceID != nil {
		current, known := g.static[*instanceID]
		switch {
		case !known:
			return nil, metapb.GroupCode_GROUP_UNKNOWN_MEMBER
		case current != id:
			return nil, metapb.GroupCode_GROUP_FENCED_INSTANCE
		}
	}
	m := g.member(id)
	if m == nil {
		return nil, metapb.GroupCode_GROUP_UNKNOWN_MEMBER
	}
	return m, metapb.GroupCode_GROUP_OK
}

// prepareRebalance asks all members to join again. Members who wait for assignments are told at once.
func (g *Group) prepareRebalance(now time.Time) {
	if g.state == CompletingRebalance {
		for _, m := range g.members {
			m.assignment = nil
			m.answerSync(&metapb.GroupSyncResponse{Code: metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS})
		}
	}
	initial := g.state == Empty
	g.state, g.storing, g.syncEnds = PreparingRebalance, false, time.Time{}
	g.joinOpens = time.Time{}
	if initial {
		g.joinOpens = now.Add(g.limits.InitialDelay)
	}
	g.joinEnds = now.Add(g.longestRebalance())
}

func (g *Group) longestRebalance() time.Duration {
	var longest time.Duration
	for _, m := range g.members {
		longest = max(longest, m.rebalanceTimeout)
	}
	return longest
}

// remove takes a member out of the group and lets the rest go on without it.
func (g *Group) remove(now time.Time, m *member, code metapb.GroupCode) {
	m.answerJoin(&metapb.GroupJoinResponse{Code: code, MemberId: m.id, Generation: noGeneration})
	m.answerSync(&metapb.GroupSyncResponse{Code: code})
	g.members = slices.DeleteFunc(g.members, func(other *member) bool { return other == m })
	if m.instanceID != nil && g.static[*m.instanceID] == m.id {
		delete(g.static, *m.instanceID)
	}
	if g.leader == m.id {
		g.leader = ""
	}
	switch g.state {
	case Stable, CompletingRebalance:
		g.prepareRebalance(now)
		g.tryCompleteJoin(now)
	case PreparingRebalance:
		g.tryCompleteJoin(now)
	}
}

// NextDeadline is when Advance has something to do; zero for never.
func (g *Group) NextDeadline() time.Time {
	var next time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, m := range g.members {
		if !m.awaitsJoin() {
			earlier(m.sessionEnds)
		}
	}
	for _, ends := range g.pending {
		earlier(ends)
	}
	switch g.state {
	case PreparingRebalance:
		earlier(g.joinOpens)
		earlier(g.joinEnds)
	case CompletingRebalance, Stable:
		earlier(g.syncEnds)
	}
	return next
}

// Advance does what has come due: sessions end, joins and syncs run out of time.
func (g *Group) Advance(now time.Time) {
	due := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	for id, ends := range g.pending {
		if due(ends) {
			delete(g.pending, id)
		}
	}
	for _, m := range slices.Clone(g.members) {
		if !m.awaitsJoin() && due(m.sessionEnds) {
			g.remove(now, m, metapb.GroupCode_GROUP_UNKNOWN_MEMBER)
		}
	}
	switch g.state {
	case PreparingRebalance:
		if due(g.joinOpens) {
			g.joinOpens = time.Time{}
		}
		if due(g.joinEnds) {
			g.expireJoins(now)
			return
		}
		g.tryCompleteJoin(now)
	case CompletingRebalance, Stable:
		if due(g.syncEnds) && !g.storing {
			g.expireSyncs(now)
		}
	}
}

// expireJoins ends a rebalance for which some members were too late. Static members stay as long as their session lasts.
func (g *Group) expireJoins(now time.Time) {
	g.joinOpens = time.Time{}
	joined := false
	for _, m := range slices.Clone(g.members) {
		if !m.awaitsJoin() && m.instanceID == nil {
			g.members = slices.DeleteFunc(g.members, func(other *member) bool { return other == m })
			continue
		}
		joined = joined || m.awaitsJoin()
	}
	if !joined && len(g.members) > 0 {
		g.joinEnds = now.Add(g.longestRebalance()) // static members alone: wait for them
		return
	}
	g.completeJoin(now)
}

// expireSyncs ends a generation in which some members never asked for their assignment.
func (g *Group) expireSyncs(now time.Time) {
	g.syncEnds = time.Time{}
	for _, m := range slices.Clone(g.members) {
		if !m.isSynced {
			g.remove(now, m, metapb.GroupCode_GROUP_UNKNOWN_MEMBER)
		}
	}
	if g.state == CompletingRebalance { // all but the leader have asked, and it has not assigned
		g.prepareRebalance(now)
		g.tryCompleteJoin(now)
	}
}

// tryCompleteJoin ends the preparation once everybody has joined.
func (g *Group) tryCompleteJoin(now time.Time) {
	if g.state != PreparingRebalance || now.Before(g.joinOpens) || len(g.pending) > 0 {
		return
	}
	for _, m := range g.members {
		if !m.awaitsJoin() {
			return
		}
	}
	g.completeJoin(now)
}

// completeJoin begins a new generation with the members there are.
func (g *Group) completeJoin(now time.Time) {
	g.joinEnds, g.joinOpens = time.Time{}, time.Time{}
	g.generation++
	if len(g.members) == 0 {
		g.state, g.leader, g.protocol = Empty, "", ""
		g.store(g.stored(now, nil), nil)
		return
	}
	g.state = CompletingRebalance
	g.protocol = g.chooseProtocol()
	if leader := g.member(g.leader); leader == nil || !leader.awaitsJoin() {
		g.leader = g.firstJoined().id
	}
	g.syncEnds = now.Add(g.longestRebalance())
	for _, m := range g.members {
		m.assignment, m.isSynced = nil, false
		m.sessionEnds = now.Add(m.sessionTimeout)
		m.answerJoin(g.joined(m, false))
	}
}

func (g *Group) firstJoined() *member {
	for _, m := range g.members {
		if m.awaitsJoin() {
			return m
		}
	}
	return g.members[0]
}

// joined is the answer to a join that succeeded. The leader is told of all members.
func (g *Group) joined(m *member, skipAssignment bool) *metapb.GroupJoinResponse {
	r := &metapb.GroupJoinResponse{
		Generation: g.generation, ProtocolType: g.protocolType, Protocol: g.protocol, Leader: g.leader, MemberId: m.id,
		SkipAssignment: skipAssignment,
	}
	if m.id == g.leader {
		for _, other := range g.members {
			r.Members = append(r.Members, &metapb.GroupJoinMember{MemberId: other.id, InstanceId: other.instanceID, Metadata: other.metadata(g.protocol)})
		}
	}
	return r
}

// chooseProtocol lets every member vote for the first of its protocols that all support.
func (g *Group) chooseProtocol() string {
	votes := map[string]int{}
	var candidates []string
	for _, p := range g.members[0].protocols {
		if g.supported(p.Name) {
			candidates = append(candidates, p.Name)
		}
	}
	for _, m := range g.members {
		for _, p := range m.protocols {
			if slices.Contains(candidates, p.Name) {
				votes[p.Name]++
				break
			}
		}
	}
	best := ""
	for _, name := range candidates {
		if best == "" || votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

func (g *Group) supported(protocol string) bool {
	for _, m := range g.members {
		if !m.supports(protocol) {
			return false
		}
	}
	return true
}
