package kafka

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// lot counts parked connections, and how often one was parked or woken.
type lot struct {
	noMetrics
	mu struct {
		sync.Mutex
		parked, changes, open int
		refused               []string
	}
}

func (l *lot) Parked(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.parked = n
	l.mu.changes++
}

func (l *lot) Connections(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.open = n
}

func (l *lot) Refused(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.refused = append(l.mu.refused, reason)
}

func (l *lot) changes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.changes
}

// await waits until n connections are parked.
func (l *lot) await(t *testing.T, n int) {
	t.Helper()
	eventually(t, "connections are parked", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.mu.parked == n
	})
}

func (l *lot) awaitOpen(t *testing.T, n int) {
	t.Helper()
	eventually(t, "connections are closed", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.mu.open == n
	})
}

// beats is a group coordinator that answers heartbeats as the test says.
type beats struct {
	Groups
	consumer func(*metapb.ConsumerHeartbeatRequest, func(*metapb.ConsumerHeartbeatResponse, error))
	streams  func(context.Context) error
	commit   func(context.Context) error
}

func (b *beats) BeginHeartbeat(_ *metapb.GroupHeartbeatRequest, answer func(*metapb.GroupHeartbeatResponse, error)) {
	answer(&metapb.GroupHeartbeatResponse{}, nil)
}

func (b *beats) BeginConsumerHeartbeat(r *metapb.ConsumerHeartbeatRequest, answer func(*metapb.ConsumerHeartbeatResponse, error)) {
	b.consumer(r, answer)
}

func (b *beats) StreamsHeartbeat(ctx context.Context, _ *metapb.StreamsHeartbeatRequest) (*metapb.StreamsHeartbeatResponse, error) {
	return &metapb.StreamsHeartbeatResponse{}, b.streams(ctx)
}

func (b *beats) Commit(ctx context.Context, r *metapb.GroupCommitRequest) (*metapb.GroupCommitResponse, error) {
	return &metapb.GroupCommitResponse{Codes: make([]metapb.GroupCode, len(r.Offsets))}, b.commit(ctx)
}

// parkingServer parks connections at once.
func parkingServer(t *testing.T, groups Groups, config Config) (*Server, string, *lot) {
	t.Helper()
	l := &lot{}
	config.ParkAfter, config.Metrics = time.Millisecond, l
	c := newCluster(t)
	c.createTopic(t, "topic", 1)
	s, addr := start(t, c, config)
	if groups != nil {
		s.domain.Groups = groups
	}
	return s, addr, l
}

func heartbeat() *kmsg.HeartbeatRequest {
	r := kmsg.NewPtrHeartbeatRequest()
	r.Version, r.Group, r.MemberID = 4, "group", "member"
	return r
}

func consumerBeat(member string) *kmsg.ConsumerGroupHeartbeatRequest {
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Version, r.Group, r.MemberID, r.MemberEpoch = 1, "group", member, 1
	return r
}

func streamsBeat() *kmsg.StreamsGroupHeartbeatRequest {
	r := kmsg.NewPtrStreamsGroupHeartbeatRequest()
	r.Group, r.MemberID, r.MemberEpoch = "group", "member", 1
	return r
}

func offsetCommit() *kmsg.OffsetCommitRequest {
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Version, r.Group = 8, "group"
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = "topic"
	topic.Partitions = append(topic.Partitions, kmsg.NewOffsetCommitRequestTopicPartition())
	r.Topics = append(r.Topics, topic)
	return r
}

func TestAParkedConnectionIsAnsweredWhereItIs(t *testing.T) {
	_, addr, l := parkingServer(t, &beats{streams: func(context.Context) error { return nil }}, Config{})
	client := dial(t, addr)
	l.await(t, 1)
	before := l.changes()
	for range 3 {
		if e := kerr.ErrorForCode(client.request(heartbeat()).(*kmsg.HeartbeatResponse).ErrorCode); e != nil {
			t.Fatal(e)
		}
		client.request(streamsBeat()) // whose handler waits
	}
	if l.changes() != before {
		t.Error("the connection was woken")
	}
}

func TestWhatIsNotBriefWakesAParkedConnection(t *testing.T) {
	c := newCluster(t)
	l := &lot{}
	_, addr := start(t, c, Config{ParkAfter: time.Millisecond, Metrics: l})
	id := c.createTopic(t, "topic", 1)
	client := dial(t, addr)
	for range 3 {
		l.await(t, 1)
		produced := client.request(produceRequestOf(13, "", id, testBatch("compressible "+strings.Repeat("x", 20_000)))).(*kmsg.ProduceResponse)
		if e := kerr.ErrorForCode(produced.Topics[0].Partitions[0].ErrorCode); e != nil {
			t.Fatal(e)
		}
		client.request(kmsg.NewPtrMetadataRequest())
	}
}

func TestWhatComesInOddPiecesWakesAParkedConnection(t *testing.T) {
	one := kmsg.NewRequestFormatter().AppendRequest(nil, heartbeat(), 7)
	two := slices.Concat(one, one)
	for name, pieces := range map[string][][]byte{
		"within the length": {one[:2], one[2:]},
		"within the header": {one[:10], one[10:]},
		"within the body":   {one[:len(one)-1], one[len(one)-1:]},
		"two together":      {two},
		"one and a half":    {two[:len(one)+20], two[len(one)+20:]},
		"more than a read":  {slices.Repeat(one, readBufferBytes/len(one)+2)},
	} {
		t.Run(name, func(t *testing.T) {
			_, addr, l := parkingServer(t, &beats{}, Config{})
			client := dial(t, addr)
			l.await(t, 1)
			before := l.changes()
			client.write(pieces[0])
			eventually(t, "the connection is woken", func() bool { return l.changes() > before })
			sent := len(pieces[0])
			for _, piece := range pieces[1:] {
				client.write(piece)
				sent += len(piece)
			}
			for range sent / len(one) {
				if id, _ := client.frame(); id != 7 {
					t.Errorf("answer to %d", id)
				}
			}
			l.await(t, 1)
		})
	}
}

// held is a consumer group heartbeat that the test answers.
type held struct {
	member string
	answer func(*metapb.ConsumerHeartbeatResponse, error)
}

func holding(answers chan held) *beats {
	return &beats{consumer: func(r *metapb.ConsumerHeartbeatRequest, answer func(*metapb.ConsumerHeartbeatResponse, error)) {
		answers <- held{r.MemberId, answer}
	}}
}

func TestAnswersThatComeLaterKeepTheirOrder(t *testing.T) {
	answers := make(chan held, 2)
	_, addr, l := parkingServer(t, holding(answers), Config{})
	client, other := dial(t, addr), dial(t, addr)
	l.await(t, 2)
	before := l.changes()
	client.send(consumerBeat("first"))
	first := <-answers
	client.send(consumerBeat("second"))
	other.request(heartbeat()) // is not kept waiting
	if len(answers) > 0 {
		t.Error("the second request is handled before the first is answered")
	}
	first.answer(&metapb.ConsumerHeartbeatResponse{MemberId: first.member}, nil)
	second := <-answers
	second.answer(&metapb.ConsumerHeartbeatResponse{MemberId: second.member}, nil)
	for _, want := range []string{"first", "second"} {
		if got := client.receive(consumerBeat("")).(*kmsg.ConsumerGroupHeartbeatResponse); got.MemberID == nil || *got.MemberID != want {
			t.Errorf("got %v, want %s", got.MemberID, want)
		}
	}
	if l.changes() != before {
		t.Error("a connection was woken")
	}
}

func TestAClientThatDoesNotReadItsAnswerKeepsNobodyElseWaiting(t *testing.T) {
	long := strings.Repeat("x", 16<<20) // more than sockets hold
	groups := &beats{consumer: func(_ *metapb.ConsumerHeartbeatRequest, answer func(*metapb.ConsumerHeartbeatResponse, error)) {
		answer(&metapb.ConsumerHeartbeatResponse{MemberId: long}, nil)
	}}
	_, addr, l := parkingServer(t, groups, Config{})
	client, other := dial(t, addr), dial(t, addr)
	l.await(t, 2)
	before := l.changes()
	client.send(consumerBeat("slow"))
	eventually(t, "the connection is woken", func() bool { return l.changes() > before })
	other.request(heartbeat())
	if got := client.receive(consumerBeat("")).(*kmsg.ConsumerGroupHeartbeatResponse); got.MemberID == nil || *got.MemberID != long {
		t.Error("the answer is another")
	}
	client.request(heartbeat())
}

func TestParkedConnectionsEnd(t *testing.T) {
	t.Run("when they are idle for too long", func(t *testing.T) {
		_, addr, l := parkingServer(t, nil, Config{ConnectionsMaxIdle: 20 * time.Millisecond})
		first, second := dial(t, addr), dial(t, addr)
		first.closed()
		second.closed()
		l.awaitOpen(t, 0)
	})
	t.Run("when the client leaves", func(t *testing.T) {
		_, addr, l := parkingServer(t, nil, Config{})
		client, other := dial(t, addr), dial(t, addr)
		l.await(t, 2)
		closeQuietly(client.nc)
		l.awaitOpen(t, 1)
		l.await(t, 1)
		closeQuietly(other.nc)
		l.awaitOpen(t, 0)
	})
	t.Run("when the client leaves with its last word", func(t *testing.T) {
		_, addr, l := parkingServer(t, &beats{}, Config{})
		client := dial(t, addr)
		l.await(t, 1)
		client.send(heartbeat())
		if err := client.nc.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		client.receive(heartbeat())
		client.closed()
		l.awaitOpen(t, 0)
	})
	t.Run("when what they send is no request", func(t *testing.T) {
		_, addr, l := parkingServer(t, nil, Config{Logger: quiet})
		client := dial(t, addr)
		l.await(t, 1)
		client.write([]byte("GET / HTTP/1.1\r\n\r\n"))
		client.closed()
		l.awaitOpen(t, 0)
	})
	t.Run("when a body is malformed", func(t *testing.T) {
		_, addr, l := parkingServer(t, nil, Config{Logger: quiet})
		client := dial(t, addr)
		l.await(t, 1)
		client.write(rawFrame(12, 4, slices.Concat(noClientID, []byte{0, 100})))
		client.closed()
		l.awaitOpen(t, 0)
	})
	t.Run("when a handler panics", func(t *testing.T) {
		groups := &beats{
			consumer: func(*metapb.ConsumerHeartbeatRequest, func(*metapb.ConsumerHeartbeatResponse, error)) {
				panic("at once")
			},
			streams: func(context.Context) error { panic("in its goroutine") },
		}
		_, addr, l := parkingServer(t, groups, Config{Logger: quiet})
		for _, request := range []kmsg.Request{consumerBeat("m"), streamsBeat()} {
			client, other := dial(t, addr), dial(t, addr)
			l.await(t, 2)
			client.send(request)
			client.closed()
			other.request(heartbeat())
			closeQuietly(other.nc)
			l.awaitOpen(t, 0)
		}
		if got := l.mu.refused; !slices.Equal(got, []string{"panic", "panic"}) {
			t.Errorf("refused: %q", got)
		}
	})
}

func TestShutdownEndsParkedConnections(t *testing.T) {
	answers := make(chan held, 1)
	s, addr, l := parkingServer(t, holding(answers), Config{})
	idle, busy := dial(t, addr), dial(t, addr)
	l.await(t, 2)
	busy.send(consumerBeat("member"))
	one := <-answers
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	idle.closed()
	one.answer(&metapb.ConsumerHeartbeatResponse{MemberId: one.member}, nil)
	busy.receive(consumerBeat(""))
	busy.closed()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownCutsParkedConnectionsWhenItsTimeIsUp(t *testing.T) {
	answers := make(chan held, 1)
	groups, waiting := holding(answers), make(chan struct{}, 1)
	groups.streams = func(ctx context.Context) error {
		waiting <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	s, addr, l := parkingServer(t, groups, Config{})
	beating, streams := dial(t, addr), dial(t, addr)
	l.await(t, 2)
	beating.send(consumerBeat("member"))
	one := <-answers
	streams.send(streamsBeat())
	<-waiting
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v", err)
	}
	beating.closed()
	streams.closed()
	one.answer(&metapb.ConsumerHeartbeatResponse{}, nil) // for nobody
	if !s.budget.sem.TryAcquire(s.budget.limit) {
		t.Error("the requests' room is not given back")
	}
}

func TestAClientThatHasToWaitIsNotAnsweredWhereItIsParked(t *testing.T) {
	s, addr, l := parkingServer(t, &beats{}, Config{})
	client := dial(t, addr)
	l.await(t, 1)
	s.mu.Lock()
	for c := range s.mu.connections {
		c.mute(30 * time.Millisecond)
	}
	s.mu.Unlock()
	before, begun := l.changes(), time.Now()
	client.request(heartbeat())
	if took := time.Since(begun); took < 20*time.Millisecond || l.changes() == before {
		t.Errorf("answered after %v", took)
	}
}

// TestACommitEndsWithItsConnection: a client that has left commits more on another connection, and what waits for a leader here must not come behind that.
func TestACommitEndsWithItsConnection(t *testing.T) {
	waiting, ended := make(chan struct{}), make(chan struct{})
	groups := &beats{commit: func(ctx context.Context) error {
		close(waiting)
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	}}
	for name, config := range map[string]Config{"parked": {}, "not parked": {ParkAfter: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			waiting, ended = make(chan struct{}), make(chan struct{})
			c := newCluster(t)
			c.createTopic(t, "topic", 1)
			l := &lot{}
			config.ParkAfter, config.Metrics = max(config.ParkAfter, time.Millisecond), l
			s, addr := start(t, c, config)
			s.domain.Groups = groups
			client := dial(t, addr)
			if config.ParkAfter < time.Hour {
				l.await(t, 1)
			}
			client.send(offsetCommit())
			<-waiting
			closeQuietly(client.nc)
			<-ended
		})
	}
}
