package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/bus"
	"github.com/varvelog/varve/services/e2e/cluster"
)

// hintHeader is what stands before an entry that is published: its sequence and a code.
const hintHeader = 8 + sha256.Size

// TestStrangersOnAnOpenNATSAreNotBelieved has somebody who can publish and read everything on NATS, and knows no secret, say that he leads, and
// publish entries that follow on those he hears.
func TestStrangersOnAnOpenNATSAreNotBelieved(t *testing.T) {
	t.Parallel()
	address := cluster.FreeAddress(t)
	startNATS(t, address)
	var trapped atomic.Pointer[string]
	trap := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := r.Method + " " + r.URL.Path
		trapped.Store(&text)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer trap.Close()
	stranger, err := nats.Connect("nats://"+address, nats.NoEcho())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	var forged atomic.Int64
	subscribe(t, stranger, "varve.*.leader", func(m *nats.Msg) {
		body, err := json.Marshal(bus.LeaderAnswer{Address: trap.Listener.Addr().String(), Epoch: 1})
		if err == nil {
			err = m.Respond(body)
		}
		if err != nil {
			t.Error(err)
		}
	})
	subscribe(t, stranger, "varve.*.metalog", func(m *nats.Msg) {
		if len(m.Data) < hintHeader {
			return
		}
		for _, hint := range forgedHints(t, m.Data) {
			if err := stranger.Publish(m.Subject, hint); err != nil {
				t.Error(err)
			}
			forged.Add(1)
		}
	})
	r := cluster.StartRoles(t, cluster.RolesConfig{NATSURL: "nats://" + address, Flags: append([]string{"--metalog=bucket"}, quickTiering...)})
	createTopic(t, r.Ingest[0], "real", 1, "varve.durability", "local")
	client := dial(t, r.Ingest[0])
	for range 5 {
		produce(t, client, &kgo.Record{Topic: "real", Value: []byte("x")})
	}
	awaitShipped(t, r.Ingest[0], "real", 1)
	if forged.Load() == 0 {
		t.Fatal("the stranger heard no entries")
	}
	for _, n := range r.Ingest {
		topics, err := admin(t, n).ListTopics(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if topics.Has("forged") || !topics.Has("real") {
			t.Errorf("%s has topics %v", n, topics.Names())
		}
		if !strings.Contains(n.Log(), "NATS should authenticate") {
			t.Errorf("%s says nothing of a stranger", n)
		}
		if err := n.AwaitReady(patience); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
	if text := trapped.Load(); text != nil {
		t.Errorf("the stranger was sent %s", *text)
	}
}

// subscribe calls handle for each message.
func subscribe(t *testing.T, nc *nats.Conn, subject string, handle func(*nats.Msg)) {
	t.Helper()
	if _, err := nc.Subscribe(subject, handle); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// forgedHints are entries that follow on the one hinted at, as somebody makes them who has heard it: without a code, with that of
// another, and far ahead.
func forgedHints(t *testing.T, hint []byte) (forged [][]byte) {
	seq, raw := binary.BigEndian.Uint64(hint), hint[hintHeader:]
	last, err := meta.DecodeEntry(raw)
	if err != nil {
		t.Error(err)
		return nil
	}
	hash := sha256.Sum256(raw)
	entry, err := meta.EncodeEntry(&metapb.Entry{LogId: last.LogId, PreviousHash: hash[:], LeaderEpoch: last.LeaderEpoch, TimeMillis: last.TimeMillis,
		Commands: []*metapb.Command{{Kind: &metapb.Command_CreateTopic{CreateTopic: &metapb.CreateTopic{Name: "forged", TopicId: []byte("0123456789abcdef"), Partitions: 1}}}}})
	if err != nil {
		t.Error(err)
		return nil
	}
	bare := append(binary.BigEndian.AppendUint64(nil, seq+1), entry...)
	copied := append(append(binary.BigEndian.AppendUint64(nil, seq+1), hint[8:hintHeader]...), entry...)
	return [][]byte{bare, copied, append(binary.BigEndian.AppendUint64(nil, 1<<60), hint[8:]...)}
}
