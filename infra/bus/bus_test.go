package bus

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*Server).WaitForShutdown"))
}

func start(t *testing.T, cfg ServerConfig) *Server {
	t.Helper()
	s, err := StartServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func connect(t *testing.T, cfg ConnConfig) *Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := Connect(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestCommitSubjectPutsTheTopicLast(t *testing.T) {
	for _, row := range []struct{ topic, want string }{
		{"orders", "varve.commit.3.orders"},
		{"orders.eu", "varve.commit.3.orders.eu"},
		{"a..b", "varve.commit.3.a.~.b"},
		{".a.", "varve.commit.3.~.a.~"},
	} {
		if got := CommitSubject(row.topic, 3); got != row.want {
			t.Errorf("CommitSubject(%q, 3) = %q, want %q", row.topic, got, row.want)
		}
	}
}

func TestWildcardSelectsOneTopicOrAll(t *testing.T) {
	s := start(t, ServerConfig{})
	c := connect(t, ConnConfig{Server: s})
	got := make(chan string, 10)
	for _, pattern := range []string{"varve.commit.*.orders.eu", CommitWildcard} {
		if _, err := c.Subscribe(pattern, func(data []byte) { got <- pattern + "=" + string(data) }); err != nil {
			t.Fatal(err)
		}
	}
	for _, topic := range []string{"orders.us", "orders.eu"} {
		if err := c.Publish(CommitSubject(topic, 1), []byte(topic)); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for range 3 {
		seen[<-got] = true
	}
	for _, want := range []string{"varve.commit.*.orders.eu=orders.eu", "varve.commit.>=orders.us", "varve.commit.>=orders.eu"} {
		if !seen[want] {
			t.Errorf("%s was not received: %v", want, seen)
		}
	}
}

func TestWantedFollowsSubscriptions(t *testing.T) {
	s := start(t, ServerConfig{ListenAddr: "127.0.0.1:0", Password: "s3cret"})
	inside := connect(t, ConnConfig{Server: s})
	subject := CommitSubject("orders.eu", 3)
	if inside.Wanted(subject) {
		t.Error("wanted, and nobody listens")
	}
	outside := connect(t, ConnConfig{URL: "nats://" + s.Addr(), Password: "s3cret"})
	if !outside.Wanted(subject) {
		t.Error("not wanted, and nothing is known of the server")
	}
	for _, pattern := range []string{"varve.commit.*.orders.eu", CommitWildcard, subject} {
		cancel, err := outside.Subscribe(pattern, func([]byte) {})
		if err != nil {
			t.Fatal(err)
		}
		await(t, func() bool { return inside.Wanted(subject) })
		if inside.Wanted(LeaderSubject("x")) {
			t.Errorf("%s makes another subject wanted", pattern)
		}
		cancel()
		await(t, func() bool { return !inside.Wanted(subject) })
	}
}

func TestNotificationsJSONIsThatOfItsTags(t *testing.T) {
	for _, topic := range []string{"orders.eu", "a_b-C.9", "odd \"name\"\n<&>\u00e9", ""} {
		n := CommitNotification{Topic: topic, Partition: 7, HighWatermark: 1 << 40}
		want, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		if got := n.AppendJSON(nil); string(got) != string(want) {
			t.Errorf("AppendJSON = %s, want %s", got, want)
		}
	}
}

func TestTakenPortNamesTheFlag(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, err = StartServer(ServerConfig{ListenAddr: taken.Addr().String()})
	if !errors.Is(err, ErrListen) || !strings.Contains(err.Error(), "--nats-addr") {
		t.Fatalf("error %v does not name the flag", err)
	}
}

func TestStrangersOnlyReadCommits(t *testing.T) {
	s := start(t, ServerConfig{ListenAddr: "127.0.0.1:0", Password: "s3cret"})
	inside := connect(t, ConnConfig{URL: "nats://" + s.Addr(), Password: "s3cret"})
	refused := make(chan error, 10)
	stranger, err := nats.Connect("nats://"+s.Addr(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	commits, err := stranger.SubscribeSync(CommitWildcard)
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := inside.Publish(CommitSubject("t", 0), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := commits.NextMsg(5 * time.Second); err != nil {
		t.Fatalf("a stranger did not see a commit notification: %v", err)
	}
	if err := stranger.Publish(LogSubject("c"), []byte("forged")); err != nil {
		t.Fatal(err)
	}
	if err := <-refused; !errors.Is(err, nats.ErrPermissionViolation) {
		t.Fatalf("publishing to the log: %v, want a permission violation", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if c, err := Connect(ctx, ConnConfig{URL: "nats://" + s.Addr(), Password: "wrong"}); err == nil {
		c.Close()
		t.Fatal("a wrong secret was let in")
	}
}

func TestRequestFindsTheResponder(t *testing.T) {
	s := start(t, ServerConfig{})
	c := connect(t, ConnConfig{Server: s})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := c.Request(ctx, LeaderSubject("x"), nil, anything); !errors.Is(err, ErrNoAnswer) {
		t.Fatalf("request without a responder: %v, want ErrNoAnswer", err)
	}
	if _, err := c.Respond(LeaderSubject("x"), func([]byte) []byte { return []byte("me") }); err != nil {
		t.Fatal(err)
	}
	if body, err := c.Request(ctx, LeaderSubject("x"), nil, anything); err != nil || string(body) != "me" {
		t.Fatalf("request = %q, %v", body, err)
	}
}

func TestPublishFailsWhileTheServerIsGoneAndWorksAfter(t *testing.T) {
	first, err := StartServer(ServerConfig{ListenAddr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	addr := first.Addr()
	c := connect(t, ConnConfig{URL: "nats://" + addr})
	first.Shutdown()
	await(t, func() bool { return c.Ready() != nil })
	if err := c.Publish("x", nil); !errors.Is(err, ErrDisconnected) {
		t.Fatalf("publish while disconnected: %v", err)
	}
	start(t, ServerConfig{ListenAddr: addr})
	await(t, func() bool { return c.Ready() == nil })
	if err := c.Publish("x", nil); err != nil {
		t.Fatal(err)
	}
}

func anything([]byte) bool { return true }

func TestAnAnswerThatIsNotTakenDoesNotHideAnother(t *testing.T) {
	c := connect(t, ConnConfig{Server: start(t, ServerConfig{})})
	asked := make(chan struct{})
	for i, answer := range []string{"stranger", "me"} {
		cancel, err := c.Respond(LeaderSubject("x"), func([]byte) []byte {
			if i == 0 {
				defer close(asked)
			} else {
				<-asked // so the stranger is faster
			}
			return []byte(answer)
		})
		if err != nil {
			t.Fatal(err)
		}
		defer cancel()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	body, err := c.Request(ctx, LeaderSubject("x"), nil, func(answer []byte) bool { return string(answer) == "me" })
	if err != nil || string(body) != "me" {
		t.Errorf("%q, %v", body, err)
	}
}

func await(t *testing.T, condition func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatal("condition not reached")
		case <-tick.C:
		}
	}
}
