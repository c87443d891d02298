package group

import (
	"regexp"
	"slices"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
)

// The member epochs that say something else than how far a member is.
const (
	epochJoin       = 0
	epochLeave      = -1
	epochAwayStatic = -2 // a static member that is restarted; its place is kept for as long as its session lasts
)

// consumerMember is one member of a ConsumerGroup. The times are the ends of what it was given; zero where nothing runs.
type consumerMember struct {
	id               string
	instanceID       string // empty for a dynamic member
	rackID           string
	clientID         string
	clientHost       string
	rebalanceTimeout time.Duration
	assignor         string
	topics           []string // in order
	regex            string
	pattern          *regexp.Regexp // nil where regex is empty
	classic          *classicPart   // of a member that uses the classic protocol

	wanted []string // topics and what the regex matches, in order; as of the group's catalog

	epoch         int32
	previousEpoch int32
	state         metapb.ConsumerMemberState
	assigned      assignment
	revoking      assignment // it was told to give these up
	target        assignment

	sessionEnds   time.Time // by then it must have been heard of
	rebalanceEnds time.Time // by then it must have given up what it was told to
	joinEnds      time.Time // of a classic member that was told to join again
	syncEnds      time.Time // of a classic member that has joined
}

// classicPart is what a member that uses the classic protocol has besides.
type classicPart struct {
	session   time.Duration
	protocols []*metapb.GroupProtocol
}

func (m *consumerMember) isStatic() bool { return m.instanceID != "" }

// isSettled says that the member has its target.
func (m *consumerMember) isSettled(targetEpoch int32) bool {
	return m.state == metapb.ConsumerMemberState_CONSUMER_MEMBER_STABLE && m.epoch == targetEpoch
}

func (m *consumerMember) session(group time.Duration) time.Duration {
	if m.classic != nil {
		return m.classic.session
	}
	return group
}

// resolve brings wanted up to the catalog.
func (m *consumerMember) resolve(topics *catalog) {
	if m.pattern == nil {
		m.wanted = m.topics
		return
	}
	wanted := slices.Clone(m.topics)
	for _, name := range topics.names {
		if m.pattern.MatchString(name) {
			wanted = append(wanted, name)
		}
	}
	slices.Sort(wanted)
	m.wanted = slices.Compact(wanted)
}

// compileTopicRegex compiles an expression that has to match whole names (RE2 syntax). Nil for the empty one.
func compileTopicRegex(regex string) (*regexp.Regexp, error) {
	if regex == "" {
		return nil, nil
	}
	if _, err := regexp.Compile(regex); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + regex + `)\z`)
}

func (m *consumerMember) subscription() *metapb.ConsumerSubscription {
	s := &metapb.ConsumerSubscription{
		InstanceId: m.instanceID, RackId: m.rackID, ClientId: m.clientID, ClientHost: m.clientHost,
		RebalanceTimeoutMillis: int32(m.rebalanceTimeout.Milliseconds()), ServerAssignor: m.assignor, Topics: m.topics, TopicRegex: m.regex,
	}
	if m.classic != nil {
		s.Classic = &metapb.ConsumerClassicMember{SessionTimeoutMillis: int32(m.classic.session.Milliseconds())}
		for _, p := range m.classic.protocols {
			s.Classic.Protocols = append(s.Classic.Protocols, &metapb.ConsumerClassicProtocol{Name: p.Name, Metadata: p.Metadata})
		}
	}
	return s
}

func (m *consumerMember) current() *metapb.ConsumerCurrent {
	return &metapb.ConsumerCurrent{
		Epoch: m.epoch, PreviousEpoch: m.previousEpoch, State: m.state, Assigned: m.assigned.proto(), Revoking: m.revoking.proto(),
	}
}

// restoreConsumerMember is the member as it was stored.
func restoreConsumerMember(stored *metapb.ConsumerMember) *consumerMember {
	s, c := stored.GetSubscription(), stored.GetCurrent()
	m := &consumerMember{
		id: stored.MemberId, instanceID: s.GetInstanceId(), rackID: s.GetRackId(), clientID: s.GetClientId(), clientHost: s.GetClientHost(),
		rebalanceTimeout: time.Duration(s.GetRebalanceTimeoutMillis()) * time.Millisecond, assignor: s.GetServerAssignor(),
		topics: s.GetTopics(), regex: s.GetTopicRegex(),
		epoch: c.GetEpoch(), previousEpoch: c.GetPreviousEpoch(), state: c.GetState(),
		assigned: assignmentOf(c.GetAssigned()), revoking: assignmentOf(c.GetRevoking()), target: assignmentOf(stored.GetTarget()),
	}
	m.pattern, _ = compileTopicRegex(m.regex) // it compiled when the member joined
	if classic := s.GetClassic(); classic != nil {
		m.classic = &classicPart{session: time.Duration(classic.SessionTimeoutMillis) * time.Millisecond}
		for _, p := range classic.Protocols {
			m.classic.protocols = append(m.classic.protocols, &metapb.GroupProtocol{Name: p.GetName(), Metadata: p.GetMetadata()})
		}
	}
	return m
}
