package group

import (
	"context"
	"fmt"
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
)

// The figure asked for: 1,000 groups of 10 members that heartbeat every 5 s, in less than a tenth of a core. That is 2,000 heartbeats a
// second, so one may take 50 us; core% is what they take.
func BenchmarkConsumerHeartbeat(b *testing.B) {
	log := newLog(b)
	c := newCoordinator(log)
	defer c.Close()
	var beats []*metapb.ConsumerHeartbeatRequest
	for g := range 1000 {
		for m := range 10 {
			beats = append(beats, &metapb.ConsumerHeartbeatRequest{Group: fmt.Sprintf("group-%d", g), MemberId: fmt.Sprintf("member-%d", m), Version: 1,
				RebalanceTimeoutMillis: 60_000, Topics: &metapb.ConsumerTopics{Names: []string{"orders"}}, Owned: &metapb.ConsumerAssignment{}})
		}
	}
	for range 4 {
		for _, r := range beats {
			answer, err := c.ConsumerHeartbeat(context.Background(), r)
			if err != nil || answer.Code != metapb.GroupCode_GROUP_OK {
				b.Fatal(answer, err)
			}
			r.MemberEpoch, r.RebalanceTimeoutMillis, r.Topics, r.Owned = answer.MemberEpoch, -1, nil, answer.Assignment
		}
	}
	for _, r := range beats {
		r.Owned = nil
	}
	before := log.seq()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if answer, err := c.ConsumerHeartbeat(context.Background(), beats[i%len(beats)]); err != nil || answer.Code != metapb.GroupCode_GROUP_OK {
			b.Fatal(answer, err)
		}
	}
	b.StopTimer()
	b.ReportMetric(2000*float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e9*100, "core%")
	if log.seq() != before {
		b.Errorf("%d entries for heartbeats", log.seq()-before)
	}
}

// A heartbeat of a streams group that changes nothing, as BenchmarkConsumerHeartbeat is for consumers.
func BenchmarkStreamsHeartbeat(b *testing.B) {
	log := newLog(b)
	c := newCoordinator(log)
	defer c.Close()
	var beats []*metapb.StreamsHeartbeatRequest
	for g := range 1000 {
		for m := range 10 {
			process := fmt.Sprintf("process-%d", m)
			beats = append(beats, &metapb.StreamsHeartbeatRequest{Group: fmt.Sprintf("group-%d", g), MemberId: fmt.Sprintf("member-%d", m), ProcessId: &process,
				RebalanceTimeoutMillis: 60_000, Topology: copyOf("orders"), Owned: &metapb.StreamsTasks{}})
		}
	}
	for range 4 {
		for _, r := range beats {
			answer, err := c.StreamsHeartbeat(context.Background(), r)
			if err != nil || answer.Code != metapb.GroupCode_GROUP_OK {
				b.Fatal(answer, err)
			}
			r.MemberEpoch, r.RebalanceTimeoutMillis, r.Topology, r.ProcessId, r.Owned, r.EndpointEpoch = answer.MemberEpoch, -1, nil, nil, answer.Assigned, answer.EndpointEpoch
		}
	}
	for _, r := range beats {
		r.Owned = nil
	}
	before := log.seq()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if answer, err := c.StreamsHeartbeat(context.Background(), beats[i%len(beats)]); err != nil || answer.Code != metapb.GroupCode_GROUP_OK {
			b.Fatal(answer, err)
		}
	}
	b.StopTimer()
	b.ReportMetric(2000*float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e9*100, "core%")
	if log.seq() != before {
		b.Errorf("%d entries for heartbeats", log.seq()-before)
	}
}

// A new target for 100 members and 1,000 partitions after one has left.
func BenchmarkAssign(b *testing.B) {
	topics := []topicInfo{{id: [16]byte{1}, name: "wide", partitions: 1000}}
	members := make([]candidate, 100)
	for i := range members {
		members[i] = candidate{id: fmt.Sprintf("m%02d", i), topics: topics}
	}
	targets := assign(assignorUniform, members)
	for i := range members {
		members[i].target = targets[members[i].id]
	}
	b.ReportAllocs()
	for b.Loop() {
		assign(assignorUniform, members[1:])
	}
}
