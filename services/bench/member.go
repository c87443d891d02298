package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	joinGroupVersion         = 9
	syncGroupVersion         = 5
	heartbeatVersion         = 4
	leaveGroupVersion        = 5
	consumerHeartbeatVersion = 1

	memberTimeout    = 45 * time.Second // of a session, and of a rebalance
	memberCallLimit  = 60 * time.Second
	rejoinsPerMember = 100
)

// member is one member of a group on a connection of its own, as bare as a client can be.
type member struct {
	net   net.Conn
	group string
	topic string
	id    string
	index int // among those of its group

	epoch int32 // the generation of a classic member
	owned map[[16]byte][]int32
	count int // of owned partitions

	nextID int32
	answer []byte
}

func newMember(ctx context.Context, addr, group, topic string, index int) (*member, error) {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to server: %w", err)
	}
	return &member{net: connection, group: group, topic: topic, index: index, owned: map[[16]byte][]int32{}}, nil
}

func (m *member) close() error { return m.net.Close() }

// call sends a request and decodes its answer.
func (m *member) call(request kmsg.Request, response kmsg.Response) error {
	if err := m.net.SetDeadline(time.Now().Add(memberCallLimit)); err != nil {
		return fmt.Errorf("call: %w", err)
	}
	m.nextID++
	if _, err := m.net.Write(formatter.AppendRequest(nil, request, m.nextID)); err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	answer, err := m.receive()
	if err != nil {
		return err
	}
	body, err := answerBody(answer, m.nextID, request.IsFlexible())
	if err != nil {
		return err
	}
	response.SetVersion(request.GetVersion())
	if err := response.ReadFrom(body); err != nil {
		return fmt.Errorf("decode answer to key %d: %w", request.Key(), err)
	}
	return nil
}

// receive returns the next answer, which is valid until the next call.
func (m *member) receive() ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(m.net, length[:]); err != nil {
		return nil, fmt.Errorf("receive answer: %w", err)
	}
	size := int(binary.BigEndian.Uint32(length[:]))
	if size > maxAnswerBytes {
		return nil, fmt.Errorf("receive answer: %d bytes", size)
	}
	m.answer = slices.Grow(m.answer[:0], size)[:size]
	if _, err := io.ReadFull(m.net, m.answer); err != nil {
		return nil, fmt.Errorf("receive answer: %w", err)
	}
	return m.answer, nil
}

// joinClassic joins and syncs until the member has an assignment in a generation that is complete.
func (m *member) joinClassic(partitions int32) error {
	for range rejoinsPerMember {
		joined, err := m.joinOnce()
		if err != nil {
			return err
		}
		if joined == nil {
			continue
		}
		done, err := m.syncClassic(joined, partitions)
		if err != nil || done {
			return err
		}
	}
	return fmt.Errorf("member of %s: no generation held", m.group)
}

// joinOnce returns nil where the member has to ask again.
func (m *member) joinOnce() (*kmsg.JoinGroupResponse, error) {
	request := kmsg.NewPtrJoinGroupRequest()
	request.Version, request.Group, request.MemberID, request.ProtocolType = joinGroupVersion, m.group, m.id, "consumer"
	request.SessionTimeoutMillis, request.RebalanceTimeoutMillis = int32(memberTimeout.Milliseconds()), int32(memberTimeout.Milliseconds())
	subscription := kmsg.NewConsumerMemberMetadata()
	subscription.Topics = []string{m.topic}
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "range", subscription.AppendTo(nil)
	request.Protocols = append(request.Protocols, protocol)
	response := kmsg.NewPtrJoinGroupResponse()
	if err := m.call(request, response); err != nil {
		return nil, fmt.Errorf("join %s: %w", m.group, err)
	}
	switch err := kerr.ErrorForCode(response.ErrorCode); {
	case errors.Is(err, kerr.MemberIDRequired):
		m.id = response.MemberID
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("join %s: %w", m.group, err)
	}
	m.id, m.epoch = response.MemberID, response.Generation
	return response, nil
}

func (m *member) syncClassic(joined *kmsg.JoinGroupResponse, partitions int32) (done bool, err error) {
	request := kmsg.NewPtrSyncGroupRequest()
	request.Version, request.Group, request.Generation, request.MemberID = syncGroupVersion, m.group, m.epoch, m.id
	request.ProtocolType, request.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	if joined.LeaderID == m.id {
		for i := range joined.Members {
			var mine []int32
			for p := int32(i); p < partitions; p += int32(len(joined.Members)) {
				mine = append(mine, p)
			}
			assignment := kmsg.NewConsumerMemberAssignment()
			assignment.Topics = []kmsg.ConsumerMemberAssignmentTopic{{Topic: m.topic, Partitions: mine}}
			request.GroupAssignment = append(request.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{
				MemberID: joined.Members[i].MemberID, MemberAssignment: assignment.AppendTo(nil),
			})
		}
	}
	response := kmsg.NewPtrSyncGroupResponse()
	if err := m.call(request, response); err != nil {
		return false, fmt.Errorf("sync %s: %w", m.group, err)
	}
	switch err := kerr.ErrorForCode(response.ErrorCode); {
	case errors.Is(err, kerr.RebalanceInProgress):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("sync %s: %w", m.group, err)
	}
	assignment := kmsg.NewConsumerMemberAssignment()
	if err := assignment.ReadFrom(response.MemberAssignment); err != nil {
		return false, fmt.Errorf("sync %s: %w", m.group, err)
	}
	m.count = 0
	for _, t := range assignment.Topics {
		m.count += len(t.Partitions)
	}
	return true, nil
}

// heartbeatFrame is the request with which a classic member stays in.
func (m *member) heartbeatFrame() frame {
	request := kmsg.NewPtrHeartbeatRequest()
	request.Version, request.Group, request.Generation, request.MemberID = heartbeatVersion, m.group, m.epoch, m.id
	return formatter.AppendRequest(nil, request, 0)
}

// beatClassic sends a heartbeat and tells whether the member has to join again.
func (m *member) beatClassic() (rejoin bool, err error) {
	request := kmsg.NewPtrHeartbeatRequest()
	request.Version, request.Group, request.Generation, request.MemberID = heartbeatVersion, m.group, m.epoch, m.id
	response := kmsg.NewPtrHeartbeatResponse()
	if err := m.call(request, response); err != nil {
		return false, fmt.Errorf("heartbeat to %s: %w", m.group, err)
	}
	err = kerr.ErrorForCode(response.ErrorCode)
	if errors.Is(err, kerr.RebalanceInProgress) {
		return true, nil
	}
	return false, err
}

func (m *member) leaveClassic() error {
	request := kmsg.NewPtrLeaveGroupRequest()
	request.Version, request.Group = leaveGroupVersion, m.group
	request.Members = []kmsg.LeaveGroupRequestMember{{MemberID: m.id}}
	response := kmsg.NewPtrLeaveGroupResponse()
	if err := m.call(request, response); err != nil {
		return fmt.Errorf("leave %s: %w", m.group, err)
	}
	return kerr.ErrorForCode(response.ErrorCode)
}

// consumerHeartbeat is a heartbeat of the consumer protocol that says nothing new.
func (m *member) consumerHeartbeat(epoch int32) *kmsg.ConsumerGroupHeartbeatRequest {
	request := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	request.Version, request.Group, request.MemberID, request.MemberEpoch = consumerHeartbeatVersion, m.group, m.id, epoch
	request.RebalanceTimeoutMillis = -1
	return request
}

func (m *member) consumerHeartbeatFrame() frame {
	return formatter.AppendRequest(nil, m.consumerHeartbeat(m.epoch), 0)
}

// joinConsumer joins by the consumer protocol; its first answer may leave partitions to be had later.
func (m *member) joinConsumer() error {
	m.id = fmt.Sprintf("%s-%d", m.group, m.index)
	request := m.consumerHeartbeat(0)
	request.RebalanceTimeoutMillis = int32(memberTimeout.Milliseconds())
	request.SubscribedTopicNames, request.Topics = []string{m.topic}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	_, err := m.beatConsumer(request)
	return err
}

// beatConsumer sends a heartbeat and takes what it is answered with; news tells whether there was an assignment, which the member then has to report.
func (m *member) beatConsumer(request *kmsg.ConsumerGroupHeartbeatRequest) (news bool, err error) {
	response := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	if err := m.call(request, response); err != nil {
		return false, fmt.Errorf("heartbeat to %s: %w", m.group, err)
	}
	if err := kerr.ErrorForCode(response.ErrorCode); err != nil {
		return false, fmt.Errorf("heartbeat to %s: %w", m.group, err)
	}
	m.epoch = response.MemberEpoch
	if response.Assignment == nil {
		return false, nil
	}
	m.count = 0
	clear(m.owned)
	for _, t := range response.Assignment.Topics {
		m.owned[t.TopicID] = slices.Clone(t.Partitions)
		m.count += len(t.Partitions)
	}
	return true, nil
}

// report is a heartbeat that says what the member owns.
func (m *member) report() *kmsg.ConsumerGroupHeartbeatRequest {
	request := m.consumerHeartbeat(m.epoch)
	request.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	for id, partitions := range m.owned {
		request.Topics = append(request.Topics, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: id, Partitions: partitions})
	}
	return request
}
